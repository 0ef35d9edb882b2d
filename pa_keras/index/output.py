"""The results of a search, as a table and as JSON."""

import json
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from pa_keras.index.items import Items

_NO_MATCH = {"rank": None, "similarity": None, "id": None, "label": None}


def as_table(
    queries: Sequence[str],
    items: Items,
    rows: Iterable[np.ndarray],
    similarities: Iterable[np.ndarray],
    min_similarity: float | None = None,
) -> str:
    """Returns a line for each query, followed by its results: rank, similarity, label, ID.

    Args:
        queries: Names of the Q queries.
        items: Items that were searched.
        rows: Rows int (Q, k) of the results in the items, best first.
        similarities: Similarities float (Q, k).
        min_similarity: Least similarity of a result. A query without any says "no match" and how
            similar the nearest item is. Default None: all are results.
    """
    lines = []
    for query, found, values in zip(queries, rows, similarities, strict=True):
        count = num_matches(values, min_similarity)
        if not count:
            lines += [query, f"  no match: {values[0]:.4f} at most, below {min_similarity:.4f}"]
            continue
        found, values = found[:count], values[:count]
        width = max(5, *(len(items.label_of(row)) for row in found))
        lines += [query, f"  rank  similarity  {'label':<{width}}  id"]
        for rank, (row, value) in enumerate(zip(found, values, strict=True), 1):
            label = f"{items.label_of(row):<{width}}"
            lines.append(f"  {rank:4}  {value:10.4f}  {label}  {items.ids[row]}")
    return "\n".join(lines) + "\n"


def as_json_lines(
    queries: Sequence[str],
    items: Items,
    rows: Iterable[np.ndarray],
    similarities: Iterable[np.ndarray],
    min_similarity: float | None = None,
) -> str:
    """Returns a JSON line for each result: query, rank, similarity, id, label or null.

    With a min_similarity, each line also has "matched". It is false for a query without any match,
    which has one line, where rank, similarity, id and label are null.

    Args:
        queries: As in `as_table`.
        items: As in `as_table`.
        rows: As in `as_table`.
        similarities: As in `as_table`.
        min_similarity: As in `as_table`.
    """
    lines = []
    for query, found, values in zip(queries, rows, similarities, strict=True):
        count = num_matches(values, min_similarity)
        results: list[dict[str, Any]] = [
            {
                "rank": rank,
                "similarity": float(value),
                "id": items.ids[row],
                "label": items.label_of(row) or None,
            }
            for rank, (row, value) in enumerate(zip(found[:count], values[:count], strict=True), 1)
        ]
        matched = {} if min_similarity is None else {"matched": count > 0}
        for result in results or [_NO_MATCH]:
            answer = {"query": query, **result, **matched}
            lines.append(json.dumps(answer, ensure_ascii=False) + "\n")
    return "".join(lines)


def num_matches(similarities: np.ndarray, min_similarity: float | None) -> int:
    """Returns how many of a query's similarities, best first, reach the least one of a match.

    Args:
        similarities: Similarities float (k,).
        min_similarity: Least similarity of a match. None: all are matches.

    Example:
        >>> num_matches(np.array([0.9, 0.6, 0.5]), 0.6)
        2
    """
    if min_similarity is None:
        return len(similarities)
    return int((similarities >= min_similarity).sum())


def only_matches(
    rows: np.ndarray, similarities: np.ndarray, k: int, min_similarity: float
) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Returns the first k matches of each query, if results are not sorted by similarity.

    Args:
        rows: Rows int (Q, n) of the results, best first.
        similarities: Similarities float (Q, n).
        k: Most matches of a query.
        min_similarity: Least similarity of a match.

    Returns:
        Rows and similarities, an array for each query. A query without any match keeps its most
        similar result, which `as_table` reports as no match.

    Example:
        >>> only_matches(np.array([[7, 8, 9]]), np.array([[0.5, 0.9, 0.7]]), 2, 0.6)[0]
        [array([8, 9])]
    """
    matched = similarities >= min_similarity
    places = [
        np.flatnonzero(own)[:k] if own.any() else np.array([values.argmax()])
        for own, values in zip(matched, similarities, strict=True)
    ]
    return (
        [found[own] for found, own in zip(rows, places, strict=True)],
        [values[own] for values, own in zip(similarities, places, strict=True)],
    )
