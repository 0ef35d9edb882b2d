"""Embedding images, with one compiled step for batches of every size."""

from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

import keras
import numpy as np
from tqdm import tqdm

from pa_keras.evaluation.predicting_network import PredictingNetwork
from pa_keras.retrieval.search import LENGTH_TOLERANCE

if TYPE_CHECKING:
    import tensorflow as tf

# Images, or a tuple that starts with them. Other backends also take tensors of their own.
Batch: TypeAlias = "np.ndarray | tf.Tensor | tf.distribute.DistributedValues | tuple | list"


class Embedder:
    """An embedding model that is compiled once: later calls of the object do not trace again.

    On TensorFlow, batch normalization is folded into convolutions, see `folded`, and for batches of
    a `tf.distribute.DistributedDataset` each replica embeds its shard, and every worker gets all
    embeddings. On other backends the model's own `predict_on_batch` embeds. If the weights of the
    model change, the next call uses the new ones.

    Args:
        model: Keras model, images (B, H, W, 3) -> embeddings (B, D); it may be subclassed.
        jit_compile: Whether TensorFlow compiles by XLA, which makes backbones several times slower
            on a CPU. On JAX, Keras always compiles. Default False.

    Example:
        >>> import keras
        >>> images = keras.Input((4, 4, 3))
        >>> model = keras.Model(images, keras.layers.GlobalAveragePooling2D()(images))
        >>> Embedder(model)([np.ones((2, 4, 4, 3)), np.ones((1, 4, 4, 3))]).shape
        (3, 3)

    Raises:
        ValueError: The model has several inputs.
    """

    def __init__(self, model: keras.Model, jit_compile: bool = False) -> None:
        self.model = model
        self._network = _network(model, _input_shape(model), jit_compile)

    def __call__(
        self,
        batches: Iterable[Batch],
        total: int | None = None,
        progress: bool = False,
        advance: Callable[[int], object] = int,
    ) -> np.ndarray:
        """Embeds every batch, in order.

        With XLA, a GPU or JAX, a batch smaller than the first, such as the last one, is filled up
        with zeros to the size of the first.

        Args:
            batches: Iterable of images (B, H, W, 3), or of tuples that start with them, such as
                a tf.data.Dataset.
            total: Number of images, for the progress bar. Default None: unknown.
            progress: Whether to show a progress bar. Default False.
            advance: Function called with the number of images of each batch. Default: none.

        Returns:
            Embeddings, float32 (N, D).

        Raises:
            ValueError: There are no images, or their shape is not that of the model's input.
        """
        parts: list[np.ndarray] = []
        with tqdm(total=total, unit=" images", desc="embedding", disable=not progress) as bar:
            for batch in batches:
                parts.append(self.embed_batch(batch, len(parts[0]) if parts else 0))
                bar.update(len(parts[-1]))
                advance(len(parts[-1]))
        return _stacked(parts)

    def embed_batch(self, batch: Batch, size: int = 0) -> np.ndarray:
        """Embeddings float32 (B, D) of one batch of images, or of a tuple that starts with it.

        With XLA, a GPU or JAX, the batch is filled up to `size` images first.
        """
        images = batch[0] if isinstance(batch, tuple | list) else batch
        return self._network(images, size)


def embed(
    model: keras.Model,
    batches: Iterable[Batch],
    total: int | None = None,
    progress: bool = False,
) -> np.ndarray:
    """Embeddings of all images, float32 (N, D): `Embedder(model)(batches, ...)`, for a single use.

    Args:
        model: Built Keras model, images (B, H, W, 3) -> embeddings (B, D).
        batches: Iterable of images (B, H, W, 3), or of tuples that start with them.
        total: Number of images, for the progress bar. Default None: unknown.
        progress: Whether to show a progress bar. Default False.
    """
    return Embedder(model)(batches, total=total, progress=progress)


def expect_unit_length(embeddings: np.ndarray, names: Sequence[str]) -> None:
    """Raises a ValueError unless all embeddings are of unit length.

    Args:
        embeddings: float32 (N, D).
        names: Names of the N images, for the message.
    """
    lengths = np.linalg.norm(embeddings, axis=1)
    bad = np.flatnonzero(~(np.abs(lengths - 1) <= LENGTH_TOLERANCE))  # also true for NaN
    if len(bad):
        raise ValueError(
            f"Expected embeddings of unit length; the model gave {len(bad)} others of "
            f"{len(names)}, such as that of {names[bad[0]]}, of length {lengths[bad[0]]:.4g}. End "
            "the model with keras.layers.UnitNormalization(), as pa_keras.embedding_model does, "
            "and save it again. A length of nan or 0 means that the model diverged."
        )


def expects_raw_pixels(model: keras.Model) -> bool:
    """Whether a layer of the model scales pixels of 0..255, as in every backbone here.

    Example:
        >>> from pa_keras import embedding_model
        >>> expects_raw_pixels(embedding_model("conv4", 8, (16, 16), weights=None))
        True
    """
    for layer in model.layers:
        if isinstance(layer, keras.layers.Rescaling):
            # To a narrow range, or for Caffe networks to one around the mean of each channel.
            narrow = np.max(np.abs(layer.scale)) < 0.1
            if narrow or np.max(np.abs(layer.offset)) > 10:
                return True
        if isinstance(layer, keras.Model) and expects_raw_pixels(layer):
            return True
    return False


def _network(
    model: keras.Model, shape: tuple[int | None, ...] | None, jit_compile: bool
) -> Callable[[Any, int], np.ndarray]:
    """The model as a function of a batch and the size to fill it up to, for this backend."""
    if keras.backend.backend() == "tensorflow":
        from pa_keras.evaluation.tensorflow_network import TensorFlowNetwork

        return TensorFlowNetwork(model, shape, jit_compile)
    return PredictingNetwork(model, shape)


def _input_shape(model: keras.Model) -> tuple[int | None, ...] | None:
    """Shape of a batch, such as (None, 224, 224, 3); None if the model is not a graph of layers."""
    if not (model.built and hasattr(model, "inputs")):
        return None
    if len(model.inputs) != 1:
        raise ValueError(
            f"Expected an embedding model with one input, a batch of images; received "
            f"{len(model.inputs)} inputs of shapes {[tuple(each.shape) for each in model.inputs]}."
        )
    return (None, *model.inputs[0].shape[1:])


def _stacked(parts: list[np.ndarray]) -> np.ndarray:
    if not parts:
        raise ValueError(
            "Expected at least one batch of images to embed; received none; check the folder or "
            "the dataset, which may have been read to its end."
        )
    return np.concatenate(parts)
