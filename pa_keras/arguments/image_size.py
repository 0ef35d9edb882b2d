"""Converts image sizes to one form."""

import operator
from typing import Any

import numpy as np

# A size in pixels: the side of a square, or (height, width).
ImageSize = int | tuple[int, int]


def as_size(image_size: ImageSize) -> tuple[int, int]:
    """Returns an image size as (height, width).

    Args:
        image_size: One number of pixels for both, or two; Python or NumPy integers of at least 1.

    Raises:
        ValueError: It is something else.

    Example:
        >>> as_size(224), as_size((160, 120))
        ((224, 224), (160, 120))
    """
    given: Any = image_size
    sizes = (given, given) if np.ndim(given) == 0 else tuple(given)
    try:
        height, width = (operator.index(size) for size in sizes)
    except (TypeError, ValueError):
        height = width = 0
    if min(height, width) < 1:
        raise ValueError(
            "Expected image_size as a number of pixels or as (height, width), each at least 1; "
            f"received {image_size!r}."
        )
    return height, width
