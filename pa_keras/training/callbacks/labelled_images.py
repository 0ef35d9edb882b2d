"""Images with their class IDs, in each form that RecallAtK takes."""

import logging
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

import keras
import numpy as np
import numpy.typing as npt

from pa_keras.arguments.class_ids import class_labels
from pa_keras.evaluation.embedder import Batch, Embedder, expects_raw_pixels
from pa_keras.retrieval import search
from pa_keras.training.callbacks.image_batches import (
    Dataset,
    Images,
    is_dataset,
    is_distributed,
    is_endless,
    one_pass,
)

if TYPE_CHECKING:
    import tensorflow as tf

logger = logging.getLogger(__name__)

# The largest magnitude of pixels that were scaled: to 0..1, to -1..1, or by ImageNet's mean and
# deviation. A batch of photographs in 0..255 always has brighter pixels.
SCALED = 3.0

# Images with their class IDs.
Labelled: TypeAlias = (
    "Dataset | tuple[Dataset | tf.distribute.DistributedDataset | npt.ArrayLike, npt.ArrayLike]"
)


@dataclass(frozen=True)
class LabelledImages:
    """Images, as batches that can be read several times, and their class IDs.

    Args:
        name: "queries" or "gallery", for messages.
        images: The batches, or an array.
        labels: int64 or str (N,). None: the batches contain them.
    """

    name: str
    images: Images
    labels: np.ndarray | None

    def check(self, embedder: Embedder) -> None:
        """Checks one batch, so that bad images or labels fail before the first epoch."""
        if is_endless(self.images):
            raise ValueError(
                f"Expected finite {self.name} for RecallAtK; received an endless "
                "dataset. Remove its repeat()."
            )
        first = next(one_pass(self.images), None)
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
        if is_distributed(self.images):
            return
        carried = self._carried(first)
        if carried is not None:
            self._expect_given(carried)
        elif is_dataset(self.images):
            self._expect_same_order(first)
        self._warn_of_scaled_pixels(first, embedder)

    def embed(self, embedder: Embedder) -> tuple[np.ndarray, np.ndarray | None]:
        """Embeddings float32 (N, D) and class IDs (N,) of one pass, in its order."""
        carried = []

        def batches() -> Iterator[Batch]:
            for batch in one_pass(self.images):
                carried.append(self._carried(batch))
                yield batch

        embeddings = embedder(batches())
        if self.labels is not None and is_distributed(self.images):
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
        if carries and not is_distributed(self.images):
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
        again = next(one_pass(self.images))
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


def labelled_images(name: str, given: Labelled) -> LabelledImages:
    if is_dataset(given):
        return LabelledImages(name, given, None)
    if not isinstance(given, tuple | list) or len(given) != 2:
        raise ValueError(
            f"Expected {name} as a pair (images, labels), or as a tf.data.Dataset, "
            f"keras.utils.PyDataset or DataLoader of such batches; received {type(given).__name__}."
        )
    images, labels = given[0], _class_ids(name, given[1])
    if not (is_dataset(images) or is_distributed(images)):
        images = np.asarray(images)
        if len(images) != len(labels):
            raise ValueError(
                f"Expected one label for each of the {name}; received {len(images)} images and "
                f"{len(labels)} labels."
            )
    return LabelledImages(name, images, labels)


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


def _images_of(batch: Batch) -> np.ndarray:
    images = batch[0] if isinstance(batch, tuple | list) else batch
    return keras.ops.convert_to_numpy(images)
