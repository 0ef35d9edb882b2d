"""Recall@1 of compressed embeddings, with fewer dimensions and fewer bits per number."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
import numpy.typing as npt

from pa_keras.arguments.class_ids import class_labels
from pa_keras.retrieval.exact import exact_neighbours
from pa_keras.retrieval.metrics import recall_at_k
from pa_keras.retrieval.relevance import check_answerable, matches, num_relevant

Code = Literal["float32", "int8", "binary"]
CODES = get_args(Code)
BITS = {"float32": 32, "int8": 8, "binary": 1}
# Smaller embeddings lose most of their information.
SMALLEST_SIZE = 16


@dataclass(frozen=True)
class Compressed:
    """Recall@1 of embeddings of one size in one code.

    Attributes:
        size: Number of dimensions.
        code: "float32", "int8" or "binary".
        bytes_per_vector: Size of a coded vector in bytes, rounded up.
        recall_at_1: Recall@1, in [0, 1].
    """

    size: int
    code: str
    bytes_per_vector: int
    recall_at_1: float


def principal_axes(vectors: np.ndarray, size: int) -> np.ndarray:
    """Returns the axes that keep most of the vectors' mean square, float32 (D, size), best first.

    This is PCA without centring, which preserves inner products: all D axes together only rotate
    the vectors. No labels are used.

    Args:
        vectors: Vectors, float (N, D).
        size: Number of axes, 1 to D.

    Raises:
        ValueError: The size is out of range.
    """
    if not 1 <= size <= vectors.shape[1]:
        raise ValueError(
            f"Expected size from 1 to the embeddings' {vectors.shape[1]}; received {size}; give "
            "a smaller one."
        )
    # `eigh` returns the eigenvalues in ascending order.
    _, axes = np.linalg.eigh((vectors.T @ vectors).astype(np.float64))
    return np.ascontiguousarray(axes[:, ::-1][:, :size], dtype=np.float32)


def coded(vectors: np.ndarray, code: Code) -> np.ndarray:
    """Returns unit vectors as they are after coding and decoding, float32 (N, D), of equal length.

    float32: the vectors, bit for bit. int8: each vector is scaled so that its largest component
    becomes 127, and rounded; its length is not kept, since the cosine ignores it. binary: the
    signs, 1 or -1, whose inner product is D - 2 h, where h is the Hamming distance, so that both
    give the same neighbours. Many distances are equal; integers keep them exactly equal, and the
    lower index comes first.

    Args:
        vectors: Unit vectors, float32 (N, D).
        code: "float32", "int8" or "binary".
    """
    if code == "int8":
        largest = np.abs(vectors).max(axis=1, keepdims=True)
        vectors = np.rint(vectors * (127 / np.maximum(largest, 1e-12)))
    elif code == "binary":
        return np.where(vectors < 0, np.float32(-1), np.float32(1))
    return vectors if code == "float32" else unit(vectors)


def unit(vectors: np.ndarray) -> np.ndarray:
    """Divides rows by their lengths; rows of zeros do not change."""
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    return (vectors / np.maximum(lengths, 1e-12)).astype(np.float32)


def compression_table(
    queries: np.ndarray,
    query_labels: npt.ArrayLike,
    gallery: np.ndarray | None = None,
    gallery_labels: npt.ArrayLike | None = None,
    sizes: Sequence[int] | None = None,
) -> list[Compressed]:
    """Computes Recall@1 by exact search, for each size after PCA and for each code.

    The axes are fitted to the vectors that are searched, without labels, as an index would do.
    Queries and gallery are reduced, normalised again and coded in the same way. The full size in
    float32 is searched as in `search`, so that its Recall@1 is that of exact search.

    Args:
        queries: Unit rows, float32 (Q, D).
        query_labels: Class IDs or class names (Q,).
        gallery: Unit rows, float32 (N, D). Default None: leave-one-out among the queries.
        gallery_labels: The same (N,), given if and only if `gallery` is.
        sizes: Numbers of dimensions. Default None: D, D / 2, D / 4, ... down to 16.

    Returns:
        One `Compressed` for each size and code.

    Raises:
        ValueError: A size is out of range, or no query has a right answer.

    Example:
        >>> points = np.array([[1, 0], [0.8, 0.6], [0, 1], [-0.6, 0.8]], "float32")
        >>> compression_table(points, [0, 0, 1, 1], sizes=[2])[0]
        Compressed(size=2, code='float32', bytes_per_vector=8, recall_at_1=1.0)
    """
    query_labels = class_labels("query_labels", query_labels)
    answerable = check_answerable(num_relevant(query_labels, gallery_labels))
    leave_one_out = gallery is None
    labels = query_labels[answerable], query_labels if leave_one_out else gallery_labels
    own = np.arange(len(queries), dtype=np.int32) if leave_one_out else None
    searched = queries if gallery is None else gallery
    sizes = halves(searched.shape[1]) if sizes is None else sizes
    axes = principal_axes(searched, max(sizes))
    rows = []
    for size in sizes:
        small, small_queries = searched, queries
        if size < searched.shape[1]:
            kept = axes[:, :size] @ _rotation(size)
            small, small_queries = unit(searched @ kept), unit(queries @ kept)
        for code in CODES:
            codes = coded(small, code)
            # Leave-one-out uses one array, and all queries are searched: with other factors, BLAS
            # rounds products differently, which would change the order of equal neighbours.
            query_codes = codes if leave_one_out else coded(small_queries, code)
            indices, _ = exact_neighbours(query_codes, codes, 1, own)
            recall = float(recall_at_k(matches(indices[answerable], *labels), 1).mean())
            rows.append(Compressed(size, code, -(-size * BITS[code] // 8), recall))
    return rows


def _rotation(size: int) -> np.ndarray:
    """Returns a random rotation, which balances the axes, since all have the same number of bits.

    Source: Jegou et al., Aggregating Local Descriptors into Compact Codes, TPAMI 2012.
    """
    rotation, _ = np.linalg.qr(np.random.default_rng(0).normal(size=(size, size)))
    return rotation.astype(np.float32)


def halves(size: int) -> list[int]:
    """Returns the size, its half, and so on; only the first may be below 16."""
    sizes = [size]
    while sizes[-1] // 2 >= SMALLEST_SIZE:
        sizes.append(sizes[-1] // 2)
    return sizes


def as_table(rows: Sequence[Compressed]) -> str:
    """Formats one line per size, with Recall@1 in percent and bytes per vector for each code."""
    lines = ["size " + "".join(f"  {code:>8} {'bytes':>6}" for code in CODES)]
    for size in dict.fromkeys(row.size for row in rows):
        cells = (
            f"  {100 * row.recall_at_1:8.2f} {row.bytes_per_vector:>6}"
            for row in rows
            if row.size == size
        )
        lines.append(f"{size:<5}" + "".join(cells))
    return "\n".join(lines)
