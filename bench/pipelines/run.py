#!/usr/bin/env python3
"""Compiled pipelines against `kfp local` on the same files, interleaved; prints a Markdown table.

    run.py [--rounds N] [--trainyard PATH] [--check]

It needs the SDK of `make sdks`. The peer is kfp's SubprocessRunner without a venv, in the SDK's own Python. Both have
their environments before the first round is counted, and nothing is taken from a cache of results.
- A task's overhead is that of processes of /bin/true in a loop of 200.
- The loop of 10,000 has the scripted executor: the engine, the history and the report, and no processes.
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
ROOT = HERE.parent.parent
SDK = ROOT / "target" / "sdk" / "2.17.0" / "bin"

# Wall time, as a part of the peer's.
RATIOS = {
    "one": ("one task", 0.4),
    "one-usual": ("one task with the usual pip line", 0.4),
    "chain": ("50 tasks in a chain", 0.9),
    "independent": ("50 independent tasks", 0.6),
    "loop": ("a loop of 100", 0.6),
}
ITERATIONS = 10_000


class Failed(Exception):
    """A contender did not do its work."""


def timed(command, env):
    """Seconds and the peak of memory in MB that a command takes; it must succeed."""
    began = time.perf_counter()
    with tempfile.TemporaryFile() as out:
        child = subprocess.Popen(command, env=env, stdout=out, stderr=subprocess.STDOUT)
        _, status, usage = os.wait4(child.pid, 0)
        seconds = time.perf_counter() - began
        if os.waitstatus_to_exitcode(status):
            out.seek(0)
            raise Failed(f"{' '.join(command)}: {out.read()[-2000:].decode(errors='replace')}")
    return seconds, usage.ru_maxrss / 1024


def measure(given, scratch):
    """Prints the table; the names of the limits that are passed."""
    env = dict(os.environ, TRAINYARD_DATA_DIR=str(scratch / "data"))
    subprocess.run([SDK / "python", HERE / "cases.py", scratch], check=True, env=env)

    def ours(name, *more):
        file = str(scratch / f"{name}.yaml")
        return timed([str(given.trainyard), "pipeline", "run", file, "--no-cache", "--output", "plain", *more], env)

    def peer(name):
        place = dict(env, PATH=f"{SDK}:{env['PATH']}")
        command = [str(SDK / "python"), str(HERE / "peer.py"), str(scratch / f"{name}.yaml"), str(scratch / "root")]
        return timed(command, place)[0]

    missed = []
    print("| case | ratio of wall time | limit |\n| --- | ---: | ---: |")
    for name, (about, limit) in RATIOS.items():
        ratios = []
        for turn in range(-1, given.rounds):
            pair = (ours(name)[0], peer(name))
            if turn >= 0:
                ratios.append(pair[0] / pair[1])
                print(f"{name}: {pair[0]:.2f} s, kfp local {pair[1]:.2f} s", file=sys.stderr, flush=True)
        print(f"| {about} | {median(ratios):.2f} | {limit:.2f} |")
        missed += [name] if median(ratios) > limit else []

    print("\n| case | measured | limit |\n| --- | ---: | ---: |")
    one = [ours("one-process", "--executor", "host")[0] for _ in range(given.rounds)]
    many = [ours("processes", "--executor", "host")[0] for _ in range(given.rounds)]
    each = (median(many) - median(one)) / 199 * 1000
    print(f"| a task that does nothing | {each:.1f} ms | 5 ms |")
    items = scratch / "items.json"
    items.write_text(json.dumps({"items": list(range(ITERATIONS))}))
    seconds, memory = timed([str(given.trainyard), "pipeline", "run", str(scratch / "ten-thousand.yaml"),
                             "--params", str(items), "--executor", "scripted", "--output", "plain"], env)
    print(f"| a loop of 10,000, scripted | {seconds:.1f} s | 10 s |")
    print(f"| its peak of memory | {memory:.0f} MB | 300 MB |")
    missed += [name for name, bad in (("task", each > 5), ("time", seconds > 10), ("memory", memory > 300)) if bad]
    return missed


def main():
    parser = argparse.ArgumentParser(description="Compiled pipelines against kfp local.")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--trainyard", type=Path, default=ROOT / "target" / "release" / "trainyard")
    parser.add_argument("--check", action="store_true")
    given = parser.parse_args()
    if not (SDK / "python").exists():
        print("pipelines: the SDK is not there: make sdks", file=sys.stderr)
        return 2
    try:
        with tempfile.TemporaryDirectory(prefix="trainyard-bench-pipelines-") as scratch:
            missed = measure(given, Path(scratch))
    except Failed as failure:
        print(f"pipelines: {failure}", file=sys.stderr)
        return 2
    return 1 if given.check and missed else 0


if __name__ == "__main__":
    sys.exit(main())
