"""Exact search, the reference for approximate searches."""

from concurrent.futures import ThreadPoolExecutor
from itertools import repeat

import numpy as np

# Similarities kept at once, of 4 bytes: 80 MB, or those of the fewest rows that keep BLAS busy.
BLOCK_SIZE = 5 * 2**22
FEWEST_ROWS, MOST_ROWS = 64, 1024
# Rows that each thread sorts: NumPy multiplies on all cores but sorts on one.
ROWS_A_THREAD = 32
# Most columns in a group, and fewest groups for each requested neighbour.
GROUP_SIZE = 64
GROUPS_A_NEIGHBOUR = 4


def exact_neighbours(
    queries: np.ndarray, gallery: np.ndarray, k: int, own: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Finds the k largest inner products of each query with the gallery, in blocks of queries.

    Sorting complete rows would take as long as the product. So the columns are divided into groups:
    the k-th largest of the maxima of all groups is a bound that at least k values of the row
    reach, and few others. Only these are sorted.

    Args:
        queries: Queries, float32 (Q, D).
        gallery: Gallery, float32 (N, D).
        k: Number of neighbours per query, at most N, or N - 1 with `own`.
        own: Index of each query in the gallery, int (Q,), to leave out of its answers.
            Default None: nothing is left out.

    Returns:
        indices int32 (Q, k) and similarities float32 (Q, k), best first, equal similarities by
        lower index.
    """
    indices = np.empty((len(queries), k), np.int32)
    similarities = np.empty((len(queries), k), np.float32)
    rows = min(len(queries), np.clip(BLOCK_SIZE // len(gallery), FEWEST_ROWS, MOST_ROWS))
    buffer = np.empty((max(rows, 2), len(gallery)), np.float32)
    with ThreadPoolExecutor() as pool:
        for start in range(0, len(queries), rows):
            block = slice(start, start + rows)
            products = buffer[: len(queries[block])]
            # A product with a single row rounds equal columns differently, so the row is doubled.
            alone = len(products) == 1
            factor = np.repeat(queries[block], 2, axis=0) if alone else queries[block]
            np.matmul(factor, gallery.T, out=products if not alone else buffer[:2])
            if own is not None:
                products[np.arange(len(products)), own[block]] = -np.inf
            parts = np.split(products, range(ROWS_A_THREAD, len(products), ROWS_A_THREAD))
            found, values = zip(*pool.map(_largest, parts, repeat(k)), strict=True)
            indices[block], similarities[block] = np.concatenate(found), np.concatenate(values)
    return indices, similarities


def without_own(
    indices: np.ndarray, similarities: np.ndarray, own: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Drops each query's own index from its k + 1 answers, or the last answer if it is missing.

    The first answer is not always the query itself, since a copy of the image may come before it.

    Args:
        indices: Indices of the answers, int32 (Q, k + 1).
        similarities: Similarities of the answers, float32 (Q, k + 1).
        own: Index of each query in the gallery, int (Q,).

    Returns:
        indices int32 (Q, k) and similarities float32 (Q, k), in the same order.
    """
    kept = indices != own[:, None]
    kept[:, -1] &= ~kept.all(axis=1)
    shape = (len(indices), indices.shape[1] - 1)
    return indices[kept].reshape(shape), similarities[kept].reshape(shape)


def _largest(values: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    """Returns columns and values of the k largest in each row; equal values by lower column."""
    num_rows, num_columns = values.shape
    reached = np.flatnonzero(values >= _lower_bound(values, k)[:, None])
    firsts = np.searchsorted(reached, np.arange(num_rows + 1) * num_columns)
    counts = np.diff(firsts)
    columns = reached - np.repeat(np.arange(num_rows) * num_columns, counts)
    keys = np.full((num_rows, counts.max()), np.iinfo(np.int64).max)
    keys[np.arange(counts.max()) < counts[:, None]] = _keys(values.ravel()[reached], columns)
    keys.sort(axis=1)
    columns = (keys[:, :k] & 0xFFFFFFFF).astype(np.int32)
    return columns, np.take_along_axis(values, columns, axis=1)


def _lower_bound(values: np.ndarray, k: int) -> np.ndarray:
    """Returns a lower bound for each row, (rows,), that at least k of its values reach."""
    num_rows, num_columns = values.shape
    size = np.clip(num_columns // (GROUPS_A_NEIGHBOUR * k), 1, GROUP_SIZE)
    groups = num_columns // size
    # A group has every groups-th column, so that the neighbours in a sorted gallery are spread.
    largest = values[:, : size * groups].reshape(num_rows, size, groups).max(axis=1)
    largest.partition(groups - k, axis=1)
    return largest[:, groups - k]


def _keys(values: np.ndarray, columns: np.ndarray) -> np.ndarray:
    """Packs values and columns into int64 that sort by falling value, then by rising column."""
    bits = (values + np.float32(0)).view(np.int32)  # adding 0 makes -0.0 equal to 0.0
    # As integers, the bits of float32 rise with positive values but fall with negative ones.
    rising = np.where(bits < 0, bits ^ 0x7FFFFFFF, bits)
    return (~rising).astype(np.int64) << 32 | columns
