"""Starts functions of pipelines: a Python that has imported the SDK's executor, and forks for each task.

A task is what its command says: `python3 -m kfp.dsl.executor_main` with its arguments, in a process of its own, with its
own environment, folder and output. Requests come over a socket (its descriptor is argv[1]; the executor's module
argv[2]): four bytes of length with two descriptors, output and status, then JSON. The answer is the number of the
process; its wait status is written to the second descriptor when it has ended.
"""

import atexit
import gc
import importlib
import json
import os
import runpy
import select
import signal
import socket
import struct
import sys
import tempfile
import threading
import time
import traceback


def become(request, module, output):
    """In the fork: the task, to its end."""
    code = 1
    try:
        os.setsid()
        for door in request["doors"]:
            with open(door, "w") as file:
                file.write("0")
        nothing = os.open("/dev/null", os.O_RDONLY)
        os.dup2(nothing, 0)
        os.dup2(output, 1)
        os.dup2(output, 2)
        os.close(nothing)
        os.close(output)
        os.chdir(request["folder"])
        os.environ.clear()
        os.environ.update(request["env"])
        time.tzset()
        # As `python3 -m` has it.
        sys.path[0] = os.getcwd()
        tempfile.tempdir = None
        place = os.path.join(tempfile.mkdtemp(prefix="tmp."), "ephemeral_component.py")
        with open(place, "w") as file:
            file.write(request["source"])
        sys.argv = [module, "--component_module_path", place, *request["args"]]
        runpy.run_module(module, run_name="__main__", alter_sys=True)
        code = 0
    except SystemExit as end:
        if end.code is None or isinstance(end.code, int):
            code = end.code or 0
        else:
            print(end.code, file=sys.stderr)
    except BaseException as error:  # whatever ends a program ends this one, with its traceback
        mine = error.__traceback__
        # The frames of this file and of runpy are no part of the task's program.
        while mine is not None and mine.tb_frame.f_code.co_filename in ("<string>", "<frozen runpy>"):
            mine = mine.tb_next
        traceback.print_exception(type(error), error, mine)
    finally:
        try:
            threading._shutdown()
            atexit._run_exitfuncs()
            sys.stdout.flush()
            sys.stderr.flush()
        finally:
            os._exit(code & 0xFF)


def serve(channel, module):
    importlib.import_module(module)
    # It runs as `__main__` in each fork; what it imported stays.
    del sys.modules[module]
    woken, wakes = os.pipe()
    for end in (woken, wakes):
        os.set_blocking(end, False)
    signal.set_wakeup_fd(wakes)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    gc.freeze()
    waiting = {}
    while True:
        ready, _, _ = select.select([channel, woken], [], [])
        if woken in ready:
            os.read(woken, 4096)
            while waiting:
                pid, status = os.waitpid(-1, os.WNOHANG)
                if not pid:
                    break
                if pid in waiting:
                    told = waiting.pop(pid)
                    try:
                        os.write(told, struct.pack("<i", status))
                    except OSError:
                        pass  # nobody asks for it any more
                    os.close(told)
        if channel in ready:
            head, descriptors, _, _ = socket.recv_fds(channel, 4, 2)
            if len(head) < 4:
                return
            left = struct.unpack("<I", head)[0]
            text = bytearray()
            while left > len(text):
                piece = channel.recv(left - len(text))
                if not piece:
                    return
                text += piece
            output, told = descriptors
            request = json.loads(text)
            try:
                pid = os.fork()
            except OSError:
                os.close(output)
                os.close(told)
                channel.sendall(struct.pack("<i", 0))
                continue
            if not pid:
                signal.set_wakeup_fd(-1)
                signal.signal(signal.SIGCHLD, signal.SIG_DFL)
                signal.signal(signal.SIGINT, signal.default_int_handler)
                for other in (channel.detach(), woken, wakes, told, *waiting.values()):
                    os.close(other)
                become(request, module, output)
            os.close(output)
            waiting[pid] = told
            channel.sendall(struct.pack("<i", pid))


if __name__ == "__main__":
    serve(socket.socket(fileno=int(sys.argv[1])), sys.argv[2])
