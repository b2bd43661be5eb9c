"""Benchmarks: `make bench` runs them on servers of their own and writes `docs/figures.md`."""
