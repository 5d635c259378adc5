"""What the pipeline gave: check.py BEST.json LIMIT prints it, and fails where it is not enough."""

import json
import sys

with open(sys.argv[1]) as file:
    best = json.load(file)[0]
accuracy = best["metadata"]["accuracy"]
assert accuracy >= float(sys.argv[2]), accuracy
made_of = ", ".join(sorted({source["task"].split("/")[-1] for source in best["from"]}))
print(f"### Digits\n\nAccuracy {accuracy:.3f}, chosen among {len(best['from'])} candidates (made by {made_of}).")
