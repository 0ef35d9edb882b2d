"""Images to embeddings, with one compiled step for batches of every size."""

from collections.abc import Iterable

import keras
import numpy as np
import tensorflow as tf

# Images, or a tuple which starts with them.
Batch = np.ndarray | tf.Tensor | tf.distribute.DistributedValues | tuple | list


class Embedder:
    """An embedding model compiled once: keep it, and later calls do not trace again.

    Trained weights are seen by the next call. Of a batch of a `tf.distribute.DistributedDataset`
    each replica of the model's strategy embeds its part, and every worker gets the whole.

    Args:
        model: a built keras model, images (B, H, W, 3) -> embeddings (B, D).

    Example:
        >>> import keras
        >>> images = keras.Input((4, 4, 3))
        >>> model = keras.Model(images, keras.layers.GlobalAveragePooling2D()(images))
        >>> Embedder(model)([np.ones((2, 4, 4, 3)), np.ones((1, 4, 4, 3))]).shape
        (3, 3)
    """

    def __init__(self, model: keras.Model) -> None:
        self.model = model
        image_shape = tuple(model.input_shape)[1:]

        def embed_part(images: tf.Tensor) -> tf.Tensor:
            return tf.cast(model(images, training=False), tf.float32)

        def embed_shared(images: tf.distribute.DistributedValues) -> tf.Tensor:
            strategy = model.distribute_strategy
            return strategy.gather(strategy.run(embed_part, (images,)), axis=0)

        # An open batch size, so that the last, partial batch runs the same trace. No XLA: on a CPU
        # it makes backbones several times slower, and it would compile again for that batch.
        signature = [tf.TensorSpec((None, *image_shape), tf.float32)]
        self._step = tf.function(embed_part, input_signature=signature)
        self._shared_step = tf.function(embed_shared, autograph=False)

    def __call__(
        self, batches: Iterable[Batch], total: int | None = None, progress: bool = False
    ) -> np.ndarray:
        """Embed every batch, in order.

        Args:
            batches: iterable of images (B, H, W, 3), or of tuples which start with them, such as
                a tf.data.Dataset.
            total: number of images, for the progress bar. Default None: unknown.
            progress: show a progress bar. Default False.

        Returns:
            float32 (N, D).

        Raises:
            ValueError: no images; images of another shape than the model's.
        """
        if not progress:
            return _stacked([self.embed_batch(batch) for batch in batches])
        from tqdm import tqdm

        parts = []
        with tqdm(total=total, unit=" images", desc="embedding") as bar:
            for batch in batches:
                parts.append(self.embed_batch(batch))
                bar.update(len(parts[-1]))
        return _stacked(parts)

    def embed_batch(self, batch: Batch) -> np.ndarray:
        """Embeddings float32 (B, D) of one batch of images, or of a tuple which starts with it."""
        images = batch[0] if isinstance(batch, tuple | list) else batch
        if isinstance(images, tf.distribute.DistributedValues):
            return self._shared_step(images).numpy()
        images = tf.cast(images, tf.float32)
        if not images.shape.is_compatible_with((None, *self.model.input_shape[1:])):
            raise ValueError(
                f"Expected batches of images of shape {self.model.input_shape}; received "
                f"{tuple(images.shape)}; batch and resize them as for training."
            )
        return self._step(images).numpy()


def embed(
    model: keras.Model,
    batches: Iterable[Batch],
    total: int | None = None,
    progress: bool = False,
) -> np.ndarray:
    """Embeddings of all images, float32 (N, D): `Embedder(model)(batches, ...)`, for a single use.

    Args:
        model: a built keras model, images (B, H, W, 3) -> embeddings (B, D).
        batches: iterable of images (B, H, W, 3), or of tuples which start with them.
        total: number of images, for the progress bar. Default None: unknown.
        progress: show a progress bar. Default False.
    """
    return Embedder(model)(batches, total=total, progress=progress)


def _stacked(parts: list[np.ndarray]) -> np.ndarray:
    if not parts:
        raise ValueError(
            "Expected at least one batch of images to embed; received none; check the folder or "
            "the dataset, which may have been read to its end."
        )
    return np.concatenate(parts)
