"""Runs the hostile inputs as one suite and reports on each: broken and huge files, strange names and
repositories, full disks, attacks on the services, mutations of files.

Usage: hostile.py [REPORT.md]. The exit status is 1 if any of them did harm.
"""

import pathlib
import re
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
# The package, its test, and what it is about.
SUITES = [
    ("trainyard", "hostile", "files, repositories and disks"),
    ("trainyard", "edges", "cancels, limits and what was left behind"),
    ("trainyard-services", "attacks", "jobs that attack the services"),
    ("trainyard-yaml", "", "YAML"),
    ("trainyard-lint", "gate", "mutations of files"),
]
RESULT = re.compile(r"^test (?P<name>\S+) \.\.\. (?P<result>ok|FAILED|ignored)", re.MULTILINE)


def results(output):
    """The tests of a run and how they ended."""
    return [(m["name"], m["result"]) for m in RESULT.finditer(output)]


def words(name):
    """A test's name as a sentence."""
    return name.rsplit("::", 1)[-1].replace("_", " ")


def run(package, test):
    command = ["cargo", "test", "-q", "-p", package, *(["--test", test] if test else ["--lib"]),
               "--no-fail-fast", "--", "--format=pretty"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    found = results(done.stdout)
    if not found:
        sys.exit(f"{package} {test} ran no tests:\n{done.stderr}")
    return found


def main():
    lines, bad, count = ["# Hostile inputs", ""], 0, 0
    for package, test, about in SUITES:
        lines += [f"## {about}", "", "| input | |", "| --- | --- |"]
        for name, result in run(package, test):
            harmless = result == "ok"
            count += 1
            bad += not harmless
            lines.append(f"| {words(name)} | {'no harm' if harmless else '**' + result + '**'} |")
        lines.append("")
    lines.append(f"{count} kinds of input, {bad} of them did harm or were not tried.")
    report = "\n".join(lines) + "\n"
    print(report)
    if len(sys.argv) > 1:
        pathlib.Path(sys.argv[1]).write_text(report)
    sys.exit(1 if bad else 0)


if __name__ == "__main__":
    main()
