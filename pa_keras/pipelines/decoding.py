"""Decodes image files to RGB pixels with TensorFlow operations only.

Everything here also runs inside an exported SavedModel, so there is no Python in the graph.
TensorFlow's own `decode_image` is not enough: it decodes JPEGs by the fast, inexact method, refuses
WebP with alpha, crashes on animated WebP, and returns the indices of palette BMPs.

A few bytes can declare an image that fills the memory, so TensorFlow's limit for JPEGs applies to
every format: the size in the header is checked before anything is decoded, and the later frames of
an animation are cut off.
"""

import tensorflow as tf

MOST_SAMPLES = 2**29  # height x width x components must be below this, TensorFlow's JPEG limit
_OS2_HEADER = 12  # bytes of a BMP's second header
_BYTES = tuple(bytes([value]) for value in range(256))
_WEBP_MOVES = 0x02  # animation flag, in byte 20 of an extended WebP
_WEBP_ALPHA = 0x10


def decode_image(contents: tf.Tensor, jpeg_ratio: int = 1) -> tf.Tensor:
    """Decodes a JPEG, PNG, WebP, BMP or GIF file to RGB.

    Greyscale, palette and CMYK become RGB. Alpha is dropped, as by Pillow's `convert("RGB")`;
    16-bit samples keep their high byte; the first frame of an animation is decoded; an EXIF
    orientation is ignored. An image whose header declares `MOST_SAMPLES` or more, at three
    components per pixel (179 million pixels), is refused.

    Args:
        contents: The bytes of the file, a scalar string.
        jpeg_ratio: Divisor of the size of JPEGs: 1, 2, 4 or 8.

    Returns:
        The pixels, uint8 (H, W, 3).

    Raises:
        tf.errors.InvalidArgumentError: The bytes cannot be decoded, or the image is too large.

    Example:
        >>> image = decode_image(tf.io.encode_png(tf.zeros((4, 5, 1), tf.uint8)))
        >>> image.shape.as_list()
        [4, 5, 3]
    """
    contents = tf.convert_to_tensor(contents)
    # In eager mode call the plain function, so that the error message describes only the file.
    others = _decode_no_jpeg.python_function if tf.executing_eagerly() else _decode_no_jpeg
    image = tf.cond(
        is_jpeg(contents),
        lambda: decode_jpeg(contents, jpeg_ratio),
        lambda: others(contents),
    )
    return tf.ensure_shape(image, (None, None, 3))


def is_jpeg(contents: tf.Tensor) -> tf.Tensor:
    """Returns whether the bytes start like a JPEG file, as a scalar bool."""
    return _starts_with(contents, b"\xff\xd8\xff")


def decode_jpeg(contents: tf.Tensor, ratio: int = 1) -> tf.Tensor:
    """Decodes a JPEG to uint8 (H, W, 3) with libjpeg's accurate integer DCT."""
    return tf.io.decode_jpeg(contents, channels=3, ratio=ratio, dct_method="INTEGER_ACCURATE")


def decode_jpeg_window(contents: tf.Tensor, window: tf.Tensor) -> tf.Tensor:
    """Decodes only the window (top, left, height, width), int32 (4,), of a JPEG."""
    return tf.image.decode_and_crop_jpeg(
        contents, window, channels=3, dct_method="INTEGER_ACCURATE"
    )


# This function is not inlined: otherwise each of its hundreds of operations would be skipped one by
# one for every JPEG, which took about 0.1 ms per image.
@tf.function(experimental_attributes={"_noinline": True})
def _decode_no_jpeg(contents: tf.Tensor) -> tf.Tensor:
    return tf.case(
        [
            (_starts_with(contents, b"RIFF"), lambda: _decode_webp(contents)),
            (_starts_with(contents, b"BM"), lambda: _decode_bmp(contents)),
            (_starts_with(contents, b"GIF8"), lambda: _decode_gif(contents)),
            (_starts_with(contents, b"\x89PNG"), lambda: _decode_png(contents)),
        ],
        default=lambda: _decode_other(contents),  # raises an error that lists the formats
    )


def _expect_bytes(contents: tf.Tensor, least: int, kind: str) -> tf.Tensor:
    """Returns the bytes of a file as uint8 (N,), and checks that there are at least `least`."""
    check = tf.debugging.assert_greater_equal(
        tf.strings.length(contents), least, f"Expected a complete {kind} file; it is cut short."
    )
    with tf.control_dependencies([check]):
        return tf.io.decode_raw(contents, tf.uint8)


def _starts_with(contents: tf.Tensor, magic: bytes) -> tf.Tensor:
    return tf.equal(tf.strings.substr(contents, 0, len(magic)), magic)


def _within_limit(
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


def _decode_other(contents: tf.Tensor) -> tf.Tensor:
    return tf.io.decode_image(contents, channels=3, expand_animations=False)


def _decode_png(contents: tf.Tensor) -> tf.Tensor:
    data = _expect_bytes(tf.strings.substr(contents, 0, 24), 24, "PNG")
    width, height = (  # big-endian
        tf.bitcast(tf.reverse(data[start : start + 4], [0]), tf.uint32) for start in (16, 20)
    )
    return _decode_other(_within_limit(contents, width, height))


def _decode_gif(contents: tf.Tensor) -> tf.Tensor:
    """Decodes the first frame, at its place on a black canvas if it is smaller than that."""
    data = _expect_bytes(contents, 24, "GIF")  # the headers of the file and of a frame
    palette_end = 13 + _gif_palette_bytes(data[10])
    start = _gif_first_frame(data, palette_end)
    left, top, width, height = (_integer(data, start + i, tf.uint16) for i in (1, 3, 5, 7))
    canvas_width = tf.maximum(_integer(data, 6, tf.uint16), left + width)
    canvas_height = tf.maximum(_integer(data, 8, tf.uint16), top + height)
    contents = _within_limit(contents, canvas_width, canvas_height)
    # TensorFlow takes the frame for the canvas but still moves it, so it is decoded at (0, 0). The
    # extensions are left out, because transparency would make a colour black. The later frames
    # are left out too, because TensorFlow would decode them whatever their size.
    pixels_start = start + 10 + _gif_palette_bytes(data[start + 9])
    first = tf.strings.substr(contents, 0, _gif_pixels_end(data, pixels_start + 1))
    frame = _decode_other(_splice(first, palette_end, b",\0\0\0\0", start + 5) + b";")
    return tf.image.pad_to_bounding_box(frame, top, left, canvas_height, canvas_width)


def _gif_palette_bytes(flags: tf.Tensor) -> tf.Tensor:
    """Returns the number of palette bytes that the flags of a file or of a frame declare."""
    flags = tf.cast(flags, tf.int32)
    return tf.where(flags >= 128, 3 * tf.bitwise.left_shift(2, flags % 8), 0)


def _gif_first_frame(data: tf.Tensor, start: tf.Tensor) -> tf.Tensor:
    """Returns the offset of the first image descriptor, after the extensions."""

    def is_extension(start: tf.Tensor) -> tf.Tensor:
        return data[start] == 0x21

    def behind_extension(start: tf.Tensor) -> list[tf.Tensor]:
        def behind_block(block: tf.Tensor) -> list[tf.Tensor]:
            return [block + 1 + tf.cast(data[block], tf.int32)]

        return [tf.while_loop(lambda block: data[block] > 0, behind_block, [start + 2])[0] + 1]

    return tf.while_loop(is_extension, behind_extension, [start])[0]


def _gif_pixels_end(data: tf.Tensor, start: tf.Tensor) -> tf.Tensor:
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


def _decode_webp(contents: tf.Tensor) -> tf.Tensor:
    # A tiny file may be shorter than the longest header.
    header = _expect_bytes(tf.strings.substr(contents, 0, 30), 21, "WebP")
    header = tf.pad(header, [(0, 30 - tf.size(header))])
    flags = tf.cast(header[20], tf.int32)
    moves = _is_chunk(header, 12, b"VP8X") & (flags & _WEBP_MOVES > 0)
    width, height = _webp_size(header)
    image = tf.cond(
        moves,
        # TensorFlow draws an animation on two canvases before it makes the result.
        lambda: _decode_moving_webp(_within_limit(contents, width, height, 12), flags),
        lambda: tf.image.decode_webp(_within_limit(contents, width, height)),
    )
    return image[0, ..., :3]


def _webp_size(header: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Returns the width and height in the header: of the canvas, or of the only image."""
    numbers = tf.cast(header[20:30], tf.int32)
    canvas = [1 + tf.reduce_sum(numbers[start : start + 3] * (1, 2**8, 2**16)) for start in (4, 7)]
    packed = _integer(header, 21)  # two numbers of 14 bits
    lossless = [1 + (packed & 0x3FFF), 1 + (tf.bitwise.right_shift(packed, 14) & 0x3FFF)]
    lossy = [_integer(header, start, tf.uint16) & 0x3FFF for start in (26, 28)]
    is_lossless = _is_chunk(header, 12, b"VP8L")
    size = tf.where(_is_chunk(header, 12, b"VP8X"), canvas, tf.where(is_lossless, lossless, lossy))
    return size[0], size[1]


def _decode_moving_webp(contents: tf.Tensor, flags: tf.Tensor) -> tf.Tensor:
    """Decodes the first frame of an animation, (1, H, W, 4)."""
    data = tf.io.decode_raw(contents, tf.uint8)

    def is_before_frame(start: tf.Tensor) -> tf.Tensor:
        return ~_is_chunk(data, start, b"ANMF")

    def behind_chunk(start: tf.Tensor) -> list[tf.Tensor]:
        length = _integer(data, start + 4)
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
    alpha = tf.gather(_BYTES, flags | _WEBP_ALPHA)
    first = _splice(_splice(tf.strings.substr(contents, 0, end), 4, length, 8), 20, alpha, 21)
    return tf.image.decode_webp(first, channels=4)


def _is_chunk(data: tf.Tensor, start: int | tf.Tensor, name: bytes) -> tf.Tensor:
    return tf.reduce_all(data[start : start + 4] == tuple(name))


def _decode_bmp(contents: tf.Tensor) -> tf.Tensor:
    header = _expect_bytes(tf.strings.substr(contents, 0, 26), 26, "BMP")
    return tf.cond(
        _integer(header, 14) == _OS2_HEADER,
        lambda: _decode_os2_bmp(contents),
        lambda: _decode_windows_bmp(contents),
    )


def _decode_windows_bmp(contents: tf.Tensor) -> tf.Tensor:
    header = _expect_bytes(tf.strings.substr(contents, 0, 54), 54, "BMP")
    bits = _integer(header, 28, tf.uint16)
    contents = _within_limit(contents, _integer(header, 18), _integer(header, 22))
    return tf.cond(
        bits <= 8,
        lambda: _decode_palette_bmp(tf.io.decode_raw(contents, tf.uint8), bits),
        lambda: tf.io.decode_bmp(contents)[..., :3],
    )


def _decode_palette_bmp(data: tf.Tensor, bits: tf.Tensor) -> tf.Tensor:
    """Decodes an uncompressed BMP of 1, 4 or 8 bits per pixel with its palette."""
    tf.debugging.assert_equal(_integer(data, 30), 0, "Expected an uncompressed BMP.")
    pixels_start, info_bytes, width, height, colors = (
        _integer(data, offset) for offset in (10, 14, 18, 22, 46)
    )
    colors = tf.where(colors > 0, colors, tf.bitwise.left_shift(1, bits))
    palette_start = 14 + info_bytes
    palette = tf.reshape(data[palette_start : palette_start + 4 * colors], (colors, 4))
    rows = _bmp_rows(data, pixels_start, tf.abs(height), width * bits)
    rows = tf.cond(height > 0, lambda: tf.reverse(rows, [0]), lambda: rows)
    return _through_palette(rows, bits, width, palette)


def _decode_os2_bmp(contents: tf.Tensor) -> tf.Tensor:
    """Decodes a BMP with the short OS/2 header, which TensorFlow reads incorrectly."""
    header = tf.io.decode_raw(tf.strings.substr(contents, 0, 26), tf.uint8)
    width, height, _, bits = (_integer(header, offset, tf.uint16) for offset in (18, 20, 22, 24))
    data = tf.io.decode_raw(_within_limit(contents, width, height), tf.uint8)
    known = tf.reduce_any(bits == (1, 4, 8, 24))
    check = tf.debugging.Assert(known, ["Expected a BMP of 1, 4, 8 or 24 bits a pixel.", bits])
    with tf.control_dependencies([check]):
        pixels_start = _integer(data, 10)
    rows = tf.reverse(_bmp_rows(data, pixels_start, height, width * bits), [0])

    def by_palette() -> tf.Tensor:
        start = 14 + _OS2_HEADER
        # If there are fewer colours than the bits allow, the pixels begin earlier.
        colors = tf.minimum(tf.bitwise.left_shift(1, bits), (pixels_start - start) // 3)
        palette = tf.reshape(data[start : start + 3 * colors], (colors, 3))
        return _through_palette(rows, bits, width, palette)

    def direct() -> tf.Tensor:
        return tf.reshape(rows[:, : 3 * width], (height, width, 3))[..., ::-1]

    return tf.cond(bits <= 8, by_palette, direct)


def _bmp_rows(
    data: tf.Tensor, start: tf.Tensor, height: tf.Tensor, row_bits: tf.Tensor
) -> tf.Tensor:
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


def _integer(data: tf.Tensor, offset: int | tf.Tensor, dtype: tf.DType = tf.int32) -> tf.Tensor:
    """Reads the little-endian integer at an offset, as int32."""
    return tf.cast(tf.bitcast(data[offset : offset + dtype.size], dtype), tf.int32)


def _splice(contents: tf.Tensor, start: int, middle: bytes, end: int) -> tf.Tensor:
    """Replaces the bytes from `start` to `end` by `middle`."""
    end = tf.minimum(end, tf.strings.length(contents))
    head, tail = tf.strings.substr(contents, 0, start), tf.strings.substr(contents, end, -1)
    return tf.strings.join([head, middle, tail])
