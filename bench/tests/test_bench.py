"""The harness against stand-ins for trainyard and act: `python3 -m unittest discover bench/tests`; no network."""

import json
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

BENCH = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(BENCH))

from harness import corpus, fixtures  # noqa: E402
from harness.marks import ACT, FLOOR, MIB, TRAINYARD, CpuPerStep, PeakGrowth, Series, WallRatio  # noqa: E402
from harness.process import Command, RunFailed, Sample, run  # noqa: E402

GOOD = "sleep 0.02; echo ran-0"
SLOW = "sleep 0.4; echo ran-0"


def sample(wall: float = 1.0, cpu: float = 1.0, peak: int = MIB) -> Sample:
    """A made-up measurement."""
    return Sample(wall, cpu, 0.0, peak, 0)


def measure_script(script: str, folder: Path, timeout: int = 60) -> Sample:
    """Measure a shell script."""
    return run(
        Command(("/bin/sh", "-c", script), folder, {"PATH": "/usr/bin:/bin"}),
        stdout=folder / "out",
        stderr=None,
        timeout=timeout,
        exits=frozenset({0}),
        cores=[],
    )


class InFolder(unittest.TestCase):
    """Tests with a scratch folder."""

    def setUp(self) -> None:
        """Make the folder."""
        place = tempfile.TemporaryDirectory()
        self.addCleanup(place.cleanup)
        self.folder = Path(place.name)


class CommandLine(InFolder):
    """`run.py` as a user calls it."""

    def stand_in(self, name: str, script: str) -> str:
        """A program that has a version and otherwise does `script`."""
        path = self.folder / name
        path.write_text(f'#!/bin/sh\n[ "$1" = --version ] && {{ echo {name} 0; exit; }}\n{script}\n')
        path.chmod(0o755)
        return str(path)

    def bench(self, trainyard: str, act: str, *flags: str) -> subprocess.CompletedProcess[str]:
        """Run one-step for one round with these stand-ins."""
        tools = ("--trainyard", self.stand_in("trainyard", trainyard), "--act", self.stand_in("act", act))
        argv = [sys.executable, str(BENCH / "run.py"), "--case", "one-step", "--rounds", "1", *tools, *flags]
        return subprocess.run(argv, capture_output=True, text=True, check=False)

    def test_a_mark_that_is_met(self) -> None:
        """Exit 0, a table, and all samples as JSON."""
        out = self.folder / "out.json"
        done = self.bench(GOOD, SLOW, "--check", "--json", str(out))
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertRegex(done.stdout, r"\| one-step \| wall / act's wall \| 0\.\d+ \| <= 0\.2 \| met \|")
        case = json.loads(out.read_text())["cases"]["one-step"]
        self.assertEqual(
            {label: len(one["samples"]) for label, one in case["contenders"].items()},
            dict.fromkeys((TRAINYARD, ACT, FLOOR), 1),
        )
        self.assertTrue(case["marks"][0]["passed"])

    def test_a_mark_that_is_missed(self) -> None:
        """Exit 1, but only with --check."""
        self.assertEqual(self.bench(SLOW, SLOW, "--check").returncode, 1)
        done = self.bench(SLOW, SLOW)
        self.assertEqual(done.returncode, 0)
        self.assertIn("**MISSED**", done.stdout)

    def test_trainyard_that_fails(self) -> None:
        """Exit 2, with its words and no number."""
        done = self.bench("echo no such thing; exit 3", SLOW)
        self.assertEqual(done.returncode, 2)
        self.assertIn("trainyard ended with 3: no such thing", done.stdout)
        self.assertIn("not judged", done.stdout)

    def test_trainyard_that_does_nothing(self) -> None:
        """A good exit code is not enough."""
        done = self.bench("exit 0", SLOW)
        self.assertEqual(done.returncode, 2)
        self.assertIn("steps missing: [0]", done.stdout)

    def test_act_that_fails(self) -> None:
        """Said in the table; a mark that cannot be judged is not met."""
        done = self.bench(GOOD, "exit 1")
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertRegex(done.stdout, r"\| one-step \| one job, one step \| 0\.\d+ s \| failed \|")
        self.assertEqual(self.bench(GOOD, "exit 1", "--check").returncode, 1)

    def test_trainyard_that_is_missing(self) -> None:
        """Exit 2 before anything is measured."""
        argv = [sys.executable, str(BENCH / "run.py"), "--trainyard", str(self.folder / "none")]
        done = subprocess.run(argv, capture_output=True, text=True, check=False)
        self.assertEqual((done.returncode, done.stdout), (2, ""))
        self.assertIn("is not there", done.stderr)


class Process(InFolder):
    """Measuring one program."""

    def test_peak_is_the_program_s_own(self) -> None:
        """Neither hidden by a large harness nor missed when a child has it."""
        ballast = bytearray(80 * MIB)
        small = measure_script("true", self.folder)
        large = measure_script(f"{sys.executable} -c 'len(bytearray(60_000_000))'; true", self.folder)
        self.assertEqual(len(ballast), 80 * MIB)
        self.assertLess(small.peak, 30 * MIB)
        self.assertGreater(large.peak, 57 * MIB)

    def test_cpu_includes_children(self) -> None:
        """A loop in a child shell counts."""
        used = measure_script("sh -c 'i=0; while [ $i -lt 200000 ]; do i=$((i+1)); done'; true", self.folder)
        self.assertGreater(used.cpu, 0.02)

    def test_time_limit(self) -> None:
        """A program that hangs is stopped and gives no number."""
        with self.assertRaisesRegex(RunFailed, "stopped after 1 s"):
            measure_script("exec sleep 30", self.folder, timeout=1)


class Marks(unittest.TestCase):
    """Judging made-up rounds."""

    def test_ratio_is_taken_round_by_round(self) -> None:
        """A machine that slows down for a round does not move the median of ratios."""
        ours = Series([sample(wall=1), sample(wall=9), sample(wall=2)])
        theirs = Series([sample(wall=10), sample(wall=90), sample(wall=10)])
        verdict = WallRatio(0.1).judge({TRAINYARD: ours, ACT: theirs})
        self.assertEqual((verdict.value, verdict.passed), (0.1, True))

    def test_cpu_a_step(self) -> None:
        """Milliseconds above the floor."""
        results = {TRAINYARD: Series([sample(cpu=2.0)]), FLOOR: Series([sample(cpu=1.0)])}
        verdict = CpuPerStep(1.0, 500).judge(results)
        self.assertEqual((verdict.value, verdict.passed), (2.0, False))

    def test_peak_growth(self) -> None:
        """Memory that grows with the log is a miss."""
        results = {"few": Series([sample(peak=10 * MIB)]), TRAINYARD: Series([sample(peak=40 * MIB)])}
        verdict = PeakGrowth(8, "few").judge(results)
        self.assertEqual((verdict.value, verdict.passed), (30.0, False))

    def test_what_failed_is_not_judged(self) -> None:
        """Neither met nor missed."""
        results = {TRAINYARD: Series([sample()]), ACT: Series([sample()], failure="broke")}
        self.assertIsNone(WallRatio(0.5).judge(results).passed)


class Fixtures(InFolder):
    """What the cases are made of."""

    def test_log_rows_and_masks(self) -> None:
        """Rows are 100 bytes; a missing row, a missing mask and a leak are each noticed."""
        secrets = fixtures.make_secrets()
        log = fixtures.make_log(self.folder / "log", 100, secrets)
        text = log.path.read_text()
        self.assertEqual((len(text), log.rows_with_secret), (10_000, 5))
        log.expect(masked=False)(log.path)
        with self.assertRaisesRegex(fixtures.Unexpected, "0 rows of 5 are masked"):
            log.expect(masked=True)(log.path)
        masked = text
        for secret in secrets:
            masked = masked.replace(secret, "***")
        printed = self.folder / "printed"
        printed.write_text(masked)
        log.expect(masked=True)(printed)
        printed.write_text(masked + secrets[3])
        with self.assertRaisesRegex(fixtures.Unexpected, "1 secrets were printed"):
            log.expect(masked=True)(printed)
        printed.write_text(masked.replace("row 0000042", "gone"))
        with self.assertRaisesRegex(fixtures.Unexpected, "99 of 100 rows"):
            log.expect(masked=True)(printed)

    def test_markers_are_not_taken_from_the_script(self) -> None:
        """An echoed script is not a step's output."""
        printed = self.folder / "printed"
        printed.write_text(f"Run {fixtures.echo(1)}\n[a] | ran-2\n")
        fixtures.expect_markers([2])(printed)
        with self.assertRaises(fixtures.Unexpected):
            fixtures.expect_markers([1])(printed)

    def test_corpus(self) -> None:
        """Made files are the same every time; copied ones go round."""
        self.assertEqual(corpus.generated(30), corpus.generated(30))
        (self.folder / "one.yaml").write_text("on: push\n")
        (self.folder / "two.yml").write_text("on: push\n")
        self.assertEqual(len(corpus.copied(self.folder, 5)), 5)


if __name__ == "__main__":
    unittest.main()
