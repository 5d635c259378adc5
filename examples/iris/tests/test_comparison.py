from dataclasses import replace
from pathlib import Path

import pytest

import compare
from iris.comparison import choose
from iris.metrics import Metrics

LOGISTIC = Metrics("logistic", 42, 120, 30, accuracy=0.93, f1_macro=0.92, cv_mean=0.96, cv_std=0.02)
FOREST = replace(LOGISTIC, model="forest", accuracy=0.99, cv_mean=0.95)


def test_cross_validation_decides_not_the_held_out_flowers() -> None:
    assert choose([FOREST, LOGISTIC]) is LOGISTIC


def test_of_equals_the_first_is_chosen() -> None:
    assert choose([FOREST, replace(LOGISTIC, cv_mean=FOREST.cv_mean)]) is FOREST


def test_the_best_is_printed_and_reported(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    report = tmp_path / "report.md"
    assert compare.main([LOGISTIC.to_json(), FOREST.to_json(), "--report", str(report)]) == 0
    assert capsys.readouterr().out == "logistic\n"
    assert "| logistic (best) | 0.9600 ± 0.0200 | 0.9300 | 0.9200 |" in report.read_text()


def test_a_best_under_the_threshold_fails_but_is_reported(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    report = tmp_path / "report.md"
    arguments = [LOGISTIC.to_json(), "--threshold", "0.94", "--report", str(report)]
    assert compare.main(arguments) == 1
    assert "0.9300, under the threshold of 0.9400" in capsys.readouterr().err
    assert "**misses**" in report.read_text()


@pytest.mark.parametrize(
    ("other", "message"),
    [
        ("", "Expecting value"),
        ("[]", "wrong type"),
        ('{"model": "forest"}', "metrics lack 'seed'"),
        (FOREST.to_json().replace("0.99", "NaN"), "accuracy is nan"),
        (replace(FOREST, seed=1).to_json(), "different seeds"),
    ],
)
def test_metrics_that_cannot_be_compared_are_refused(
    other: str, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit, match="2"):
        compare.main([LOGISTIC.to_json(), other])
    assert message in capsys.readouterr().err
