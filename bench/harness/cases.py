"""The cases: what each one runs, with whom it is compared, and what it must reach."""

import shlex
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path

from . import corpus, fixtures
from .fixtures import Check, Log, echo, expect_markers, job, repository, run_step, workflow
from .marks import ACT, FLOOR, TRAINYARD, CpuPerStep, Mark, PeakGrowth, Results, WallRatio, pairs, ratio
from .process import Command
from .tools import Tools, act_run, program, stub_node, surroundings, trainyard_run

STUB = "act, stub node"
SMALL = " 10 MB"
CHECK, LIST = "trainyard check", "act --list"
ROWS, FEW_ROWS = 1_000_000, 100_000


@dataclass(frozen=True)
class Entry:
    """One contender in one case."""

    label: str
    command: Command
    expect: Check
    exits: frozenset[int] = frozenset({0})


@dataclass(frozen=True)
class Bench:
    """A case's scratch folder and the tools it may use."""

    scratch: Path
    tools: Tools
    check_files: int
    corpus: Path | None

    @property
    def temporary(self) -> Path:
        """TMPDIR of every run; emptied after each, outside the measured time."""
        return self.scratch / "tmp"

    def environment(self, owner: str) -> dict[str, str]:
        """The surroundings of one tool, kept for the whole case."""
        return surroundings(self.scratch / f"home-{owner}", self.temporary)

    def run(self, place: Path, expect: Check, secrets: Path | None = None, suffix: str = "") -> list[Entry]:
        """trainyard and act, in that order, on the same repository."""
        entries = []
        if self.tools.trainyard is not None:
            argv = trainyard_run(self.tools.trainyard, secrets)
            entries.append(Entry(TRAINYARD + suffix, Command(argv, place, self.environment(TRAINYARD)), expect))
        argv = act_run(self.tools.act, secrets)
        entries.append(Entry(ACT + suffix, Command(argv, place, self.environment(ACT)), expect))
        return entries

    def floor(self, scripts: list[str], expect: Check) -> Entry:
        """The same scripts in bare shells, one after another."""
        driver = fixtures.floor_driver(self.scratch / "floor", scripts)
        command = Command((program("sh"), str(driver)), self.scratch, self.environment(FLOOR))
        return Entry(FLOOR, command, expect)


@dataclass(frozen=True)
class Case:
    """A named comparison."""

    name: str
    about: str
    build: Callable[[Bench], list[Entry]]
    marks: tuple[Mark, ...] = ()
    remarks: Callable[[Results, Bench], Iterable[str]] = field(default=lambda _results, _bench: ())


def steps(count: int) -> Callable[[Bench], list[Entry]]:
    """One job with `count` steps."""

    def build(bench: Bench) -> list[Entry]:
        scripts = [echo(number) for number in range(count)]
        expect = expect_markers(range(count))
        text = workflow(job("a", "".join(map(run_step, scripts))))
        place = repository(bench.scratch / "repository", {"ci.yml": text})
        return [*bench.run(place, expect), bench.floor(scripts, expect)]

    return build


def legs(count: int, *, with_stub: bool) -> Callable[[Bench], list[Entry]]:
    """A matrix of `count` legs with one step each."""

    def build(bench: Bench) -> list[Entry]:
        expect = expect_markers(range(count))
        matrix = f"    strategy:\n      matrix:\n        leg: {list(range(count))}\n"
        text = workflow(job("a", run_step(echo("${{ matrix.leg }}")), matrix))
        place = repository(bench.scratch / "repository", {"ci.yml": text})
        entries = bench.run(place, expect)
        if with_stub:
            env = bench.environment(ACT)
            env["PATH"] = f"{stub_node(bench.scratch / 'stub')}:{env['PATH']}"
            entries.append(Entry(STUB, Command(act_run(bench.tools.act, None), place, env), expect))
        return [*entries, bench.floor([echo(number) for number in range(count)], expect)]

    return build


def node_share(results: Results, _bench: Bench) -> Iterable[str]:
    """How much of act's cost is Node, and how trainyard compares with an act that starts none."""
    rounds = pairs(results, ACT, STUB)
    if rounds is None:
        return
    wall = 1 - (ratio(results, STUB, ACT) or 0)
    cpu = 1 - results[STUB].cpu / results[ACT].cpu
    yield f"of act's own cost, starting Node once a job is {wall:.0%} of the wall time and {cpu:.0%} of the CPU time"
    against = ratio(results, TRAINYARD, STUB)
    if against is not None:
        yield f"trainyard's wall over that of an act that finds a stub in place of Node: {against:.2f}"


def log_job(log: Log, extra: str = "") -> dict[str, str]:
    """A workflow whose one step prints `log`."""
    return {"ci.yml": workflow(job("a", run_step(log.script), extra))}


def plain_log(bench: Bench) -> list[Entry]:
    """A million lines (100 MB), and a tenth of that for the peak memory."""
    large = fixtures.make_log(bench.scratch / "large.log", ROWS)
    small = fixtures.make_log(bench.scratch / "small.log", FEW_ROWS)
    expect = large.expect(masked=False)
    place = repository(bench.scratch / "repository", log_job(large))
    few = repository(bench.scratch / "repository-small", log_job(small))
    return [
        *bench.run(place, expect),
        bench.floor([large.script], expect),
        *bench.run(few, small.expect(masked=False), suffix=SMALL),
    ]


def secret_log(bench: Bench) -> list[Entry]:
    """A million lines, a twentieth of which hold one of ten secrets, with fifty secrets to mask."""
    secrets = fixtures.make_secrets()
    file = fixtures.secret_file(bench.scratch / "secrets.env", secrets)
    log = fixtures.make_log(bench.scratch / "large.log", ROWS, secrets)
    text = log_job(log, fixtures.secret_environment(len(secrets)))
    place = repository(bench.scratch / "repository", text)
    floor = bench.floor([log.script], log.expect(masked=False))
    return [*bench.run(place, log.expect(masked=True), file), floor]


def chain(bench: Bench) -> list[Entry]:
    """Fifty jobs, each of which needs the last."""
    count = 50
    needs = [""] + [f"    needs: job-{number}\n" for number in range(count - 1)]
    jobs = "".join(job(f"job-{n}", run_step(echo(n)), needs[n]) for n in range(count))
    place = repository(bench.scratch / "repository", {"ci.yml": workflow(jobs)})
    expect = expect_markers(range(count))
    return [*bench.run(place, expect), bench.floor([echo(n) for n in range(count)], expect)]


def calls(bench: Bench) -> list[Entry]:
    """Twenty called workflows in the same repository."""
    count = 20
    callers = "".join(f"  call-{n}:\n    uses: ./.github/workflows/called-{n}.yml\n" for n in range(count))
    files = {f"called-{n}.yml": workflow(job("a", run_step(echo(n))), "workflow_call") for n in range(count)}
    place = repository(bench.scratch / "repository", files | {"ci.yml": workflow(callers)})
    expect = expect_markers(range(count))
    return [*bench.run(place, expect), bench.floor([echo(n) for n in range(count)], expect)]


def files(bench: Bench) -> list[Entry]:
    """One step, beside a hundred workflow files that the push must not start."""
    # Other kinds of trigger only: act does not read a push's `branches`, so it would run those files as well.
    triggers = (
        "pull_request",
        "workflow_dispatch",
        "\n  schedule:\n    - cron: '7 3 * * 1'",
        "[release, issues]",
    )
    others = {
        f"other-{n}.yml": workflow(job("a", run_step(f"{echo(1000 + n)}\nexit 1")), triggers[n % len(triggers)])
        for n in range(100)
    }
    place = repository(bench.scratch / "repository", others | {"ci.yml": workflow(job("a", run_step(echo(1))))})
    expect = expect_markers([1])
    return [*bench.run(place, expect), bench.floor([echo(1)], expect)]


def checkout(bench: Bench) -> list[Entry]:
    """actions/checkout of twenty thousand files; the floor is a local `git clone`."""
    tracked = ((f"d{n // 100:03}/f{n:05}.txt", f"file {n}\n" * 40) for n in range(20_000))
    proof = f"test -f d199/f19999.txt\n{echo(1)}"
    text = workflow(job("a", "      - uses: actions/checkout@v4\n" + run_step(proof)))
    place = repository(bench.scratch / "repository", {"ci.yml": text}, tracked)
    clone = f'git clone -q {shlex.quote(str(place))} "$TMPDIR/clone"\ncd "$TMPDIR/clone"\n{proof}'
    expect = expect_markers([1])
    return [*bench.run(place, expect), bench.floor([clone], expect)]


def check_many(bench: Bench) -> list[Entry]:
    """`trainyard check` over many files on one core; act has no such command, so its listing stands beside it."""
    if bench.corpus is None:
        texts, exits = corpus.generated(bench.check_files), frozenset({0})
    else:
        texts, exits = corpus.copied(bench.corpus, bench.check_files), frozenset({0, 1})
    place = repository(bench.scratch / "repository", texts)

    def entry(label: str, owner: str, argv: tuple[str, ...], accepted: frozenset[int]) -> Entry:
        command = Command(argv, place, bench.environment(owner), one_core=True)
        return Entry(label, command, lambda _printed: None, accepted)

    entries = []
    if bench.tools.trainyard is not None:
        entries.append(entry(CHECK, TRAINYARD, (str(bench.tools.trainyard), "check", "--no-shellcheck"), exits))
    entries.append(entry(LIST, ACT, (*act_run(bench.tools.act, None), "--list"), frozenset({0})))
    return entries


def files_a_second(results: Results, bench: Bench) -> Iterable[str]:
    """The speed of reading workflow files."""
    for label, series in results.items():
        if series.measured:
            yield f"`{label}`: {bench.check_files / series.wall:,.0f} files a second on one core"


CASES = (
    Case("one-step", "one job, one step", steps(1), (WallRatio(0.20),)),
    Case("steps-500", "one job, 500 steps", steps(500), (WallRatio(0.40), CpuPerStep(1.0, 500))),
    Case("legs-100", "matrix of 100 legs", legs(100, with_stub=True), (WallRatio(0.15),), node_share),
    Case("log-1m", "a million lines, 100 MB", plain_log, (WallRatio(0.25), PeakGrowth(8, TRAINYARD + SMALL))),
    Case("log-1m-secrets", "the same, 50 secrets to mask", secret_log, (WallRatio(0.15),)),
    Case("legs-256", "matrix of 256 legs", legs(256, with_stub=False)),
    Case("chain-50", "50 jobs, each needs the last", chain),
    Case("calls-20", "20 local called workflows", calls),
    Case("files-100", "one step beside 100 files that do not match", files),
    Case("checkout-20000", "actions/checkout of 20,000 files", checkout),
    Case("check-many", "reading many workflow files on one core", check_many, remarks=files_a_second),
)
