"""Checks all workflow files in a folder: how long it takes, and what is found, by rule.

Usage: corpus.py DIR. Errors are listed one by one: on files that run at GitHub each is a fault of
the checker, or of the file in a way that GitHub says at the next push.
"""

import collections
import json
import pathlib
import statistics
import subprocess
import sys
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent
BINARY = ROOT / "target/release/trainyard"
ROUNDS = 3


def documents(text):
    """The JSON documents that stand one after another in a text."""
    decoder, at = json.JSONDecoder(), 0
    while text[at:].strip():
        at += len(text[at:]) - len(text[at:].lstrip())
        value, at = decoder.raw_decode(text, at)
        yield value


def check(files):
    command = [BINARY, "check", "--no-shellcheck", "--severity", "info", "--format", "json", *files]
    began = time.monotonic()
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    took = time.monotonic() - began
    if done.returncode not in (0, 1):
        sys.exit(done.stderr)
    return took, list(documents(done.stdout))


def main():
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    folder = pathlib.Path(sys.argv[1])
    files = sorted(p for p in folder.rglob("*") if p.suffix in (".yml", ".yaml"))
    if not files:
        sys.exit(f"{folder} has no workflow files")
    rounds = [check(files) for _ in range(ROUNDS)]
    counts, errors = collections.Counter(), []
    for report in rounds[0][1]:
        for file in report["files"]:
            for found in file["diagnostics"]:
                counts[found["severity"], found["rule"]] += 1
                if found["severity"] == "error":
                    errors.append(f"{file['path']}:{found['line']}: {found['message']}")
    seconds = statistics.median(took for took, _ in rounds)
    print(f"{len(files)} files in {seconds:.2f} s (median of {ROUNDS}, one core), "
          f"{len(files) / seconds:.0f} a second")
    for (severity, rule), count in sorted(counts.items()):
        print(f"{count:7} {severity:8} {rule}")
    print(f"{len(errors)} errors")
    print("\n".join(errors[:50]))


if __name__ == "__main__":
    main()
