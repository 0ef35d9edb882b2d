"""Batches of images with `tf.data`, for training and for evaluation."""

import itertools
import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from pa_keras.arguments.class_ids import class_ids
from pa_keras.arguments.image_size import ImageSize, as_size
from pa_keras.pipelines import preprocessing, sampling
from pa_keras.pipelines.augmentation import make_augmentation
from pa_keras.pipelines.caching import CacheKind, ImageCache, fill_cache
from pa_keras.pipelines.decoding import decode_image
from pa_keras.pipelines.paths import as_paths, path_tensor
from pa_keras.pipelines.pixel_range import warn_if_dark, warn_if_darkened
from pa_keras.pipelines.preprocessing import evaluation_image, training_image
from pa_keras.pipelines.sharding import WHOLE, WorkerShare

_EPOCH = 2**32  # offset between the image seeds of successive epochs


def training_batches(
    paths: Sequence[str | os.PathLike],
    labels: np.ndarray,
    *,
    batch_size: int,
    image_size: ImageSize,
    seed: int,
    classes_per_batch: int | None = None,
    images_per_class: int | None = None,
    area: tuple[float, float] = (0.08, 1.0),
    ratio: tuple[float, float] = (3 / 4, 4 / 3),
    flip: bool = True,
    augmentation: str | None = None,
    augmentation_options: Mapping[str, Any] | None = None,
    cache: CacheKind | ImageCache = "none",
    first_epoch: int = 0,
    first_step: int = 0,
    endless: bool = False,
    share: WorkerShare = WHOLE,
) -> tf.data.Dataset:
    """Returns training batches that depend only on the seed, the epoch and the position.

    Batches are shuffled, or balanced when `classes_per_batch` or `images_per_class` is given. A
    pass over the dataset is one epoch of `steps_per_epoch` batches, and the next pass is the next
    epoch, with another order and other windows. For more steps in an epoch of `fit` than there are
    batches, `repeat()` the dataset.

    Args:
        paths: N image files.
        labels: Class IDs or class names (N,); names are sorted and numbered from 0.
        batch_size: Number of images in a batch, B.
        image_size: Pixels of the height and the width, or (height, width).
        seed: Seed of the order and of the random windows.
        classes_per_batch: Number of classes in a batch. Default: batch_size / images_per_class.
        images_per_class: Number of images of each class in a batch. Default: batch_size /
            classes_per_batch.
        area: Range of the area of the random window as a share of the image, in (0, 1].
        ratio: Range of the window's width / height, above 0.
        flip: Whether half of the images are mirrored.
        augmentation: Name of a Keras or keras_cv layer, see `make_augmentation`.
        augmentation_options: Arguments of that layer.
        cache: What to keep in memory: "none", the "files" or the "pixels", see `fill_cache`; or a
            result of that function for the same paths, so that several calls share it.
        first_epoch: Epoch to begin with. Earlier epochs are skipped without drawing them.
        first_step: Batch of that epoch to begin with, for an endless dataset. Earlier batches are
            drawn but not decoded.
        endless: Whether one pass goes through all epochs without end, so that the first batches
            of an epoch are made during the previous one. `fit` then needs `steps_per_epoch`.
            Default False.
        share: Shards of each batch to make, each as a separate batch. Others are not read.
            Default: the complete batch.

    Returns:
        A dataset of (images float32 (B, height, width, 3) in 0..255, labels int32 (B,)).

    Raises:
        ValueError: A setting is out of its range; the batch is larger than the data, needs more
            classes than there are, or cannot be divided; the cache is for other paths; or
            first_step is given without endless.

    Example:
        ```python
        batches = training_batches(paths, labels, batch_size=90, image_size=160, seed=0)
        model.fit(batches, epochs=8)
        ```
    """
    sampling.expect_counts(
        batch_size=batch_size,
        classes_per_batch=classes_per_batch,
        images_per_class=images_per_class,
    )
    preprocessing.expect_windows(area, ratio)
    if first_step and not endless:
        raise ValueError(
            f"Expected endless=True with a first_step; received first_step={first_step} alone. A "
            "dataset of single epochs begins with a complete epoch."
        )
    image_size = as_size(image_size)
    paths, labels = as_paths(paths), class_ids("labels", labels)
    if len(paths) != len(labels):
        raise ValueError(
            f"Expected one label for each path; received {len(paths)} paths and "
            f"{len(labels)} labels; take both from the same list."
        )
    draw = _order(labels, batch_size, classes_per_batch, images_per_class, seed)
    part_size = share.part_size(batch_size)
    first_batch = draw(first_epoch)[0]  # raises here, not in the iterator, if it is impossible
    images = cache if isinstance(cache, ImageCache) else fill_cache(paths, cache)
    if images.paths != paths:
        raise ValueError(
            f"Expected the cache of these {len(paths)} paths; received a cache of "
            f"{len(images.paths)} other paths; pass the same paths to fill_cache."
        )
    warn_if_dark((images.kept[index] for index in first_batch), images.load)
    targets = tf.constant(labels)

    # AutoGraph takes a second for each of these functions, and has nothing to convert in them.
    @tf.autograph.experimental.do_not_convert
    def example(index: tf.Tensor, image_seed: tf.Tensor) -> tuple[tf.Tensor, ...]:
        source = images.load(tf.gather(images.kept, index))
        image = training_image(source, image_size, image_seed, area, ratio, flip)
        label = tf.gather(targets, index)
        return (image, label) if augmentation is None else (image, label, image_seed)

    examples = _epochs(first_epoch, endless).flat_map(_epoch(draw, seed, share))
    examples = examples.skip(first_step * part_size * share.number)
    batches = examples.map(example, tf.data.AUTOTUNE).batch(part_size, drop_remainder=True)
    steps = steps_per_epoch(len(paths), batch_size)
    if augmentation is not None:
        augment = make_augmentation(augmentation, augmentation_options)
        warn_if_darkened(augment, image_size)
        # Augment one batch at a time: the layers keep their random state in variables.
        batches = batches.map(_augmented(augment, steps * share.parts, part_size))
    number = tf.data.INFINITE_CARDINALITY if endless else steps * share.number
    batches = batches.apply(tf.data.experimental.assert_cardinality(number))
    return batches.prefetch(tf.data.AUTOTUNE)


def evaluation_batches(
    paths: Sequence[str | os.PathLike],
    *,
    batch_size: int,
    image_size: ImageSize,
    crop_fraction: float = 0.875,
    share: WorkerShare = WHOLE,
    keep: bool = False,
) -> tf.data.Dataset:
    """Returns batches of every image once, in order; the last batch may be smaller.

    Args:
        paths: N image files.
        batch_size: Number of images in a batch, B.
        image_size: Pixels of the height and the width, or (height, width).
        crop_fraction: Share of the image that is kept, see `evaluation_image`.
        share: Shards of each batch to make, each as a separate batch. All have the same size, for
            which the last image is repeated. Default: the complete batch.
        keep: Whether the first complete pass keeps its batches in memory for later passes, at 12
            bytes per pixel. Default False: each pass decodes the images again.

    Returns:
        A finite dataset of float32 (B, height, width, 3) in 0..255.

    Raises:
        ValueError: `batch_size` is below 1, or `crop_fraction` is outside (0, 1].

    Example:
        ```python
        embeddings = model.predict(
            evaluation_batches(paths, batch_size=128, image_size=(160, 160))
        )
        ```
    """
    sampling.expect_counts(batch_size=batch_size)
    preprocessing.expect_crop_fraction(crop_fraction)

    paths, image_size = as_paths(paths), as_size(image_size)

    @tf.autograph.experimental.do_not_convert
    def image(path: tf.Tensor) -> tf.Tensor:
        pixels = decode_image(tf.io.read_file(path))
        return evaluation_image(pixels, image_size, crop_fraction)

    if share != WHOLE:
        rows = share.of_all(len(paths), batch_size)
        paths, batch_size = [paths[row] for row in rows.ravel()], rows.shape[2]
    names = path_tensor(paths)
    if paths:
        warn_if_dark(names[:batch_size], tf.io.read_file)
    files = tf.data.Dataset.from_tensor_slices(names)
    images = files.map(image, tf.data.AUTOTUNE).batch(batch_size)
    images = images.cache() if keep else images.prefetch(2)
    # With autotuning, dropping the iterator took 0.6 times as long as a complete pass with a model,
    # and decoding was no faster (TensorFlow 2.20, 2 cores).
    options = tf.data.Options()
    options.autotune.enabled = False
    return images.with_options(options)


def steps_per_epoch(num_images: int, batch_size: int) -> int:
    """Returns the number of complete batches in a training epoch, at least one."""
    return max(1, num_images // batch_size)


def _order(
    labels: np.ndarray,
    batch_size: int,
    classes_per_batch: int | None,
    images_per_class: int | None,
    seed: int,
) -> Callable[[int], np.ndarray]:
    """Returns the function from an epoch to its image indices, int32 (steps, batch_size)."""
    if classes_per_batch is not None:
        classes, images = classes_per_batch, images_per_class or batch_size // classes_per_batch
    elif images_per_class is not None:
        classes, images = batch_size // images_per_class, images_per_class
    else:
        return lambda epoch: sampling.shuffled(len(labels), batch_size, seed, epoch)
    if classes * images != batch_size:
        raise ValueError(
            f"Expected classes_per_batch x images_per_class = batch_size; received {classes} x "
            f"{images} for a batch of {batch_size}; change one of the three."
        )
    return lambda epoch: sampling.balanced(labels, classes, images, seed, epoch)


def _epochs(first: int, endless: bool) -> tf.data.Dataset:
    """Returns the epoch numbers from the first one: all of them, or the next one in each pass."""
    if endless:
        return tf.data.Dataset.counter(first)
    numbers = itertools.count(first)
    return tf.data.Dataset.from_generator(
        lambda: [next(numbers)], output_signature=tf.TensorSpec((), tf.int64)
    )


def _epoch(draw: Callable[[int], np.ndarray], seed: int, share: WorkerShare) -> Callable:
    """Returns the function from an epoch to its dataset of (image index, image seed int64 (2,))."""

    def own(epoch: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        indices = draw(int(epoch))
        # Positions in the complete batch, so that the crop does not depend on the worker.
        positions = np.arange(indices.size).reshape(indices.shape)
        return share.of(indices).ravel(), share.of(positions).ravel()

    @tf.autograph.experimental.do_not_convert
    def examples(epoch: tf.Tensor) -> tf.data.Dataset:
        indices, positions = tf.numpy_function(own, [epoch], (tf.int32, tf.int64))
        indices, positions = tf.reshape(indices, (-1,)), tf.reshape(positions, (-1,))
        positions += epoch * _EPOCH
        seeds = tf.stack([tf.fill(tf.shape(positions), tf.constant(seed, tf.int64)), positions], 1)
        return tf.data.Dataset.from_tensor_slices((indices, seeds))

    return examples


def _augmented(augment: Callable, parts_per_epoch: int, part_size: int) -> Callable:
    """Returns the function that augments each batch or shard with a different random draw."""

    def augmented(
        images: tf.Tensor, labels: tf.Tensor, image_seeds: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor]:
        seed, place = tf.unstack(image_seeds[0])
        epoch, position = place // _EPOCH, place % _EPOCH
        number = epoch * parts_per_epoch + position // part_size
        return augment(images, tf.stack([seed, number])), labels

    return augmented
