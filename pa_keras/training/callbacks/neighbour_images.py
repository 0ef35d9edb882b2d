"""The neighbours of a few queries as a picture in TensorBoard, at each evaluated epoch."""

from pathlib import Path

import keras
import numpy as np
import tensorflow as tf
from matplotlib.backends.backend_agg import FigureCanvasAgg

from pa_keras.datasets import Images
from pa_keras.plots import neighbours_figure, random_queries
from pa_keras.training.callbacks.recall_at_k import RecallAtK

# This gives 105 pixels per image: TensorBoard stores the picture of each epoch as a PNG.
_DPI = 70


class NeighbourPictures(keras.callbacks.Callback):
    """Draws the neighbours that `RecallAtK` found for a fixed sample of queries.

    Nothing is embedded or searched again. An epoch that `RecallAtK` did not measure has no picture.

    Args:
        recall: The callback that measures, earlier in the list of callbacks.
        queries: The Q query images of `recall`, in the same order.
        gallery: The N gallery images of `recall`. None if it has no gallery.
        folder: Folder of the TensorBoard log, which nothing else may write to.
        num_queries: Number of queries to draw, of different classes if possible. Default 6.
        seed: Seed of the choice of queries. Default 0.

    Example:
        >>> pictures = NeighbourPictures(
        ...     recall, dataset.queries, dataset.gallery, Path("logs/neighbours")
        ... )  # doctest: +SKIP
        >>> model.fit(batches, callbacks=[recall, pictures])  # doctest: +SKIP
    """

    def __init__(
        self,
        recall: RecallAtK,
        queries: Images,
        gallery: Images | None,
        folder: Path,
        num_queries: int = 6,
        seed: int = 0,
    ):
        super().__init__()
        self.recall = recall
        self.queries = queries
        self.gallery = gallery
        self.folder = folder
        self.chosen = random_queries(queries, gallery, num_queries, seed)
        self._drawn: np.ndarray | None = None
        self._writer: tf.summary.SummaryWriter | None = None

    def on_epoch_end(self, epoch: int, logs: dict | None = None) -> None:
        indices = self.recall.indices
        if indices is None or indices is self._drawn:
            return
        self._drawn = indices
        if self._writer is None:
            self._writer = tf.summary.create_file_writer(str(self.folder))
        figure = neighbours_figure(self.queries, self.gallery, indices, self.chosen)
        figure.set_dpi(_DPI)
        canvas = FigureCanvasAgg(figure)
        canvas.draw()
        pixels = np.asarray(canvas.buffer_rgba())[np.newaxis, ..., :3]
        with self._writer.as_default():
            tf.summary.image("neighbours", pixels, step=epoch)
        self._writer.flush()

    def on_train_end(self, logs: dict | None = None) -> None:
        if self._writer is not None:
            self._writer.close()
            self._writer = None
