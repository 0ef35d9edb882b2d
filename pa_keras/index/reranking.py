"""Re-ranking of the candidates of a query by the neighbourhoods among the items of an index."""

from collections.abc import Callable

import numpy as np

from pa_keras.retrieval import KReciprocal
from pa_keras.retrieval.exact import without_own
from pa_keras.retrieval.k_reciprocal import encode, reranked_distances

# Candidates of a query that are re-ranked, if no more are wanted.
NUM_CANDIDATES = 100

Search = Callable[[np.ndarray, int], tuple[np.ndarray, np.ndarray]]


def rerank_candidates(
    queries: np.ndarray,
    candidates: np.ndarray,
    embeddings: np.ndarray,
    search: Search,
    settings: KReciprocal,
) -> np.ndarray:
    """Sorts the candidates of each query by k-reciprocal re-ranking, as in `retrieval.rerank`.

    The neighbourhoods are those among all the items and this query: other queries do not matter.
    Only the neighbours of items near the candidates are searched.

    Args:
        queries: Embeddings float32 (Q, D) of unit length.
        candidates: Rows of the items nearest to each query, best first, int (Q, C), with C at least
            k1.
        embeddings: Embeddings float32 (N, D) of the items.
        search: Returns rows and cosines of the k items nearest to embeddings, best first.
        settings: k1, k2 and the weight; k1 is below N.

    Returns:
        The same rows, int32 (Q, C), best first.
    """
    neighbours = _Neighbours(embeddings, search, settings.k1)
    result = np.empty_like(candidates)
    for i, (query, rows) in enumerate(zip(queries, candidates, strict=True)):
        result[i] = _reranked(query, rows, embeddings, neighbours, settings)
    return result


class _Neighbours:
    """The k1 nearest others of items; an item is searched when it is first asked for.

    Args:
        embeddings: Embeddings float32 (N, D) of the items.
        search: As in `rerank_candidates`.
        k1: Number of neighbours of each item.
    """

    def __init__(self, embeddings: np.ndarray, search: Search, k1: int) -> None:
        self._embeddings = embeddings
        self._search = search
        self._rows = np.full((len(embeddings), k1), -1, np.int32)
        self._cosines = np.empty((len(embeddings), k1), np.float32)

    def of(self, items: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Returns rows int32 (number, k1) and cosines float32 (number, k1), best first."""
        new = items[self._rows[items, 0] < 0]
        if len(new):
            found = self._search(self._embeddings[new], self._rows.shape[1] + 1)
            self._rows[new], self._cosines[new] = without_own(*found, new)
        return self._rows[items], self._cosines[items]


def _reranked(
    query: np.ndarray,
    candidates: np.ndarray,
    embeddings: np.ndarray,
    neighbours: _Neighbours,
    settings: KReciprocal,
) -> np.ndarray:
    # The items that determine the codes of the candidates: those whose codes are averaged, their
    # neighbours, and the neighbours of these; see `encode`.
    items = np.sort(candidates)
    for k in (settings.k2 - 1, settings.k1, round(settings.k1 / 2)):
        items = np.union1d(items, neighbours.of(items)[0][:, :k])
    rows, cosines = neighbours.of(items)
    # Their neighbours by their places among these items. The query comes last, so that it comes
    # after items with an equal cosine.
    places = np.searchsorted(items, rows).clip(max=len(items) - 1)
    places[items[places] != rows] = -1
    to_query = np.einsum("nd,d->n", embeddings[items], query)
    order = np.argsort(-np.column_stack([cosines, to_query]), axis=1, kind="stable")
    with_query = np.column_stack([places, np.full(len(items), len(items))])
    places = np.take_along_axis(with_query, order[:, : settings.k1], axis=1)
    own = np.searchsorted(items, candidates)
    vectors = np.concatenate([embeddings[items], query[None]])
    codes = encode(vectors, np.concatenate([places, own[None, : settings.k1]]), settings)
    shared = codes.shared(len(items))[own]
    distances = reranked_distances(vectors, len(items), own, shared, settings.weight)
    return candidates[np.argsort(distances, kind="stable")]
