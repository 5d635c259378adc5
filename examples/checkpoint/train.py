"""Trains a network with one hidden layer and writes its weights: a checkpoint."""

import argparse
from pathlib import Path

import numpy as np

HIDDEN = {"small": 32, "large": 128}


def with_numpy(x, y, hidden: int, epochs: int, seed: int):
    """Plain gradient descent in batches of 64."""
    rng = np.random.default_rng(seed)
    w1 = rng.normal(0, np.sqrt(2 / x.shape[1]), (x.shape[1], hidden))
    w2 = rng.normal(0, np.sqrt(2 / hidden), (hidden, 10))
    b1, b2 = np.zeros(hidden), np.zeros(10)
    target = np.eye(10)[y]
    for _ in range(epochs):
        order = rng.permutation(len(x))
        for start in range(0, len(x), 64):
            rows = order[start : start + 64]
            inner = np.maximum(x[rows] @ w1 + b1, 0)
            scores = inner @ w2 + b2
            shares = np.exp(scores - scores.max(1, keepdims=True))
            shares /= shares.sum(1, keepdims=True)
            error = (shares - target[rows]) / len(rows)
            back = (error @ w2.T) * (inner > 0)
            w2 -= 0.5 * inner.T @ error
            b2 -= 0.5 * error.sum(0)
            w1 -= 0.5 * x[rows].T @ back
            b1 -= 0.5 * back.sum(0)
    return w1, b1, w2, b2


def with_sklearn(x, y, hidden: int, epochs: int, seed: int):
    """The same network by scikit-learn."""
    from sklearn.neural_network import MLPClassifier

    net = MLPClassifier((hidden,), max_iter=max(epochs, 200), random_state=seed).fit(x, y)
    (w1, w2), (b1, b2) = net.coefs_, net.intercepts_
    return w1, b1, w2, b2


BACKENDS = {"numpy": with_numpy, "sklearn": with_sklearn}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=Path("data/digits.npz"))
    parser.add_argument("--backend", choices=BACKENDS, default="numpy")
    parser.add_argument("--model", choices=HIDDEN, default="small")
    parser.add_argument("--epochs", type=int, default=40)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path("checkpoint.npz"))
    args = parser.parse_args()
    data = np.load(args.data)
    weights = BACKENDS[args.backend](
        data["x_train"], data["y_train"], HIDDEN[args.model], args.epochs, args.seed
    )
    args.out.parent.mkdir(parents=True, exist_ok=True)
    np.savez(args.out, **dict(zip(("w1", "b1", "w2", "b2"), weights)))
    print(f"{args.backend}, {args.model}: {args.out}")


if __name__ == "__main__":
    main()
