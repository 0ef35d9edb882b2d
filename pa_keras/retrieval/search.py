"""Finds nearest neighbours among unit vectors."""

import logging
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
import numpy.typing as npt

from pa_keras.arguments.class_ids import common_class_ids
from pa_keras.retrieval.exact import exact_neighbours
from pa_keras.retrieval.scann_import import ScannUnusableError
from pa_keras.retrieval.scann_index import BRUTE_FORCE_BELOW
from pa_keras.retrieval.scann_tuning import Labels, scann_neighbours

logger = logging.getLogger(__name__)

Method = Literal["auto", "exact", "scann"]
METHODS = get_args(Method)
# Half precision changes the length of a unit vector by less than this.
LENGTH_TOLERANCE = 1e-3
# With fewer queries or a larger k, "auto" uses exact search: building and tuning an index, or
# rescoring so many candidates, would take as long.
MANY_QUERIES = 15_000
SMALL_K = 100


@dataclass(frozen=True)
class Neighbours:
    """The k nearest gallery vectors of each query, best first, and how they were found.

    Attributes:
        indices: Rows of the gallery, int32 (Q, k).
        similarities: Cosines, float32 (Q, k).
        method: "exact" or "scann", the search that was used.
        note: A phrase for people: the search, the gallery's size, and what it may have missed.
        report: The same for programs, ready for `json.dump`: method, gallery_size and k; with ScaNN
            its settings, error and seconds (`Tuning`); and the reason if ScaNN was tried but not
            used.
    """

    indices: np.ndarray
    similarities: np.ndarray
    method: str
    note: str
    report: dict


def nearest_neighbours(
    queries: npt.ArrayLike,
    gallery: npt.ArrayLike,
    k: int,
    exclude_self: bool = False,
    method: Method = "auto",
    query_labels: npt.ArrayLike | None = None,
    gallery_labels: npt.ArrayLike | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Finds the k nearest gallery vectors of each query by cosine, and logs the method.

    The cosine is the inner product, so rows must have unit length. Exact search keeps one block
    of similarities at a time, never (Q, N), and orders equal similarities by index.

    Args:
        queries: Rows of unit length (to 1e-3), floating (Q, D).
        gallery: Rows of unit length, floating (N, D).
        k: Number of neighbours per query, from 1 to N (N - 1 with `exclude_self`).
        exclude_self: Whether to leave query i out of its own answers, by its index i, even if
            images repeat; the gallery must be the queries. Default False.
        method: "exact"; "scann", approximate search with a measured error, or exact search with a
            warning if ScaNN is missing, does not load or is not exact enough; or "auto" (the
            default): "scann" where it is faster, from 20,000 gallery vectors, 15,000 queries and
            with k up to 100, else exact.
        query_labels: Class IDs or class names (Q,). With labels, an approximate search is exact
            enough if it changes Recall@1 and Recall@k by at most 0.1 point, at 95 % confidence.
            Default None: if it misses at most 1 % of the nearest, and of the k nearest
            neighbours.
        gallery_labels: The same (N,). Default None: with `exclude_self`, the query_labels.

    Returns:
        indices int32 (Q, k) and similarities float32 (Q, k), best first.

    Raises:
        ValueError: The method is unknown; a rank or width is wrong; a row is not finite or not of
            unit length; k is out of range; `exclude_self` is set and the gallery has another
            length; there is not one label per vector, or the labels are not valid.

    Example:
        >>> points = np.eye(3, dtype="float32")
        >>> indices, similarities = nearest_neighbours(points, points, k=1)
        >>> indices[:, 0].tolist()
        [0, 1, 2]
    """
    found = search(queries, gallery, k, exclude_self, method, query_labels, gallery_labels)
    logger.info("%s", found.note)
    return found.indices, found.similarities


def search(
    queries: npt.ArrayLike,
    gallery: npt.ArrayLike,
    k: int,
    exclude_self: bool = False,
    method: Method = "auto",
    query_labels: npt.ArrayLike | None = None,
    gallery_labels: npt.ArrayLike | None = None,
) -> Neighbours:
    """Like `nearest_neighbours`, but returns `Neighbours`, which also describe the search."""
    if method not in METHODS:
        raise ValueError(f"Expected method to be one of {', '.join(METHODS)}; received {method!r}.")
    same = gallery is queries
    queries = unit_rows("queries", queries)
    gallery = queries if same else unit_rows("gallery", gallery)
    check_sizes(queries, gallery, k, exclude_self)
    labels = _labels(query_labels, gallery_labels, len(queries), len(gallery), exclude_self)
    own = np.arange(len(queries), dtype=np.int32) if exclude_self else None
    exact_note = f"exact search over {len(gallery):,}"
    report = {"method": "exact", "gallery_size": len(gallery), "k": int(k)}
    pays = len(gallery) >= BRUTE_FORCE_BELOW and len(queries) >= MANY_QUERIES and k <= SMALL_K
    if method == "scann" or (method == "auto" and pays):
        try:
            indices, similarities, tuning = scann_neighbours(queries, gallery, k, own, labels)
            note = f"ScaNN over {len(gallery):,} {tuning.error}"
            report |= {"method": "scann", **tuning.as_json()}
            return Neighbours(indices, similarities, "scann", note, report)
        except ScannUnusableError as problem:
            exact_note = f"{exact_note}, because {problem}"
            report["why_not_scann"] = str(problem)
            logger.warning("Fell back to %s.", exact_note)
    return Neighbours(*exact_neighbours(queries, gallery, k, own), "exact", exact_note, report)


def unit_rows(name: str, vectors: npt.ArrayLike) -> np.ndarray:
    """Returns vectors as float32 (N, D); raises a ValueError if a row is not of unit length."""
    vectors = np.ascontiguousarray(vectors, dtype=np.float32)
    if vectors.ndim != 2 or 0 in vectors.shape:
        raise ValueError(
            f"Expected {name} of shape (number, embedding_size), neither of them 0; received shape "
            f"{vectors.shape}."
        )
    # The length of a row with NaN or infinity is not finite either, so one pass is enough.
    lengths = np.sqrt(np.einsum("nd,nd->n", vectors, vectors))
    _refuse(name, "finite", ~np.isfinite(lengths), lengths, "see whether the training diverged")
    _refuse(
        name,
        "unit-length",
        np.abs(lengths - 1) > LENGTH_TOLERANCE,
        lengths,
        "divide each row by its length, so that an inner product is a cosine",
    )
    return vectors


def _refuse(name: str, wanted: str, bad: np.ndarray, lengths: np.ndarray, advice: str) -> None:
    rows = np.flatnonzero(bad)
    if len(rows):
        shown = ", ".join(f"{row} (length {lengths[row]:.4g})" for row in rows[:5])
        raise ValueError(
            f"Expected {wanted} rows in {name}; received {len(rows)} others of {len(lengths)}, "
            f"rows {shown}{', ...' if len(rows) > 5 else ''}; {advice}."
        )


def check_sizes(queries: np.ndarray, gallery: np.ndarray, k: int, exclude_self: bool) -> None:
    """Raises a ValueError unless the sizes of queries and gallery fit, and k is in range."""
    if queries.shape[1] != gallery.shape[1]:
        raise ValueError(
            "Expected queries and gallery of one embedding_size; received "
            f"{queries.shape[1]} and {gallery.shape[1]}; embed both with the same model."
        )
    if exclude_self and len(queries) != len(gallery):
        raise ValueError(
            "Expected the gallery to be the queries, since exclude_self drops query i as gallery "
            f"row i; received {len(queries)} queries and {len(gallery)} gallery vectors; pass the "
            "queries as gallery, or exclude_self=False."
        )
    available = len(gallery) - exclude_self
    if not 1 <= k <= available:
        raise ValueError(
            f"Expected k from 1 to {available}; received k={k} with a gallery of {len(gallery)} "
            f"vectors{' without the query itself' if exclude_self else ''}; lower k or enlarge the "
            "gallery."
        )


def as_neighbours(
    nearest: npt.ArrayLike, num_queries: int, gallery_size: int, exclude_self: bool
) -> np.ndarray:
    """Returns neighbours as an array; raises a ValueError unless they fit queries and gallery."""
    nearest = np.asarray(nearest)
    if nearest.ndim != 2 or len(nearest) != num_queries or 0 in nearest.shape:
        raise ValueError(
            f"Expected neighbours of shape ({num_queries}, k), k of 1 or more; received "
            f"{nearest.shape}."
        )
    if nearest.min() < 0 or nearest.max() >= gallery_size:
        raise ValueError(
            f"Expected neighbours from 0 to {gallery_size - 1}, rows of the gallery; received "
            f"{nearest.min()} to {nearest.max()}."
        )
    if exclude_self and (nearest == np.arange(num_queries)[:, None]).any():
        raise ValueError(
            "Expected neighbours without the query itself, since the queries are the gallery; "
            "received a query among its own. Search with exclude_self=True."
        )
    return nearest


def _labels(
    query_labels: npt.ArrayLike | None,
    gallery_labels: npt.ArrayLike | None,
    num_queries: int,
    num_vectors: int,
    exclude_self: bool,
) -> Labels | None:
    if gallery_labels is None and exclude_self:
        gallery_labels = query_labels
    if query_labels is None and gallery_labels is None:
        return None
    shapes = np.asarray(query_labels).shape, np.asarray(gallery_labels).shape
    if shapes != ((num_queries,), (num_vectors,)):
        raise ValueError(
            f"Expected query_labels of shape ({num_queries},) and gallery_labels of shape "
            f"({num_vectors},), or neither; received {shapes[0]} and {shapes[1]}; give a label "
            "for each vector."
        )
    return common_class_ids(query_labels, gallery_labels)
