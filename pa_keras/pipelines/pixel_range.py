"""Warns if images are in [0, 1], which a network that expects 0..255 takes for black."""

import logging
from collections.abc import Callable, Iterable

import tensorflow as tf

from pa_keras.pipelines.decoding import decode_image

logger = logging.getLogger(__name__)


def warn_if_dark(kept: Iterable[tf.Tensor], load: Callable[[tf.Tensor], tf.Tensor]) -> None:
    """Logs a warning if no pixel of any image, for example of a batch, is above 1.

    The first brighter image ends the search, so usually only one image is decoded.

    Args:
        kept: Arguments of `load`, for example paths.
        load: Returns the bytes of an image file, or pixels in 0..255.
    """
    if all(_is_dark(each, load) for each in kept):
        logger.warning(
            "All pixels of a batch are in [0, 1], which is black to a network that takes 0..255. "
            "If the files were saved from arrays divided by 255, save them from 0..255."
        )


def warn_if_darkened(augment: Callable, image_size: tuple[int, int]) -> None:
    """Logs a warning if an augmentation from `make_augmentation` maps noise to [0, 1]."""
    noise = tf.random.stateless_uniform((4, *image_size, 3), (0, 0), 0.0, 255.0)
    if tf.reduce_max(augment(noise, tf.zeros((2,), tf.int64))) <= 1:
        logger.warning(
            "The augmentation brings images to [0, 1], which is black to a network that takes "
            "0..255. Leave out its option value_range, or choose one that does not rescale."
        )


def _is_dark(kept: tf.Tensor, load: Callable[[tf.Tensor], tf.Tensor]) -> bool:
    try:
        image = load(kept)
        pixels = decode_image(image, jpeg_ratio=8) if image.dtype == tf.string else image
    except tf.errors.OpError:  # reading the batch raises it again
        return False
    return bool(tf.reduce_max(pixels) <= 1)
