"""Nearest-centroid accuracy: classification by the mean embedding of each class."""

import numpy as np
import numpy.typing as npt

from pa_keras.arguments.class_ids import common_class_ids
from pa_keras.retrieval.directions import directions
from pa_keras.retrieval.relevance import check_answerable, num_relevant
from pa_keras.retrieval.search import unit_rows

# Cosines are rounded to so many decimals, so that equal ones are equal despite rounding errors.
_DECIMALS = 9
# Cosines in memory at once.
_BLOCK_SIZE = 2**23


def nearest_centroid(
    queries: npt.ArrayLike,
    query_labels: npt.ArrayLike,
    gallery: npt.ArrayLike | None = None,
    gallery_labels: npt.ArrayLike | None = None,
) -> np.ndarray:
    r"""Returns 1 where the centroid of the query's class is the nearest of all, else 0.

        c_y = sum of the gallery vectors of class y, divided by the length of the sum

    A query is assigned to the class whose centroid has the largest cosine to it; of equal ones (to
    9 decimals), to the lowest class. Without a gallery the query itself is subtracted from the sum
    of its class (leave-one-out). Like the other metrics, this leaves out queries without a right
    answer: those whose class is not in the gallery, or has no other image. Such a class of one
    image still has a centroid for all other queries. A sum of length 0 has the cosine 0.

    Args:
        queries: Rows of unit length, floating (Q, D).
        query_labels: Class IDs or class names (Q,).
        gallery: Rows of unit length, floating (N, D). Default None: the queries.
        gallery_labels: The same as the query labels (N,), given if and only if `gallery` is.

    Returns:
        float (Q',), for the queries with a right answer, in order.

    Raises:
        ValueError: There is not one label per vector, or no query has a right answer; a row is
            not finite or not of unit length.

    Example:
        >>> points = np.array([[1, 0], [0.8, 0.6], [0, 1], [0, -1]], "float32")
        >>> nearest_centroid(points, ["a", "a", "b", "b"])
        array([1., 1., 0., 0.])
    """
    queries = unit_rows("queries", queries)
    alone = gallery is None
    if alone != (gallery_labels is None):
        raise ValueError(
            "Expected gallery and gallery_labels together, or neither for leave-one-out; received "
            f"only {'gallery_labels' if alone else 'gallery'}."
        )
    vectors = queries if gallery is None else unit_rows("gallery", gallery)
    labels, searched = common_class_ids(query_labels, query_labels if alone else gallery_labels)
    if (labels.shape, searched.shape) != (queries.shape[:1], vectors.shape[:1]):
        raise ValueError(
            f"Expected a label for each of {len(queries)} queries and {len(vectors)} gallery "
            f"vectors; received {labels.shape} and {searched.shape}."
        )
    answerable = check_answerable(num_relevant(labels, None if alone else searched))
    classes, members = np.unique(searched, return_inverse=True)
    sums = np.zeros((len(classes), vectors.shape[1]))
    np.add.at(sums, members, vectors)
    centroids = directions(sums)
    own = np.searchsorted(classes, labels[answerable])
    asked = queries[answerable].astype(np.float64)
    found = np.empty(len(asked), np.int64)
    rows = max(1, _BLOCK_SIZE // len(classes))
    for start in range(0, len(asked), rows):
        block = slice(start, start + rows)
        some, classes_of_some = asked[block], own[block]
        cosines = some @ centroids.T
        if alone:
            others = directions(sums[classes_of_some] - some)
            cosines[np.arange(len(some)), classes_of_some] = np.einsum("qd,qd->q", some, others)
        found[block] = cosines.round(_DECIMALS, out=cosines).argmax(axis=1)
    return (found == own).astype(np.float64)
