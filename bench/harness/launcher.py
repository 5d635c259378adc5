"""Starts one program, waits for it, and prints what it cost: run by `process.run` as a process of its own.

Why a process of its own: on Linux a program's peak memory (`ru_maxrss`) starts at that of the process that
started it. The harness itself may be large; this file imports next to nothing, so the peak it cannot see
below is that of a bare Python, about 9 MB (reported as `blind_below`).

Reads a JSON object on standard input (see `process.run`), writes one on standard output.
"""

import json
import os
import resource
import signal
import sys
import time


def main() -> None:
    """Run the program that standard input describes and print its measurements."""
    spec = json.load(sys.stdin)
    os.chdir(spec["cwd"])
    if spec["cpus"]:
        os.sched_setaffinity(0, spec["cpus"])
    write = os.O_WRONLY | os.O_CREAT | os.O_TRUNC
    streams = [
        (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
        (os.POSIX_SPAWN_OPEN, 1, spec["stdout"], write, 0o644),
        (os.POSIX_SPAWN_DUP2, 1, 2)
        if spec["stderr"] is None
        else (os.POSIX_SPAWN_OPEN, 2, spec["stderr"], write, 0o644),
    ]
    own = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    argv = spec["argv"]

    begin = time.perf_counter()
    # Python ignores these two signals; the program must not inherit that.
    signals = [signal.SIGPIPE, signal.SIGXFSZ]
    pid = os.posix_spawn(argv[0], argv, spec["env"], file_actions=streams, setsigdef=signals)

    late: list[bool] = []

    def stop(_signal: int, _frame: object) -> None:
        os.kill(pid, signal.SIGKILL if late else signal.SIGTERM)
        late.append(True)
        signal.alarm(10)

    signal.signal(signal.SIGALRM, stop)
    signal.alarm(spec["timeout"])
    _, status, usage = os.wait4(pid, 0)
    wall = time.perf_counter() - begin

    signal.alarm(0)
    json.dump(
        {
            "code": os.waitstatus_to_exitcode(status),
            "late": bool(late),
            "wall": wall,
            "user": usage.ru_utime,
            "system": usage.ru_stime,
            "peak": usage.ru_maxrss * 1024,
            "blind_below": own * 1024,
        },
        sys.stdout,
    )


main()
