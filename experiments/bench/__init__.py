"""Benchmarks: `python -m experiments.bench.executor`, `.train`, `.memory`."""
