"""Train one model, write its metrics as JSON and print them as a table."""

import argparse
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from iris.training import MODELS, train


def seed(text: str) -> int:
    """A seed as scikit-learn takes it."""
    value = int(text)
    if not 0 <= value < 2**32:
        raise argparse.ArgumentTypeError(f"{value} is not between 0 and 2**32 - 1")
    return value


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", choices=MODELS, required=True)
    parser.add_argument("--seed", type=seed, default=42)
    parser.add_argument("--out", type=Path, default=Path("metrics.json"))
    args = parser.parse_args(argv)

    metrics = train(args.model, args.seed)
    args.out.write_text(metrics.to_json() + "\n")
    for name, value in asdict(metrics).items():
        print(f"{name:<10}{value:>10}")


if __name__ == "__main__":
    main()
