"""Cases about actions: JavaScript and composite ones, and what the caches cost."""

import json
import os
import random
import shlex
import shutil
import subprocess
from collections.abc import Callable, Iterable
from pathlib import Path

from .cases import Bench, Case, Entry
from .fixtures import Unexpected, echo, expect_markers, job, repository, run_step, workflow
from .marks import ACT, FLOOR, TRAINYARD, FloorRatio, Results, WallRatio
from .process import Command
from .tools import act_run, program, trainyard_run

GIGABYTE = 1_000_000_000
SMALL_FILES = 20_000
CLIENT = "@actions/cache@4.1.0"
CHECKOUT = "      - uses: actions/checkout@v4\n"


def composite(bench: Bench) -> list[Entry]:
    """A local composite action of fifty steps."""
    steps = "".join(run_step(echo(number), 4) for number in range(50))
    action = f"name: fifty\ndescription: fifty steps\nruns:\n  using: composite\n  steps:\n{steps}"
    text = workflow(job("a", f"{CHECKOUT}      - uses: ./fifty\n"))
    place = repository(bench.scratch / "repository", {"ci.yml": text}, [("fifty/action.yml", action)])
    expect = expect_markers(range(50))
    return [*bench.run(place, expect), bench.floor([echo(number) for number in range(50)], expect)]


def javascript(bench: Bench) -> list[Entry]:
    """Twenty steps of a JavaScript action that does next to nothing; the floor starts node as often.

    The floor's output goes into a pipe, as any runner must read it: node itself takes longer to set one up than
    /dev/null. The action is of the workflow's own repository (`$/`), so no checkout is measured with it; act does
    not know that form and stands aside.
    """
    script = "console.log(`ran-${process.env['INPUT_NUMBER']}`)\n"
    action = (
        "name: js\ndescription: says a number\ninputs:\n  number:\n    description: it\n"
        "runs:\n  using: node20\n  main: index.js\n"
    )
    uses = "".join(f"      - uses: $/js\n        with: {{number: {n}}}\n" for n in range(20))
    files = [("js/action.yml", action), ("js/index.js", script)]
    place = repository(bench.scratch / "repository", {"ci.yml": workflow(job("a", uses))}, files)
    node, main = shlex.quote(program("node")), shlex.quote(str(place / "js" / "index.js"))
    driver = bench.scratch / "driver"
    driver.write_text("set -e\n" + "".join(f"INPUT_NUMBER={n} {node} {main}\n" for n in range(20)))
    expect = expect_markers(range(20))
    piped = f"{shlex.quote(program('sh'))} {shlex.quote(str(driver))} | cat"
    floor = Command((program("sh"), "-ec", piped), bench.scratch, bench.environment(FLOOR))
    own = [entry for entry in bench.run(place, expect) if entry.label == TRAINYARD]
    return [*own, Entry(FLOOR, floor, expect)]


def random_file(path: Path, size: int) -> Path:
    """A file that does not compress."""
    source = random.Random(size)
    with path.open("wb") as file:
        for _ in range(0, size, 1_000_000):
            file.write(source.randbytes(1_000_000))
    return path


def small_files(folder: Path) -> Path:
    """Twenty thousand files of 100 to 4,000 bytes in two hundred folders."""
    source = random.Random(3)
    for number in range(SMALL_FILES):
        place = folder / f"d{number % 200:03}"
        place.mkdir(parents=True, exist_ok=True)
        (place / f"f{number:05}").write_bytes(source.randbytes(source.randrange(100, 4000)))
    return folder


def said(word: str) -> Callable[[Path], None]:
    """The output holds a word."""

    def check(printed: Path) -> None:
        if word.encode() not in printed.read_bytes():
            raise Unexpected(f"'{word}' was not printed")

    return check


def caching(bench: Bench, path: Path, part: str) -> Path:
    """A repository whose one step is a part of actions/cache."""
    step = f"      - uses: actions/cache/{part}@v4\n        with: {{path: {path}, key: k}}\n"
    # Of one name, as entries belong to a repository.
    return repository(bench.scratch / part / "repository", {"ci.yml": workflow(job("a", step))})


def ours(bench: Bench, place: Path, data: Path, word: str) -> list[Entry]:
    """trainyard on a repository, with a data folder of the case's choice."""
    if bench.tools.trainyard is None:
        return []
    env = bench.environment(TRAINYARD) | {"TRAINYARD_DATA_DIR": str(data)}
    return [Entry(TRAINYARD, Command(trainyard_run(bench.tools.trainyard, None), place, env), said(word))]


def fill(bench: Bench, place: Path, data: Path) -> None:
    """Saves once, so that there is something to restore."""
    if bench.tools.trainyard is not None:
        env = bench.environment(TRAINYARD) | {"TRAINYARD_DATA_DIR": str(data)}
        argv = trainyard_run(bench.tools.trainyard, None)
        subprocess.run(argv, cwd=place, env=env, check=True, stdout=subprocess.DEVNULL)


def shell(bench: Bench, script: str) -> Entry:
    """The floor as a line of shell."""
    command = Command((program("sh"), "-ec", f"{script}; echo done-it"), bench.scratch, bench.environment(FLOOR))
    return Entry(FLOOR, command, said("done-it"))


def copy_of(path: Path) -> str:
    """`cp` with sync."""
    return f'cp {shlex.quote(str(path))} "$TMPDIR/copy" && sync "$TMPDIR/copy"'


def piped(path: Path) -> str:
    """`tar` piped to `tar`."""
    return f'mkdir "$TMPDIR/out" && tar cf - -C {shlex.quote(str(path))} . | tar xf - -C "$TMPDIR/out"'


def save(make: Callable[[Path], Path], floor: Callable[[Path], str]) -> Callable[[Bench], list[Entry]]:
    """Saves what a fresh store does not have: the store goes with TMPDIR after each round."""

    def build(bench: Bench) -> list[Entry]:
        path = make(bench.scratch / "payload")
        place = caching(bench, path, "save")
        entries = ours(bench, place, bench.temporary / "data", "Cache saved with key: k")
        return [*entries, shell(bench, floor(path))]

    return build


def restore(make: Callable[[Path], Path], floor: Callable[[Path], str]) -> Callable[[Bench], list[Entry]]:
    """Restores over what is there."""

    def build(bench: Bench) -> list[Entry]:
        path = make(bench.scratch / "payload")
        data = bench.scratch / "data"
        fill(bench, caching(bench, path, "save"), data)
        place = caching(bench, path, "restore")
        return [*ours(bench, place, data, "Cache restored from key: k"), shell(bench, floor(path))]

    return build


def large(path: Path) -> Path:
    """A gigabyte that does not compress."""
    return random_file(path, GIGABYTE)


def small_change(_results: Results, bench: Bench) -> Iterable[str]:
    """What a contiguous change of one in a hundred adds to the store."""
    if bench.tools.trainyard is None:
        return
    path, data = bench.scratch / "payload", bench.scratch / "change"
    place = bench.scratch / "save" / "repository"
    env = bench.environment(TRAINYARD) | {"TRAINYARD_DATA_DIR": str(data)}

    def stored() -> int:
        argv = [str(bench.tools.trainyard), "du", "--json"]
        said = subprocess.run(argv, env=env, check=True, capture_output=True, text=True)
        return json.loads(said.stdout)["stored"]

    fill(bench, place, data)
    before = stored()
    with path.open("r+b") as file:
        file.seek(GIGABYTE // 2)
        file.write(random.Random(1).randbytes(GIGABYTE // 100))
    text = (place / ".github/workflows/ci.yml").read_text().replace("key: k}", "key: k2}")
    (place / ".github/workflows/ci.yml").write_text(text)
    fill(bench, place, data)
    share = (stored() - before) / GIGABYTE
    yield f"a contiguous change of 1 % of the gigabyte stores {share:.2%} of it more (limit 5 %)"


def client(bench: Bench) -> list[Entry]:
    """The published client saves and restores 100 MB: against our services, and against act's."""
    kept = Path(__file__).parent.parent / ".cache" / "client"
    if not (kept / "node_modules" / "@actions" / "cache").exists():
        kept.mkdir(parents=True, exist_ok=True)
        argv = [program("npm"), "install", "--no-audit", "--no-fund", "--loglevel=error", CLIENT]
        subprocess.run(argv, cwd=kept, check=True, stdout=subprocess.DEVNULL)
    script = (
        "const fs = require('fs');\n"
        f"const cache = require({json.dumps(str(kept / 'node_modules' / '@actions' / 'cache'))});\n"
        "(async () => {\n"
        "  const key = `k-${Date.now()}`;\n"
        "  fs.mkdirSync('kept', {recursive: true});\n"
        f"  fs.copyFileSync({json.dumps(str(bench.scratch / 'payload'))}, 'kept/payload');\n"
        "  if (!(await cache.saveCache(['kept'], key))) throw new Error('not saved');\n"
        "  fs.rmSync('kept', {recursive: true});\n"
        "  if ((await cache.restoreCache(['kept'], key)) !== key) throw new Error('not found');\n"
        "  if (fs.statSync('kept/payload').size !== 100000000) throw new Error('not whole');\n"
        "  console.log('ran-1');\n  process.exit(0);\n"
        "})().catch((e) => { console.error(e); process.exit(1); });\n"
    )
    random_file(bench.scratch / "payload", 100_000_000)
    action = "name: client\ndescription: caches\nruns:\n  using: node20\n  main: index.js\n"
    files = [("client/action.yml", action), ("client/index.js", script)]
    text = workflow(job("a", f"{CHECKOUT}      - uses: ./client\n"))
    place = repository(bench.scratch / "repository", {"ci.yml": text}, files)
    expect = expect_markers([1])
    entries = []
    if bench.tools.trainyard is not None:
        env = bench.environment(TRAINYARD) | {"TRAINYARD_DATA_DIR": str(bench.temporary / "data")}
        entries.append(Entry(TRAINYARD, Command(trainyard_run(bench.tools.trainyard, None), place, env), expect))
    argv = [a for a in act_run(bench.tools.act, None) if a != "--no-cache-server"]
    store = bench.temporary / "act-cache"
    argv += ["--cache-server-path", str(store), "--cache-server-addr", "127.0.0.1"]
    entries.append(Entry(ACT, Command(tuple(argv), place, bench.environment(ACT)), expect))
    return entries


def needs_room(case: Case, room: int) -> Case:
    """The same, refused by name where the scratch folder has too little room."""

    def build(bench: Bench) -> list[Entry]:
        free = shutil.disk_usage(bench.scratch).free
        if free < room:
            raise OSError(f"{case.name} needs {room // 10**9} GB of room for scratch folders, {os.fspath(bench.scratch)} has less")
        return case.build(bench)

    return Case(case.name, case.about, build, case.marks, case.remarks)


CASES = (
    Case("composite-50", "a local composite action of 50 steps", composite, (WallRatio(0.35),)),
    Case("js-20", "20 steps of a JavaScript action", javascript, (FloorRatio(1.1, "bare `node` starts"),)),
    needs_room(
        Case(
            "save-1g",
            "cache of 1 GB of new data, against `cp` with sync",
            save(large, copy_of),
            (FloorRatio(1 / 0.25, "`cp` with sync"),),
            small_change,
        ),
        10 * 10**9,
    ),
    needs_room(
        Case(
            "restore-1g",
            "the same restored",
            restore(large, copy_of),
            (FloorRatio(1 / 0.4, "`cp` with sync"),),
        ),
        10 * 10**9,
    ),
    Case(
        "save-20000",
        "cache of 20,000 small files, against tar piped to tar",
        save(small_files, piped),
        (FloorRatio(1.0, "tar piped to tar"),),
    ),
    Case(
        "restore-20000",
        "the same restored",
        restore(small_files, piped),
        (FloorRatio(1.0, "tar piped to tar"),),
    ),
    Case("client-100m", "the npm client saves and restores 100 MB", client, (WallRatio(0.60),)),
)
