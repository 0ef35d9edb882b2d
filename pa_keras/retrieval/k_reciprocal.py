"""k-reciprocal re-ranking: sorts neighbours by the neighbourhoods that they share with a query."""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from scipy.sparse import csc_matrix, csr_matrix

from pa_keras.arguments.integers import as_integer
from pa_keras.retrieval.search import Method, as_neighbours, search, unit_rows

# Numbers in the vectors of the pairs whose cosines are computed at once.
_BLOCK_SIZE = 2**24


@dataclass(frozen=True)
class KReciprocal:
    """Settings of k-reciprocal re-ranking, with the paper's names and defaults.

    Args:
        k1: Number of neighbours in a neighbourhood, 1 or more. Default 20.
        k2: Number of neighbourhoods that are averaged, the vector's own included, from 1 to k1; 1
            averages none. Default 6.
        weight: Weight of the cosine distance beside the Jaccard distance, lambda in the paper, in
            [0, 1]; 1 leaves the order as it is. Default 0.3.

    Raises:
        ValueError: A setting is out of range.

    Example:
        >>> KReciprocal(k1=10)
        KReciprocal(k1=10, k2=6, weight=0.3)
    """

    k1: int = 20
    k2: int = 6
    weight: float = 0.3

    def __post_init__(self) -> None:
        as_integer("k1", self.k1, least=1)
        as_integer("k2", self.k2, least=1)
        if self.k2 > self.k1:
            raise ValueError(f"Expected k2 from 1 to k1={self.k1}; received k2={self.k2}.")
        if not 0 <= self.weight <= 1:
            raise ValueError(f"Expected weight in [0, 1]; received {self.weight}.")

    def expect_fewer_than(self, number: int) -> None:
        """Raises a ValueError unless each of so many vectors has k1 neighbours."""
        if self.k1 >= number:
            raise ValueError(
                f"Expected k1 below the number of vectors, {number}; received k1={self.k1}. Lower "
                "k1, or do not re-rank."
            )


def rerank(
    nearest: npt.ArrayLike,
    queries: npt.ArrayLike,
    gallery: npt.ArrayLike | None = None,
    settings: KReciprocal | None = None,
    method: Method = "auto",
) -> tuple[np.ndarray, np.ndarray]:
    r"""Finds the k nearest gallery vectors of each query by k-reciprocal re-ranking.

    Vectors of one class should have the same neighbours. With d(p, g) = 1 - cos(p, g), and N(p, k)
    the vector p and its k nearest,

        R(p, k)   = {g in N(p, k): p in N(g, k)}
        R*(p)     = R(p, k1) and each R(q, k1/2), q in R(p, k1), of which 2/3 are in R(p, k1)
        V(p, g)   = exp(-d(p, g)) if g is in R*(p), else 0; divided by their sum over g
        V'(p)     = mean of V(g) over g in N(p, k2 - 1)
        d_J(p, g) = 1 - sum_j min(V'(p, j), V'(g, j)) / sum_j max(V'(p, j), V'(g, j))

    and neighbours are sorted by (1 - weight) d_J + weight d. Neighbourhoods are those among all the
    vectors, queries and gallery together, so the order for a query depends on the other queries,
    too. Labels are not used.

    The result is exact, as V' is sparse: for M vectors, of which s have a neighbourhood in common
    with a vector on average, it takes O(M s) memory. Nothing of size M x M is kept.

    Args:
        nearest: The k nearest of each query, int (Q, k), from `nearest_neighbours`; without a
            gallery with `exclude_self`.
        queries: Rows of unit length, floating (Q, D).
        gallery: Rows of unit length, floating (N, D). Default None: the queries; a query is left
            out of its own answers, by its index.
        settings: k1, k2 and the weight. Default None: those of the paper.
        method: Nearest-neighbour search of the neighbourhoods. Default "auto".

    Returns:
        indices int32 (Q, k) and the distances they are sorted by, in [0, 2], float32 (Q, k). Equal
        distances are sorted by index.

    Raises:
        ValueError: k1 is not below the number of vectors; the neighbours are not rows of the
            gallery, k for each query; `nearest_neighbours` refuses the vectors.

    Example:
        >>> angles = np.array([0, 1, 1.9, 2.6, 3.2])
        >>> points = np.stack([np.cos(angles), np.sin(angles)], axis=1)
        >>> rerank([[1], [2], [3], [4], [3]], points, settings=KReciprocal(2, 1))[0][:, 0].tolist()
        [1, 0, 3, 4, 3]

    Source: Zhong et al., Re-ranking Person Re-identification with k-reciprocal Encoding, CVPR 2017,
    equations 2 to 12; the division by the sum is from the authors' code. That code takes squared
    Euclidean distances, divided by the largest of each row; 1 - cos, half the squared distance of
    unit vectors, needs no pass over all pairs.
    """
    settings = settings or KReciprocal()
    queries = unit_rows("queries", queries)
    vectors, first = queries, 0
    if gallery is not None:
        vectors, first = np.concatenate([queries, unit_rows("gallery", gallery)]), len(queries)
    settings.expect_fewer_than(len(vectors))
    nearest = as_neighbours(nearest, len(queries), len(vectors) - first, gallery is None)
    if gallery is None and nearest.shape[1] >= settings.k1:
        neighbours = nearest[:, : settings.k1]
    else:
        neighbours = search(vectors, vectors, settings.k1, exclude_self=True, method=method).indices
    codes = encode(vectors, neighbours, settings)
    indices = np.empty(nearest.shape, np.int32)
    distances = np.empty(nearest.shape, np.float32)
    for row, found in enumerate(nearest + first):
        # A vector without a common neighbourhood has the Jaccard distance 1, so that only the
        # nearest of them can be among the answers.
        shared = codes.shared(row)
        may_answer = shared > 0
        may_answer[found] = True
        may_answer[row] = False
        others = first + np.flatnonzero(may_answer[first:])
        values = reranked_distances(vectors, row, others, shared[others], settings.weight)
        best = np.argsort(values, kind="stable")[: nearest.shape[1]]
        indices[row], distances[row] = others[best] - first, values[best]
    return indices, distances


class Codes(NamedTuple):
    """V', the k-reciprocal code of each of M vectors.

    Attributes:
        rows: float (M, M), sparse; its rows add up to 1.
        columns: The same by columns.
    """

    rows: csr_matrix
    columns: csc_matrix

    def shared(self, row: int) -> np.ndarray:
        """Returns sum_j min(V'(row, j), V'(g, j)) for every vector g, float (M,)."""
        own = slice(self.rows.indptr[row], self.rows.indptr[row + 1])
        places, values = self.rows.indices[own], self.rows.data[own]
        starts, ends = self.columns.indptr[places], self.columns.indptr[places + 1]
        counts = ends - starts
        entries = np.arange(counts.sum()) + np.repeat(ends - np.cumsum(counts), counts)
        least = np.minimum(self.columns.data[entries], np.repeat(values, counts))
        return np.bincount(self.columns.indices[entries], least, self.rows.shape[0])


def encode(vectors: np.ndarray, neighbours: np.ndarray, settings: KReciprocal) -> Codes:
    """Computes V' of each vector.

    Args:
        vectors: Rows of unit length, float32 (M, D).
        neighbours: The nearest of each vector without itself, best first, int (M, at least k1). -1
            stands for a vector that is not among the M.
        settings: k1 and k2.
    """
    lists = np.concatenate([np.arange(len(vectors))[:, None], neighbours], axis=1)
    near = _reciprocal(lists[:, : settings.k1 + 1])
    half = _reciprocal(lists[:, : round(settings.k1 / 2) + 1])
    # Each set contains its own vector, so that `common` has an entry wherever `near` has one.
    common = near.multiply(near @ half.T).tocsr()
    sizes = np.diff(half.indptr)
    common.data = 3 * common.data >= 2 * sizes[common.indices]
    common.eliminate_zeros()
    expanded = (near + common @ half).tocsr()
    expanded.sort_indices()
    places = np.repeat(np.arange(len(vectors)), np.diff(expanded.indptr))
    weights = np.exp(_cosines(vectors, places, expanded.indices) - 1)
    sums = np.bincount(places, weights)
    pattern = (weights / sums[places], expanded.indices, expanded.indptr)
    codes = csr_matrix(pattern, shape=expanded.shape)
    codes = (_members(lists[:, : settings.k2], 1 / settings.k2) @ codes).tocsr()
    return Codes(codes, codes.tocsc())


def reranked_distances(
    vectors: np.ndarray, row: int, others: np.ndarray, shared: np.ndarray, weight: float
) -> np.ndarray:
    """Returns (1 - weight) d_J + weight d from one vector to others, float, shaped as `shared`."""
    jaccard = 1 - shared / (2 - shared)  # the larger and the smaller of two codes add up to 2
    cosines = np.einsum("nd,d->n", vectors[others], vectors[row])
    return (1 - weight) * jaccard + weight * (1 - cosines.astype(np.float64))


def _reciprocal(lists: np.ndarray) -> csr_matrix:
    """Returns 1 where two vectors are in each other's lists, sparse int (M, M)."""
    members = _members(lists, 1)
    return members.multiply(members.T).tocsr()


def _members(lists: np.ndarray, value: float) -> csr_matrix:
    """Returns the value where a vector is in the list of another, sparse (M, M)."""
    rows, places = np.nonzero(lists >= 0)
    values = np.full(len(rows), value)
    return csr_matrix((values, (rows, lists[rows, places])), shape=(len(lists), len(lists)))


def _cosines(vectors: np.ndarray, some: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Returns the cosine of each pair of rows, float64 (number of pairs,)."""
    result = np.empty(len(some))
    at_once = max(1, _BLOCK_SIZE // vectors.shape[1])
    for start in range(0, len(some), at_once):
        block = slice(start, start + at_once)
        result[block] = np.einsum("nd,nd->n", vectors[some[block]], vectors[others[block]])
    return result
