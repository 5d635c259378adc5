from pathlib import Path

import pytest

import train
from iris.metrics import Metrics
from iris.training import MODELS
from iris.training import train as fit


@pytest.mark.parametrize("model", MODELS)
def test_a_model_learns(model: str) -> None:
    metrics = fit(model, seed=42)
    assert (metrics.n_train, metrics.n_test) == (120, 30)
    assert metrics.accuracy >= 0.9
    assert metrics.cv_mean >= 0.9


def test_the_same_seed_gives_the_same_metrics() -> None:
    assert fit("forest", seed=7) == fit("forest", seed=7)


def test_the_script_writes_one_line_of_json(tmp_path: Path) -> None:
    out = tmp_path / "metrics.json"
    train.main(["--model", "logistic", "--seed", "3", "--out", str(out)])
    (line,) = out.read_text().splitlines()
    assert Metrics.from_json(line) == fit("logistic", seed=3)


@pytest.mark.parametrize(
    "arguments", [["--model", "oracle"], ["--model", "forest", "--seed", "-1"]]
)
def test_the_script_refuses_bad_arguments(arguments: list[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        train.main(arguments)
