"""Draws the ink of a character as a distorted, coloured and noisy image."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from PIL.Image import Image

_LUMA = np.array([0.299, 0.587, 0.114])


@dataclass(frozen=True)
class Distortion:
    """How much two images of a character may differ; values are drawn uniformly from each range."""

    rotation: float = 15.0
    """Largest rotation in degrees, in either direction."""
    shear: float = 0.2
    """Largest horizontal shift of a point per unit of height, in either direction."""
    stretch: float = 0.15
    """Natural logarithm of the largest factor by which the width grows and the height shrinks."""
    size: tuple[float, float] = (0.65, 0.95)
    """Range of the longest side of the distorted character, as a share of the image's side."""
    blur: float = 0.8
    """Largest standard deviation of the blur, in pixels."""
    noise: float = 12.0
    """Largest standard deviation of the noise, in grey levels."""
    contrast: float = 90.0
    """Smallest difference in luma between ink and background, in grey levels."""


def draw(
    ink: "Image", image_size: int, distortion: Distortion, rng: np.random.Generator
) -> "Image":
    """Draw a character at a random place, in a random shape and colour, on a colour gradient.

    Args:
        ink: Greyscale image of the character, cut to its bounding box.
        image_size: Height and width of the image in pixels.
        distortion: Ranges of the random values.
        rng: Generator of all random values.

    Returns:
        The RGB image.
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
    # Pillow takes the inverse transform, from the new image to the ink.
    inverse = np.linalg.inv(matrix * scale)
    offset = np.array(ink.size) / 2 - inverse @ centre
    coefficients = np.column_stack([inverse, offset]).ravel().tolist()
    return ink.transform(
        (image_size, image_size), Transform.AFFINE, coefficients, Resampling.BILINEAR
    )


def _colours(contrast: float, rng: np.random.Generator) -> np.ndarray:
    """Returns the ink and two background colours, (3, 3); the ink is darker or lighter."""
    while True:
        colours = rng.uniform(0, 255, (3, 3))
        ink, *background = colours @ _LUMA
        if ink <= min(background) - contrast or ink >= max(background) + contrast:
            return colours


def _gradient(
    start: np.ndarray, end: np.ndarray, image_size: int, rng: np.random.Generator
) -> np.ndarray:
    """Returns a gradient of two colours in a random direction, (image_size, image_size, 3)."""
    direction = rng.uniform(0, 2 * np.pi)
    axis = np.linspace(-0.5, 0.5, image_size)
    position = np.cos(direction) * axis + np.sin(direction) * axis[:, None] + 0.5
    return start + (end - start) * np.clip(position, 0, 1)[..., None]
