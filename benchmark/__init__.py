"""The 30K benchmark, and the project's own speed benchmarks."""
