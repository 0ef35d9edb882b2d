"""Retrieval metrics: functions of the neighbours' indices and labels, with one value per query.

A metric is the mean of its values over the queries. Queries without a right answer in the gallery
are left out first, since no search could answer them.
"""

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import numpy.typing as npt

from pa_keras.arguments.class_ids import class_labels
from pa_keras.retrieval.centroids import nearest_centroid
from pa_keras.retrieval.relevance import check_answerable, matches, num_relevant
from pa_keras.retrieval.search import Method, search


def as_ks(ks: int | Sequence[int] | np.ndarray) -> tuple[int, ...]:
    """Returns the Ks of Recall@K as Python integers.

    Args:
        ks: One K, or several as a sequence or an array of integers; each is at least 1.

    Raises:
        ValueError: There is no K, or one is below 1 or not an integer.

    Example:
        >>> as_ks(1), as_ks(np.array([1, 10]))
        ((1,), (1, 10))
    """
    array = np.asarray(list(ks) if isinstance(ks, Iterable) else ks)
    if array.dtype.kind not in "iu" or array.ndim > 1 or not array.size or array.min() < 1:
        raise ValueError(f"Expected ks as one integer or more, each 1 or more; received ks={ks}.")
    return tuple(map(int, np.atleast_1d(array)))


def recall_at_k(found: npt.ArrayLike, k: int) -> np.ndarray:
    """Returns 1 where a right answer is among the k nearest, else 0, float (Q,).

        Recall@K = share of queries with at least one right answer among their K nearest

    Args:
        found: Result of `matches`, bool (Q, at least k).
        k: K, from 1.

    Source: Jegou et al., Product Quantization for Nearest Neighbor Search, 2011.
    """
    return np.any(_first(found, k), axis=1).astype(np.float64)


def precision_at_k(found: npt.ArrayLike, k: int) -> np.ndarray:
    """Returns the share of right answers among the k nearest, float (Q,); see `recall_at_k`."""
    return _first(found, k).mean(axis=1)


def r_precision(found: npt.ArrayLike, relevant: npt.ArrayLike) -> np.ndarray:
    """Returns the share of right answers among the R nearest, if R right answers exist.

    Args:
        found: Result of `matches`, bool (Q, at least max R).
        relevant: R of each query, at least 1, int (Q,), from `num_relevant`.

    Returns:
        float (Q,).

    Source: Musgrave et al., A Metric Learning Reality Check, ECCV 2020, section 3.2.
    """
    found, relevant, _ = _within_r(found, relevant)
    return found.sum(axis=1) / relevant


def mean_average_precision_at_r(found: npt.ArrayLike, relevant: npt.ArrayLike) -> np.ndarray:
    """Returns the average precision over the R nearest: R-precision that considers the order.

        MAP@R = 1/R sum_{i=1..R} P(i),   P(i) = precision at i where the i-th is right, else 0

    Arguments and result are those of `r_precision`.

    Source: Musgrave et al., A Metric Learning Reality Check, ECCV 2020, section 3.2.
    """
    found, relevant, ranks = _within_r(found, relevant)
    return (found * np.cumsum(found, axis=1) / ranks).sum(axis=1) / relevant


def first_hit_rank(found: npt.ArrayLike) -> np.ndarray:
    """Returns the rank of the first right answer, from 1, or k + 1 if none is among the k nearest.

    So if some query has no hit, the mean is a lower bound of the true mean. Search more neighbours
    (with k of the complete gallery the rank is exact), and compare only means of the same k.

    Args:
        found: Result of `matches`, bool (Q, k).

    Returns:
        int (Q,).

    Example:
        >>> first_hit_rank([[False, True, True], [False, False, False]]).tolist()
        [2, 4]
    """
    found = np.asarray(found)
    return np.where(found.any(axis=1), found.argmax(axis=1), found.shape[1]) + 1


def per_class_metrics(
    values: Mapping[str, np.ndarray], labels: npt.ArrayLike
) -> dict[str, np.ndarray]:
    """Computes the mean of each metric over the queries of each class.

    Args:
        values: Values (Q',) by name, for example from `per_query_metrics`.
        labels: Class IDs or class names (Q',) of the same queries, those with a right answer.

    Returns:
        "label", as given, and "num_queries", int, (C,) each, sorted by label, and means, float
        (C,), by the names in `values`.

    Raises:
        ValueError: The number of labels differs from that of the values.

    Example:
        >>> per_class_metrics({"recall_at_1": np.array([1, 0, 1])}, [7, 7, 2])["recall_at_1"]
        array([1. , 0.5])
    """
    labels = class_labels("labels", labels)
    for name, of_queries in values.items():
        if np.shape(labels) != np.shape(of_queries):
            raise ValueError(
                f"Expected one label for each value of {name}; received {np.shape(labels)} and "
                f"{np.shape(of_queries)}; leave out the labels of queries without a right answer."
            )
    classes, members, counts = np.unique(labels, return_inverse=True, return_counts=True)
    means = {name: np.bincount(members, each) / counts for name, each in values.items()}
    return {"label": classes, "num_queries": counts, **means}


def per_query_metrics(
    indices: npt.ArrayLike,
    query_labels: npt.ArrayLike,
    gallery_labels: npt.ArrayLike | None = None,
    ks: int | Sequence[int] = (1, 2, 4, 8),
) -> dict[str, np.ndarray]:
    """Computes all metrics of each query that has a right answer.

    Args:
        indices: Result of `nearest_neighbours`, int (Q, k), with k at least max(ks) and the largest
            R, or k of the complete gallery: nothing is found beyond it, so any K is allowed.
        query_labels: Class IDs or class names (Q,).
        gallery_labels: The same (N,). Default None: leave-one-out among the queries.
        ks: One K or several, as integers. Default (1, 2, 4, 8).

    Returns:
        dict of float (Q',), by the names recall_at_K, precision_at_K, r_precision and map_at_r, and
        first_hit_rank, int; Q' is the number of queries with a right answer.

    Raises:
        ValueError: There are too few neighbours, no query has a right answer, or a K is below 1.
    """
    ks = as_ks(ks)
    relevant = num_relevant(query_labels, gallery_labels)
    answerable = check_answerable(relevant)
    searched = query_labels if gallery_labels is None else gallery_labels
    found = matches(indices, query_labels, searched)[answerable]
    relevant = relevant[answerable]
    ranks = first_hit_rank(found)
    if found.shape[1] == np.size(searched) - (gallery_labels is None):
        found = np.pad(found, ((0, 0), (0, max(0, max(ks) - found.shape[1]))))
    return {
        **{f"recall_at_{k}": recall_at_k(found, k) for k in ks},
        **{f"precision_at_{k}": precision_at_k(found, k) for k in ks},
        "r_precision": r_precision(found, relevant),
        "map_at_r": mean_average_precision_at_r(found, relevant),
        "first_hit_rank": ranks,
    }


def retrieval_metrics(
    queries: npt.ArrayLike,
    query_labels: npt.ArrayLike,
    gallery: npt.ArrayLike | None = None,
    gallery_labels: npt.ArrayLike | None = None,
    ks: int | Sequence[int] = (1, 2, 4, 8),
    method: Method = "auto",
) -> dict[str, float]:
    """Searches, and returns the mean of each metric over the queries that have a right answer.

    Searches max(max ks, largest R) neighbours, of 9 bytes each: a class of 30,000 images among
    60,000 needs 16 GB, but Recall@K alone (`nearest_neighbours`, `recall_at_k`) does not.

    Args:
        queries: Unit rows, floating (Q, D).
        query_labels: Class IDs or class names (Q,).
        gallery: Unit rows, floating (N, D). Default None: leave-one-out among the queries.
        gallery_labels: The same (N,), given if and only if `gallery` is.
        ks: One K or several, as integers. Default (1, 2, 4, 8).
        method: Method of `nearest_neighbours`. Default "auto".

    Returns:
        dict of float: recall_at_K and precision_at_K for each K, r_precision, map_at_r and
        centroid_accuracy (`nearest_centroid`), in [0, 1]; first_hit_rank, from 1; num_queries, the
        number of queries that count, and num_left_out, the number of those without a right answer.

    Raises:
        ValueError: `nearest_neighbours` raises it, the labels do not fit, or no query has a right
            answer.

    Example:
        >>> points = np.array([[1, 0], [0.8, 0.6], [0, 1], [-1, 0]], "float32")
        >>> retrieval_metrics(points, [0, 0, 1, 1], ks=(1,))["recall_at_1"]
        0.75
    """
    ks = as_ks(ks)
    query_labels = _labels("query_labels", query_labels, queries)
    if (gallery is None) != (gallery_labels is None):
        raise ValueError(
            "Expected gallery and gallery_labels together, or neither for leave-one-out; received "
            f"only {'gallery_labels' if gallery is None else 'gallery'}."
        )
    leave_one_out = gallery is None
    if gallery is not None:
        gallery_labels = _labels("gallery_labels", gallery_labels, gallery)
    relevant = num_relevant(query_labels, gallery_labels)
    num_queries = int(check_answerable(relevant).sum())
    centroid_hits = nearest_centroid(queries, query_labels, gallery, gallery_labels)
    gallery = queries if gallery is None else gallery
    k = int(min(max(max(ks), relevant.max()), np.shape(gallery)[0] - leave_one_out))
    labels = query_labels, gallery_labels
    indices = search(queries, gallery, k, leave_one_out, method, *labels).indices
    values = per_query_metrics(indices, query_labels, gallery_labels, ks)
    values["centroid_accuracy"] = centroid_hits
    means = {name: float(of_queries.mean()) for name, of_queries in values.items()}
    left_out = len(query_labels) - num_queries
    return {**means, "num_queries": float(num_queries), "num_left_out": float(left_out)}


def _first(found: npt.ArrayLike, k: int) -> np.ndarray:
    found = np.asarray(found)
    if not 1 <= k <= found.shape[1]:
        raise ValueError(
            f"Expected k from 1 to the {found.shape[1]} neighbours that were searched; received "
            f"k={k}; search more neighbours."
        )
    return found[:, :k]


def _within_r(
    found: npt.ArrayLike, relevant: npt.ArrayLike
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Returns the matches within each query's R, all R, and the ranks 1..max R."""
    relevant = np.asarray(relevant)
    if (relevant < 1).any():
        raise ValueError(
            "Expected at least one right answer for each query; received queries with none; leave "
            "them out first (num_relevant(...) > 0)."
        )
    ranks = np.arange(1, relevant.max() + 1)
    return _first(found, len(ranks)) & (ranks <= relevant[:, None]), relevant, ranks


def _labels(name: str, labels: npt.ArrayLike | None, vectors: npt.ArrayLike) -> np.ndarray:
    labels = class_labels(name, labels)
    shape = np.shape(vectors)[:1]
    if labels.shape != shape:
        raise ValueError(
            f"Expected {name} of shape {shape}, one per vector; received {labels.shape}."
        )
    return labels
