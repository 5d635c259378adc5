#!/usr/bin/env python3
"""Real bundles of actions beside the built-in ones: the same workflow, the same repository, what a step can see.

`differential/run.py --bundles DIR`, where DIR holds `OWNER/NAME.git`, clones of the actions' repositories with their
tags. Each scenario runs once with the built-in action and once with
`--no-builtin-actions --action-mirror DIR`, each with an empty data folder; outputs, files, git, environment and the
run's annotations are compared. Prints the table of docs/compatibility.md and, below it, every difference.

Exit status: 0 nothing differs but what `known.py` explains; 1 something does; 2 something needed is missing.
"""

import argparse
import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))

from known import reason  # noqa: E402
from scenarios import ALL, Scenario  # noqa: E402

TIMEOUT = 180


@dataclass
class Seen:
    """What one side showed."""

    facts: dict[str, str] = field(default_factory=dict)
    failed: str = ""
    """Why it could not be compared, if so."""


def flatten(value: object, name: str = "") -> dict[str, str]:
    """Nested facts by dotted names."""
    if isinstance(value, dict):
        return {k: v for key, item in value.items() for k, v in flatten(item, f"{name}.{key}" if name else key).items()}
    return {name: str(value)}


def git(folder: Path, *arguments: str, day: int = 1) -> None:
    when = f"2026-01-{day:02}T00:00:00Z"
    who = {"GIT_AUTHOR_NAME": "t", "GIT_AUTHOR_EMAIL": "t@example.org", "GIT_AUTHOR_DATE": when}
    who |= {"GIT_COMMITTER_NAME": "t", "GIT_COMMITTER_EMAIL": "t@example.org", "GIT_COMMITTER_DATE": when}
    settings = {"GIT_CONFIG_GLOBAL": "/dev/null", "GIT_CONFIG_SYSTEM": "/dev/null"}
    subprocess.run(["git", *arguments], cwd=folder, check=True, env={**os.environ, **who, **settings}, capture_output=True)


def repository(folder: Path, workflow: str) -> None:
    """Three commits on main, one on `side`, a tag `v1`, an executable, a link and a folder."""
    (folder / ".github/workflows").mkdir(parents=True)
    (folder / ".github/workflows/w.yml").write_text(workflow)
    git(folder, "init", "-q", "-b", "main")
    git(folder, "remote", "add", "origin", "https://github.com/octo/demo.git")
    for day, name in enumerate(("a.txt", "sub/b.txt", "tool.sh"), start=1):
        path = folder / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(f"{name}\n")
        if name == "tool.sh":
            path.chmod(0o755)
            (folder / "link").symlink_to("a.txt")
        git(folder, "add", "-A")
        git(folder, "commit", "-q", "-m", name, day=day)
        if day == 1:
            git(folder, "tag", "v1")
            git(folder, "branch", "side")


def tool_cache(data: Path, kind: str) -> str:
    """This machine's Python or Node as a tool cache has it. Its version."""
    arch = {"x86_64": "x64", "aarch64": "arm64"}.get(platform.machine(), platform.machine())
    if kind == "python":
        version, name, programs = platform.python_version(), "Python", [sys.executable]
        names = [["python", "python3", "python3.11"]]
    else:
        node, npm = shutil.which("node"), shutil.which("npm")
        if not node or not npm:
            return ""
        version = subprocess.run([node, "--version"], capture_output=True, text=True, check=True).stdout.strip()[1:]
        name, programs, names = "node", [node, npm], [["node"], ["npm"]]
    folder = data / "tools" / name / version / arch
    (folder / "bin").mkdir(parents=True)
    for program, links in zip(programs, names, strict=True):
        for link in links:
            (folder / "bin" / link).symlink_to(Path(program).resolve())
    folder.with_name(f"{arch}.complete").touch()
    return version


def shared_nodes() -> Path:
    """The Nodes that bundles ask for, fetched once for all scenarios."""
    folder = HERE.parent / ".cache/node"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def run_side(scenario: Scenario, version: str, scratch: Path, options: list[str], trainyard: Path) -> Seen:
    """One side of a comparison, in folders of its own."""
    shutil.rmtree(scratch, ignore_errors=True)
    repo, data, report = scratch / "demo", scratch / "data", scratch / "report.jsonl"
    repo.mkdir(parents=True)
    data.mkdir()
    found = tool_cache(data, scenario.needs) if scenario.needs else "-"
    if not found:
        return Seen(failed=f"no {scenario.needs} here")
    repository(repo, scenario.workflow(version).replace("NODE", found))
    (data / "node").symlink_to(shared_nodes())
    seen = Seen()
    log = ""
    for _ in range(scenario.runs):
        done = subprocess.run(
            [str(trainyard), "run", "push", "--output", "github", "--env", f"PROBE={HERE / 'probe.py'}",
             "--env", f"PROBE_REPORT={report}", *options],
            cwd=repo, capture_output=True, text=True, timeout=TIMEOUT, check=False,
            env={**os.environ, "TRAINYARD_DATA_DIR": str(data)},
        )
        log += done.stdout + done.stderr
    lines = report.read_text().splitlines() if report.exists() else []
    if len(lines) != scenario.runs:
        said = [line for line in log.splitlines() if "error" in line.lower()] or log.splitlines()[-1:]
        return Seen(failed=(said[0] if said else "no report").strip())
    for number, line in enumerate(lines, start=1):
        prefix = f"run {number}." if scenario.runs > 1 else ""
        seen.facts |= {prefix + k: v for k, v in flatten(json.loads(line)).items()}
    seen.facts["log"] = log
    return seen


def tags(bundles: Path, action: str) -> list[str] | None:
    """The tags of an action's clone in that folder; nothing when there is no clone."""
    clone = bundles / f"{action}.git"
    if not clone.exists():
        return None
    return subprocess.run(["git", "-C", str(clone), "tag"], capture_output=True, text=True, check=True).stdout.split()


@dataclass
class Outcome:
    """One cell of the table."""

    cell: str
    details: list[str] = field(default_factory=list)
    bad: bool = False


def compare(scenario: Scenario, version: str, bundles: Path, scratch: Path, trainyard: Path) -> Outcome:
    """Both sides, and what differs."""
    ours = run_side(scenario, version, scratch, [], trainyard)
    mirror = ["--no-builtin-actions", "--action-mirror", str(bundles)]
    theirs = run_side(scenario, version, scratch, mirror, trainyard)
    if theirs.failed:
        return Outcome("bundle not run", [f"the bundle: {theirs.failed}"])
    if ours.failed:
        return Outcome("built-in failed", [f"built in: {ours.failed}"], bad=True)
    ours.facts.pop("log")
    theirs.facts.pop("log")
    outcome = Outcome("same")
    for name in sorted(ours.facts.keys() | theirs.facts.keys()):
        here, there = ours.facts.get(name), theirs.facts.get(name)
        if here == there:
            continue
        why = reason(scenario, version, name, here, there)
        outcome.bad |= why is None
        outcome.details.append(f"`{name}`: built in `{here}`, bundle `{there}`" + (f" ({why})" if why else " **unexplained**"))
    if outcome.details:
        outcome.cell = "**differs**" if outcome.bad else "same, but ¹"
    return outcome


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--bundles", default="")
    parser.add_argument("--action", default="", help="only this action (OWNER/NAME)")
    parser.add_argument("--scenario", default="", help="only this scenario")
    parser.add_argument("--trainyard", type=Path, default=HERE.parent.parent / "target/release/trainyard")
    arguments = parser.parse_args()
    scenarios = [s for s in ALL if arguments.action in ("", s.action) and arguments.scenario in ("", s.name)]
    if not arguments.bundles:
        for action in sorted({s.action for s in scenarios}):
            print(f"skipped: {action} (no folder of bundles: make differential BUNDLES=DIR)")
        return 0
    bundles = Path(arguments.bundles).resolve()
    if not bundles.is_dir() or not arguments.trainyard.exists():
        print(f"{bundles} is no folder, or {arguments.trainyard} is not built", file=sys.stderr)
        return 2
    versions = sorted({v for s in scenarios for v in s.versions})
    details: list[str] = []
    bad = False
    print("| action | scenario | " + " | ".join(versions) + " |")
    print("| --- | --- |" + " --- |" * len(versions))
    with tempfile.TemporaryDirectory(prefix="trainyard-differential-") as scratch:
        for scenario in scenarios:
            known = tags(bundles, scenario.action)
            cells = []
            for version in versions:
                if version not in scenario.versions:
                    cells.append("")
                elif known is None or version not in known:
                    cells.append("skipped: no bundle")
                else:
                    outcome = compare(scenario, version, bundles, Path(scratch) / "side", arguments.trainyard)
                    bad |= outcome.bad
                    cells.append(outcome.cell)
                    details += [f"- {scenario.action}@{version}, {scenario.name}: {line}" for line in outcome.details]
            print(f"| {scenario.action} | {scenario.name} | " + " | ".join(cells) + " |", flush=True)
    print()
    print("\n".join(["¹ What differs:", "", *details]) if details else "Nothing differs.")
    return 1 if bad else 0


sys.exit(main())
