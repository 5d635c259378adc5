"""What a case must reach, judged on the measured rounds."""

from dataclasses import dataclass, field
from statistics import median
from typing import Protocol

from .process import Sample

TRAINYARD, ACT, FLOOR = "trainyard", "act", "floor"
MIB = 1024 * 1024


@dataclass
class Series:
    """The rounds of one contender in one case, or why it has none."""

    samples: list[Sample] = field(default_factory=list)
    failure: str | None = None

    @property
    def measured(self) -> bool:
        """Whether every round gave a number."""
        return self.failure is None and bool(self.samples)

    @property
    def wall(self) -> float:
        """Median seconds."""
        return median(sample.wall for sample in self.samples)

    @property
    def cpu(self) -> float:
        """Median CPU seconds."""
        return median(sample.cpu for sample in self.samples)

    @property
    def peak(self) -> float:
        """Median peak memory in bytes."""
        return median(sample.peak for sample in self.samples)


Results = dict[str, Series]
"""The series of one case by the contender's label."""


def pairs(results: Results, left: str, right: str) -> list[tuple[Sample, Sample]] | None:
    """The two contenders' samples round by round, or None when one of them has no number."""
    first, second = results.get(left, Series()), results.get(right, Series())
    if not (first.measured and second.measured):
        return None
    return list(zip(first.samples, second.samples, strict=True))


def ratio(results: Results, left: str, right: str) -> float | None:
    """The median over the rounds of `left`'s wall time over `right`'s in the same round."""
    rounds = pairs(results, left, right)
    return None if rounds is None else median(a.wall / b.wall for a, b in rounds)


@dataclass(frozen=True)
class Verdict:
    """One mark's answer; `passed` is None where something it needs was not measured."""

    what: str
    value: float | None
    limit: float

    @property
    def passed(self) -> bool | None:
        """Whether the value is within the limit."""
        return None if self.value is None else self.value <= self.limit


class Mark(Protocol):
    """Something a case must reach."""

    def judge(self, results: Results) -> Verdict:
        """Compare what was measured with the limit."""


@dataclass(frozen=True)
class WallRatio:
    """trainyard's wall time over act's, at most `limit`."""

    limit: float

    def judge(self, results: Results) -> Verdict:
        """Median of the rounds' ratios."""
        return Verdict("wall / act's wall", ratio(results, TRAINYARD, ACT), self.limit)


@dataclass(frozen=True)
class FloorRatio:
    """trainyard's wall time over the floor's, at most `limit`."""

    limit: float
    floor: str

    def judge(self, results: Results) -> Verdict:
        """Median of the rounds' ratios."""
        return Verdict(f"wall / wall of {self.floor}", ratio(results, TRAINYARD, FLOOR), self.limit)


@dataclass(frozen=True)
class CpuPerStep:
    """trainyard's CPU time beyond the bare shells', per step, at most `limit` milliseconds."""

    limit: float
    steps: int

    def judge(self, results: Results) -> Verdict:
        """Median of the rounds' differences."""
        rounds = pairs(results, TRAINYARD, FLOOR)
        value = None if rounds is None else median(a.cpu - b.cpu for a, b in rounds) / self.steps * 1000
        return Verdict("CPU ms a step above the floor", value, self.limit)


@dataclass(frozen=True)
class PeakGrowth:
    """trainyard's peak memory with the large log minus that with the small one, at most `limit` MiB.

    The large log is 90 MB longer; the limit leaves room for an allocator's mood, not for a tenth of the log.
    """

    limit: float
    small: str
    large: str = TRAINYARD

    def judge(self, results: Results) -> Verdict:
        """Difference of the two medians."""
        both = pairs(results, self.small, self.large)
        value = None if both is None else (results[self.large].peak - results[self.small].peak) / MIB
        return Verdict("peak MiB more for 100 MB of log than for 10 MB", value, self.limit)
