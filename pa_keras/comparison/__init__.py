"""Summary of a comparison: from the learning curves of its runs to a table."""

from pa_keras.comparison.summary import (
    Curve,
    Row,
    finals,
    lines,
    recalls,
    seconds,
    summarize,
    untrained,
)
from pa_keras.comparison.table import as_markdown, write_csv

__all__ = [
    "Curve",
    "Row",
    "as_markdown",
    "finals",
    "lines",
    "recalls",
    "seconds",
    "summarize",
    "untrained",
    "write_csv",
]
