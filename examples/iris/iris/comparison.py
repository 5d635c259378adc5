"""Choose between trained models."""

from collections.abc import Sequence

from iris.metrics import Metrics


def choose(candidates: Sequence[Metrics]) -> Metrics:
    """The best in cross-validation; of equals the first.

    The held-out accuracy has no say here, so it stays an honest estimate for the one chosen.
    """
    seeds = {metrics.seed for metrics in candidates}
    if len(seeds) != 1:
        raise ValueError(f"models of different seeds ({sorted(seeds)}) saw different flowers")
    return max(candidates, key=lambda metrics: metrics.cv_mean)


def report(candidates: Sequence[Metrics], best: Metrics, threshold: float) -> str:
    """A Markdown table of all candidates and the verdict on the best."""
    verdict = "reaches" if best.accuracy >= threshold else "**misses**"
    rows = [
        f"| {m.model}{' (best)' if m is best else ''} "
        f"| {m.cv_mean:.4f} ± {m.cv_std:.4f} | {m.accuracy:.4f} | {m.f1_macro:.4f} |"
        for m in candidates
    ]
    return "\n".join(
        [
            f"### Iris models, seed {best.seed}",
            "",
            "| model | cross-validation | held-out accuracy | held-out F1 (macro) |",
            "|---|---:|---:|---:|",
            *rows,
            "",
            f"`{best.model}` {verdict} the threshold of {threshold:.4f} "
            f"with a held-out accuracy of {best.accuracy:.4f}.",
            "",
        ]
    )
