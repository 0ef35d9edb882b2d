"""Recall@1 of raw pixels on the unseen characters of `glyphs`, as a baseline for learning.

    python benchmarks/glyphs_raw_pixels.py

It compares images by the cosine of their raw pixels; then of pixels minus the mean of the image,
which removes the brightness. Result, 2026-11: .035 and .047; `configs/glyphs.yaml` says what
learning reaches.
"""

import numpy as np
from PIL import Image

from pa_keras import datasets, retrieval


def main() -> None:
    """Prints one line for each kind of pixels."""
    queries = datasets.load("glyphs").queries
    pixels = np.stack([np.asarray(Image.open(path), np.float32).ravel() for path in queries.paths])
    print(f"{queries}, {pixels.shape[1]} numbers an image")
    print(f"raw pixels:            Recall@1 {recall_at_1(pixels, queries.labels):.3f}")
    centred = pixels - pixels.mean(axis=1, keepdims=True)
    print(f"less the image's mean: Recall@1 {recall_at_1(centred, queries.labels):.3f}")


def recall_at_1(vectors: np.ndarray, labels: np.ndarray) -> float:
    """Returns the share of vectors (N, D) whose nearest other vector has the same label (N,)."""
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    nearest, _ = retrieval.nearest_neighbours(unit, unit, k=1, exclude_self=True, method="exact")
    return float(np.mean(labels[nearest[:, 0]] == labels))


if __name__ == "__main__":
    main()
