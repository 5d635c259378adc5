"""Runs one case: each contender once for its output, then the rounds, each contender in turn."""

import shutil
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from .cases import Bench, Case, Entry
from .fixtures import Unexpected
from .marks import Results, Series
from .process import RunFailed, Sample, run, tail
from .tools import Tools

NOWHERE = Path("/dev/null")


@dataclass(frozen=True)
class Settings:
    """How to measure."""

    tools: Tools
    rounds: int
    timeout: int
    cores: list[int]
    scratch: Path
    keep: bool
    check_files: int
    corpus: Path | None
    say: Callable[[str], None]


def clean(folder: Path) -> None:
    """Leave an empty folder."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)


def once(entry: Entry, bench: Bench, settings: Settings, *, read_output: bool) -> Sample:
    """One run. For the output it goes to a file, which is then checked; for the time it goes to /dev/null."""
    printed, complaints = bench.scratch / "printed", bench.scratch / "complaints"
    clean(bench.temporary)
    try:
        sample = run(
            entry.command,
            stdout=printed if read_output else NOWHERE,
            stderr=None if read_output else complaints,
            timeout=settings.timeout,
            exits=entry.exits,
            cores=settings.cores,
        )
        if read_output:
            try:
                entry.expect(printed)
            except Unexpected as error:
                raise RunFailed(f"{error}; it printed: {tail(printed)}") from error
        return sample
    finally:
        printed.unlink(missing_ok=True)
        clean(bench.temporary)


def measure(case: Case, settings: Settings) -> tuple[Results, list[str]]:
    """The results of one case with its remarks; a contender that fails once is left out from then on."""
    scratch = Path(tempfile.mkdtemp(prefix=f"trainyard-bench-{case.name}-", dir=settings.scratch))
    try:
        bench = Bench(scratch, settings.tools, settings.check_files, settings.corpus)
        entries = case.build(bench)
        results: Results = {entry.label: Series() for entry in entries}
        for turn in range(-1, settings.rounds):
            for entry in entries:
                series = results[entry.label]
                if series.failure is not None:
                    continue
                try:
                    sample = once(entry, bench, settings, read_output=turn < 0)
                except RunFailed as failure:
                    series.failure = str(failure)
                    settings.say(f"{case.name}: {entry.label} FAILED: {failure}")
                    continue
                if turn >= 0:
                    series.samples.append(sample)
                what = "checked" if turn < 0 else f"round {turn + 1}"
                settings.say(f"{case.name}: {what}: {entry.label} {sample.wall:.3f} s")
        return results, list(case.remarks(results, bench))
    finally:
        if settings.keep:
            settings.say(f"{case.name}: kept {scratch}")
        else:
            shutil.rmtree(scratch, ignore_errors=True)
