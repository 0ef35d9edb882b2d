"""The results of a search, as a table and as JSON."""

import json
from collections.abc import Sequence

import numpy as np

from pa_keras.index.items import Items


def as_table(
    queries: Sequence[str], items: Items, rows: np.ndarray, similarities: np.ndarray
) -> str:
    """Returns a line for each query, followed by its results: rank, similarity, label, ID.

    Args:
        queries: Names of the Q queries.
        items: Items that were searched.
        rows: Rows int (Q, k) of the results in the items, best first.
        similarities: Similarities float (Q, k).
    """
    lines = []
    for query, found, values in zip(queries, rows, similarities, strict=True):
        width = max(5, *(len(items.label_of(row)) for row in found))
        lines += [query, f"  rank  similarity  {'label':<{width}}  id"]
        for rank, (row, value) in enumerate(zip(found, values, strict=True), 1):
            label = f"{items.label_of(row):<{width}}"
            lines.append(f"  {rank:4}  {value:10.4f}  {label}  {items.ids[row]}")
    return "\n".join(lines) + "\n"


def as_json_lines(
    queries: Sequence[str], items: Items, rows: np.ndarray, similarities: np.ndarray
) -> str:
    """Returns a JSON line for each result: query, rank, similarity, id, label or null.

    Args:
        queries: As in `as_table`.
        items: As in `as_table`.
        rows: As in `as_table`.
        similarities: As in `as_table`.
    """
    lines = []
    for query, found, values in zip(queries, rows, similarities, strict=True):
        for rank, (row, value) in enumerate(zip(found, values, strict=True), 1):
            answer = {
                "query": query,
                "rank": rank,
                "similarity": float(value),
                "id": items.ids[row],
                "label": items.label_of(row) or None,
            }
            lines.append(json.dumps(answer, ensure_ascii=False) + "\n")
    return "".join(lines)
