"""Query expansion: searches again with the mean of each query and its nearest neighbours."""

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pa_keras.arguments.integers import as_integer
from pa_keras.retrieval.directions import directions
from pa_keras.retrieval.search import Method, Neighbours, as_neighbours, search, unit_rows

# Numbers in the neighbours' vectors that are in memory at once.
_BLOCK_SIZE = 2**24


@dataclass(frozen=True)
class QueryExpansion:
    """Settings of query expansion.

    Args:
        neighbours: Number of neighbours that are added to the query, 1 or more.
        alpha: Power of the cosines that weight the neighbours, 0 or more; 0 weights all of them
            like the query, which is average query expansion. Default 3.

    Raises:
        ValueError: A setting is out of range.

    Example:
        >>> QueryExpansion(5)
        QueryExpansion(neighbours=5, alpha=3.0)
    """

    neighbours: int
    alpha: float = 3.0

    def __post_init__(self) -> None:
        as_integer("neighbours", self.neighbours, least=1)
        if not 0 <= self.alpha < math.inf:
            raise ValueError(f"Expected alpha of 0 or more; received {self.alpha}.")

    def expect_at_most(self, number: int) -> None:
        """Raises a ValueError if a query has fewer neighbours."""
        if self.neighbours > number:
            raise ValueError(
                f"Expected from 1 to {number} neighbours for query expansion, since there are no "
                f"more; received {self.neighbours}."
            )


def search_expanded(
    nearest: npt.ArrayLike,
    queries: npt.ArrayLike,
    gallery: npt.ArrayLike | None = None,
    settings: QueryExpansion | None = None,
    method: Method = "auto",
) -> tuple[np.ndarray, np.ndarray]:
    """Finds the k nearest gallery vectors of each expanded query; see `expand_queries`.

    Args:
        nearest: The k nearest of each query, int (Q, k), from `nearest_neighbours`; without a
            gallery with `exclude_self`. If k is less than n, the n nearest are searched.
        queries: Rows of unit length, floating (Q, D).
        gallery: Rows of unit length, floating (N, D). Default None: the queries; a query is left
            out of its own answers, by its index.
        settings: n and alpha. Default None: all the neighbours given, and alpha 3.
        method: Nearest-neighbour search, as in `nearest_neighbours`. Default "auto".

    Returns:
        indices int32 (Q, k), and cosines with the expanded queries, float32 (Q, k).

    Raises:
        ValueError: As in `expand_queries`; or n is more than the gallery has.

    Example:
        >>> points = np.array([[1, 0], [0.8, 0.6], [0, 1], [-0.8, 0.6]], "float32")
        >>> search_expanded([[1], [2], [1], [2]], points, settings=QueryExpansion(1))[0][:, 0]
        array([1, 2, 1, 2], dtype=int32)
    """
    queries = unit_rows("queries", queries)
    alone = gallery is None
    vectors = queries if gallery is None else unit_rows("gallery", gallery)
    nearest = as_neighbours(nearest, len(queries), len(vectors), gallery is None)

    def found(vectors_of_queries: np.ndarray, k: int) -> Neighbours:
        return search(vectors_of_queries, vectors, k, exclude_self=alone, method=method)

    most = nearest
    if settings is not None and nearest.shape[1] < settings.neighbours:
        settings.expect_at_most(len(vectors) - alone)
        most = found(queries, settings.neighbours).indices
    expanded = expand_queries(most, queries, gallery, settings)
    again = found(expanded, nearest.shape[1])
    return again.indices, again.similarities


def expand_queries(
    nearest: npt.ArrayLike,
    queries: npt.ArrayLike,
    gallery: npt.ArrayLike | None = None,
    settings: QueryExpansion | None = None,
) -> np.ndarray:
    r"""Adds the nearest neighbours of each query to it, for another search.

        q' = (q + sum_{i=1..n} w_i g_i) / length,   w_i = max(cos(q, g_i), 0)^alpha

    where g_1 to g_n are the n nearest. With alpha 0 all weights are 1. A sum without a direction
    leaves the query as it is. Labels are not used, nor other queries, unless they are the gallery.

    Args:
        nearest: The nearest of each query, int (Q, at least n), from `nearest_neighbours`; without
            a gallery with `exclude_self`.
        queries: Rows of unit length, floating (Q, D).
        gallery: Rows of unit length, floating (N, D). Default None: the queries.
        settings: n and alpha. Default None: all the neighbours given, and alpha 3.

    Returns:
        Expanded queries of unit length, float32 (Q, D).

    Raises:
        ValueError: There are fewer than n neighbours; the neighbours are not rows of the gallery,
            k for each query; a row of the vectors is not finite or not of unit length.

    Example:
        >>> points = np.array([[1, 0], [0.6, 0.8], [0, 1]], "float32")
        >>> expand_queries([[1], [2], [1]], points, settings=QueryExpansion(1, alpha=0)).round(2)
        array([[0.89, 0.45],
               [0.32, 0.95],
               [0.32, 0.95]], dtype=float32)

    Source: Chum et al., Total Recall, ICCV 2007 (alpha 0); Radenovic et al., Fine-tuning CNN Image
    Retrieval with No Human Annotation, TPAMI 2018, section 3.5.
    """
    queries = unit_rows("queries", queries)
    vectors = queries if gallery is None else unit_rows("gallery", gallery)
    nearest = as_neighbours(nearest, len(queries), len(vectors), gallery is None)
    settings = settings or QueryExpansion(nearest.shape[1])
    settings.expect_at_most(nearest.shape[1])
    nearest = nearest[:, : settings.neighbours]
    result = np.empty_like(queries)
    at_once = max(1, _BLOCK_SIZE // (settings.neighbours * queries.shape[1]))
    for start in range(0, len(queries), at_once):
        block = slice(start, start + at_once)
        own, others = queries[block].astype(np.float64), vectors[nearest[block]].astype(np.float64)
        cosines = np.einsum("qd,qnd->qn", own, others)
        weights = np.maximum(cosines, 0) ** settings.alpha
        expanded = directions(own + np.einsum("qn,qnd->qd", weights, others))
        result[block] = np.where(expanded.any(axis=1, keepdims=True), expanded, own)
    return result
