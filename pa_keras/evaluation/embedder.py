"""Embedding images, with one compiled step for batches of every size."""

from collections.abc import Callable, Iterable, Sequence
from typing import TypeAlias

import keras
import numpy as np
import tensorflow as tf
from tqdm import tqdm

from pa_keras.models.batch_norm_folding import folded
from pa_keras.pipelines import evaluation_batches
from pa_keras.retrieval.search import LENGTH_TOLERANCE

# Images, or a tuple that starts with them.
Batch: TypeAlias = np.ndarray | tf.Tensor | tf.distribute.DistributedValues | tuple | list


class Embedder:
    """An embedding model that is compiled once: later calls of the object do not trace again.

    Batch normalization is folded into convolutions, see `folded`. If the weights of the model
    change, the next call uses the new ones. For batches of a `tf.distribute.DistributedDataset`
    each replica embeds its shard, and every worker gets all embeddings.

    Args:
        model: Keras model, images (B, H, W, 3) -> embeddings (B, D); it may be subclassed.
        jit_compile: Whether to compile by XLA, which makes backbones several times slower on a CPU.
            Default False.

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
        network = folded(model)
        self._input_shape = _input_shape(model)

        def embed_part(images: tf.Tensor) -> tf.Tensor:
            return tf.cast(network(images, training=False), tf.float32)

        def embed_shared(images: tf.distribute.DistributedValues) -> tf.Tensor:
            strategy = model.distribute_strategy
            return strategy.gather(strategy.run(embed_part, (images,)), axis=0)

        # Each batch size costs XLA a compilation, and a GPU a search for its kernels. On a CPU
        # filling up would only add work.
        self._fills_up = jit_compile or bool(tf.config.list_physical_devices("GPU"))
        # With an unspecified batch size, all batches share one trace. If the shape of the images is
        # unknown, the first two sizes are traced.
        known = self._input_shape is not None
        signature = [tf.TensorSpec(self._input_shape, tf.float32)] if known else None
        self._step = tf.function(
            embed_part,
            input_signature=signature,
            jit_compile=jit_compile,
            reduce_retracing=not known,
        )
        self._shared_step = tf.function(embed_shared, autograph=False)

    def __call__(
        self,
        batches: Iterable[Batch],
        total: int | None = None,
        progress: bool = False,
        advance: Callable[[int], object] = int,
    ) -> np.ndarray:
        """Embeds every batch, in order.

        With XLA or a GPU, a batch smaller than the first, such as the last one, is filled up with
        zeros to the size of the first.

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

        With XLA or a GPU, the batch is filled up to `size` images first.
        """
        images = batch[0] if isinstance(batch, tuple | list) else batch
        if isinstance(images, tf.distribute.DistributedValues):
            return self._shared_step(images).numpy()
        images = tf.cast(images, tf.float32)
        if not images.shape.is_compatible_with(self._input_shape):
            raise ValueError(
                f"Expected batches of images of shape {self._input_shape}; received "
                f"{tuple(images.shape)}; batch and resize them as for training."
            )
        number = len(images)
        if self._fills_up and number < size:
            images = tf.pad(images, [(0, size - number), (0, 0), (0, 0), (0, 0)])
        return self._step(images).numpy()[:number]


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
