"""The parts of `benchmarks.run`, one module each, with `measure(turns) -> Part`."""
