"""Determines which answers are right, and how many right answers exist."""

import numpy as np
import numpy.typing as npt

from pa_keras.arguments.class_ids import common_class_ids


def matches(
    indices: npt.ArrayLike, query_labels: npt.ArrayLike, gallery_labels: npt.ArrayLike | None
) -> np.ndarray:
    """Returns which neighbours are right, that is, have the class of the query.

    Args:
        indices: Rows of the gallery, int (Q, k), best first, as from `nearest_neighbours`.
        query_labels: Class IDs or class names (Q,).
        gallery_labels: Class IDs or class names (N,).

    Returns:
        bool (Q, k).

    Raises:
        ValueError: The indices are not of rank 2 or do not have one row per query label, or
            `pa_keras.arguments.class_ids` refuses the labels.

    Example:
        >>> matches([[1, 2], [0, 2]], [7, 7], [7, 7, 5]).tolist()
        [[True, False], [True, False]]
    """
    query_labels, gallery_labels = common_class_ids(query_labels, gallery_labels)
    indices = np.asarray(indices)
    if indices.ndim != 2 or query_labels.shape != (len(indices),):
        raise ValueError(
            "Expected indices of shape (Q, k) and query_labels of shape (Q,); received "
            f"{indices.shape} and {query_labels.shape}."
        )
    return gallery_labels[indices] == query_labels[:, None]


def num_relevant(
    query_labels: npt.ArrayLike, gallery_labels: npt.ArrayLike | None = None
) -> np.ndarray:
    """Returns R of each query, the number of right answers in the gallery, int (Q,).

    Args:
        query_labels: Class IDs or class names (Q,).
        gallery_labels: The same (N,). Default None: leave-one-out, the query itself does not count.

    Raises:
        ValueError: `pa_keras.arguments.class_ids` refuses the labels.
    """
    leave_one_out = gallery_labels is None
    gallery_labels = query_labels if leave_one_out else gallery_labels
    query_labels, gallery_labels = common_class_ids(query_labels, gallery_labels)
    classes, counts = np.unique(gallery_labels, return_counts=True)
    if not len(classes):
        return np.zeros(len(query_labels), np.int64)
    place = np.searchsorted(classes, query_labels).clip(max=len(classes) - 1)
    return np.where(classes[place] == query_labels, counts[place] - leave_one_out, 0)


def check_answerable(relevant: np.ndarray) -> np.ndarray:
    """Returns which queries have a right answer, bool (Q,); raises a ValueError if none has."""
    answerable = relevant > 0
    if not answerable.any():
        raise ValueError(
            f"Expected a right answer in the gallery for some query; received {len(relevant)} "
            "queries without any; check that queries and gallery share class IDs, and that "
            "classes have two images or more."
        )
    return answerable
