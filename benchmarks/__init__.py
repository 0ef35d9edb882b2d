"""Speed compared with the alternatives that users have: `python -m benchmarks.run`."""
