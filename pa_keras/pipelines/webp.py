"""Decodes a WebP, or the first frame of an animated one."""

import tensorflow as tf

from pa_keras.pipelines.image_bytes import expect_bytes, integer, splice, within_limit

_BYTES = tuple(bytes([value]) for value in range(256))
_ANIMATED = 0x02  # flags in byte 20 of an extended WebP
_ALPHA = 0x10


def decode_webp(contents: tf.Tensor) -> tf.Tensor:
    # A tiny file may be shorter than the longest header.
    header = expect_bytes(tf.strings.substr(contents, 0, 30), 21, "WebP")
    header = tf.pad(header, [(0, 30 - tf.size(header))])
    flags = tf.cast(header[20], tf.int32)
    is_animated = _is_chunk(header, 12, b"VP8X") & (flags & _ANIMATED > 0)
    width, height = _size(header)
    image = tf.cond(
        is_animated,
        # TensorFlow draws an animation on two canvases before it makes the result.
        lambda: _decode_animation(within_limit(contents, width, height, 12), flags),
        lambda: tf.image.decode_webp(within_limit(contents, width, height)),
    )
    return image[0, ..., :3]


def _size(header: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Returns the width and height in the header: of the canvas, or of the only image."""
    numbers = tf.cast(header[20:30], tf.int32)
    canvas = [1 + tf.reduce_sum(numbers[start : start + 3] * (1, 2**8, 2**16)) for start in (4, 7)]
    packed = integer(header, 21)  # two numbers of 14 bits
    lossless = [1 + (packed & 0x3FFF), 1 + (tf.bitwise.right_shift(packed, 14) & 0x3FFF)]
    lossy = [integer(header, start, tf.uint16) & 0x3FFF for start in (26, 28)]
    is_lossless = _is_chunk(header, 12, b"VP8L")
    size = tf.where(_is_chunk(header, 12, b"VP8X"), canvas, tf.where(is_lossless, lossless, lossy))
    return size[0], size[1]


def _decode_animation(contents: tf.Tensor, flags: tf.Tensor) -> tf.Tensor:
    """Decodes the first frame of an animation, (1, H, W, 4)."""
    data = tf.io.decode_raw(contents, tf.uint8)

    def is_before_frame(start: tf.Tensor) -> tf.Tensor:
        return ~_is_chunk(data, start, b"ANMF")

    def behind_chunk(start: tf.Tensor) -> list[tf.Tensor]:
        length = integer(data, start + 4)
        check = tf.debugging.assert_non_negative(length, "Expected a complete WebP file.")
        with tf.control_dependencies([check]):
            return [start + 8 + length + length % 2]

    frame = tf.while_loop(is_before_frame, behind_chunk, [12])[0]
    # TensorFlow decodes every frame to a full canvas, so the frames after the first are cut off.
    end = behind_chunk(frame)[0]
    length = tf.strings.reduce_join(
        tf.gather(_BYTES, tf.cast(tf.bitcast(end - 8, tf.uint8), tf.int32))
    )
    # TensorFlow 2.20 writes the four channels of an animation into a buffer for three, which
    # corrupts the memory, unless the header declares alpha. It refuses still images with alpha
    # when asked for three channels.
    alpha = tf.gather(_BYTES, flags | _ALPHA)
    first = splice(splice(tf.strings.substr(contents, 0, end), 4, length, 8), 20, alpha, 21)
    return tf.image.decode_webp(first, channels=4)


def _is_chunk(data: tf.Tensor, start: int | tf.Tensor, name: bytes) -> tf.Tensor:
    return tf.reduce_all(data[start : start + 4] == tuple(name))
