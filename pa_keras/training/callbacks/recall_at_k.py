"""Measuring Recall@K on other classes at the end of an epoch."""

import logging
import time
from collections.abc import Mapping, Sequence

import keras
import numpy as np

from pa_keras.arguments.class_ids import class_ids, common_class_ids
from pa_keras.evaluation.embedder import Embedder
from pa_keras.retrieval import (
    matches,
    mean_average_precision_at_r,
    num_relevant,
    recall_at_k,
    search,
)
from pa_keras.retrieval.metrics import as_ks
from pa_keras.retrieval.relevance import check_answerable
from pa_keras.retrieval.search import Method
from pa_keras.training.callbacks.labelled_images import Labelled, labelled_images
from pa_keras.training.embedding_part import embedding_part

logger = logging.getLogger(__name__)


class RecallAtK(keras.callbacks.Callback):
    """Writes `recall_at_K` into the logs of an epoch, for later callbacks.

    ModelCheckpoint, EarlyStopping, CSVLogger and TensorBoard, placed after it in `fit`, can then
    monitor and record `recall_at_1`. One log line per epoch says which search was used and, if it
    was approximate, how far the recalls may be from those of exact search.

    The first epoch, every `every`-th and the last of each `fit` are measured. In between the last
    values are repeated, since CSVLogger keeps the columns of its first epoch and EarlyStopping
    needs its monitor in every epoch; a repeated value is never an improvement. If the embeddings
    are NaN, so are the values.

    Args:
        queries: Images with their class IDs or class names, as one of:
            - A finite tf.data.Dataset, keras.utils.PyDataset or PyTorch DataLoader of batches
              (images, labels), which may shuffle: images (B, H, W, 3), labels (B,), (B, 1) or
              one-hot.
            - A pair (dataset, labels), labels (Q,), in the order of the dataset, which must be the
              same in every pass. Labels in its batches must be equal to them.
            - A pair of arrays: images (Q, H, W, 3), labels (Q,).
            - A pair of a distributed dataset of images without labels, and labels; images beyond
              the number of labels are left out.
        gallery: The images to search, in the same forms. Default None: leave-one-out, every query
            searches all the others.
        ks: One K or several. Default (1, 2, 4, 8). A K beyond the gallery counts all of it.
        every: Number of epochs from one measurement to the next. Default 1.
        method: "auto", "exact" or "scann", as in `retrieval.nearest_neighbours`. Default "auto".
        prefix: Prefix of the names in the logs, such as "train_". Default "".
        embedding_model: Model from images to unit-length embeddings. Default None: the part of the
            trained model before its `Proxies` layer, or all of it if it has none. It is required
            for a subclassed model with such a layer, since Keras cannot extract that part.
        map_at_r: Whether to write `map_at_r` too, for which as many neighbours are searched as the
            largest class has images. Default False.
        jit_compile: Whether to compile the model by XLA, as in `Embedder`. Default False.

    Attributes:
        seconds: float, seconds spent on measuring so far; subtract them from the time of `fit` to
            get the time of the training.
        note: str, which search the last measurement used, and the bound of its error.
        indices: int (Q, k), neighbours that the last measurement found; None before the first.

    Raises:
        ValueError: At the start of `fit`: images, labels and model do not fit together. At a
            measurement: no query has a right answer, or the labels of the batches differ from those
            given.

    Example:
        >>> callback = RecallAtK((np.zeros((4, 8, 8, 3)), [0, 0, 1, 1]), ks=1)
        >>> # model.fit(batches, callbacks=[callback, keras.callbacks.CSVLogger("metrics.csv")])
        >>> unseen = keras.utils.image_dataset_from_directory("unseen")  # doctest: +SKIP
        >>> callback = RecallAtK(unseen)  # doctest: +SKIP

    Source: Kim et al., Proxy Anchor Loss for Deep Metric Learning, CVPR 2020, section 4.
    """

    def __init__(
        self,
        queries: Labelled,
        gallery: "Labelled | None" = None,
        ks: int | Sequence[int] = (1, 2, 4, 8),
        every: int = 1,
        method: Method = "auto",
        prefix: str = "",
        embedding_model: keras.Model | None = None,
        map_at_r: bool = False,
        jit_compile: bool = False,
    ) -> None:
        super().__init__()
        if every < 1:
            raise ValueError(f"Expected every of 1 or more; received {every}.")
        self.queries = labelled_images("queries", queries)
        self.gallery = None if gallery is None else labelled_images("gallery", gallery)
        self.ks = as_ks(ks)
        self.every = every
        self.method = method
        self.prefix = prefix
        self.embedding_model = embedding_model
        self.map_at_r = map_at_r
        self.jit_compile = jit_compile
        self.seconds = 0.0
        self.note = ""
        self.indices: np.ndarray | None = None
        self._embedder: Embedder | None = None
        self._values: dict[str, float] = {}
        labels, searched = self.queries.labels, (self.gallery or self.queries).labels
        if labels is not None and searched is not None:
            check_answerable(num_relevant(*_numbered(labels, searched, self.gallery is None)))

    def resume_from(self, logs: Mapping[str, float]) -> None:
        """Repeats the last values of an interrupted training until the next measurement.

        Args:
            logs: The logs of the last epoch.
        """
        names = (f"{self.prefix}recall_at_", f"{self.prefix}map_at_r")
        self._values = {name: value for name, value in logs.items() if name.startswith(names)}

    def measure_before_training(self) -> dict[str, float]:
        """Measures the embedding model as it is now; call it before `fit`.

        The values are in no logs, and no epoch repeats them: the first epoch is measured as always.

        Returns:
            The values by their names in the logs.

        Raises:
            ValueError: No `embedding_model` was given, or the callback raises it in `fit`.

        Example:
            >>> images, labels = np.full((4, 8, 8, 3), 9.0), [0, 0, 1, 1]
            >>> layers = [keras.layers.Flatten(), keras.layers.UnitNormalization()]
            >>> model = keras.Sequential([keras.Input((8, 8, 3)), *layers])
            >>> callback = RecallAtK((images, labels), ks=3, embedding_model=model)
            >>> callback.measure_before_training()
            {'recall_at_3': 1.0}
        """
        if self.embedding_model is None:
            raise ValueError(
                "Expected an embedding_model to measure before fit; received none. Give it to "
                "RecallAtK."
            )
        return self._timed("Before training", self._ready_embedder())

    def on_train_begin(self, logs: dict | None = None) -> None:
        self._ready_embedder()

    def on_epoch_end(self, epoch: int, logs: dict | None = None) -> None:
        last = epoch + 1 == self.params.get("epochs")
        due = not self._values or last or (epoch + 1) % self.every == 0
        if due and self._embedder is not None:
            self._values = self._timed(f"Epoch {epoch + 1}", self._embedder)
        if logs is not None:
            logs.update(self._values)

    def _ready_embedder(self) -> Embedder:
        """The embedder, made and checked with a batch at the first call."""
        if self._embedder is None:
            started = time.perf_counter()
            model = self.embedding_model or embedding_part(self.model)
            self._embedder = Embedder(model, self.jit_compile)
            for part in (self.queries, self.gallery):
                if part is not None:
                    part.check(self._embedder)
            self.seconds += time.perf_counter() - started
        return self._embedder

    def _timed(self, when: str, embedder: Embedder) -> dict[str, float]:
        """Measures, counts the seconds and logs the values."""
        started = time.perf_counter()
        values = self._measure(embedder)
        self.seconds += time.perf_counter() - started
        recalls = ", ".join(f"{name} {value:.4f}" for name, value in values.items())
        logger.info("%s: %s (%s)", when, recalls, self.note)
        return values

    def _measure(self, embedder: Embedder) -> dict[str, float]:
        names = [f"{self.prefix}recall_at_{k}" for k in self.ks]
        names += [f"{self.prefix}map_at_r"] if self.map_at_r else []
        alone = self.gallery is None
        queries, query_labels = self.queries.embed(embedder)
        gallery, gallery_labels = queries, query_labels
        if self.gallery is not None:
            gallery, gallery_labels = self.gallery.embed(embedder)
        labels, searched = _numbered(query_labels, gallery_labels, alone)
        relevant = num_relevant(labels, searched)
        answerable = check_answerable(relevant)
        if not answerable.all() and self.indices is None:  # once, at the first measurement
            left_out = int((~answerable).sum())
            logger.info("%d queries have no right answer and are left out.", left_out)
        if not (np.isfinite(queries).all() and np.isfinite(gallery).all()):
            # Another callback reports that training diverged; an error here would hide its message.
            self.note = "not searched: the embeddings are not finite"
            return dict.fromkeys(names, float("nan"))
        available = len(gallery) - alone
        relevant = relevant[answerable]
        wanted = max(*self.ks, relevant.max() if self.map_at_r else 1)
        k = int(min(wanted, available))
        found = search(queries, gallery, k, alone, self.method, labels, searched)
        self.note, self.indices = found.note, found.indices
        right = matches(found.indices, labels, labels if searched is None else searched)[answerable]
        values = [recall_at_k(right, min(k, available)).mean() for k in self.ks]
        if self.map_at_r:
            values.append(mean_average_precision_at_r(right, relevant).mean())
        return dict(zip(names, map(float, values), strict=True))


def _numbered(
    query_labels: np.ndarray | None, gallery_labels: np.ndarray | None, alone: bool
) -> tuple[np.ndarray, np.ndarray | None]:
    """Both as IDs of their common classes; None for the gallery if it is the queries."""
    if alone:
        return class_ids("query_labels", query_labels), None
    return common_class_ids(query_labels, gallery_labels)
