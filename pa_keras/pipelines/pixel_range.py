"""A warning where images reach a network in [0, 1], which it takes for black."""

import functools
import logging

import tensorflow as tf

logger = logging.getLogger(__name__)


def with_range_check(batches: tf.data.Dataset) -> tf.data.Dataset:
    """Returns the same batches, and warns once if all pixels of a pass's first are at most 1.

    Later batches are passed on without a look at their pixels.

    Args:
        batches: Images (B, H, W, 3) in 0..255, or tuples that start with them.
    """
    warn = functools.cache(_warn)  # not again in the next pass

    def checked(number: tf.Tensor, batch: tf.Tensor | tuple) -> tf.Tensor | tuple:
        images = batch[0] if isinstance(batch, tuple) else batch

        def check() -> tf.Tensor:
            dark = tf.reduce_max(images) <= 1
            return tf.cond(dark, lambda: tf.numpy_function(warn, [], tf.bool), lambda: False)

        tf.cond(number == 0, check, lambda: False)
        return batch

    return batches.enumerate().map(checked)


def _warn() -> bool:
    logger.warning(
        "All pixels of the first batch are in [0, 1], which is black to a network that takes "
        "0..255. If the files were saved from arrays divided by 255, save them from 0..255; if an "
        "augmentation rescales pixels, leave it out."
    )
    return True
