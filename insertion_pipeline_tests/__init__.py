"""The tests: one file per room of the house, plus fixtures and benchmarks. A test is a sentence about behaviour."""
