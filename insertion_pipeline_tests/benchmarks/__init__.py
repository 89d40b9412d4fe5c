"""Measurements, run by hand; pytest does not collect them and nothing asserts a time. Results: docs/benchmarks.md."""
