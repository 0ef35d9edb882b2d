"""What smaller embeddings are worth: fewer numbers, and fewer bits for each."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
import numpy.typing as npt

from pa_keras.class_ids import class_labels
from pa_keras.retrieval.exact import exact_neighbours
from pa_keras.retrieval.metrics import recall_at_k
from pa_keras.retrieval.relevance import check_answerable, matches, num_relevant

Code = Literal["float32", "int8", "binary"]
CODES = get_args(Code)
BITS = {"float32": 32, "int8": 8, "binary": 1}
# Below it, little is left of any embedding.
SMALLEST_SIZE = 16


@dataclass(frozen=True)
class Compressed:
    """Recall@1 of embeddings of one size in one code.

    Attributes:
        size: numbers a vector.
        code: "float32", "int8" or "binary".
        bytes_per_vector: whole bytes that the codes take.
        recall_at_1: in [0, 1].
    """

    size: int
    code: str
    bytes_per_vector: int
    recall_at_1: float


def principal_axes(vectors: np.ndarray, size: int) -> np.ndarray:
    """The axes that keep most of the vectors' mean square, float32 (D, size), best first.

    PCA without centring: it is the inner products that are to stay, and all D axes together only
    turn the vectors, which changes none. No labels are used.

    Args:
        vectors: float (N, D).
        size: number of axes, 1 to D.

    Raises:
        ValueError: size out of range.
    """
    if not 1 <= size <= vectors.shape[1]:
        raise ValueError(
            f"Expected size from 1 to the embeddings' {vectors.shape[1]}; received {size}; give "
            "a smaller one."
        )
    # eigh: eigenvalues rise.
    _, axes = np.linalg.eigh((vectors.T @ vectors).astype(np.float64))
    return np.ascontiguousarray(axes[:, ::-1][:, :size], dtype=np.float32)


def coded(vectors: np.ndarray, code: Code) -> np.ndarray:
    """What is left of unit vectors once they were stored, float32 (N, D), of one length.

    float32: the vectors themselves, to the last bit. int8: each vector is scaled so that its
    largest component becomes 127, and rounded; its length need not be kept, since the cosine
    ignores it. binary: the signs, 1 or -1, whose inner product is D - 2 h, h being the Hamming
    distance, so that both give the same neighbours. Many distances are equal; whole numbers keep
    them so, and the lower index goes first.

    Args:
        vectors: float32 (N, D).
        code: "float32", "int8" or "binary".
    """
    if code == "int8":
        largest = np.abs(vectors).max(axis=1, keepdims=True)
        vectors = np.rint(vectors * (127 / np.maximum(largest, 1e-12)))
    elif code == "binary":
        return np.where(vectors < 0, np.float32(-1), np.float32(1))
    return vectors if code == "float32" else unit(vectors)


def unit(vectors: np.ndarray) -> np.ndarray:
    """Rows divided by their lengths; a row of zeros stays."""
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    return (vectors / np.maximum(lengths, 1e-12)).astype(np.float32)


def compression_table(
    queries: np.ndarray,
    query_labels: npt.ArrayLike,
    gallery: np.ndarray | None = None,
    gallery_labels: npt.ArrayLike | None = None,
    sizes: Sequence[int] | None = None,
) -> list[Compressed]:
    """Recall@1 by exact search, for each size after PCA and each code.

    The axes are fitted to the vectors that are searched, without their labels, as an index would.
    Queries and gallery are cut, normalised again and coded alike. The complete size in float32 is
    searched as `search` does it, so that its Recall@1 is the one that exact search gives.

    Args:
        queries: float32 (Q, D), unit rows.
        query_labels: class IDs or class names (Q,).
        gallery: float32 (N, D), unit rows. Default None: leave-one-out among the queries.
        gallery_labels: the same (N,), given if and only if `gallery` is.
        sizes: numbers a vector. Default None: D, D / 2, D / 4, ... down to 16.

    Returns:
        One `Compressed` for each size and code.

    Raises:
        ValueError: a size out of range; no query has a right answer.

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
            # One array in leave-one-out, and queries without a right answer too: BLAS rounds a
            # product of other factors otherwise, which decides between neighbours equally near.
            query_codes = codes if leave_one_out else coded(small_queries, code)
            indices, _ = exact_neighbours(query_codes, codes, 1, own)
            recall = float(recall_at_k(matches(indices[answerable], *labels), 1).mean())
            rows.append(Compressed(size, code, -(-size * BITS[code] // 8), recall))
    return rows


def _rotation(size: int) -> np.ndarray:
    """A random rotation: principal axes are unequal, and a sign or a step costs each of them alike.

    Source: Jegou et al., Aggregating Local Descriptors into Compact Codes, TPAMI 2012.
    """
    rotation, _ = np.linalg.qr(np.random.default_rng(0).normal(size=(size, size)))
    return rotation.astype(np.float32)


def halves(size: int) -> list[int]:
    """The size, its half, and so on, none below 16 but the first."""
    sizes = [size]
    while sizes[-1] // 2 >= SMALLEST_SIZE:
        sizes.append(sizes[-1] // 2)
    return sizes


def as_table(rows: Sequence[Compressed]) -> str:
    """A line a size; Recall@1 in percent, and the bytes of a vector, by code."""
    lines = ["size " + "".join(f"  {code:>8} {'bytes':>6}" for code in CODES)]
    for size in dict.fromkeys(row.size for row in rows):
        cells = (
            f"  {100 * row.recall_at_1:8.2f} {row.bytes_per_vector:>6}"
            for row in rows
            if row.size == size
        )
        lines.append(f"{size:<5}" + "".join(cells))
    return "\n".join(lines)
