"""Decodes image files to RGB pixels with TensorFlow operations only.

Everything here also runs inside an exported SavedModel, so there is no Python in the graph.
TensorFlow's own `decode_image` is not enough: it decodes JPEGs by the fast, inexact method, refuses
WebP with alpha, crashes on animated WebP, and returns the indices of palette BMPs.

A few bytes can declare an image that fills the memory, so TensorFlow's limit for JPEGs applies to
every format: the size in the header is checked before anything is decoded, and the later frames of
an animation are cut off.
"""

import tensorflow as tf

from pa_keras.pipelines.bmp import decode_bmp
from pa_keras.pipelines.gif import decode_gif
from pa_keras.pipelines.image_bytes import expect_bytes, starts_with, within_limit
from pa_keras.pipelines.webp import decode_webp


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
    rare = _decode_rare.python_function if tf.executing_eagerly() else _decode_rare
    image = tf.cond(
        is_jpeg(contents),
        lambda: decode_jpeg(contents, jpeg_ratio),
        lambda: tf.cond(
            starts_with(contents, b"\x89PNG"),
            lambda: decode_png(contents),
            lambda: rare(contents),
        ),
    )
    return tf.ensure_shape(image, (None, None, 3))


def is_jpeg(contents: tf.Tensor) -> tf.Tensor:
    """Returns whether the bytes start like a JPEG file, as a scalar bool."""
    return starts_with(contents, b"\xff\xd8\xff")


def decode_jpeg(contents: tf.Tensor, ratio: int = 1) -> tf.Tensor:
    """Decodes a JPEG to uint8 (H, W, 3) with libjpeg's accurate integer DCT."""
    return tf.io.decode_jpeg(contents, channels=3, ratio=ratio, dct_method="INTEGER_ACCURATE")


def decode_jpeg_window(contents: tf.Tensor, window: tf.Tensor) -> tf.Tensor:
    """Decodes only the window (top, left, height, width), int32 (4,), of a JPEG."""
    return tf.image.decode_and_crop_jpeg(
        contents, window, channels=3, dct_method="INTEGER_ACCURATE"
    )


# This function is not inlined: otherwise each of its hundreds of operations would be skipped one by
# one for every JPEG, which took about 0.1 ms per image. A call of it takes about 2 ms, though.
@tf.function(autograph=False, experimental_attributes={"_noinline": True})
def _decode_rare(contents: tf.Tensor) -> tf.Tensor:
    return tf.case(
        [
            (starts_with(contents, b"RIFF"), lambda: decode_webp(contents)),
            (starts_with(contents, b"BM"), lambda: decode_bmp(contents)),
            (starts_with(contents, b"GIF8"), lambda: decode_gif(contents)),
        ],
        default=lambda: _decode_other(contents),  # raises an error that lists the formats
    )


def _decode_other(contents: tf.Tensor) -> tf.Tensor:
    return tf.io.decode_image(contents, channels=3, expand_animations=False)


def decode_png(contents: tf.Tensor) -> tf.Tensor:
    """Decodes a PNG of an allowed size to uint8 (H, W, 3)."""
    data = expect_bytes(tf.strings.substr(contents, 0, 24), 24, "PNG")
    width, height = (  # big-endian
        tf.bitcast(tf.reverse(data[start : start + 4], [0]), tf.uint32) for start in (16, 20)
    )
    return _decode_other(within_limit(contents, width, height))
