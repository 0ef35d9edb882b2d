"""Batches of images as Keras, TensorFlow and PyTorch give them; imports neither of the last two."""

import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, TypeAlias

import keras
import numpy as np

from pa_keras.evaluation.embedder import Batch

if TYPE_CHECKING:
    import tensorflow as tf
    import torch

# Images of an array that are embedded at once; a data set has its own batches.
BATCH_SIZE = 64

Dataset: TypeAlias = "tf.data.Dataset | keras.utils.PyDataset | torch.utils.data.DataLoader"
Images: TypeAlias = "Dataset | tf.distribute.DistributedDataset | np.ndarray"


def is_dataset(images: Any) -> bool:
    """Whether these are batches of images, maybe with labels, and not an array.

    Example:
        >>> is_dataset(np.zeros((2, 8, 8, 3)))
        False
    """
    tensorflow, torch_data = _imported("tensorflow"), _imported("torch.utils.data")
    return (
        isinstance(images, keras.utils.PyDataset)
        or (tensorflow is not None and isinstance(images, tensorflow.data.Dataset))
        or (torch_data is not None and isinstance(images, torch_data.DataLoader))
    )


def is_distributed(images: Any) -> bool:
    """Whether `tf.distribute` shares these batches among replicas.

    Example:
        >>> is_distributed(np.zeros((2, 8, 8, 3)))
        False
    """
    tensorflow = _imported("tensorflow")
    return tensorflow is not None and isinstance(images, tensorflow.distribute.DistributedDataset)


def is_endless(images: Images) -> bool:
    """Whether the batches are known to have no end.

    Example:
        >>> is_endless(np.zeros((2, 8, 8, 3)))
        False
    """
    if isinstance(images, keras.utils.PyDataset):
        return images.num_batches is None
    tensorflow = _imported("tensorflow")
    if tensorflow is None or not isinstance(images, tensorflow.data.Dataset):
        return False
    return bool(images.cardinality() == tensorflow.data.INFINITE_CARDINALITY)


def one_pass(images: Images) -> Iterator[Batch]:
    """Yields all batches once.

    Example:
        >>> [len(batch) for batch in one_pass(np.zeros((70, 8, 8, 3)))]
        [64, 6]
    """
    if isinstance(images, keras.utils.PyDataset):
        images.on_epoch_begin()
        try:
            yield from (images[batch] for batch in range(images.num_batches))
        finally:
            images.on_epoch_end()  # a data set that shuffles does it here
    elif isinstance(images, np.ndarray):
        starts = range(0, len(images), BATCH_SIZE)
        yield from (images[start : start + BATCH_SIZE] for start in starts)
    else:
        yield from images


def _imported(module: str) -> Any:
    """A module if it is imported: only then there are objects of its classes."""
    return sys.modules.get(module)
