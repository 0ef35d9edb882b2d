"""Counting the cosines of all pairs of images, in blocks: never all pairs at once.

A cosine is rounded to a grid of 2**-16, and each place of the grid counts its pairs of one class
and of different classes. Products are computed in float64, so the block size changes no count.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pa_keras.arguments.class_ids import common_class_ids
from pa_keras.retrieval.search import check_sizes, unit_rows

# Places of the grid for each unit of cosine.
STEPS = 2**16
# Rows and columns of a block, which takes about 25 bytes for each pair.
ROWS, COLUMNS = 512, 2048
# Classes are resampled one by one up to this number; beyond it, in this number of random groups.
MOST_GROUPS = 100
# Thresholds at which the groups are counted, at most about.
MOST_CUTS = 1024
# Among different classes, cuts are spaced evenly in the logarithm of the rate, down to this one.
_LOWEST_RATE = 1e-6


@dataclass(frozen=True, eq=False)
class Pairs:
    """Embeddings whose pairs are counted, sorted so that each group of classes is contiguous.

    Attributes:
        queries: Unit rows, float32 (Q, D).
        query_labels: Class IDs, int (Q,).
        query_groups: Group of the class, ascending, int (Q,).
        gallery: Unit rows, float32 (N, D); the queries if `leave_one_out`.
        gallery_labels: Class IDs, int (N,).
        gallery_groups: Group of the class, ascending, int (N,).
        leave_one_out: Whether the pairs are those i < j of the queries, instead of each query with
            each gallery row.
        num_classes: Number of classes of queries and gallery.
        num_groups: Number of groups.
    """

    queries: np.ndarray
    query_labels: np.ndarray
    query_groups: np.ndarray
    gallery: np.ndarray
    gallery_labels: np.ndarray
    gallery_groups: np.ndarray
    leave_one_out: bool
    num_classes: int
    num_groups: int


@dataclass(frozen=True, eq=False)
class PairCounts:
    """Number of pairs at each place of the grid.

    Attributes:
        thresholds: Least cosine that belongs to each place, ascending, float (B,).
        same: Pairs of one class, int (B,).
        different: Pairs of different classes, int (B,).
    """

    thresholds: np.ndarray
    same: np.ndarray
    different: np.ndarray


@dataclass(frozen=True, eq=False)
class GroupCounts:
    """Number of pairs between two cuts, by the groups of their classes.

    Attributes:
        thresholds: The cuts, ascending, float (B,).
        same: Pairs of one class, float (G, B).
        different: Pairs of different classes of groups g <= h, float (G (G + 1) / 2, B), in the
            order of `np.triu_indices(G)`.
    """

    thresholds: np.ndarray
    same: np.ndarray
    different: np.ndarray


def as_pairs(
    queries: npt.ArrayLike,
    query_labels: npt.ArrayLike,
    gallery: npt.ArrayLike | None = None,
    gallery_labels: npt.ArrayLike | None = None,
    seed: int = 0,
) -> Pairs:
    """Checks and sorts embeddings for `count_pairs`.

    Args:
        queries: Rows of unit length, floating (Q, D).
        query_labels: Class IDs or class names (Q,).
        gallery: Rows of unit length, floating (N, D). Default None: the pairs of two queries.
        gallery_labels: The same (N,), given if and only if `gallery` is.
        seed: Seed of the groups of classes, if there are more than `MOST_GROUPS`. Default 0.

    Raises:
        ValueError: A row is not of unit length, the sizes or the labels do not fit, or all images
            are of one class.
    """
    leave_one_out = gallery is None
    queries = unit_rows("queries", queries)
    searched = queries if gallery is None else unit_rows("gallery", gallery)
    check_sizes(queries, searched, 1, leave_one_out)
    labels = query_labels if leave_one_out else gallery_labels
    of_queries, of_gallery = common_class_ids(query_labels, labels)
    if (len(of_queries), len(of_gallery)) != (len(queries), len(searched)):
        raise ValueError(
            f"Expected {len(queries)} query_labels and {len(searched)} gallery_labels, one per "
            f"vector; received {len(of_queries)} and {len(of_gallery)}."
        )
    classes = np.union1d(of_queries, of_gallery)
    if len(classes) < 2:
        raise ValueError(
            "Expected images of 2 classes or more, for pairs of different classes; received those "
            f"of one class only ({len(searched)} images). Add images of another class."
        )
    num_groups = min(len(classes), MOST_GROUPS)
    groups = np.random.default_rng([seed]).permutation(len(classes)) % num_groups

    def sort(vectors: np.ndarray, ids: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        of_images = groups[np.searchsorted(classes, ids)]
        order = np.argsort(of_images, kind="stable")
        return vectors[order], ids[order], of_images[order]

    query_side = sort(queries, of_queries)
    gallery_side = query_side if leave_one_out else sort(searched, of_gallery)
    return Pairs(*query_side, *gallery_side, leave_one_out, len(classes), num_groups)


def count_pairs(pairs: Pairs) -> PairCounts:
    """Counts the pairs of one class and of different classes at each place of the grid.

    Args:
        pairs: Result of `as_pairs`.

    Raises:
        ValueError: There is no pair of one class, or none of different classes.

    Example:
        >>> points = np.array([[1, 0], [0.6, 0.8], [0, 1]], "float32")
        >>> counts = count_pairs(as_pairs(points, ["cat", "cat", "owl"]))
        >>> counts.thresholds[counts.same > 0].round(3), counts.thresholds[counts.different > 0]
        (array([0.6]), array([-7.62939453e-06,  7.99995422e-01]))
    """
    everything = np.zeros(2 * STEPS + 2, np.int64)
    same = np.zeros_like(everything)
    whole = [slice(0, len(pairs.queries))]
    for rows, columns, places in _blocks(pairs, whole):
        is_same = pairs.query_labels[rows, None] == pairs.gallery_labels[columns]
        everything += np.bincount(places.ravel(), minlength=len(everything))
        same += np.bincount(places[is_same], minlength=len(everything))
    different = everything - same
    if not same[1:].any():
        raise ValueError(
            "Expected classes with 2 images or more, for pairs of one class; received "
            f"{len(pairs.queries)} images of {pairs.num_classes} classes without any such pair. "
            "Add images."
        )
    if not different[1:].any():
        raise ValueError(
            "Expected pairs of different classes; received queries and a gallery of one class only."
        )
    return PairCounts(_thresholds(), same[1:], different[1:])


def count_by_group(pairs: Pairs, cuts: np.ndarray) -> GroupCounts:
    """Counts the pairs between two cuts, separately for each group and each two groups of classes.

    Args:
        pairs: Result of `as_pairs`.
        cuts: Places of the grid, ascending, int (B,); no pair is below the first.
    """
    number, size = pairs.num_groups, len(cuts) + 1
    # A place is that of its cut, from 1; 0 remains for what is no pair.
    cut_of = np.searchsorted(cuts, np.arange(-1, 2 * STEPS + 1), side="right")
    tri = np.zeros((number, number), np.int64)
    upper = np.triu_indices(number)
    tri[upper] = tri.T[upper] = np.arange(len(upper[0]))
    same = np.zeros((number, size))
    different = np.zeros((len(upper[0]), size))
    ends = np.searchsorted(pairs.query_groups, np.arange(number + 1))
    by_group = [slice(*ends[group : group + 2]) for group in range(number)]
    for rows, columns, places in _blocks(pairs, by_group):
        group = pairs.query_groups[rows.start]
        found = cut_of[places]
        is_same = pairs.query_labels[rows, None] == pairs.gallery_labels[columns]
        same[group] += np.bincount(found[is_same], minlength=size)
        found[is_same] = 0
        found += size * pairs.gallery_groups[columns]
        counts = np.bincount(found.ravel(), minlength=number * size)
        different[tri[group]] += counts.reshape(number, size)
    return GroupCounts(_thresholds()[cuts], same[:, 1:], different[:, 1:])


def cuts_of(counts: PairCounts, *, including: float | None = None) -> np.ndarray:
    """Places of the grid to count the groups at: all that have pairs, or about `MOST_CUTS` of them.

    They are spaced evenly in the share of the pairs of one class, and in the logarithm of the
    share of the pairs of different classes.

    Args:
        counts: Result of `count_pairs`.
        including: A threshold to include, one of `counts.thresholds`. Default None.

    Returns:
        Ascending indices of `counts.thresholds`, int (B,).
    """
    occupied = np.flatnonzero(counts.same + counts.different)
    cuts = occupied
    if len(occupied) > MOST_CUTS:
        accepted = np.cumsum(counts.different), np.cumsum(counts.same)
        rates = 1 - np.geomspace(_LOWEST_RATE, 1, MOST_CUTS // 2), np.linspace(0, 1, MOST_CUTS // 2)
        parts = [np.searchsorted(a, r * a[-1]) for a, r in zip(accepted, rates, strict=True)]
        cuts = np.unique(np.concatenate([occupied[:1], *parts]).clip(*occupied[[0, -1]]))
    if including is not None:
        place = np.searchsorted(counts.thresholds, including).clip(occupied[0])
        cuts = np.union1d(cuts, place)
    return cuts


def _blocks(pairs: Pairs, parts: list[slice]) -> Iterator[tuple[slice, slice, np.ndarray]]:
    """Yields rows within one part, columns, and the place of each pair, from 1; 0 is no pair."""
    starts = [
        slice(start, min(start + ROWS, part.stop))
        for part in parts
        for start in range(part.start, part.stop, ROWS)
    ]
    for rows in starts:
        queries = pairs.queries[rows].astype(np.float64) * STEPS
        first = rows.start if pairs.leave_one_out else 0
        for start in range(first, len(pairs.gallery), COLUMNS):
            columns = slice(start, min(start + COLUMNS, len(pairs.gallery)))
            products = queries @ pairs.gallery[columns].T.astype(np.float64)
            places = np.rint(products).clip(-STEPS, STEPS).astype(np.int64) + (STEPS + 1)
            if pairs.leave_one_out and start < rows.stop:
                places *= np.arange(rows.start, rows.stop)[:, None] < np.r_[columns]
            yield rows, columns, places


def _thresholds() -> np.ndarray:
    """The least cosine of each place; exact in float32, too."""
    return (np.arange(-STEPS, STEPS + 1) - 0.5) / STEPS
