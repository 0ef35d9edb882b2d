"""Converts image paths to one form."""

import os
from collections.abc import Sequence

import tensorflow as tf


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
    if all(type(path) is str for path in paths):  # the usual case, fast for a million paths
        return tuple(map(str, paths))
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
