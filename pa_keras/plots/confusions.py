"""Finds the worst failures of a retrieval: the most wrong queries and the most confused classes.

These are functions of neighbours, labels and embeddings; `pa_keras.plots.failures` draws them.
"""

from dataclasses import dataclass

import numpy as np

# Rows of similarities kept in memory at once.
_BLOCK = 1024


@dataclass(frozen=True)
class Confusion:
    """Two classes that the retrieval confuses.

    Attributes:
        classes: The two labels; the first is that of the example.
        count: Number of queries of either class whose nearest neighbour is of the other class.
        num_queries: Number of queries of the two classes together.
        query: The example, which is the confused query with the median similarity to its neighbour;
            the most similar images are often two copies of one photograph.
        neighbour: Index in the gallery of the neighbour of this query.
    """

    classes: tuple[int, int]
    count: int
    num_queries: int
    query: int
    neighbour: int


def nearest_right(
    queries: np.ndarray,
    query_labels: np.ndarray,
    gallery: np.ndarray,
    gallery_labels: np.ndarray,
    exclude_self: bool = False,
) -> tuple[np.ndarray, np.ndarray]:
    """Finds the most similar image of its class for each query, at any distance.

    Args:
        queries: Unit rows, float (Q, D).
        query_labels: Labels, int (Q,).
        gallery: Unit rows, float (N, D).
        gallery_labels: Labels, int (N,).
        exclude_self: Whether to leave query i out of its own answers, if the gallery is the
            queries. Default False.

    Returns:
        indices int (Q,) in the gallery, -1 for a query without a right answer, and similarities
        float (Q,), -inf for such a query.

    Example:
        >>> points = np.array([[1, 0], [0, 1], [0.6, 0.8]], "float32")
        >>> labels = np.array([0, 1, 0])
        >>> nearest_right(points, labels, points, labels, exclude_self=True)[0].tolist()
        [2, -1, 0]
    """
    indices = np.full(len(queries), -1)
    similarities = np.full(len(queries), -np.inf, np.float32)
    for label in np.unique(query_labels):
        members = np.flatnonzero(gallery_labels == label)
        of_class = np.flatnonzero(query_labels == label)
        for start in range(0, len(of_class) if len(members) else 0, _BLOCK):
            rows = of_class[start : start + _BLOCK]
            found = queries[rows] @ gallery[members].T
            if exclude_self:
                found[rows[:, None] == members] = -np.inf
            best = found.argmax(axis=1)
            similarities[rows] = found[np.arange(len(rows)), best]
            indices[rows] = np.where(np.isfinite(similarities[rows]), members[best], -1)
    return indices, similarities


def worst_first(
    queries: np.ndarray,
    gallery: np.ndarray,
    nearest: np.ndarray,
    right_similarities: np.ndarray,
    query_labels: np.ndarray,
) -> np.ndarray:
    """Returns queries whose nearest neighbour is wrong, the worst first, at most one of each class.

    Queries are sorted by

        s(query, nearest neighbour) - s(query, nearest right answer),

    which is large if a wrong image is similar and no right image is.

    Args:
        queries: Unit rows, float (Q, D).
        gallery: Unit rows, float (N, D).
        nearest: The nearest neighbour of each query in the gallery, int (Q,).
        right_similarities: Similarities from `nearest_right`, float (Q,); queries with -inf do not
            count.
        query_labels: Labels, int (Q,).

    Returns:
        Positions of queries, int (at most the number of classes,).

    Example:
        >>> points, nearest = np.eye(2)[[0, 0, 1]], np.array([1, 0, 0])
        >>> worst_first(points, points, nearest, np.array([0.2, 0.1, 0]), np.array([0, 1, 1]))
        array([1, 0])
    """
    lost = np.einsum("qd,qd->q", queries, gallery[nearest]) - right_similarities
    order = np.argsort(-lost, kind="stable")
    order = order[(lost[order] > 0) & np.isfinite(lost[order])]
    first_of_class = np.unique(query_labels[order], return_index=True)[1]
    return order[np.sort(first_of_class)]


def rank_of(query: np.ndarray, gallery: np.ndarray, place: int, itself: int | None = None) -> int:
    """Returns the rank, from 1, of a gallery image among the neighbours of a query.

    Args:
        query: Embedding of the query, float (D,).
        gallery: Embeddings of the gallery, float (N, D).
        place: Position of the image in the gallery.
        itself: Position of the query in the gallery, to leave out. Default None: it is not in the
            gallery.
    """
    similarities = gallery @ query
    nearer = similarities > similarities[place]
    if itself is not None:
        nearer[itself] = False
    return 1 + int(nearer.sum())


def most_confused(
    queries: np.ndarray,
    query_labels: np.ndarray,
    gallery: np.ndarray,
    gallery_labels: np.ndarray,
    nearest: np.ndarray,
    number: int,
) -> list[Confusion]:
    """Returns pairs of classes, sorted by the number of queries that confuse them.

    Args:
        queries: Unit rows, float (Q, D).
        query_labels: Labels, int (Q,).
        gallery: Unit rows, float (N, D).
        gallery_labels: Labels, int (N,).
        nearest: The nearest neighbour of each query in the gallery, int (Q,).
        number: Largest number of pairs.

    Returns:
        The pairs, the most confused first; equal counts in the order of their labels.
    """
    wrong = np.flatnonzero(gallery_labels[nearest] != query_labels)
    if not len(wrong):
        return []
    both = np.stack([query_labels[wrong], gallery_labels[nearest[wrong]]], axis=1)
    pairs, which, counts = np.unique(
        np.sort(both, axis=1), axis=0, return_inverse=True, return_counts=True
    )
    similarities = np.einsum("qd,qd->q", queries[wrong], gallery[nearest[wrong]])
    result = []
    for pair in np.argsort(-counts, kind="stable")[:number]:
        of_pair = np.flatnonzero(which.ravel() == pair)
        of_pair = of_pair[np.argsort(similarities[of_pair], kind="stable")]
        example = of_pair[len(of_pair) // 2]
        query = int(wrong[example])
        classes = (int(both[example, 0]), int(both[example, 1]))
        num_queries = int(np.isin(query_labels, pairs[pair]).sum())
        result.append(
            Confusion(classes, int(counts[pair]), num_queries, query, int(nearest[query]))
        )
    return result
