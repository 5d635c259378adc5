"""The parts of the benchmark that compares trainyard with act; `bench/run.py` is the way in."""
