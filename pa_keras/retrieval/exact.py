"""Exact search: the oracle that everything approximate is measured against."""

from concurrent.futures import ThreadPoolExecutor
from itertools import repeat

import numpy as np

# Similarities held at once, 4 bytes each: 80 MB, or those of the fewest rows that keep BLAS busy.
BLOCK_SIZE = 5 * 2**22
FEWEST_ROWS, MOST_ROWS = 64, 1024
# Rows that one thread takes the largest of: NumPy multiplies on every core, but sorts on one.
ROWS_A_THREAD = 32
# Columns in one group, at most; and groups for each neighbour wanted, at least.
GROUP_SIZE = 64
GROUPS_A_NEIGHBOUR = 4


def exact_neighbours(
    queries: np.ndarray, gallery: np.ndarray, k: int, own: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """The k largest inner products of each query with the gallery, in blocks of queries.

    Sorting whole rows would cost as much as the product. Of the largest value in each group of
    columns, the k-th largest is a bound that at least k values of the row reach, and few more do:
    those alone are sorted.

    Args:
        queries: float32 (Q, D).
        gallery: float32 (N, D).
        k: neighbours a query, at most N, or N - 1 with `own`.
        own: int (Q,), the index of each query in the gallery, left out of its answers.
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
            # A product with a single row rounds equal columns differently: it is made of two.
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
    """Drop each query's own index from its k + 1 answers, or the last where it is not there.

    By index, not "the first answer": where an image repeats, its copy may come before itself.

    Args:
        indices: int32 (Q, k + 1).
        similarities: float32 (Q, k + 1).
        own: int (Q,).

    Returns:
        indices int32 (Q, k) and similarities float32 (Q, k), in the order they had.
    """
    kept = indices != own[:, None]
    kept[:, -1] &= ~kept.all(axis=1)
    shape = (len(indices), indices.shape[1] - 1)
    return indices[kept].reshape(shape), similarities[kept].reshape(shape)


def _largest(values: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    """Columns and values of the k largest in each row, ties by lower column."""
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
    """A value of each row that at least k of the row reach, (rows,)."""
    num_rows, num_columns = values.shape
    size = np.clip(num_columns // (GROUPS_A_NEIGHBOUR * k), 1, GROUP_SIZE)
    groups = num_columns // size
    # A group takes every groups-th column: neighbours in a sorted gallery fall into several.
    largest = values[:, : size * groups].reshape(num_rows, size, groups).max(axis=1)
    largest.partition(groups - k, axis=1)
    return largest[:, groups - k]


def _keys(values: np.ndarray, columns: np.ndarray) -> np.ndarray:
    """int64 that sort as (falling value, rising column): one sort of numbers, the fastest."""
    bits = (values + np.float32(0)).view(np.int32)  # + 0: -0.0 ties with 0.0
    # The bits of a negative float32 grow as it falls, those of a positive one as it grows.
    rising = np.where(bits < 0, bits ^ 0x7FFFFFFF, bits)
    return (~rising).astype(np.int64) << 32 | columns
