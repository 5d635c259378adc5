"""What the cases are made of: workflow text, git repositories, the bare-shell floor, logs and secrets.

Every step prints `ran-N` by way of shell arithmetic, so that its script as a tool may echo it
(`echo "ran-$((N))"`) is not taken for its output.
"""

import mmap
import os
import random
import re
import shlex
import string
import subprocess
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

RUNNER = "ubuntu-latest"
SECRETS = 50
SECRETS_SHOWN = 10
SECRET_EVERY = 20
ROW_BYTES = 100
MARKER = re.compile(rb"\bran-(\d+)\b")
BASH = ("bash", "--noprofile", "--norc", "-e", "-o", "pipefail")


class Unexpected(Exception):
    """A run ended well but did not print what its case must print."""


Check = Callable[[Path], None]
"""Reads what a run printed and raises `Unexpected`."""


def echo(number: int | str) -> str:
    """A script that prints the marker `ran-<number>`."""
    return f'echo "ran-$(({number}))"'


def run_step(script: str, indent: int = 6) -> str:
    """One `run` step, with bash."""
    pad = " " * indent
    lines = "".join(f"{pad}    {line}\n" for line in script.splitlines())
    return f"{pad}- shell: bash\n{pad}  run: |\n{lines}"


def job(name: str, steps: str, extra: str = "") -> str:
    """One job; `extra` are whole lines at the job's own indentation of four."""
    return f"  {name}:\n    runs-on: {RUNNER}\n{extra}    steps:\n{steps}"


def workflow(jobs: str, trigger: str = "push") -> str:
    """A whole workflow file."""
    return f"on: {trigger}\njobs:\n{jobs}"


def git_environment(home: Path) -> dict[str, str]:
    """An environment in which git asks no one, reads no one's settings and starts nothing in the background."""
    config = home / "gitconfig"
    if not config.exists():
        home.mkdir(parents=True, exist_ok=True)
        config.write_text(
            "[user]\n\tname = Bench\n\temail = bench@example.invalid\n[init]\n\tdefaultBranch = main\n"
            "[gc]\n\tauto = 0\n[maintenance]\n\tauto = false\n[safe]\n\tdirectory = *\n"
        )
    return {
        "GIT_CONFIG_GLOBAL": str(config),
        "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_TERMINAL_PROMPT": "0",
    }


def repository(place: Path, workflows: dict[str, str], files: Iterable[tuple[str, str]] = ()) -> Path:
    """A fresh repository with one commit, its objects in one pack as after a clone."""
    folder = place / ".github" / "workflows"
    folder.mkdir(parents=True)
    for name, text in workflows.items():
        (folder / name).write_text(text)
    for name, text in files:
        target = place / name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text)
    env = os.environ | git_environment(place.parent / "git")
    for arguments in ("init -q", "add -A", "commit -q -m fixture", "repack -adq"):
        subprocess.run(["git", *arguments.split()], cwd=place, env=env, check=True)
    return place


def floor_driver(folder: Path, scripts: list[str]) -> Path:
    """A shell script that runs `scripts` one after another, each in the bash that a step would get."""
    folder.mkdir(parents=True)
    for number, script in enumerate(scripts):
        (folder / f"step-{number:05}.sh").write_text(script + "\n")
    driver = folder / "driver"
    driver.write_text(f'set -e\nfor s in {shlex.quote(str(folder))}/step-*.sh; do {" ".join(BASH)} "$s"; done\n')
    return driver


def expect_markers(numbers: Iterable[int]) -> Check:
    """Exactly these steps ran: no other, and none of them went missing."""
    wanted = set(numbers)

    def check(printed: Path) -> None:
        seen = {int(found) for found in MARKER.findall(printed.read_bytes())}
        if seen != wanted:
            missing, extra = sorted(wanted - seen), sorted(seen - wanted)
            raise Unexpected(f"steps missing: {missing[:5]} ({len(missing)}), not expected: {extra[:5]} ({len(extra)})")

    return check


@dataclass(frozen=True)
class Log:
    """A prepared log that a step prints with `cat`: the fastest printer there is, and the same bytes for all."""

    path: Path
    rows: int
    secrets: tuple[str, ...] = ()

    @property
    def script(self) -> str:
        """The step that prints it."""
        return f"cat {shlex.quote(str(self.path))}"

    @property
    def rows_with_secret(self) -> int:
        """In how many rows a secret stands."""
        return -(-self.rows // SECRET_EVERY) if self.secrets else 0

    def expect(self, *, masked: bool) -> Check:
        """Every row arrived; if `masked`, no secret did, and the mask stands in its place."""

        def check(printed: Path) -> None:
            rows = masks = 0
            with printed.open("rb") as lines:
                for line in lines:
                    rows += b"row 0" in line
                    masks += b"***" in line
            if rows != self.rows:
                raise Unexpected(f"{rows} of {self.rows} rows were printed")
            if not masked:
                return
            if masks < self.rows_with_secret:
                raise Unexpected(f"{masks} rows of {self.rows_with_secret} are masked")
            with printed.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as text:
                leaked = sum(text.find(secret.encode()) >= 0 for secret in self.secrets[:SECRETS_SHOWN])
            if leaked:
                raise Unexpected(f"{leaked} secrets were printed")

        return check


def make_log(path: Path, rows: int, secrets: tuple[str, ...] = ()) -> Log:
    """Write a log of `rows` numbered lines of 100 bytes; every 20th holds one of the first ten secrets."""
    source = random.Random(20)
    words = (
        "compiling",
        "crate",
        "warning:",
        "unused",
        "src/main.rs",
        "test",
        "ok",
        "finished",
        "in",
        "0.52s",
    )
    bodies = []
    for _ in range(4093):
        text = ""
        while len(text) < ROW_BYTES:
            text += source.choice(words) + " "
        bodies.append(text[: ROW_BYTES - 13])
    with path.open("w") as log:
        for row in range(rows):
            body = bodies[row * 7919 % len(bodies)]
            if secrets and row % SECRET_EVERY == 0:
                secret = secrets[row // SECRET_EVERY % SECRETS_SHOWN]
                body = f"{body[:30]}{secret}{body[30 + len(secret) :]}"
            log.write(f"row {row:07d} {body}\n")
    return Log(path, rows, secrets)


def make_secrets() -> tuple[str, ...]:
    """Fifty values of 32 letters and digits."""
    source = random.Random(50)
    return tuple("".join(source.choices(string.ascii_letters + string.digits, k=32)) for _ in range(SECRETS))


def secret_file(path: Path, secrets: tuple[str, ...]) -> Path:
    """The secrets as `K=V` lines."""
    path.write_text("".join(f"SECRET_{number}={value}\n" for number, value in enumerate(secrets)))
    return path


def secret_environment(count: int) -> str:
    """A job's `env` that hands it all secrets."""
    lines = (f"      SECRET_{n}: ${{{{ secrets.SECRET_{n} }}}}\n" for n in range(count))
    return "    env:\n" + "".join(lines)
