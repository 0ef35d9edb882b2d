"""Measuring Recall@K on other classes at the end of an epoch."""

import logging
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import keras
import numpy as np
import numpy.typing as npt
import tensorflow as tf

from pa_keras.arguments.class_ids import class_ids, class_labels, common_class_ids
from pa_keras.evaluation.embedder import Batch, Embedder, expects_raw_pixels
from pa_keras.layers import Proxies
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

logger = logging.getLogger(__name__)

# Images of an array that are embedded at once; a tf.data.Dataset has its own batches.
BATCH_SIZE = 64

# The largest magnitude of pixels that were scaled: to 0..1, to -1..1, or by ImageNet's mean and
# deviation. A batch of photographs in 0..255 always has brighter pixels.
SCALED = 3.0

# Images as batches, and images with their class IDs.
Batches: TypeAlias = tf.data.Dataset | tf.distribute.DistributedDataset
Labelled: TypeAlias = (
    tf.data.Dataset
    | keras.utils.PyDataset
    | tuple[Batches | keras.utils.PyDataset | npt.ArrayLike, npt.ArrayLike]
)


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
            - A finite tf.data.Dataset or keras.utils.PyDataset of batches (images, labels), which
              may shuffle: images (B, H, W, 3), labels (B,), (B, 1) or one-hot.
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
        gallery: Labelled | None = None,
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
        self.queries = _labelled("queries", queries)
        self.gallery = None if gallery is None else _labelled("gallery", gallery)
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


def embedding_part(model: keras.Model) -> keras.Model:
    """The part of a training model before its `Proxies` layer, or all of it if it has none.

    Raises:
        ValueError: The model has several `Proxies` layers, or has one and is subclassed or not
            built.
    """
    proxies = [layer for layer in model.layers if isinstance(layer, Proxies)]
    if not proxies:
        return model
    if len(proxies) > 1:
        raise ValueError(
            f"Expected one Proxies layer in the model; received {len(proxies)}. Give RecallAtK an "
            "embedding_model."
        )
    if not (model.built and hasattr(model, "inputs")):
        raise ValueError(
            "Expected a model of keras.Model(inputs, outputs), or a Sequential that starts with "
            f"keras.Input; received a {type(model).__name__} whose part before its Proxies layer "
            "Keras does not know. Give RecallAtK that part as embedding_model."
        )
    return keras.Model(model.inputs, proxies[0].input, name="embedding")


@dataclass(frozen=True)
class _Labelled:
    """Images, as batches that can be read several times, and their class IDs.

    Args:
        name: "queries" or "gallery", for messages.
        images: The batches, or an array.
        labels: int64 or str (N,). None: the batches contain them.
    """

    name: str
    images: Batches | keras.utils.PyDataset | np.ndarray
    labels: np.ndarray | None

    def batches(self) -> Iterator[Batch]:
        """The batches of one pass."""
        if isinstance(self.images, keras.utils.PyDataset):
            self.images.on_epoch_begin()
            try:
                yield from (self.images[batch] for batch in range(self.images.num_batches))
            finally:
                self.images.on_epoch_end()  # a data set that shuffles does it here
        elif isinstance(self.images, Batches):
            yield from self.images
        else:
            starts = range(0, len(self.images), BATCH_SIZE)
            yield from (self.images[start : start + BATCH_SIZE] for start in starts)

    def check(self, embedder: Embedder) -> None:
        """Checks one batch, so that bad images or labels fail before the first epoch."""
        if _is_endless(self.images):
            raise ValueError(
                f"Expected finite {self.name} for RecallAtK; received an endless "
                "dataset. Remove its repeat()."
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
        if isinstance(self.images, tf.distribute.DistributedDataset):
            return
        carried = self._carried(first)
        if carried is not None:
            self._expect_given(carried)
        elif isinstance(self.images, tf.data.Dataset | keras.utils.PyDataset):
            self._expect_same_order(first)
        self._warn_of_scaled_pixels(first, embedder)

    def embed(self, embedder: Embedder) -> tuple[np.ndarray, np.ndarray | None]:
        """Embeddings float32 (N, D) and class IDs (N,) of one pass, in its order."""
        carried = []

        def batches() -> Iterator[Batch]:
            for batch in self.batches():
                carried.append(self._carried(batch))
                yield batch

        embeddings = embedder(batches())
        if self.labels is not None and isinstance(self.images, tf.distribute.DistributedDataset):
            embeddings = embeddings[: len(self.labels)]
        if self.labels is not None and len(embeddings) != len(self.labels):
            raise ValueError(self._wrong_number(len(embeddings), len(self.labels)))
        found = [labels for labels in carried if labels is not None]
        if not found:
            return embeddings, self.labels
        labels = np.concatenate(found)
        self._expect_given(labels)
        return embeddings, labels

    def _carried(self, batch: Batch) -> np.ndarray | None:
        """The class IDs in a batch, or None if it has none."""
        carries = isinstance(batch, tuple | list) and len(batch) > 1
        if carries and not isinstance(self.images, tf.distribute.DistributedDataset):
            return _class_ids(f"the batches of {self.name}", batch[1])
        if self.labels is None:
            raise ValueError(
                f"Expected labels for the {self.name} of RecallAtK; received batches of images "
                "alone. Give a dataset of batches (images, labels), or a pair (dataset, labels)."
            )
        return None

    def _expect_given(self, carried: np.ndarray) -> None:
        """Raises a ValueError if the labels of the batches differ from those given."""
        if self.labels is None:
            return
        if len(self.labels) < len(carried):
            raise ValueError(self._wrong_number(len(carried), len(self.labels)))
        same = np.broadcast_to(self.labels[: len(carried)] == carried, len(carried))
        if not same.all():
            row = int(np.argmin(same))
            raise ValueError(
                f"Expected the labels given for the {self.name} to be those of the batches; image "
                f"{row} is of class {carried[row]} in its batch and of {self.labels[row]} in "
                "those given. A dataset that shuffles, as those of "
                "keras.utils.image_dataset_from_directory do by default, has another order in each "
                "pass. Give RecallAtK the dataset alone, whose batches carry the labels. If the "
                "labels given are meant to differ, remove the others: dataset.map(lambda images, "
                "*labels: images)."
            )

    def _wrong_number(self, images: int, labels: int) -> str:
        return (
            f"Expected one label for each of the {self.name}; received {images} images and "
            f"{labels} labels."
        )

    def _expect_same_order(self, first: Batch) -> None:
        """Raises a ValueError if a second pass begins with other images: labels would be wrong."""
        again = next(self.batches())
        if not np.array_equal(_images_of(first), _images_of(again)):
            raise ValueError(
                f"Expected {self.name} in the same order in each pass, since their labels are "
                "given beside them; two passes began with different images. Remove shuffling (such "
                "as by shuffle=False) and random augmentation, or give a dataset of batches "
                "(images, labels)."
            )

    def _warn_of_scaled_pixels(self, first: Batch, embedder: Embedder) -> None:
        images = _images_of(first)
        if 0 < np.abs(images).max() <= SCALED and expects_raw_pixels(embedder.model):
            logger.warning(
                "All pixels of the first batch of %s lie in [%.3g, %.3g], but the model scales "
                "pixels itself and expects 0..255: it sees black images. Do not divide by 255.",
                self.name, images.min(), images.max(),
            )  # fmt: skip


def _labelled(name: str, given: Labelled) -> _Labelled:
    if isinstance(given, tf.data.Dataset | keras.utils.PyDataset):
        return _Labelled(name, given, None)
    if not isinstance(given, tuple | list) or len(given) != 2:
        raise ValueError(
            f"Expected {name} as a pair (images, labels), or as a tf.data.Dataset or "
            f"keras.utils.PyDataset of such batches; received {type(given).__name__}."
        )
    images, labels = given[0], _class_ids(name, given[1])
    if not isinstance(images, Batches | keras.utils.PyDataset):
        images = np.asarray(images)
        if len(images) != len(labels):
            raise ValueError(
                f"Expected one label for each of the {name}; received {len(images)} images and "
                f"{len(labels)} labels."
            )
    return _Labelled(name, images, labels)


def _class_ids(name: str, labels: Any) -> np.ndarray:
    """Class IDs int64 (N,), or class names, from labels in any form that Keras data sets have."""
    array = np.asarray(labels)
    if array.ndim == 2 and array.shape[1] == 1:
        array = array[:, 0]
    elif array.ndim == 2 and ((array == 0) | (array == 1)).all() and (array.sum(axis=1) == 1).all():
        array = array.argmax(axis=1)  # one-hot
    else:
        return class_labels(f"the labels of {name}", labels)
    return class_labels(f"the labels of {name}", array)


def _numbered(
    query_labels: np.ndarray | None, gallery_labels: np.ndarray | None, alone: bool
) -> tuple[np.ndarray, np.ndarray | None]:
    """Both as IDs of their common classes; None for the gallery if it is the queries."""
    if alone:
        return class_ids("query_labels", query_labels), None
    return common_class_ids(query_labels, gallery_labels)


def _images_of(batch: Batch) -> np.ndarray:
    return np.asarray(batch[0] if isinstance(batch, tuple | list) else batch)


def _is_endless(images: Batches | keras.utils.PyDataset | np.ndarray) -> bool:
    if isinstance(images, keras.utils.PyDataset):
        return images.num_batches is None
    if not isinstance(images, tf.data.Dataset):
        return False
    return images.cardinality() == tf.data.INFINITE_CARDINALITY
