"""Embedding image files by the evaluation preprocessing."""

from collections.abc import Callable, Sequence

import numpy as np

from pa_keras.evaluation.embedder import Embedder
from pa_keras.pipelines import evaluation_batches


def embed_files(
    embedder: Embedder,
    paths: Sequence[str],
    crop_fraction: float,
    batch_size: int,
    progress: bool = False,
    advance: Callable[[int], object] = int,
) -> np.ndarray:
    """Embeddings of image files by the evaluation preprocessing, float32 (N, D), in order.

    Args:
        embedder: Embeds the images, which are resized to the input of its model.
        paths: N image files.
        crop_fraction: Share of the shorter side that is kept, in (0, 1].
        batch_size: Number of images embedded at once.
        progress: Whether to show a progress bar. Default False.
        advance: Function called with the number of images of each batch. Default: none.
    """
    batches = evaluation_batches(
        paths,
        batch_size=batch_size,
        image_size=embedder.model.input_shape[1:3],
        crop_fraction=crop_fraction,
    )
    return embedder(batches, len(paths), progress, advance)
