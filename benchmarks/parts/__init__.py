"""One module a part of `benchmarks.run`, each with `measure(turns) -> Part`."""
