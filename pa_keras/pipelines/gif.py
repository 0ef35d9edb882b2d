"""Decodes the first frame of a GIF."""

import tensorflow as tf

from pa_keras.pipelines.image_bytes import expect_bytes, integer, splice, within_limit


def decode_gif(contents: tf.Tensor) -> tf.Tensor:
    """Decodes the first frame, at its place on a black canvas if it is smaller than that."""
    data = expect_bytes(contents, 24, "GIF")  # the headers of the file and of a frame
    palette_end = 13 + _palette_bytes(data[10])
    start = _first_frame(data, palette_end)
    left, top, width, height = (integer(data, start + i, tf.uint16) for i in (1, 3, 5, 7))
    canvas_width = tf.maximum(integer(data, 6, tf.uint16), left + width)
    canvas_height = tf.maximum(integer(data, 8, tf.uint16), top + height)
    contents = within_limit(contents, canvas_width, canvas_height)
    # TensorFlow takes the frame for the canvas but still moves it, so it is decoded at (0, 0). The
    # extensions are left out, because transparency would make a colour black. The later frames
    # are left out too, because TensorFlow would decode them whatever their size.
    pixels_start = start + 10 + _palette_bytes(data[start + 9])
    first = tf.strings.substr(contents, 0, _pixels_end(data, pixels_start + 1))
    frame = tf.io.decode_image(
        splice(first, palette_end, b",\0\0\0\0", start + 5) + b";", 3, expand_animations=False
    )
    return tf.image.pad_to_bounding_box(frame, top, left, canvas_height, canvas_width)


def _palette_bytes(flags: tf.Tensor) -> tf.Tensor:
    """Returns the number of palette bytes that the flags of a file or of a frame declare."""
    flags = tf.cast(flags, tf.int32)
    return tf.where(flags >= 128, 3 * tf.bitwise.left_shift(2, flags % 8), 0)


def _first_frame(data: tf.Tensor, start: tf.Tensor) -> tf.Tensor:
    """Returns the offset of the first image descriptor, after the extensions."""

    def is_extension(start: tf.Tensor) -> tf.Tensor:
        return data[start] == 0x21

    def behind_extension(start: tf.Tensor) -> list[tf.Tensor]:
        def behind_block(block: tf.Tensor) -> list[tf.Tensor]:
            return [block + 1 + tf.cast(data[block], tf.int32)]

        return [tf.while_loop(lambda block: data[block] > 0, behind_block, [start + 2])[0] + 1]

    return tf.while_loop(is_extension, behind_extension, [start])[0]


def _pixels_end(data: tf.Tensor, start: tf.Tensor) -> tf.Tensor:
    """Returns the offset after the pixels of a frame, blocks that begin with their length, 0 last.

    A loop over the blocks would take longer than decoding. So the blocks of 255 bytes, usually all
    but the last, are skipped at once. For the rest, every offset is mapped to that of the block
    after it, and this map is composed with itself: after n rounds it skips 2**n blocks.
    """
    start += 256 * tf.argmin(data[start::256] == 255, output_type=tf.int32)
    lengths = tf.cast(data[start:], tf.int32)
    here = tf.range(tf.size(lengths))
    behind = tf.minimum(here + tf.where(lengths > 0, lengths + 1, 0), tf.size(lengths) - 1)
    _, reached = tf.while_loop(
        lambda before, reached: before[0] < reached[0],
        lambda _, reached: (reached, tf.gather(reached, reached)),
        [here, behind],
    )
    return start + reached[0] + 1
