"""The differential itself: what it says without bundles, and that it sees a bundle that does something else."""

import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PROGRAM = ROOT / "bench/differential/run.py"


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, str(PROGRAM), *arguments], capture_output=True, text=True, check=False)


class Differential(unittest.TestCase):
    def test_without_bundles_each_action_is_named_as_skipped(self) -> None:
        done = run("--bundles", "")
        self.assertEqual(done.returncode, 0)
        for name in ("checkout", "cache", "upload-artifact", "download-artifact", "setup-python", "setup-node"):
            self.assertIn(f"skipped: actions/{name} ", done.stdout)

    def test_a_bundle_that_does_something_else_is_seen(self) -> None:
        with tempfile.TemporaryDirectory() as folder:
            bundle = Path(folder) / "actions/checkout.git"
            bundle.mkdir(parents=True)
            (bundle / "action.yml").write_text(
                "name: c\ndescription: d\ninputs: {fetch-depth: {description: d}}\n"
                "runs: {using: composite, steps: [{run: 'echo other > a.txt', shell: bash}]}\n"
            )
            for command in (["init", "-q"], ["add", "-A"], ["commit", "-q", "-m", "a"], ["tag", "v4"]):
                settings = ["-c", "user.name=t", "-c", "user.email=t@example.org"]
                subprocess.run(["git", *settings, *command], cwd=bundle, check=True)
            program = ROOT / "target/debug/trainyard"
            arguments = ["--action", "actions/checkout", "--scenario", "plain", "--trainyard", str(program)]
            done = run("--bundles", folder, *arguments)
            self.assertEqual(done.returncode, 1, done.stdout + done.stderr)
            self.assertIn("skipped: no bundle", done.stdout)
            self.assertIn("**differs**", done.stdout)
            self.assertIn("`files.a.txt`: built in `000 ", done.stdout)


if __name__ == "__main__":
    unittest.main()
