"""Scores checkpoints, keeps the best, and fails if that is not good enough."""

import argparse
import shutil
from pathlib import Path

import numpy as np


def accuracy(path: Path, data) -> float:
    net = np.load(path)
    inner = np.maximum(data["x_test"] @ net["w1"] + net["b1"], 0)
    return float(((inner @ net["w2"] + net["b2"]).argmax(1) == data["y_test"]).mean())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("checkpoints", type=Path, nargs="+")
    parser.add_argument("--data", type=Path, default=Path("data/digits.npz"))
    parser.add_argument("--threshold", type=float, default=0.93)
    parser.add_argument("--out", type=Path, default=Path("best.npz"))
    args = parser.parse_args()
    data = np.load(args.data)
    scores = {path: accuracy(path, data) for path in sorted(args.checkpoints)}
    print("| checkpoint | accuracy |\n| --- | ---: |")
    for path, score in scores.items():
        print(f"| {path.parent.name} | {score:.4f} |")
    best = max(scores, key=scores.get)
    if scores[best] < args.threshold:
        raise SystemExit(f"the best has {scores[best]:.4f}, less than {args.threshold}")
    shutil.copy(best, args.out)


if __name__ == "__main__":
    main()
