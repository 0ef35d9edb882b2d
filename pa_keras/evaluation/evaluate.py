"""Retrieval metrics of a model on image files, with bootstrap intervals."""

from collections.abc import Sequence
from dataclasses import dataclass

import keras
import numpy as np

from pa_keras.datasets import Images
from pa_keras.evaluation.embedded_files import embed_files
from pa_keras.evaluation.embedder import Embedder
from pa_keras.retrieval import (
    Neighbours,
    bootstrap_interval,
    nearest_centroid,
    num_relevant,
    per_query_metrics,
    search,
)
from pa_keras.retrieval.metrics import as_ks
from pa_keras.retrieval.search import Method


@dataclass(frozen=True)
class Evaluation:
    """The result of an evaluation.

    Args:
        metrics: Mean of each metric over the queries, in [0, 1].
        intervals: 95 % bootstrap interval of each metric, (low, high).
        first_hit_rank: Mean rank of the first right answer; if it is not among the neighbours, it
            counts as the rank after the last.
        first_hit_interval: 95 % bootstrap interval of this rank.
        num_queries: Number of queries that have a right answer; the others do not count.
        num_classes: Number of classes of these queries.
        num_left_out: Number of queries without a right answer.
        neighbours: Neighbours of every query in the gallery, and how they were found.
        per_query: The values behind each mean, one for each query that counts.
        labels: int, the classes of the queries that count.
        query_embeddings: float32 (Q, D).
        gallery_embeddings: float32 (N, D); those of the queries if there is no gallery.
    """

    metrics: dict[str, float]
    intervals: dict[str, tuple[float, float]]
    first_hit_rank: float
    first_hit_interval: tuple[float, float]
    num_queries: int
    num_classes: int
    num_left_out: int
    neighbours: Neighbours
    per_query: dict[str, np.ndarray]
    labels: np.ndarray
    query_embeddings: np.ndarray
    gallery_embeddings: np.ndarray

    @property
    def indices(self) -> np.ndarray:
        """Neighbours of every query in the gallery, int (Q, k), the nearest first."""
        return self.neighbours.indices

    @property
    def search(self) -> str:
        """Which search found the neighbours, and the bound of its error."""
        return self.neighbours.note

    def as_json(self) -> dict:
        """All numbers except those of single queries, ready for `json.dump`."""
        return {
            "metrics": self.metrics,
            "intervals": {name: list(bounds) for name, bounds in self.intervals.items()},
            "first_hit_rank": self.first_hit_rank,
            "first_hit_interval": list(self.first_hit_interval),
            "num_queries": self.num_queries,
            "num_classes": self.num_classes,
            "num_left_out": self.num_left_out,
            "search": self.search,
            "search_report": self.neighbours.report,
        }

    def as_table(self) -> str:
        """A table with one line per metric in percent, then the first-hit rank and counts."""
        lines = [f"{'metric':<17} {'%':>6}   95 % interval"]
        for name, value in self.metrics.items():
            low, high = self.intervals[name]
            lines.append(f"{name:<17} {100 * value:6.2f}   {100 * low:.2f} - {100 * high:.2f}")
        low, high = self.first_hit_interval
        k = self.indices.shape[1]
        missed = int((self.per_query["first_hit_rank"] > k).sum())
        lines.append(
            f"{'first_hit_rank':<17} {self.first_hit_rank:6.2f}   {low:.2f} - {high:.2f} (a rank; "
            f"{missed} without a hit among {k} count as {k + 1})"
        )
        lines.append(f"{self.num_queries} queries of {self.num_classes} classes; {self.search}")
        if self.num_left_out:
            lines.append(f"{self.num_left_out} queries have no right answer and are left out")
        return "\n".join(lines)


def evaluate(
    model: keras.Model,
    queries: Images,
    gallery: Images | None = None,
    *,
    crop_fraction: float = 0.875,
    batch_size: int = 256,
    ks: int | Sequence[int] = (1, 2, 4, 8),
    method: Method = "auto",
    progress: bool = True,
) -> Evaluation:
    """Embeds the images, searches, and measures.

    Args:
        model: Embedding model, (B, H, W, 3) pixels 0..255 to (B, D) unit vectors.
        queries: Images to search for.
        gallery: Images to search. Default None: each query searches all the others.
        crop_fraction: Share of the shorter side that is kept, as in the training. Default 0.875.
        batch_size: Number of images embedded at once. Default 256.
        ks: The K of Recall@K and Precision@K, one or several. Default (1, 2, 4, 8).
        method: "auto", "exact" or "scann". Default "auto".
        progress: Whether to show a progress bar. Default True.

    Returns:
        The means, their intervals, and the neighbours.

    Raises:
        ValueError: ks is out of range; embeddings are not of unit length; no query has a right
            answer.

    Example:
        >>> evaluate(model, dataset.queries).metrics["recall_at_1"]  # doctest: +SKIP
        0.81
    """
    ks = as_ks(ks)

    def embeddings(images: Images) -> np.ndarray:
        return embed_dataset_images(model, images, crop_fraction, batch_size, progress)

    leave_one_out = gallery is None
    vectors = embeddings(queries)
    searched = vectors if gallery is None else embeddings(gallery)
    gallery_labels = None if gallery is None else gallery.labels
    relevant = num_relevant(queries.labels, gallery_labels)
    k = int(min(max(*ks, relevant.max()), len(searched) - leave_one_out))
    labels = queries.labels, gallery_labels
    found = search(vectors, searched, k, leave_one_out, method, *labels)
    values = per_query_metrics(found.indices, *labels, ks)
    gallery_vectors = None if gallery is None else searched
    values["centroid_accuracy"] = nearest_centroid(
        vectors, queries.labels, gallery_vectors, gallery_labels
    )
    means = {name: float(each.mean()) for name, each in values.items()}
    intervals = {name: bootstrap_interval(each) for name, each in values.items()}
    counted = queries.labels[relevant > 0]
    return Evaluation(
        first_hit_rank=means.pop("first_hit_rank"),
        first_hit_interval=intervals.pop("first_hit_rank"),
        metrics=means,
        intervals=intervals,
        num_queries=len(counted),
        num_classes=len(np.unique(counted)),
        num_left_out=len(queries) - len(counted),
        neighbours=found,
        per_query=values,
        labels=counted,
        query_embeddings=vectors,
        gallery_embeddings=searched,
    )


def embed_dataset_images(
    model: keras.Model,
    images: Images,
    crop_fraction: float = 0.875,
    batch_size: int = 256,
    progress: bool = True,
) -> np.ndarray:
    """Embeddings of image files by the evaluation preprocessing, float32 (N, D), in order.

    Args:
        model: Embedding model, (B, H, W, 3) pixels 0..255 to (B, D) unit vectors.
        images: N image files.
        crop_fraction: Share of the shorter side that is kept. Default 0.875.
        batch_size: Number of images embedded at once. Default 256.
        progress: Whether to show a progress bar. Default True.
    """
    return embed_files(Embedder(model), images.paths, crop_fraction, batch_size, progress)
