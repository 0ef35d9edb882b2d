"""Image files to RGB pixels, with TensorFlow operations alone.

Everything here also runs inside an exported SavedModel, so there is no Python in the graph.
TensorFlow's own `decode_image` is not enough: its JPEG decoding is the fast, inexact one, it
refuses WebP with alpha, crashes on one that moves, and shows palette BMPs as their indices.
"""

import tensorflow as tf

MOST_SAMPLES = 2**29  # height x width x components; TensorFlow decodes JPEGs below it alone
_OS2_HEADER = 12  # bytes of a BMP's second header
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
    # By itself, so that what is wrong with a file is the message alone.
    others = _decode_no_jpeg.python_function if tf.executing_eagerly() else _decode_no_jpeg
    image = tf.cond(
        is_jpeg(contents),
        lambda: decode_jpeg(contents, jpeg_ratio),
        lambda: others(contents),
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


# Its hundreds of operations stand in a function that is not inlined: there each would be passed
# over for every JPEG, which took about 0.1 ms an image.
@tf.function(experimental_attributes={"_noinline": True})
def _decode_no_jpeg(contents: tf.Tensor) -> tf.Tensor:
    return tf.case(
        [
            (_starts_with(contents, b"RIFF"), lambda: _decode_webp(contents)),
            (_starts_with(contents, b"BM"), lambda: _decode_bmp(contents)),
            (_starts_with(contents, b"GIF8"), lambda: _decode_gif(contents)),
        ],
        default=lambda: _decode_other(contents),  # PNG, or nothing that can be read
    )


def _expect_bytes(contents: tf.Tensor, least: int, kind: str) -> tf.Tensor:
    """The bytes of a file as uint8 (N,), which are at least so many."""
    check = tf.debugging.assert_greater_equal(
        tf.strings.length(contents), least, f"Expected a whole {kind} file; it is cut short."
    )
    with tf.control_dependencies([check]):
        return tf.io.decode_raw(contents, tf.uint8)


def _starts_with(contents: tf.Tensor, magic: bytes) -> tf.Tensor:
    return tf.equal(tf.strings.substr(contents, 0, len(magic)), magic)


def _decode_other(contents: tf.Tensor) -> tf.Tensor:
    return tf.io.decode_image(contents, channels=3, expand_animations=False)


def _decode_gif(contents: tf.Tensor) -> tf.Tensor:
    """Decodes the first frame, in its place on black if it is smaller than the canvas."""
    data = _expect_bytes(contents, 24, "GIF")  # the headers of the file and of a frame
    flags = tf.cast(data[10], tf.int32)
    palette = tf.where(flags >= 128, 3 * tf.bitwise.left_shift(2, flags % 8), 0)
    start = _gif_first_frame(data, 13 + palette)
    left, top, width, height = (_integer(data, start + i, tf.uint16) for i in (1, 3, 5, 7))
    # TensorFlow takes the frame for the canvas and moves it all the same: it is decoded at
    # (0, 0). The extensions are left out, for one of them makes a colour black: transparency.
    frame = _decode_other(_splice(contents, 13 + palette, b",\0\0\0\0", start + 5))
    frame = frame[:height, :width]  # TensorFlow makes it as large as the largest frame
    canvas_width = tf.maximum(_integer(data, 6, tf.uint16), left + width)
    canvas_height = tf.maximum(_integer(data, 8, tf.uint16), top + height)
    # The canvas is what the file says, however few bytes it has: a limit, as JPEG's in TensorFlow.
    samples = 3 * tf.cast(canvas_width, tf.int64) * tf.cast(canvas_height, tf.int64)
    check = tf.debugging.assert_less(
        samples, tf.constant(MOST_SAMPLES, tf.int64), "Expected a smaller GIF"
    )
    with tf.control_dependencies([check]):
        frame = tf.identity(frame)
    return tf.image.pad_to_bounding_box(frame, top, left, canvas_height, canvas_width)


def _gif_first_frame(data: tf.Tensor, start: tf.Tensor) -> tf.Tensor:
    """The offset of the first image descriptor, behind the extensions."""

    def is_extension(start: tf.Tensor) -> tf.Tensor:
        return data[start] == 0x21

    def behind_extension(start: tf.Tensor) -> list[tf.Tensor]:
        def behind_block(block: tf.Tensor) -> list[tf.Tensor]:
            return [block + 1 + tf.cast(data[block], tf.int32)]

        return [tf.while_loop(lambda block: data[block] > 0, behind_block, [start + 2])[0] + 1]

    return tf.while_loop(is_extension, behind_extension, [start])[0]


def _decode_webp(contents: tf.Tensor) -> tf.Tensor:
    data = _expect_bytes(contents, 21, "WebP")
    flags = tf.cast(data[20], tf.int32)
    moves = tf.reduce_all(data[12:16] == tuple(b"VP8X")) & (flags & _WEBP_MOVES > 0)
    # TensorFlow 2.20 writes four channels of an animation into the room for three, and so
    # corrupts the memory, unless the header announces alpha. Still images with alpha it refuses
    # when asked for three.
    alpha = tf.gather([bytes([value | _WEBP_ALPHA]) for value in range(256)], flags)
    image = tf.cond(
        moves,
        lambda: tf.image.decode_webp(_splice(contents, 20, alpha, 21), channels=4),
        lambda: tf.image.decode_webp(contents),
    )
    return image[0, ..., :3]


def _decode_bmp(contents: tf.Tensor) -> tf.Tensor:
    data = _expect_bytes(contents, 26, "BMP")
    return tf.cond(
        _integer(data, 14) == _OS2_HEADER,
        lambda: _decode_os2_bmp(data),
        lambda: _decode_windows_bmp(contents),
    )


def _decode_windows_bmp(contents: tf.Tensor) -> tf.Tensor:
    data = _expect_bytes(contents, 54, "BMP")
    bits = _integer(data, 28, tf.uint16)
    return tf.cond(
        bits <= 8,
        lambda: _decode_palette_bmp(data, bits),
        lambda: tf.io.decode_bmp(contents)[..., :3],
    )


def _decode_palette_bmp(data: tf.Tensor, bits: tf.Tensor) -> tf.Tensor:
    """Decodes an uncompressed BMP of 1, 4 or 8 bits a pixel through its palette."""
    tf.debugging.assert_equal(_integer(data, 30), 0, "Expected an uncompressed BMP.")
    pixels_start, info_bytes, width, height, colors = (
        _integer(data, offset) for offset in (10, 14, 18, 22, 46)
    )
    colors = tf.where(colors > 0, colors, tf.bitwise.left_shift(1, bits))
    palette_start = 14 + info_bytes
    palette = tf.reshape(data[palette_start : palette_start + 4 * colors], (colors, 4))
    rows = _bmp_rows(data, pixels_start, tf.abs(height), width * bits)
    image = _through_palette(rows, bits, width, palette)
    return tf.cond(height > 0, lambda: tf.reverse(image, [0]), lambda: image)


def _decode_os2_bmp(data: tf.Tensor) -> tf.Tensor:
    """Decodes a BMP with the short header of OS/2, of which TensorFlow reads the wrong bytes."""
    width, height, _, bits = (_integer(data, offset, tf.uint16) for offset in (18, 20, 22, 24))
    known = tf.reduce_any(bits == (1, 4, 8, 24))
    check = tf.debugging.Assert(known, ["Expected a BMP of 1, 4, 8 or 24 bits a pixel.", bits])
    with tf.control_dependencies([check]):
        pixels_start = _integer(data, 10)
    rows = _bmp_rows(data, pixels_start, height, width * bits)

    def by_palette() -> tf.Tensor:
        start = 14 + _OS2_HEADER
        # There may be fewer colours than the bits allow: the pixels then begin earlier.
        colors = tf.minimum(tf.bitwise.left_shift(1, bits), (pixels_start - start) // 3)
        palette = tf.reshape(data[start : start + 3 * colors], (colors, 3))
        return _through_palette(rows, bits, width, palette)

    def direct() -> tf.Tensor:
        return tf.reshape(rows[:, : 3 * width], (height, width, 3))[..., ::-1]

    return tf.reverse(tf.cond(bits <= 8, by_palette, direct), [0])


def _bmp_rows(
    data: tf.Tensor, start: tf.Tensor, height: tf.Tensor, row_bits: tf.Tensor
) -> tf.Tensor:
    """The rows of pixels as bytes, (height, bytes of a row), in the order of the file."""
    row_bytes = (row_bits + 31) // 32 * 4  # rows are padded to four bytes
    rows_there = (tf.size(data) - start) // tf.maximum(row_bytes, 1)
    check = tf.debugging.assert_less_equal(
        height, rows_there, "Expected a whole BMP file; it is cut short."
    )
    with tf.control_dependencies([check]):
        rows = data[start : start + row_bytes * height]
    return tf.reshape(rows, (height, row_bytes))


def _through_palette(
    rows: tf.Tensor, bits: tf.Tensor, width: tf.Tensor, palette: tf.Tensor
) -> tf.Tensor:
    """Rows of indices, of 1, 4 or 8 bits each, as RGB (height, width, 3)."""
    shifts = tf.range(8 - bits, -1, -bits)  # the leftmost pixel is in the highest bits
    indices = tf.bitwise.right_shift(tf.cast(rows[..., tf.newaxis], tf.int32), shifts)
    indices &= tf.bitwise.left_shift(1, bits) - 1
    indices = tf.reshape(indices, (tf.shape(rows)[0], -1))[:, :width]
    return tf.gather(palette[:, 2::-1], indices)  # stored as blue, green, red, perhaps nothing


def _integer(data: tf.Tensor, offset: int | tf.Tensor, dtype: tf.DType = tf.int32) -> tf.Tensor:
    """The little-endian integer at an offset of the bytes, as int32."""
    return tf.cast(tf.bitcast(data[offset : offset + dtype.size], dtype), tf.int32)


def _splice(contents: tf.Tensor, start: int, middle: bytes, end: int) -> tf.Tensor:
    """The bytes before `start`, the middle, and the bytes from `end` on."""
    end = tf.minimum(end, tf.strings.length(contents))
    head, tail = tf.strings.substr(contents, 0, start), tf.strings.substr(contents, end, -1)
    return tf.strings.join([head, middle, tail])
