"""Where a retrieval fails worst: queries far from all that is right, and classes taken for others.

Plain functions of neighbours, labels and embeddings; `pa_keras.plots.failures` draws what they say.
"""

from dataclasses import dataclass

import numpy as np

# Rows of similarities held at once.
_BLOCK = 1024


@dataclass(frozen=True)
class Confusion:
    """Two classes of which one was found for the other.

    Attributes:
        classes: the two labels; the first is that of the example.
        count: queries of the one whose nearest neighbour is of the other, both ways.
        num_queries: queries of the two classes together.
        query: the example: of these queries the one with the median similarity to its neighbour,
            since the most similar are often two copies of one photograph.
        neighbour: the neighbour of this query, in the gallery.
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
    """The most similar image of its own class for each query, however far from it.

    Args:
        queries: float (Q, D), unit rows.
        query_labels: int (Q,).
        gallery: float (N, D), unit rows.
        gallery_labels: int (N,).
        exclude_self: whether query i is no answer to itself, the gallery being the queries.
            Default False.

    Returns:
        indices int (Q,) in the gallery, -1 where it has no right answer, and similarities float
        (Q,), -inf there.

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
    """Queries whose nearest neighbour is wrong, the worst first, at most one of each class.

        s(query, nearest neighbour) - s(query, nearest right answer)

    is how wrong one is: it is large where something wrong is similar and all that is right is not.

    Args:
        queries: float (Q, D), unit rows.
        gallery: float (N, D), unit rows.
        nearest: int (Q,), the nearest neighbour of each query in the gallery.
        right_similarities: float (Q,), of `nearest_right`; a query with -inf does not count.
        query_labels: int (Q,).

    Returns:
        int (at most the number of classes,), places of queries.

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
    """The rank, from 1, of one gallery image among the neighbours of a query.

    Args:
        query: float (D,).
        gallery: float (N, D).
        place: of that image in the gallery.
        itself: place of the query in the gallery, which is left out. Default None: not in it.
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
    """Pairs of classes by how many queries of the one have the other as nearest neighbour.

    Args:
        queries: float (Q, D), unit rows.
        query_labels: int (Q,).
        gallery: float (N, D), unit rows.
        gallery_labels: int (N,).
        nearest: int (Q,), the nearest neighbour of each query in the gallery.
        number: of pairs, at most.

    Returns:
        The pairs, most confused first; equals in the order of their labels.
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
