"""Turns an image into the input of the network: for evaluation and exports, and for training."""

import math

import tensorflow as tf

from pa_keras.arguments.image_size import ImageSize, as_size
from pa_keras.pipelines import decoding

_TRIES = 10  # random windows to try before the centre is used, as in torchvision


def evaluation_image(
    image: tf.Tensor, image_size: ImageSize, crop_fraction: float = 0.875
) -> tf.Tensor:
    """Resizes an image so that it covers `image_size / crop_fraction`, and crops the centre.

    The resize is bilinear and antialiased, like Pillow's. Evaluation and all exports use this
    preprocessing.

    Args:
        image: Pixels (H, W, 3), or a batch (B, H, W, 3); any numeric dtype, in 0..255.
        image_size: Pixels of the result's height and width, or (height, width).
        crop_fraction: Share of the resized image's shorter side that is kept, in (0, 1].
            0.875 is the papers' 256 to 224; 1.0 crops only the excess of the longer side.

    Returns:
        float32 (height, width, 3), 0..255, or a batch of these.

    Raises:
        ValueError: `crop_fraction` is outside (0, 1].

    Example:
        >>> evaluation_image(tf.zeros((300, 400, 3)), (224, 224)).shape.as_list()
        [224, 224, 3]
    """
    expect_crop_fraction(crop_fraction)
    image_size = as_size(image_size)
    image = tf.convert_to_tensor(image)
    height, width = image_size
    cover_height, cover_width = round(height / crop_fraction), round(width / crop_fraction)
    size = tf.cast(tf.shape(image)[-3:-1], tf.int64)
    by_height = size[1] * cover_height >= size[0] * cover_width
    resized = tf.where(
        by_height,
        tf.stack([cover_height, size[1] * cover_height // size[0]]),
        tf.stack([size[0] * cover_width // size[1], cover_width]),
    )
    corner = (resized - tf.constant(image_size, tf.int64)) // 2
    # Resize and crop in one operation: pixels outside the crop are never computed.
    result = tf.raw_ops.ScaleAndTranslate(
        images=image if image.shape.rank == 4 else image[tf.newaxis],
        size=tf.constant(image_size, tf.int32),
        scale=tf.cast(resized / size, tf.float32),
        translation=-tf.cast(corner, tf.float32),
        kernel_type="triangle",
        antialias=True,
    )
    return result if image.shape.rank == 4 else result[0]


def training_image(
    source: tf.Tensor,
    image_size: ImageSize,
    seed: tf.Tensor,
    area: tuple[float, float] = (0.08, 1.0),
    ratio: tuple[float, float] = (3 / 4, 4 / 3),
    flip: bool = True,
) -> tf.Tensor:
    """Takes a random window of an image, resizes it, and mirrors it half of the time.

    Only the window of a JPEG file is decoded. The resize is bilinear, and antialiased where the
    window is larger than the result.

    Args:
        source: The bytes of an image file, scalar string, or its pixels, uint8 (H, W, 3).
        image_size: Pixels of the result's height and width, or (height, width).
        seed: Seed, int (2,); the same seed gives the same window.
        area: Range of the area of the window as a share of the image, in (0, 1].
        ratio: Range of the window's width / height, above 0; its logarithm is drawn uniformly.
        flip: Whether to mirror left and right with probability 1/2.

    Returns:
        float32 (height, width, 3), 0..255.

    Raises:
        ValueError: `area` or `ratio` is out of its range.

    Example:
        >>> pixels = tf.zeros((300, 400, 3), tf.uint8)
        >>> training_image(pixels, (224, 224), seed=(0, 1)).shape.as_list()
        [224, 224, 3]
    """
    expect_windows(area, ratio)
    image_size = as_size(image_size)
    draws = tf.random.stateless_uniform((4 * _TRIES + 1,), seed, alg="philox")

    def crop(image: tf.Tensor) -> tf.Tensor:
        top, left, height, width = tf.unstack(_window(tf.shape(image), draws, area, ratio))
        return image[top : top + height, left : left + width]

    def crop_jpeg() -> tf.Tensor:
        window = _window(tf.image.extract_jpeg_shape(source), draws, area, ratio)
        return decoding.decode_jpeg_window(source, window)

    if source.dtype == tf.string:
        window = tf.cond(
            decoding.is_jpeg(source), crop_jpeg, lambda: crop(decoding.decode_image(source))
        )
    else:
        window = crop(source)
    if flip:  # before the resize, on bytes; a slice with step -1 takes several times as long
        window = tf.cond(draws[-1] < 0.5, lambda: tf.reverse(window, [1]), lambda: window)
    return tf.ensure_shape(_resize(window, image_size), (*image_size, 3))


def expect_crop_fraction(crop_fraction: float) -> None:
    """Raises a ValueError unless the fraction is in (0, 1]."""
    if not 0.0 < crop_fraction <= 1.0:
        raise ValueError(
            f"Expected crop_fraction in (0, 1]; received {crop_fraction}; "
            "use 0.875 to crop or 1.0 to keep the full shorter side."
        )


def expect_windows(area: tuple[float, float], ratio: tuple[float, float]) -> None:
    """Raises a ValueError unless random windows can be drawn from these ranges."""
    if not 0.0 < area[0] <= area[1] <= 1.0:
        raise ValueError(
            f"Expected area = (low, high) with 0 < low <= high <= 1; received {area}; "
            "write it as shares of the image, such as (0.2, 1.0), not in per cent."
        )
    if not 0.0 < ratio[0] <= ratio[1] < math.inf:
        raise ValueError(
            f"Expected ratio = (low, high) with 0 < low <= high; received {ratio}; "
            "write it as width / height, such as (3 / 4, 4 / 3)."
        )


def _window(
    shape: tf.Tensor, draws: tf.Tensor, area: tuple[float, float], ratio: tuple[float, float]
) -> tf.Tensor:
    """Draws a window (top, left, height, width), int32 (4,), by torchvision's algorithm."""
    size = tf.cast(shape[:2], tf.float32)
    area_draws, ratio_draws, *corner_draws = tf.split(draws[:-1], 4)
    target = size[0] * size[1] * (area[0] + (area[1] - area[0]) * area_draws)
    low, high = math.log(ratio[0]), math.log(ratio[1])
    root = tf.exp((low + (high - low) * ratio_draws) / 2)
    side = tf.sqrt(target)
    windows = tf.round(tf.stack([side / root, side * root], axis=1))
    fits = tf.reduce_all((windows > 0) & (windows <= size), axis=1)
    first = tf.argmax(fits)
    window = windows[first]
    corner = tf.floor(tf.stack(corner_draws, axis=1)[first] * (size - window + 1))
    # If no try fits, take the central window of the nearest allowed shape.
    largest = tf.stack([size[1] / ratio[0], size[0] * ratio[1]])
    central = tf.minimum(size, tf.maximum(tf.round(largest), 1))
    found = fits[first]
    window = tf.where(found, window, central)
    corner = tf.where(found, tf.minimum(corner, size - window), (size - central) // 2)
    return tf.cast(tf.concat([corner, window], axis=0), tf.int32)


def _resize(image: tf.Tensor, image_size: tuple[int, int]) -> tf.Tensor:
    # For enlarging, both give the same pixels, and the plain resize takes a fraction of the time.
    # On float32, including the cast, it takes three quarters of its time on bytes.
    return tf.cond(
        tf.reduce_all(tf.shape(image)[:2] <= tf.constant(image_size)),
        lambda: tf.image.resize(tf.cast(image, tf.float32), image_size),
        lambda: _antialiased(image, image_size),
    )


def _antialiased(image: tf.Tensor, image_size: tuple[int, int]) -> tf.Tensor:
    """Resizes like `tf.image.resize` with antialias, but faster.

    TensorFlow's operation adds complete rows at a time, but only three numbers of a column. So the
    image is transposed, such that its columns become rows: its axes are then x, channel and y.
    """
    height, width = image_size
    size = tf.shape(image)
    rows = _scaled_rows(tf.reshape(image, (size[0], -1)), height)
    columns = tf.reshape(tf.transpose(rows), (size[1], -1))
    columns = tf.reshape(_scaled_rows(columns, width), (3 * width, height))
    return tf.reshape(tf.transpose(columns), (height, width, 3))


def _scaled_rows(rows: tf.Tensor, number: int) -> tf.Tensor:
    """Resizes (H, N) to (number, N), antialiased."""
    scale = number / tf.shape(rows)[0]
    result = tf.raw_ops.ScaleAndTranslate(
        images=rows[tf.newaxis, :, tf.newaxis, :],
        size=[number, 1],
        scale=tf.stack([tf.cast(scale, tf.float32), 1.0]),
        translation=[0.0, 0.0],
        kernel_type="triangle",
        antialias=True,
    )
    return result[0, :, 0, :]
