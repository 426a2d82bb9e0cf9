"""What guardian costs, beside what others cost, on a private engine: `make bench`. See docs/benchmarks.md."""
