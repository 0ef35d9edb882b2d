"""Reads, checks and edits the bytes of image files in a TensorFlow graph."""

import tensorflow as tf

MOST_SAMPLES = 2**29  # height x width x components must be below this, TensorFlow's JPEG limit


def expect_bytes(contents: tf.Tensor, least: int, kind: str) -> tf.Tensor:
    """Returns the bytes of a file as uint8 (N,), and checks that there are at least `least`."""
    check = tf.debugging.assert_greater_equal(
        tf.strings.length(contents), least, f"Expected a complete {kind} file; it is cut short."
    )
    with tf.control_dependencies([check]):
        return tf.io.decode_raw(contents, tf.uint8)


def starts_with(contents: tf.Tensor, magic: bytes) -> tf.Tensor:
    return tf.equal(tf.strings.substr(contents, 0, len(magic)), magic)


def within_limit(
    contents: tf.Tensor, width: tf.Tensor, height: tf.Tensor, samples: int = 3
) -> tf.Tensor:
    """Returns the bytes unchanged, after a check of the size in the header.

    Args:
        contents: The bytes of the file.
        width: Width of the image to decode, of any numeric dtype.
        height: Height of this image.
        samples: Number of values that decoding stores for each pixel.
    """
    # In float64, since the product of two 32-bit numbers and `samples` may not fit in 64 bits. A
    # negative height in a BMP means that its top row comes first.
    size = samples * tf.cast(width, tf.float64) * tf.cast(height, tf.float64)
    check = tf.debugging.assert_less(
        tf.abs(size),
        tf.constant(MOST_SAMPLES, tf.float64),
        f"Expected an image of fewer than {MOST_SAMPLES // samples} pixels; it is too large.",
    )
    with tf.control_dependencies([check]):
        return tf.identity(contents)


def integer(data: tf.Tensor, offset: int | tf.Tensor, dtype: tf.DType = tf.int32) -> tf.Tensor:
    """Reads the little-endian integer at an offset, as int32."""
    return tf.cast(tf.bitcast(data[offset : offset + dtype.size], dtype), tf.int32)


def splice(contents: tf.Tensor, start: int, middle: bytes, end: int) -> tf.Tensor:
    """Replaces the bytes from `start` to `end` by `middle`."""
    end = tf.minimum(end, tf.strings.length(contents))
    head, tail = tf.strings.substr(contents, 0, start), tf.strings.substr(contents, end, -1)
    return tf.strings.join([head, middle, tail])
