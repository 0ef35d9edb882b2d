"""A model as a function of a batch of images, by `predict_on_batch`, for JAX and PyTorch."""

from typing import Any

import keras
import numpy as np

from pa_keras.evaluation.image_shape import expect_image_shape


class PredictingNetwork:
    """A model as a function from a batch of images to embeddings.

    Args:
        model: Keras model, images (B, H, W, 3) -> embeddings (B, D).
        input_shape: Shape of its input, None where it is unknown.
    """

    def __init__(self, model: keras.Model, input_shape: tuple[int | None, ...] | None) -> None:
        self._model, self._input_shape = model, input_shape
        # JAX compiles the model for each size of a batch.
        self._fills_up = keras.backend.backend() == "jax"

    def __call__(self, images: Any, size: int) -> np.ndarray:
        """Embeddings float32 (B, D) of B images; JAX fills them up to `size` images first."""
        pixels = keras.ops.convert_to_numpy(images).astype("float32", copy=False)
        expect_image_shape(self._input_shape, pixels.shape)
        number = len(pixels)
        if self._fills_up and number < size:
            pixels = np.pad(pixels, [(0, size - number), (0, 0), (0, 0), (0, 0)])
        return np.asarray(self._model.predict_on_batch(pixels), np.float32)[:number]
