"""Records the terminal session that the README shows, on a real project with a seeded fault.

Usage: session.py OUTPUT.cast OUTPUT.md. Downloads the project (nervaluate, from PyPI), breaks one
line, and types what a person would: run, shell, a fix, re-run from the step. Needs `pyte` (PyPI).
The cast is asciinema's format (`asciinema play OUTPUT.cast`); the page has the screens as text.
"""

import fcntl
import json
import os
import pathlib
import pty
import re
import select
import struct
import subprocess
import sys
import tarfile
import tempfile
import termios
import time

import pyte

ROOT = pathlib.Path(__file__).resolve().parent.parent
BINARY = ROOT / "target/release/trainyard"
COLUMNS, ROWS = 100, 30
FILE = "src/nervaluate/entities.py"
RIGHT = "recall = self.correct / self.possible if"
WRONG = "recall = self.correct / self.actual if"
# Longer pauses say nothing: a viewer waits no longer than this for the next change.
LONGEST_PAUSE = 1.5


def project(folder):
    """The project with one line broken, committed."""
    subprocess.run([sys.executable, "-m", "pip", "download", "-q", "--no-deps", "--no-binary", ":all:",
                    "-d", folder, "nervaluate==1.1.0"], check=True)
    (sdist,) = folder.glob("nervaluate-*.tar.gz")
    with tarfile.open(sdist) as archive:
        archive.extractall(folder, filter="data")
    root = folder / "nervaluate-1.1.0"
    repo = folder / "nervaluate"
    root.rename(repo)
    git = ["git", "-C", repo, "-c", "user.name=Ada", "-c", "user.email=ada@example.org"]
    subprocess.run(["git", "init", "-q", "-b", "main", repo], check=True)
    subprocess.run([*git, "remote", "add", "origin", "https://github.com/MantisAI/nervaluate.git"], check=True)
    path = repo / FILE
    text = path.read_text()
    assert RIGHT in text, "the fault has no place any more"
    path.write_text(text.replace(RIGHT, WRONG))
    subprocess.run([*git, "add", "-A", "-f"], check=True)
    subprocess.run([*git, "commit", "-q", "-m", "Recall over what was found"], check=True)
    return repo


class Session:
    """A shell on a pseudo-terminal, and what it shows."""

    def __init__(self, repo, data):
        self.screen = pyte.Screen(COLUMNS, ROWS)
        self.stream = pyte.ByteStream(self.screen)
        self.events, self.began = [], time.monotonic()
        pid, self.fd = pty.fork()
        if pid == 0:
            fcntl.ioctl(0, termios.TIOCSWINSZ, struct.pack("HHHH", ROWS, COLUMNS, 0, 0))
            os.chdir(repo)
            environ = dict(os.environ, TRAINYARD_DATA_DIR=str(data), PS1="$ ", TERM="xterm-256color",
                           PATH=f"{BINARY.parent}:{os.environ['PATH']}")
            os.execvpe("bash", ["bash", "--norc", "--noprofile"], environ)

    def read(self, seconds):
        ready, _, _ = select.select([self.fd], [], [], seconds)
        if ready:
            data = os.read(self.fd, 65536)
            # pyte knows no synchronised frames, which show nothing themselves.
            self.stream.feed(re.sub(rb"\x1b\[\?2026[hl]", b"", data))
            self.events.append((time.monotonic() - self.began, data.decode(errors="replace")))
        return bool(ready)

    def text(self):
        lines = [line.rstrip() for line in self.screen.display]
        while lines and not lines[-1]:
            lines.pop()
        return "\n".join(lines)

    def until(self, wanted, seconds=600, settled=True):
        end = time.monotonic() + seconds
        while wanted not in self.text():
            if time.monotonic() > end:
                sys.exit(f"'{wanted}' does not come:\n{self.text()}")
            self.read(0.2)
        while settled and self.read(0.3):
            pass

    def prompt(self, sign):
        """Waits until the last line asks for a command."""
        end = time.monotonic() + 600
        while not self.text().endswith(sign):
            if time.monotonic() > end:
                sys.exit(f"no prompt comes:\n{self.text()}")
            self.read(0.2)

    def types(self, line):
        for character in line:
            os.write(self.fd, character.encode())
            self.read(0.04)
        os.write(self.fd, b"\n")

    def cast(self, path, title, folder):
        header = {"version": 2, "width": COLUMNS, "height": ROWS, "title": title, "env": {"TERM": "xterm-256color"}}
        lines, at, last = [json.dumps(header)], 0.0, 0.0
        for when, data in self.events:
            at += min(when - last, LONGEST_PAUSE)
            last = when
            # Where it was recorded, and from which index, is nobody's business.
            data = re.sub(r"https?://[^\s\x1b]+", "https://pypi.org/simple", data.replace(str(folder), "~"))
            lines.append(json.dumps([round(at, 3), "o", data], ensure_ascii=False))
        path.write_text("\n".join(lines) + "\n")


def main():
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    with tempfile.TemporaryDirectory(prefix="session-") as folder:
        folder = pathlib.Path(folder)
        repo = project(folder)
        session, screens = Session(repo, folder / "data"), []

        def clear():
            session.types("clear")
            session.until("$")

        def keep(title):
            text = session.text().replace(str(folder), "~")
            screens.append(f"{title}\n\n```\n{text}\n```\n")

        session.until("$")
        clear()
        session.types("trainyard run -W CI-checks.yml")
        session.until("Running linters", settled=False)
        keep("While it runs:")
        session.until("next:")
        # The failing assertion is on the screen without scrolling.
        assert "ZeroDivisionError" in session.text(), session.text()
        keep("The failing line, on the screen that one is left with:")
        clear()
        session.types("trainyard shell")
        session.until("`exit` leaves")
        for line in (
            f"grep -n 'recall = self.correct' {FILE}",
            f"sed -i '47s|self.actual if|self.possible if|' {FILE}",
            "hatch -e dev run test -q 2>&1 | tail -1",
        ):
            session.prompt("#")
            session.types(line)
        session.until(" passed")
        session.prompt("#")
        session.types("exit")
        session.until("next:")
        keep("In the shell where it broke: the line, a fix, the tests:")
        clear()
        session.types("trainyard rerun --from")
        session.until("next:")
        assert "success" in session.text(), session.text()
        keep("From the failed step on, green:")
        clear()
        session.types("trainyard view | head -12")
        session.until("reused from attempt 1")
        keep("Both attempts side by side:")
        session.cast(pathlib.Path(sys.argv[1]), "Trainyard: from a red run to a green one", folder)
        pathlib.Path(sys.argv[2]).write_text(
            "# A session\n\nRecorded by `bench/session.py` on [nervaluate](https://github.com/MantisAI/nervaluate) 1.1.0 with one\n"
            "line broken; `asciinema play docs/session.cast` shows it moving.\n\n" + "\n".join(screens))


if __name__ == "__main__":
    main()
