"""Recall@K of images of other classes, measured at the end of an epoch."""

import logging
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import keras
import numpy as np
import numpy.typing as npt
import tensorflow as tf

from pa_keras.evaluation.embedder import Batch, Embedder
from pa_keras.layers import Proxies
from pa_keras.retrieval import (
    matches,
    mean_average_precision_at_r,
    num_relevant,
    recall_at_k,
    search,
)
from pa_keras.retrieval.search import Method

logger = logging.getLogger(__name__)

# Images of an array that are embedded at once; a tf.data.Dataset brings its own batches.
BATCH_SIZE = 64

# Images as batches, and with their labels.
Batches = tf.data.Dataset | tf.distribute.DistributedDataset
Pair = tuple[Batches | npt.ArrayLike, npt.ArrayLike]


class RecallAtK(keras.callbacks.Callback):
    """Writes `recall_at_K` into the logs of an epoch, for the callbacks that stand after it.

    So ModelCheckpoint, EarlyStopping, CSVLogger and TensorBoard, standing after it in `fit`, can
    monitor and record `recall_at_1`. One log line an epoch says which search was used, and how far
    the recalls may be from those of exact search where it was approximate.

    The first epoch, every `every`-th and the last of each `fit` are measured. In between the last
    values are repeated, since CSVLogger keeps the columns of its first epoch and EarlyStopping
    wants its monitor in each: a repeated value is never an improvement. If the model gives NaN, so
    are the values.

    Args:
        queries: pair of images and int labels (Q,). The images are a float array (Q, H, W, 3) or a
            batched, finite tf.data.Dataset in a fixed order, of images or of tuples which start
            with them. Or such a dataset distributed, with more images at its end, which are left
            out.
        gallery: such a pair. Default None: leave-one-out, every query searches all the others.
        ks: the Ks. Default (1, 2, 4, 8). A K beyond the gallery counts the whole of it.
        every: epochs from one measurement to the next. Default 1.
        method: "auto", "exact" or "scann", as of `retrieval.nearest_neighbours`. Default "auto".
        prefix: put before the names, such as "train_". Default "".
        embedding_model: images -> unit-length embeddings. Default None: the part of the trained
            model before its `Proxies` layer, or the whole model if it has none.
        map_at_r: whether to write `map_at_r` too, for which as many neighbours are searched as the
            largest class has images. Default False.
        jit_compile: as of `Embedder`. Default False.

    Attributes:
        seconds: float, spent in measuring so far: take it from the time of `fit` for that of the
            training.
        note: str, which search the last measurement used, and how far it may be from the truth.
        indices: int (Q, k), what the last measurement found; None before the first.

    Raises:
        ValueError: at the start of `fit`, if images, labels or model do not fit together.

    Example:
        >>> callback = RecallAtK((np.zeros((4, 8, 8, 3)), [0, 0, 1, 1]), ks=(1,))
        >>> # model.fit(batches, callbacks=[callback, keras.callbacks.CSVLogger("metrics.csv")])

    Source: Kim et al., Proxy Anchor Loss for Deep Metric Learning, CVPR 2020, section 4.
    """

    def __init__(
        self,
        queries: Pair,
        gallery: Pair | None = None,
        ks: Sequence[int] = (1, 2, 4, 8),
        every: int = 1,
        method: Method = "auto",
        prefix: str = "",
        embedding_model: keras.Model | None = None,
        map_at_r: bool = False,
        jit_compile: bool = False,
    ) -> None:
        super().__init__()
        if not ks or min(ks) < 1 or every < 1:
            raise ValueError(
                f"Expected ks and every of 1 or more; received ks={tuple(ks)}, every={every}."
            )
        self.queries = _labelled("queries", queries)
        self.gallery = None if gallery is None else _labelled("gallery", gallery)
        self.ks = tuple(ks)
        self.every = every
        self.method = method
        self.prefix = prefix
        self.embedding_model = embedding_model
        self.map_at_r = map_at_r
        self.jit_compile = jit_compile
        self.seconds = 0.0
        self.note = ""
        self.indices: np.ndarray | None = None
        self._embedder = None
        self._values: dict[str, float] = {}
        gallery_labels = None if self.gallery is None else self.gallery.labels
        self._relevant = num_relevant(self.queries.labels, gallery_labels)
        self._answerable = self._relevant > 0
        if not self._answerable.any():
            raise ValueError(
                "Expected queries with a right answer in the gallery; received "
                f"{len(self._answerable)} without any; check the class ids of both."
            )

    def resume_from(self, logs: Mapping[str, float]) -> None:
        """Repeats the last values of an interrupted training until a measurement is due.

        Args:
            logs: The logs of its last epoch.
        """
        names = (f"{self.prefix}recall_at_", f"{self.prefix}map_at_r")
        self._values = {name: value for name, value in logs.items() if name.startswith(names)}

    def on_train_begin(self, logs: dict | None = None) -> None:
        started = time.perf_counter()
        if self._embedder is None:
            embedder = self.embedding_model or embedding_part(self.model)
            self._embedder = Embedder(embedder, self.jit_compile)
        for part in (self.queries, self.gallery):
            if part is not None:
                part.check(self._embedder)
        left_out = int((~self._answerable).sum())
        if left_out:
            logger.info("%d queries have no right answer and are left out.", left_out)
        self.seconds += time.perf_counter() - started

    def on_epoch_end(self, epoch: int, logs: dict | None = None) -> None:
        last = epoch + 1 == self.params.get("epochs")
        if not self._values or last or (epoch + 1) % self.every == 0:
            started = time.perf_counter()
            self._values = self._measure()
            self.seconds += time.perf_counter() - started
            recalls = ", ".join(f"{name} {value:.4f}" for name, value in self._values.items())
            logger.info("Epoch %d: %s (%s)", epoch + 1, recalls, self.note)
        if logs is not None:
            logs.update(self._values)

    def _measure(self) -> dict[str, float]:
        names = [f"{self.prefix}recall_at_{k}" for k in self.ks]
        names += [f"{self.prefix}map_at_r"] if self.map_at_r else []
        queries = self.queries.embed(self._embedder)
        gallery = queries if self.gallery is None else self.gallery.embed(self._embedder)
        if not (np.isfinite(queries).all() and np.isfinite(gallery).all()):
            # Whoever stops a diverged training says so; an error here would hide that message.
            self.note = "not searched: the embeddings are not finite"
            return dict.fromkeys(names, float("nan"))
        alone = self.gallery is None
        available = len(gallery) - alone
        relevant = self._relevant[self._answerable]
        wanted = max(*self.ks, relevant.max() if self.map_at_r else 1)
        labels = self.queries.labels, (self.gallery or self.queries).labels
        k = int(min(wanted, available))
        found = search(queries, gallery, k, alone, self.method, *labels)
        self.note, self.indices = found.note, found.indices
        right = matches(found.indices, *labels)[self._answerable]
        values = [recall_at_k(right, min(k, available)).mean() for k in self.ks]
        if self.map_at_r:
            values.append(mean_average_precision_at_r(right, relevant).mean())
        return dict(zip(names, map(float, values), strict=True))


def embedding_part(model: keras.Model) -> keras.Model:
    """The embedding model in a training model: up to its `Proxies` layer, or all if it has none.

    Raises:
        ValueError: the model is not built, or has several `Proxies` layers.
    """
    if not model.built:
        raise ValueError(
            "Expected a model whose input shape is known; received one that is not built; start it "
            "with keras.Input, or give RecallAtK an embedding_model."
        )
    proxies = [layer for layer in model.layers if isinstance(layer, Proxies)]
    if not proxies:
        return model
    if len(proxies) > 1:
        raise ValueError(
            f"Expected one Proxies layer in the model; received {len(proxies)}; give RecallAtK an "
            "embedding_model."
        )
    return keras.Model(model.inputs, proxies[0].input, name="embedding")


@dataclass(frozen=True)
class _Labelled:
    """Images, as batches that can be read again, and their labels."""

    name: str
    images: Batches | np.ndarray
    labels: np.ndarray

    def batches(self) -> Iterator[Batch]:
        if isinstance(self.images, Batches):
            return iter(self.images)
        starts = range(0, len(self.images), BATCH_SIZE)
        return (self.images[start : start + BATCH_SIZE] for start in starts)

    def check(self, embedder: Embedder) -> None:
        """Find in one batch what would otherwise fail only after the first epoch."""
        dataset = isinstance(self.images, tf.data.Dataset)
        if dataset and self.images.cardinality() == tf.data.INFINITE_CARDINALITY:
            raise ValueError(
                f"Expected finite {self.name} for RecallAtK; received an endless tf.data.Dataset; "
                "remove its repeat()."
            )
        first = next(self.batches(), None)
        try:
            embeddings = embedder([] if first is None else [first])
            if np.isfinite(embeddings).all():
                search(embeddings, embeddings, k=1, method="exact")
        except ValueError as error:
            raise ValueError(
                f"RecallAtK cannot embed and search the first batch of its {self.name}: {error} "
                "The embedding model must give unit-length vectors of shape (batch, "
                "embedding_size)."
            ) from error

    def embed(self, embedder: Embedder) -> np.ndarray:
        embeddings = embedder(self.batches())
        if isinstance(self.images, tf.distribute.DistributedDataset):
            embeddings = embeddings[: len(self.labels)]
        if len(embeddings) != len(self.labels):
            raise ValueError(
                f"Expected one label for each of the {self.name}; received {len(embeddings)} "
                f"images and {len(self.labels)} labels."
            )
        return embeddings


def _labelled(name: str, pair: Pair) -> _Labelled:
    if not isinstance(pair, tuple | list) or len(pair) != 2:
        raise ValueError(
            f"Expected {name} as a pair (images, labels); received {type(pair).__name__}."
        )
    images, labels = pair[0], np.asarray(pair[1])
    if labels.ndim != 1 or labels.dtype.kind not in "iu":
        raise ValueError(
            f"Expected the labels of {name} as integers of shape (number,); received "
            f"{labels.dtype} of shape {labels.shape}."
        )
    if not isinstance(images, Batches):
        images = np.asarray(images)
        if len(images) != len(labels):
            raise ValueError(
                f"Expected one label for each of the {name}; received {len(images)} images and "
                f"{len(labels)} labels."
            )
    return _Labelled(name, images, labels)
