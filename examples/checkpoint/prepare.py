"""Prepares the data: the digits of scikit-learn, scaled and split."""

import argparse
from pathlib import Path

import numpy as np
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("data"))
    out = parser.parse_args().out
    digits = load_digits()
    x = (digits.data / 16.0).astype(np.float32)
    parts = train_test_split(x, digits.target, test_size=0.25, random_state=0, stratify=digits.target)
    out.mkdir(parents=True, exist_ok=True)
    names = ("x_train", "x_test", "y_train", "y_test")
    np.savez_compressed(out / "digits.npz", **dict(zip(names, parts)))
    print(f"{len(parts[0])} digits to train with, {len(parts[1])} to test with")


if __name__ == "__main__":
    main()
