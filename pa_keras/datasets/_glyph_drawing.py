"""One character's ink to one image: distorted, coloured, noisy."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from PIL.Image import Image

_LUMA = np.array([0.299, 0.587, 0.114])


@dataclass(frozen=True)
class Distortion:
    """How far two images of one character may differ; each range is drawn from uniformly."""

    rotation: float = 15.0
    """Degrees, to either side."""
    shear: float = 0.2
    """Horizontal shift of a point per unit of height, to either side."""
    stretch: float = 0.15
    """Natural logarithm of the greatest stretch of the width, which is the height's shrinking."""
    size: tuple[float, float] = (0.65, 0.95)
    """Longest side of the distorted character as a share of the image's; it lies anywhere in it."""
    blur: float = 0.8
    """Greatest standard deviation of the blur, in pixels."""
    noise: float = 12.0
    """Greatest standard deviation of the noise, in grey levels."""
    contrast: float = 90.0
    """Least difference of luma between ink and background, in grey levels."""


def draw(
    ink: "Image", image_size: int, distortion: Distortion, rng: np.random.Generator
) -> "Image":
    """Draw a character in a random place, shape and colour on a gradient of two colours.

    Args:
        ink: greyscale, cut to its bounding box.
        image_size: height and width of the image in pixels.
        distortion: the ranges.
        rng: of everything random.

    Returns:
        RGB image.
    """
    from PIL import Image, ImageFilter

    shape = _distorted(ink, image_size, distortion, rng)
    shape = shape.filter(ImageFilter.GaussianBlur(rng.uniform(0, distortion.blur)))
    opacity = np.asarray(shape)[..., None] / 255
    ink_colour, start, end = _colours(distortion.contrast, rng)
    background = _gradient(start, end, image_size, rng)
    pixels = background + (ink_colour - background) * opacity
    pixels += rng.normal(0, rng.uniform(0, distortion.noise), pixels.shape)
    return Image.fromarray(np.clip(np.rint(pixels), 0, 255).astype(np.uint8))


def _distorted(
    ink: "Image", image_size: int, distortion: Distortion, rng: np.random.Generator
) -> "Image":
    from PIL.Image import Resampling, Transform

    angle = np.deg2rad(rng.uniform(-distortion.rotation, distortion.rotation))
    shear = rng.uniform(-distortion.shear, distortion.shear)
    stretch = np.exp(rng.uniform(-distortion.stretch, distortion.stretch))
    rotation = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    matrix = rotation @ [[1, shear], [0, 1]] @ np.diag([stretch, 1 / stretch])
    sides = np.abs(matrix) @ ink.size
    scale = rng.uniform(*distortion.size) * image_size / sides.max()
    room = (image_size - sides * scale) / 2
    centre = image_size / 2 + rng.uniform(-1, 1, 2) * room
    # Pillow asks where each pixel of the image comes from: the inverse.
    inverse = np.linalg.inv(matrix * scale)
    offset = np.array(ink.size) / 2 - inverse @ centre
    coefficients = np.column_stack([inverse, offset]).ravel().tolist()
    return ink.transform(
        (image_size, image_size), Transform.AFFINE, coefficients, Resampling.BILINEAR
    )


def _colours(contrast: float, rng: np.random.Generator) -> np.ndarray:
    """Ink and two ends of the background, (3, 3): the ink is darker than both, or lighter."""
    while True:
        colours = rng.uniform(0, 255, (3, 3))
        ink, *background = colours @ _LUMA
        if ink <= min(background) - contrast or ink >= max(background) + contrast:
            return colours


def _gradient(
    start: np.ndarray, end: np.ndarray, image_size: int, rng: np.random.Generator
) -> np.ndarray:
    """From colour to colour in a random direction, (image_size, image_size, 3)."""
    direction = rng.uniform(0, 2 * np.pi)
    axis = np.linspace(-0.5, 0.5, image_size)
    position = np.cos(direction) * axis + np.sin(direction) * axis[:, None] + 0.5
    return start + (end - start) * np.clip(position, 0, 1)[..., None]
