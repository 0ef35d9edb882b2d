"""Converts image paths and sizes to one form."""

import operator
import os
from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorflow as tf

# A size in pixels: the side of a square, or (height, width).
ImageSize = int | tuple[int, int]


def as_paths(paths: Sequence[str | os.PathLike]) -> tuple[str, ...]:
    """Returns image paths as strings.

    Args:
        paths: Strings or `pathlib.Path`s.

    Raises:
        ValueError: A single path, or something other than paths, was given.

    Example:
        >>> from pathlib import Path
        >>> as_paths([Path("a") / "1.jpg", "b/2.jpg"])
        ('a/1.jpg', 'b/2.jpg')
    """
    if isinstance(paths, str | bytes | os.PathLike):
        raise ValueError(f"Expected a list of paths; received {paths!r} alone. Write [path].")
    for path in paths:
        if not isinstance(path, str | bytes | os.PathLike):
            raise ValueError(
                f"Expected the paths of image files; received a list with {type(path).__name__} in "
                "it. Images in memory need no pipeline: give them to `fit`."
            )
    return tuple(os.fsdecode(path) for path in paths)


def path_tensor(paths: Sequence[str | os.PathLike]) -> tf.Tensor:
    """Returns paths as a string tensor (N,), also those whose names are not valid UTF-8."""
    return tf.constant([os.fsencode(path) for path in paths], tf.string)


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
