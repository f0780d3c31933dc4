"""Measurements of the product, each runnable by itself: `python -m benchmarks.NAME --help`."""
