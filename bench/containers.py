#!/usr/bin/env python3
"""Container jobs against act on the same socket and against bare Podman, interleaved; prints a Markdown table.

    containers.py [--rounds N] [--steps N] [--trainyard PATH] [--act PATH] [--check]

It needs Podman and the images of `make images`. The engine is one `podman system service` for all contenders.
- A step's cost is the time of a job with many steps less that of a job with one, by the number of steps between.
- A container's start is the step "Initialize containers" (with the network and the engine's first answers), against
  a whole `podman run --detach`.
Exit codes: 0 done; 1 with --check, a limit is passed; 2 something is missing or failed.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))

from harness.fixtures import echo, job, repository, run_step, workflow  # noqa: E402
from harness.tools import install_act, program, surroundings  # noqa: E402

IMAGE = "localhost/trainyard-test/debian"
LIMITS = {"act": 0.30, "exec": 1.3, "start": 1.3}


class Failed(Exception):
    """A contender did not do its work."""


def timed(command, marker=None, **options):
    """Seconds that a command takes; it must succeed and print the marker."""
    began = time.perf_counter()
    done = subprocess.run(command, capture_output=True, text=True, check=False, **options)
    seconds = time.perf_counter() - began
    if done.returncode or (marker and marker not in done.stdout):
        raise Failed(f"{command[0]} {command[1]}: {done.stdout[-2000:]}{done.stderr[-2000:]}")
    return seconds


def arguments():
    parser = argparse.ArgumentParser(description="Container jobs against act and bare Podman.")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--trainyard", type=Path, default=HERE.parent / "target" / "release" / "trainyard")
    parser.add_argument("--act", type=Path)
    parser.add_argument("--check", action="store_true")
    return parser.parse_args()


def listen(socket):
    """One engine for all."""
    service = subprocess.Popen([program("podman"), "system", "service", "--time=0", f"unix://{socket}"],
                               stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 20
    while not socket.exists():
        if service.poll() is not None or time.monotonic() > deadline:
            raise Failed("podman system service does not start")
        time.sleep(0.01)
    return service


def initialize(trainyard, place, env):
    """Seconds of the last run's step that starts the containers."""
    told = subprocess.run([trainyard, "view", "--json"], cwd=place, env=env, capture_output=True, text=True, check=True)
    steps = json.loads(told.stdout)["jobs"][0]["steps"]
    return next(s["milliseconds"] for s in steps if s["name"] == "Initialize containers") / 1000


def measure(given, scratch):
    """The ratios of each round."""
    act = given.act or install_act(HERE / ".cache")
    many = given.steps + 1
    texts = {f"steps-{n}.yml": workflow(job("a", "".join(run_step(echo(i)) for i in range(n)),
                                            f"    container: {IMAGE}\n")) for n in (1, many)}
    place = repository(scratch / "repository", texts)
    socket = scratch / "podman.sock"
    service = listen(socket)
    ratios = {name: [] for name in LIMITS}
    try:
        envs = {owner: surroundings(scratch / f"home-{owner}", scratch / "tmp") | {"DOCKER_HOST": f"unix://{socket}"}
                for owner in ("trainyard", "act", "podman")}

        def run(owner, count):
            file = f".github/workflows/steps-{count}.yml"
            command = {
                "trainyard": [str(given.trainyard), "run", "push", "--output", "plain", "-W", file],
                "act": [str(act), "push", "-W", file, "-P", f"ubuntu-latest={IMAGE}", "--pull=false",
                        "--container-daemon-socket", "-", "--no-cache-server"],
            }[owner]
            return timed(command, f"ran-{count - 1}", cwd=place, env=envs[owner])

        podman = [program("podman")]
        for turn in range(-1, given.rounds):
            step = {}
            for owner in ("trainyard", "act"):
                single = run(owner, 1)
                if owner == "trainyard":
                    start = initialize(given.trainyard, place, envs[owner])
                step[owner] = (run(owner, many) - single) / given.steps
            name = f"bench-{os.getpid()}-{turn + 1}"
            try:
                bare = timed([*podman, "run", "--detach", "--name", name, IMAGE, "tail", "-f", "/dev/null"])
                execs = [timed([*podman, "exec", name, "sh", "-c", "echo ran"], "ran") for _ in range(given.steps)]
            finally:
                subprocess.run([*podman, "rm", "-f", "-t", "0", name], capture_output=True, check=False)
            if turn < 0:
                continue
            ratios["act"].append(step["trainyard"] / step["act"])
            ratios["exec"].append(step["trainyard"] / (sum(execs) / given.steps))
            ratios["start"].append(start / bare)
            print(f"round {turn + 1}: a step {step['trainyard'] * 1000:.0f} ms, act {step['act'] * 1000:.0f} ms, "
                  f"podman exec {sum(execs) / given.steps * 1000:.0f} ms; start {start * 1000:.0f} ms, "
                  f"podman run {bare * 1000:.0f} ms", file=sys.stderr, flush=True)
    finally:
        service.kill()
        service.wait()
    return ratios


def main():
    given = arguments()
    if subprocess.run(["podman", "image", "exists", IMAGE], check=False).returncode:
        print(f"containers: there is no image {IMAGE}: make images", file=sys.stderr)
        return 2
    try:
        with tempfile.TemporaryDirectory(prefix="trainyard-bench-containers-") as scratch:
            ratios = measure(given, Path(scratch))
    except Failed as failure:
        print(f"containers: {failure}", file=sys.stderr)
        return 2
    about = {
        "act": "a step in a job container, against act's on the same socket",
        "exec": "the same, against a bare `podman exec`",
        "start": "the containers' start, against a bare `podman run --detach`",
    }
    print("| case | ratio of wall time | limit |\n| --- | ---: | ---: |")
    for name, limit in LIMITS.items():
        print(f"| {about[name]} | {median(ratios[name]):.2f} | {limit:.2f} |")
    missed = [name for name, limit in LIMITS.items() if median(ratios[name]) > limit]
    return 1 if given.check and missed else 0


if __name__ == "__main__":
    sys.exit(main())
