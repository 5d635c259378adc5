"""The result of one training, and its form as one line of JSON."""

import json
from dataclasses import asdict, dataclass


@dataclass(frozen=True)
class Metrics:
    """What one training measured. Scores lie between 0 and 1."""

    model: str
    seed: int
    n_train: int
    n_test: int
    accuracy: float  # on the held-out flowers
    f1_macro: float  # on the held-out flowers
    cv_mean: float  # accuracy in cross-validation on the training flowers
    cv_std: float

    def __post_init__(self) -> None:
        for name in ("accuracy", "f1_macro", "cv_mean", "cv_std"):
            score = getattr(self, name)
            if not 0 <= score <= 1:  # also refuses NaN, which no threshold would catch
                raise ValueError(f"{name} is {score}, not between 0 and 1")

    def to_json(self) -> str:
        """One line, so that a workflow can pass it on as a step output."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> "Metrics":
        """Read what `to_json` wrote; ValueError says what is wrong with anything else."""
        try:
            data = json.loads(text)
            return cls(
                model=str(data["model"]),
                seed=int(data["seed"]),
                n_train=int(data["n_train"]),
                n_test=int(data["n_test"]),
                accuracy=float(data["accuracy"]),
                f1_macro=float(data["f1_macro"]),
                cv_mean=float(data["cv_mean"]),
                cv_std=float(data["cv_std"]),
            )
        except KeyError as error:
            raise ValueError(f"metrics lack {error}") from error
        except TypeError as error:
            raise ValueError(f"metrics have a wrong type: {error}") from error
