"""Image files to RGB pixels, with TensorFlow operations alone.

Everything here also runs inside an exported SavedModel, so there is no Python in the graph.
TensorFlow's own `decode_image` is not enough: its JPEG decoding is the fast, inexact one, it
refuses WebP with alpha, crashes on one that moves, and shows palette BMPs as their indices.
"""

import tensorflow as tf

_WEBP_MOVES = 0x02  # flags in byte 20 of an extended WebP
_WEBP_ALPHA = 0x10


def decode_image(contents: tf.Tensor, jpeg_ratio: int = 1) -> tf.Tensor:
    """Decodes a JPEG, PNG, WebP, BMP or GIF file to RGB.

    Greyscale, palette and CMYK become RGB. Alpha is dropped, as by Pillow's `convert("RGB")`;
    16-bit samples keep their high byte; of an animation the first frame is taken; an EXIF
    orientation is ignored.

    Args:
        contents: scalar string, the bytes of the file.
        jpeg_ratio: 1, 2, 4 or 8: JPEGs are decoded at this fraction of their size.

    Returns:
        uint8 (H, W, 3).

    Raises:
        tf.errors.InvalidArgumentError: the bytes cannot be decoded.

    Example:
        >>> image = decode_image(tf.io.encode_png(tf.zeros((4, 5, 1), tf.uint8)))
        >>> image.shape.as_list()
        [4, 5, 3]
    """
    contents = tf.convert_to_tensor(contents)
    image = tf.case(
        [
            (is_jpeg(contents), lambda: decode_jpeg(contents, jpeg_ratio)),
            (_starts_with(contents, b"RIFF"), lambda: _decode_webp(contents)),
            (_starts_with(contents, b"BM"), lambda: _decode_bmp(contents)),
            (_starts_with(contents, b"GIF8"), lambda: _decode_gif(contents)),
        ],
        default=lambda: _decode_other(contents),  # PNG, or nothing that can be read
    )
    return tf.ensure_shape(image, (None, None, 3))


def is_jpeg(contents: tf.Tensor) -> tf.Tensor:
    """Whether the bytes start as a JPEG file does; scalar bool."""
    return _starts_with(contents, b"\xff\xd8\xff")


def decode_jpeg(contents: tf.Tensor, ratio: int = 1) -> tf.Tensor:
    """Decodes a JPEG to uint8 (H, W, 3) as libjpeg's accurate integer DCT has it."""
    return tf.io.decode_jpeg(contents, channels=3, ratio=ratio, dct_method="INTEGER_ACCURATE")


def decode_jpeg_window(contents: tf.Tensor, window: tf.Tensor) -> tf.Tensor:
    """Decodes only the window (top, left, height, width), int32 (4,), of a JPEG."""
    return tf.image.decode_and_crop_jpeg(
        contents, window, channels=3, dct_method="INTEGER_ACCURATE"
    )


def _starts_with(contents: tf.Tensor, magic: bytes) -> tf.Tensor:
    return tf.equal(tf.strings.substr(contents, 0, len(magic)), magic)


def _decode_other(contents: tf.Tensor) -> tf.Tensor:
    return tf.io.decode_image(contents, channels=3, expand_animations=False)


def _decode_gif(contents: tf.Tensor) -> tf.Tensor:
    """Decodes the first frame, in its place on black if it is smaller than the canvas."""
    data = tf.cast(tf.io.decode_raw(contents, tf.uint8), tf.int32)
    palette = tf.where(data[10] >= 128, 3 * tf.bitwise.left_shift(2, data[10] % 8), 0)
    start = _gif_first_frame(data, 13 + palette)
    place = tf.io.decode_raw(tf.strings.substr(contents, start + 1, 8), tf.uint16)
    left, top, width, height = tf.unstack(tf.cast(place, tf.int32), 4)
    # TensorFlow takes the frame for the canvas and moves it all the same: it is decoded at
    # (0, 0). The extensions are left out, for one of them makes a colour black: transparency.
    head = tf.strings.substr(contents, 0, 13 + palette)
    tail = tf.strings.substr(contents, start + 5, -1)
    frame = _decode_other(tf.strings.join([head, b",\0\0\0\0", tail]))
    canvas_width = tf.maximum(_little_endian(contents, 6, tf.uint16), left + width)
    canvas_height = tf.maximum(_little_endian(contents, 8, tf.uint16), top + height)
    return tf.image.pad_to_bounding_box(frame, top, left, canvas_height, canvas_width)


def _gif_first_frame(data: tf.Tensor, start: tf.Tensor) -> tf.Tensor:
    """The offset of the first image descriptor, behind the extensions."""

    def is_extension(start: tf.Tensor) -> tf.Tensor:
        return data[start] == 0x21

    def behind_extension(start: tf.Tensor) -> list[tf.Tensor]:
        end = tf.while_loop(
            lambda block: data[block] > 0, lambda block: [block + 1 + data[block]], [start + 2]
        )
        return [end[0] + 1]

    return tf.while_loop(is_extension, behind_extension, [start])[0]


def _decode_webp(contents: tf.Tensor) -> tf.Tensor:
    # With three channels asked for, the operation refuses files that have alpha.
    extended = _starts_with(tf.strings.substr(contents, 12, 4), b"VP8X")
    flags = tf.io.decode_raw(tf.strings.substr(contents, 20, 1), tf.uint8)[0]
    image = tf.cond(
        extended & (tf.bitwise.bitwise_and(flags, _WEBP_MOVES) > 0),
        lambda: tf.image.decode_webp(_claim_alpha(contents, flags), channels=4),
        lambda: tf.image.decode_webp(contents),
    )
    return image[0, ..., :3]


def _claim_alpha(contents: tf.Tensor, flags: tf.Tensor) -> tf.Tensor:
    # TensorFlow 2.20 writes four channels of an animation into the room for three, and so
    # corrupts the memory, unless the header announces alpha.
    flags = tf.cast(tf.bitwise.bitwise_or(flags, _WEBP_ALPHA), tf.int32)
    byte = tf.gather([bytes([value]) for value in range(256)], flags)
    head, tail = tf.strings.substr(contents, 0, 20), tf.strings.substr(contents, 21, -1)
    return tf.strings.join([head, byte, tail])


def _decode_bmp(contents: tf.Tensor) -> tf.Tensor:
    bits = _little_endian(contents, 28, tf.uint16)
    return tf.cond(
        bits <= 8,
        lambda: _decode_palette_bmp(contents, bits),
        lambda: tf.io.decode_bmp(contents)[..., :3],
    )


def _decode_palette_bmp(contents: tf.Tensor, bits: tf.Tensor) -> tf.Tensor:
    """Decodes an uncompressed BMP of 1, 4 or 8 bits a pixel through its palette."""
    compression = _little_endian(contents, 30, tf.int32)
    check = tf.debugging.assert_equal(compression, 0, "Expected an uncompressed BMP.")
    with tf.control_dependencies([check]):
        start = _little_endian(contents, 10, tf.int32)
        width = _little_endian(contents, 18, tf.int32)
        signed_height = _little_endian(contents, 22, tf.int32)
    height = tf.abs(signed_height)
    palette_start = 14 + _little_endian(contents, 14, tf.int32)
    colors = _little_endian(contents, 46, tf.int32)
    colors = tf.where(colors > 0, colors, tf.bitwise.left_shift(1, bits))
    palette = _bytes(contents, palette_start, 4 * colors)
    palette = tf.reshape(palette, (-1, 4))[:, 2::-1]  # stored as blue, green, red, nothing
    row_bytes = (width * bits + 31) // 32 * 4  # rows are padded to four bytes
    rows = tf.reshape(_bytes(contents, start, row_bytes * height), (height, row_bytes, 1))
    shifts = tf.range(8 - bits, -1, -bits)  # the leftmost pixel is in the highest bits
    pixels = tf.bitwise.right_shift(tf.cast(rows, tf.int32), shifts)
    indices = tf.bitwise.bitwise_and(pixels, tf.bitwise.left_shift(1, bits) - 1)
    indices = tf.reshape(indices, (height, -1))[:, :width]
    indices = tf.cond(signed_height > 0, lambda: indices[::-1], lambda: indices)
    return tf.gather(palette, indices)


def _little_endian(contents: tf.Tensor, offset: int, dtype: tf.DType) -> tf.Tensor:
    value = tf.io.decode_raw(tf.strings.substr(contents, offset, dtype.size), dtype)
    return tf.cast(value[0], tf.int32)


def _bytes(contents: tf.Tensor, start: tf.Tensor, count: tf.Tensor) -> tf.Tensor:
    return tf.io.decode_raw(tf.strings.substr(contents, start, count), tf.uint8)
