"""Decodes a BMP of Windows or OS/2, also with a palette."""

import tensorflow as tf

from pa_keras.pipelines.image_bytes import expect_bytes, integer, within_limit

_OS2_HEADER = 12  # bytes of the second header


def decode_bmp(contents: tf.Tensor) -> tf.Tensor:
    header = expect_bytes(tf.strings.substr(contents, 0, 26), 26, "BMP")
    return tf.cond(
        integer(header, 14) == _OS2_HEADER,
        lambda: _decode_os2(contents),
        lambda: _decode_windows(contents),
    )


def _decode_windows(contents: tf.Tensor) -> tf.Tensor:
    header = expect_bytes(tf.strings.substr(contents, 0, 54), 54, "BMP")
    bits = integer(header, 28, tf.uint16)
    contents = within_limit(contents, integer(header, 18), integer(header, 22))
    return tf.cond(
        bits <= 8,
        lambda: _decode_palette(tf.io.decode_raw(contents, tf.uint8), bits),
        lambda: tf.io.decode_bmp(contents)[..., :3],
    )


def _decode_palette(data: tf.Tensor, bits: tf.Tensor) -> tf.Tensor:
    """Decodes an uncompressed BMP of 1, 4 or 8 bits per pixel with its palette."""
    tf.debugging.assert_equal(integer(data, 30), 0, "Expected an uncompressed BMP.")
    pixels_start, info_bytes, width, height, colors = (
        integer(data, offset) for offset in (10, 14, 18, 22, 46)
    )
    colors = tf.where(colors > 0, colors, tf.bitwise.left_shift(1, bits))
    palette_start = 14 + info_bytes
    palette = tf.reshape(data[palette_start : palette_start + 4 * colors], (colors, 4))
    rows = _rows(data, pixels_start, tf.abs(height), width * bits)
    rows = tf.cond(height > 0, lambda: tf.reverse(rows, [0]), lambda: rows)
    return _through_palette(rows, bits, width, palette)


def _decode_os2(contents: tf.Tensor) -> tf.Tensor:
    """Decodes a BMP with the short OS/2 header, which TensorFlow reads incorrectly."""
    header = tf.io.decode_raw(tf.strings.substr(contents, 0, 26), tf.uint8)
    width, height, _, bits = (integer(header, offset, tf.uint16) for offset in (18, 20, 22, 24))
    data = tf.io.decode_raw(within_limit(contents, width, height), tf.uint8)
    known = tf.reduce_any(bits == (1, 4, 8, 24))
    check = tf.debugging.Assert(known, ["Expected a BMP of 1, 4, 8 or 24 bits a pixel.", bits])
    with tf.control_dependencies([check]):
        pixels_start = integer(data, 10)
    rows = tf.reverse(_rows(data, pixels_start, height, width * bits), [0])

    def by_palette() -> tf.Tensor:
        start = 14 + _OS2_HEADER
        # If there are fewer colours than the bits allow, the pixels begin earlier.
        colors = tf.minimum(tf.bitwise.left_shift(1, bits), (pixels_start - start) // 3)
        palette = tf.reshape(data[start : start + 3 * colors], (colors, 3))
        return _through_palette(rows, bits, width, palette)

    def direct() -> tf.Tensor:
        return tf.reshape(rows[:, : 3 * width], (height, width, 3))[..., ::-1]

    return tf.cond(bits <= 8, by_palette, direct)


def _rows(data: tf.Tensor, start: tf.Tensor, height: tf.Tensor, row_bits: tf.Tensor) -> tf.Tensor:
    """Returns the rows of pixels as bytes, (height, bytes per row), in the order of the file."""
    row_bytes = (row_bits + 31) // 32 * 4  # rows are padded to four bytes
    rows_there = (tf.size(data) - start) // tf.maximum(row_bytes, 1)
    check = tf.debugging.assert_less_equal(
        height, rows_there, "Expected a complete BMP file; it is cut short."
    )
    with tf.control_dependencies([check]):
        rows = data[start : start + row_bytes * height]
    return tf.reshape(rows, (height, row_bytes))


def _through_palette(
    rows: tf.Tensor, bits: tf.Tensor, width: tf.Tensor, palette: tf.Tensor
) -> tf.Tensor:
    """Converts rows of indices of 1, 4 or 8 bits to RGB (height, width, 3)."""
    shifts = tf.range(8 - bits, -1, -bits)  # the leftmost pixel is in the highest bits
    # Indices stay uint8 as long as possible, since a byte of the file may hold eight pixels.
    mask = tf.cast(tf.bitwise.left_shift(1, bits) - 1, tf.uint8)
    indices = tf.bitwise.right_shift(rows[..., tf.newaxis], tf.cast(shifts, tf.uint8)) & mask
    indices = tf.reshape(indices, (tf.shape(rows)[0], -1))[:, :width]
    # The palette stores blue, green, red and, in the Windows format, an unused byte.
    return tf.gather(palette[:, 2::-1], tf.cast(indices, tf.int32))
