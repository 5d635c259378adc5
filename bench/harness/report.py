"""What was measured, as Markdown to read and as JSON to keep."""

import dataclasses
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from .cases import Case
from .marks import ACT, FLOOR, MIB, TRAINYARD, Results, Series, Verdict, ratio

NODE = (
    "act starts Node once in every job, needed or not: three quarters of its CPU time for a small job and 60 to 70%"
    " of the wall time. legs-100 measures that too (see its remarks), with an act that starts none."
)


@dataclass(frozen=True)
class Outcome:
    """One case with all that came of it."""

    case: Case
    results: Results
    remarks: list[str]

    @property
    def verdicts(self) -> list[Verdict]:
        """The answers of the case's marks."""
        return [mark.judge(self.results) for mark in self.case.marks]


def seconds(series: Series | None) -> str:
    """A series' median wall time, or what stands in its place."""
    if series is None:
        return "-"
    if series.failure is not None:
        return "failed"
    return f"{series.wall:.3f} s" if series.samples else "-"


def answer(verdict: Verdict) -> str:
    """A verdict in a word."""
    return {True: "met", False: "**MISSED**", None: "not judged"}[verdict.passed]


def number(value: float | None) -> str:
    """A value with three significant digits at most."""
    return "-" if value is None else f"{value:.3f}" if abs(value) < 10 else f"{value:.1f}"


def table(head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    """A Markdown table; all columns but the first two are aligned to the right."""
    rule = ("---", "---") + ("---:",) * (len(head) - 2)
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (head, rule, *rows))


def comparison(outcomes: list[Outcome]) -> str:
    """trainyard beside act and the floor."""
    rows = []
    for outcome in outcomes:
        results = outcome.results
        if ACT in results:
            rows.append(
                (
                    outcome.case.name,
                    outcome.case.about,
                    seconds(results.get(TRAINYARD)),
                    seconds(results.get(ACT)),
                    number(ratio(results, TRAINYARD, ACT)),
                    seconds(results.get(FLOOR)),
                    number(ratio(results, TRAINYARD, FLOOR)),
                )
            )
    head = ("case", "what", "trainyard", "act", "trainyard / act", "bare shells", "trainyard / shells")
    return table(head, rows)


def marks(outcomes: list[Outcome]) -> str:
    """Each mark with its answer."""
    rows = [
        (outcome.case.name, verdict.what, number(verdict.value), f"<= {verdict.limit:g}", answer(verdict))
        for outcome in outcomes
        for verdict in outcome.verdicts
    ]
    return table(("case", "mark", "measured", "limit", "answer"), rows)


def everything(outcomes: list[Outcome]) -> str:
    """Every contender's medians."""
    rows = []
    for outcome in outcomes:
        for label, series in outcome.results.items():
            figures = ("failed",) * 4
            if series.measured:
                spread = f"{min(s.wall for s in series.samples):.3f} to {max(s.wall for s in series.samples):.3f} s"
                figures = (seconds(series), spread, f"{series.cpu:.3f} s", f"{series.peak / MIB:.1f} MiB")
            rows.append((outcome.case.name, label, *figures))
    return table(("case", "contender", "wall", "lowest to highest", "CPU", "peak memory"), rows)


def markdown(outcomes: list[Outcome], described: dict[str, str], rounds: int) -> str:
    """The whole report."""
    about = "\n".join(f"- {name}: {value}" for name, value in described.items())
    parts = [
        "# trainyard beside act",
        f"{about}\n- {rounds} rounds, contenders in turn; medians, and medians of each round's ratio",
    ]
    compared = [outcome for outcome in outcomes if ACT in outcome.results]
    if compared:
        parts += [
            comparison(compared),
            NODE,
        ]
    if any(outcome.case.marks for outcome in outcomes):
        parts += ["## Marks", marks(outcomes)]
    parts += ["## Everything measured", everything(outcomes)]
    notes = [f"- {outcome.case.name}: {remark}" for outcome in outcomes for remark in outcome.remarks]
    notes += [
        f"- {outcome.case.name}: {label}: failed: {series.failure}".replace("\n", " ")
        for outcome in outcomes
        for label, series in outcome.results.items()
        if series.failure is not None
    ]
    if notes:
        parts += ["## Remarks", "\n".join(notes)]
    return "\n\n".join(parts) + "\n"


def as_json(outcomes: list[Outcome], described: dict[str, str], rounds: int) -> dict[str, Any]:
    """Every sample of every round, with the medians and the marks' answers."""
    return {
        "environment": described,
        "rounds": rounds,
        "cases": {
            outcome.case.name: {
                "about": outcome.case.about,
                "contenders": {
                    label: {
                        "failure": series.failure,
                        "samples": [dataclasses.asdict(sample) for sample in series.samples],
                        "median": {"wall": series.wall, "cpu": series.cpu, "peak": series.peak}
                        if series.measured
                        else None,
                    }
                    for label, series in outcome.results.items()
                },
                "ratio": ratio(outcome.results, TRAINYARD, ACT),
                "marks": [dataclasses.asdict(v) | {"passed": v.passed} for v in outcome.verdicts],
                "remarks": outcome.remarks,
            }
            for outcome in outcomes
        },
    }
