"""What a search found, for people and for programs."""

import json
from collections.abc import Sequence

import numpy as np

from pa_keras.index.items import Items


def as_table(
    queries: Sequence[str], items: Items, rows: np.ndarray, similarities: np.ndarray
) -> str:
    """A line a query and below it one an answer: rank, similarity, label, id.

    Args:
        queries: Q names.
        items: what was searched.
        rows: int (Q, k), of the items, best first.
        similarities: float (Q, k).
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
    """An object a line and an answer: query, rank, similarity, id, label; null for no label.

    Args:
        queries: as of `as_table`, as are the others.
        items: what was searched.
        rows: int (Q, k).
        similarities: float (Q, k).
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
