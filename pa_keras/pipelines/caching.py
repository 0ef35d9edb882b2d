"""Keeps training images in memory: nothing, the files, or the pixels."""

import logging
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import tensorflow as tf

from pa_keras.pipelines.decoding import decode_image
from pa_keras.pipelines.paths import as_paths, path_tensor

logger = logging.getLogger(__name__)

CacheKind = Literal["none", "files", "pixels"]


@dataclass(frozen=True, eq=False)
class ImageCache:
    """The images of a training set, as kept by `fill_cache`."""

    paths: tuple[str, ...]
    kept: tf.Tensor  # string (N,): paths, bytes of files, or serialized pixels
    load: Callable[[tf.Tensor], tf.Tensor]  # turns one of these into a source of `training_image`


def fill_cache(paths: Sequence[str | os.PathLike], kind: CacheKind) -> ImageCache:
    """Reads the images once, for all calls of `training_batches` with the result.

    Args:
        paths: N image files.
        kind: What to keep in memory: "none", the "files" as they are on disk, or the decoded
            "pixels", which take 3 bytes per pixel but need no decoding.

    Returns:
        The `cache` for `training_batches` of the same paths.

    Raises:
        ValueError: There is no such kind.

    Example:
        ```python
        cache = fill_cache(paths, "files")
        warm_up = training_batches(paths, labels, cache=cache, **settings)
        batches = training_batches(paths, labels, cache=cache, first_epoch=1, **settings)
        ```
    """
    paths = as_paths(paths)
    files = path_tensor(paths)
    if kind == "none":
        return ImageCache(paths, files, tf.io.read_file)
    if kind == "files":
        return ImageCache(paths, _map(files, tf.io.read_file), tf.identity)
    if kind == "pixels":
        _report_size(paths)
        return ImageCache(paths, _map(files, _serialized_pixels), _parse_pixels)
    raise ValueError(
        f'Expected cache "none", "files" or "pixels"; received "{kind}"; use "none" to read the '
        "files again in each epoch."
    )


def _map(files: tf.Tensor, read: Callable[[tf.Tensor], tf.Tensor]) -> tf.Tensor:
    read = tf.autograph.experimental.do_not_convert(read)
    dataset = tf.data.Dataset.from_tensor_slices(files).map(read, tf.data.AUTOTUNE)
    return dataset.batch(len(files)).get_single_element()


def _serialized_pixels(path: tf.Tensor) -> tf.Tensor:
    return tf.io.serialize_tensor(decode_image(tf.io.read_file(path)))


def _parse_pixels(serialized: tf.Tensor) -> tf.Tensor:
    return tf.ensure_shape(tf.io.parse_tensor(serialized, tf.uint8), (None, None, 3))


def _report_size(paths: Sequence[str], sample: int = 32) -> None:
    some = paths[:: max(1, len(paths) // sample)]
    sizes = [int(tf.size(decode_image(tf.io.read_file(path)))) for path in path_tensor(some)]
    gigabytes = np.mean(sizes) * len(paths) / 1e9
    logger.warning(
        "The pixels of %d images stay in memory: about %.1f GB. "
        'cache="files" keeps them compressed.',
        len(paths),
        gigabytes,
    )
