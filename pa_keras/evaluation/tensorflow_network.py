"""A model as a compiled TensorFlow function of a batch of images."""

import keras
import numpy as np
import tensorflow as tf

from pa_keras.evaluation.image_shape import expect_image_shape
from pa_keras.models.batch_norm_folding import folded


class TensorFlowNetwork:
    """A model as a function from a batch of images to embeddings, compiled once.

    Args:
        model: Keras model, images (B, H, W, 3) -> embeddings (B, D).
        input_shape: Shape of its input, None where it is unknown.
        jit_compile: Whether to compile by XLA.
    """

    def __init__(
        self, model: keras.Model, input_shape: tuple[int | None, ...] | None, jit_compile: bool
    ) -> None:
        network = folded(model)
        self._input_shape = input_shape

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
        known = input_shape is not None
        signature = [tf.TensorSpec(input_shape, tf.float32)] if known else None
        self.step = tf.function(
            embed_part,
            input_signature=signature,
            jit_compile=jit_compile,
            reduce_retracing=not known,
        )
        self._shared_step = tf.function(embed_shared, autograph=False)

    def __call__(
        self, images: tf.Tensor | tf.distribute.DistributedValues, size: int
    ) -> np.ndarray:
        """Embeddings float32 (B, D) of B images; XLA and GPUs fill them up to `size` first."""
        if isinstance(images, tf.distribute.DistributedValues):
            return self._shared_step(images).numpy()
        images = tf.cast(images, tf.float32)
        expect_image_shape(self._input_shape, tuple(images.shape))
        number = len(images)
        if self._fills_up and number < size:
            images = tf.pad(images, [(0, size - number), (0, 0), (0, 0), (0, 0)])
        return self.step(images).numpy()[:number]
