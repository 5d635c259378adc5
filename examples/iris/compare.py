"""Choose the best of several trained models and print its name.

Exits with 1 if even the best misses the threshold, with 2 if the metrics cannot be compared.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from iris.comparison import choose, report
from iris.metrics import Metrics


def metrics(text: str) -> Metrics:
    """Metrics from the command line, with an error that argparse shows."""
    try:
        return Metrics.from_json(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{error} (in {text!r})") from error


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("metrics", type=metrics, nargs="+", help="what train.py wrote, as JSON")
    parser.add_argument("--threshold", type=float, default=0.85, help="least held-out accuracy")
    parser.add_argument("--report", type=Path, default=Path("report.md"), help="Markdown to write")
    args = parser.parse_args(argv)

    try:
        best = choose(args.metrics)
    except ValueError as error:
        parser.error(str(error))
    args.report.write_text(report(args.metrics, best, args.threshold))
    if best.accuracy < args.threshold:
        print(
            f"the best model, {best.model}, has a held-out accuracy of {best.accuracy:.4f}, "
            f"under the threshold of {args.threshold:.4f}",
            file=sys.stderr,
        )
        return 1
    print(best.model)
    return 0


if __name__ == "__main__":
    sys.exit(main())
