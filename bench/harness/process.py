"""One program, run once: what to run, what it cost, how it failed."""

import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

LAUNCHER = Path(__file__).with_name("launcher.py")
TAIL_BYTES = 600


@dataclass(frozen=True)
class Command:
    """A program with everything it is given; `argv[0]` is an absolute path."""

    argv: tuple[str, ...]
    cwd: Path
    env: dict[str, str]
    one_core: bool = False


@dataclass(frozen=True)
class Sample:
    """What one run cost. CPU and peak memory include the descendants that were waited for."""

    wall: float
    """Seconds from start to exit."""
    user: float
    """CPU seconds in user mode."""
    system: float
    """CPU seconds in the kernel."""
    peak: int
    """Largest resident set of any one process in the tree, in bytes."""
    blind_below: int
    """`peak` cannot be smaller than this (see launcher.py)."""

    @property
    def cpu(self) -> float:
        """CPU seconds, user and system."""
        return self.user + self.system


class RunFailed(Exception):
    """A run that gives no number: a bad exit code, too late, or output that is not what the case asks for."""


def tail(path: Path) -> str:
    """The end of a text file, on one line."""
    data = path.read_bytes()[-TAIL_BYTES:] if path.exists() else b""
    return " / ".join(data.decode(errors="replace").split("\n")).strip(" /")


def run(
    command: Command,
    *,
    stdout: Path,
    stderr: Path | None,
    timeout: int,
    exits: frozenset[int],
    cores: list[int],
) -> Sample:
    """Run `command` and measure it; `stderr=None` sends standard error where `stdout` goes.

    Raises `RunFailed` when the exit code is not in `exits` or the time limit was hit.
    """
    spec = {
        "argv": command.argv,
        "cwd": str(command.cwd),
        "env": command.env,
        "stdout": str(stdout),
        "stderr": None if stderr is None else str(stderr),
        "timeout": timeout,
        "cpus": cores[:1] if command.one_core else [],
    }
    launched = subprocess.run(
        [sys.executable, "-I", "-S", str(LAUNCHER)],
        input=json.dumps(spec),
        capture_output=True,
        text=True,
        check=False,
    )
    name = Path(command.argv[0]).name
    if launched.returncode != 0:
        raise RunFailed(f"{name} did not start: {launched.stderr.strip().splitlines()[-1:]}")
    cost = json.loads(launched.stdout)
    said = tail(stdout if stderr is None else stderr)
    if cost["late"]:
        raise RunFailed(f"{name} was stopped after {timeout} s: {said}")
    if cost["code"] not in exits:
        raise RunFailed(f"{name} ended with {cost['code']}: {said}")
    return Sample(cost["wall"], cost["user"], cost["system"], cost["peak"], cost["blind_below"])
