"""Reads an image that is given as a path, as the bytes of a file, as a PIL image or as an array."""

import os
from collections.abc import Iterable
from typing import TypeAlias

import numpy as np
import tensorflow as tf
from PIL import Image

from pa_keras.pipelines.decoding import decode_image
from pa_keras.pipelines.image_checks import why_undecodable

# An image file, by its path or its bytes, or decoded pixels.
AnyImage: TypeAlias = str | os.PathLike | bytes | Image.Image | np.ndarray | tf.Tensor

_CHANNELS = (1, 3, 4)  # grey, RGB, RGB with alpha


class UndecodableError(Exception):
    """The image cannot be decoded; the message says why."""


def expect_several(images: Iterable[AnyImage]) -> None:
    """Raises a ValueError if a single image was given where several are expected."""
    is_one = isinstance(images, str | bytes | os.PathLike | Image.Image)
    if is_one or getattr(images, "ndim", 1) in (2, 3):
        kind = type(images).__name__
        raise ValueError(f"Expected a list of images; received one {kind} alone. Write [image].")


def image_source(image: AnyImage) -> str | bytes | np.ndarray:
    """Checks the form of an image, and returns what `source_pixels` takes.

    An array or a PIL image is copied, so the caller may change it or use its memory again.

    Args:
        image: Path of a file; the bytes of a file; a PIL image; or an array (H, W), (H, W, 1),
            (H, W, 3) or (H, W, 4). Arrays hold 0..255, or, if they are uint16, 0..65535.

    Returns:
        The path, the bytes, or pixels (H, W, 3), uint8 or float32 in 0..255.

    Raises:
        ValueError: It is something else, or its pixels are out of range.
        UndecodableError: Pillow cannot decode the file of a PIL image.

    Example:
        >>> image_source(np.zeros((4, 5), np.uint8)).shape
        (4, 5, 3)
    """
    if isinstance(image, bytes):
        return image
    if isinstance(image, str | os.PathLike):
        return os.path.expanduser(os.fsdecode(image))
    if isinstance(image, Image.Image):
        return _of_pil(image)
    if isinstance(image, np.ndarray) or tf.is_tensor(image):
        return _of_array(np.asarray(image))
    raise ValueError(
        "Expected an image as a path, the bytes of a file, a PIL image or an array; received "
        f"{type(image).__name__}."
    )


def source_pixels(source: str | bytes | np.ndarray) -> tf.Tensor:
    """Returns the pixels (H, W, 3), in 0..255, of a result of `image_source`.

    Files are decoded as in `decode_image`.

    Raises:
        UndecodableError: The file cannot be read or decoded.
    """
    if isinstance(source, np.ndarray):
        return tf.convert_to_tensor(source)

    def contents() -> tf.Tensor:
        if isinstance(source, bytes):
            return tf.constant(source)
        return tf.io.read_file(os.fsencode(source))

    try:
        return decode_image(contents())
    except tf.errors.OpError as error:
        raise UndecodableError(why_undecodable(contents)) from error


def _of_pil(image: Image.Image) -> np.ndarray:
    """Returns what `decode_image` would return for the file: RGB without alpha, high bytes only."""
    if image.mode in ("I", "F"):
        raise ValueError(
            f"Expected a PIL image of 8 or 16 bits per channel; received one of mode {image.mode}, "
            'whose range is not known. Scale it to 0..255, and convert it by image.convert("L").'
        )
    try:
        if image.mode.startswith("I;16"):
            return _of_array(np.asarray(image))  # convert() would clip at 255
        # Pillow warns if it drops the transparency of a palette in one step.
        opaque = image.convert("RGBA") if image.mode in ("P", "PA") else image
        return np.array(opaque.convert("RGB"))
    except Exception as error:  # Pillow raises many kinds of exceptions for damaged files
        raise UndecodableError(f"Pillow cannot decode it: {error}") from error


def _of_array(pixels: np.ndarray) -> np.ndarray:
    if pixels.ndim == 2:
        pixels = pixels[..., np.newaxis]
    if pixels.ndim != 3 or 0 in pixels.shape or pixels.shape[2] not in _CHANNELS:
        raise ValueError(
            "Expected an array of shape (H, W), (H, W, 1), (H, W, 3) or (H, W, 4); received "
            f"{pixels.shape}."
        )
    if pixels.dtype != np.uint8:
        pixels = _in_range(pixels)
    if pixels.shape[2] == 1:
        pixels = np.broadcast_to(pixels, (*pixels.shape[:2], 3))
    return np.array(pixels[..., :3])


def _in_range(pixels: np.ndarray) -> np.ndarray:
    """Returns float32 in 0..255, or, from uint16, the high bytes."""
    if pixels.dtype.kind not in "iuf":
        raise ValueError(f"Expected an array of numbers; received the type {pixels.dtype}.")
    low, high = pixels.min(), pixels.max()
    is_wide = pixels.dtype.kind == "u" and pixels.dtype.itemsize == 2  # of either byte order
    if not (low >= 0 and high <= (65535 if is_wide else 255)):  # also true for NaN
        raise ValueError(f"Expected pixels in 0..255; received {low} to {high}.")
    # In these ranges every image is black, so that all would be similar to each other.
    if is_wide and 0 < high <= 255:
        raise ValueError(
            f"Expected uint16 pixels in 0..65535; received {low} to {high}. If they are in 0..255, "
            "convert them by astype('uint8')."
        )
    if pixels.dtype.kind == "f" and 0 < high <= 1:
        raise ValueError(
            f"Expected pixels in 0..255; received floats of {low} to {high}. Multiply them by 255."
        )
    return (pixels >> 8).astype(np.uint8) if is_wide else pixels.astype(np.float32)
