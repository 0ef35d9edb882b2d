"""Batches of images on `tf.data`, for training and for evaluation."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from pa_keras.pipelines import preprocessing, sampling
from pa_keras.pipelines.augmentation import make_augmentation
from pa_keras.pipelines.caching import CacheKind, ImageCache, fill_cache
from pa_keras.pipelines.decoding import decode_image
from pa_keras.pipelines.preprocessing import evaluation_image, training_image
from pa_keras.pipelines.sharding import WHOLE, Share


def training_batches(
    paths: Sequence[str],
    labels: np.ndarray,
    *,
    batch_size: int,
    image_size: tuple[int, int],
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
    share: Share = WHOLE,
) -> tf.data.Dataset:
    """Endless training batches, the same for the same seed, epoch and position.

    Batches are shuffled, or balanced when `classes_per_batch` or `images_per_class` is given.

    Args:
        paths: N image files.
        labels: int (N,), class ids.
        batch_size: images in a batch, B.
        image_size: (height, width) in pixels.
        seed: of the order and of the random windows.
        classes_per_batch: different classes in a batch; by default batch_size /
            images_per_class.
        images_per_class: images of each class in a batch; by default batch_size /
            classes_per_batch.
        area: range of the random window's share of the image, in (0, 1].
        ratio: range of the window's width / height, above 0.
        flip: whether half of the images are mirrored.
        augmentation: name of a Keras or keras_cv layer, see `make_augmentation`.
        augmentation_options: arguments of that layer.
        cache: what stays in memory: "none", the "files" or the "pixels", see `fill_cache`; or
            what that function has read of the same paths, so that several calls share it.
        first_epoch: epoch to begin with; those before are skipped, not drawn.
        first_step: batch of that epoch to begin with; those before are drawn, not decoded.
        share: the parts of each batch to make, each as a batch of its own. Others are not read.
            Default: the whole batch.

    Returns:
        A dataset of (images float32 (B, height, width, 3) in 0..255, labels int32 (B,)).

    Raises:
        ValueError: a setting is out of its range, the batch is larger than the data, needs more
            classes than there are or cannot be shared, or the cache is of other paths.

    Example:
        ```python
        batches = training_batches(paths, labels, batch_size=90, image_size=(160, 160), seed=0)
        model.fit(batches, steps_per_epoch=steps_per_epoch(len(paths), 90), epochs=8)
        ```
    """
    sampling.expect_counts(
        batch_size=batch_size,
        classes_per_batch=classes_per_batch,
        images_per_class=images_per_class,
    )
    preprocessing.expect_windows(area, ratio)
    paths, labels = tuple(paths), np.asarray(labels, np.int32)
    if len(paths) != len(labels):
        raise ValueError(
            f"Expected one label for each path; received {len(paths)} paths and "
            f"{len(labels)} labels; take both from the same list."
        )
    draw = _order(labels, batch_size, classes_per_batch, images_per_class, seed)
    part_size = share.part_size(batch_size)
    draw(first_epoch)  # an impossible batch is an error here, not inside the iterator
    images = cache if isinstance(cache, ImageCache) else fill_cache(paths, cache)
    if images.paths != paths:
        raise ValueError(
            f"Expected the cache of these {len(paths)} paths; received one of "
            f"{len(images.paths)} others; pass the same paths to fill_cache."
        )
    targets = tf.constant(labels)

    def example(index: tf.Tensor, image_seed: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        source = images.load(tf.gather(images.kept, index))
        image = training_image(source, image_size, image_seed, area, ratio, flip)
        return image, tf.gather(targets, index)

    examples = tf.data.Dataset.counter(first_epoch).flat_map(_epoch(draw, seed, share))
    examples = examples.skip(first_step * part_size * share.number)
    batches = examples.map(example, tf.data.AUTOTUNE).batch(part_size, drop_remainder=True)
    if augmentation is not None:
        steps = steps_per_epoch(len(paths), batch_size)
        augment = make_augmentation(augmentation, augmentation_options)
        batches = _augment(batches, augment, seed, first_epoch * steps + first_step, share)
    endless = tf.data.experimental.assert_cardinality(tf.data.INFINITE_CARDINALITY)
    return batches.apply(endless).prefetch(tf.data.AUTOTUNE)


def evaluation_batches(
    paths: Sequence[str],
    *,
    batch_size: int,
    image_size: tuple[int, int],
    crop_fraction: float = 0.875,
    share: Share = WHOLE,
    keep: bool = False,
) -> tf.data.Dataset:
    """Every image once, in order; the last batch may be smaller.

    Args:
        paths: N image files.
        batch_size: images in a batch, B.
        image_size: (height, width) in pixels.
        crop_fraction: see `evaluation_image`.
        share: the parts of each batch to make, each as a batch of its own; all are of one size, for
            which the last image is repeated. Default: the whole batch.
        keep: whether the first whole pass keeps its batches in memory for those after it, 12 bytes
            a pixel. Default False: each pass decodes anew.

    Returns:
        A finite dataset of float32 (B, height, width, 3) in 0..255.

    Raises:
        ValueError: `batch_size` is below 1 or `crop_fraction` outside (0, 1].

    Example:
        ```python
        embeddings = model.predict(
            evaluation_batches(paths, batch_size=128, image_size=(160, 160))
        )
        ```
    """
    sampling.expect_counts(batch_size=batch_size)
    preprocessing.expect_crop_fraction(crop_fraction)

    def image(path: tf.Tensor) -> tf.Tensor:
        pixels = decode_image(tf.io.read_file(path))
        return evaluation_image(pixels, image_size, crop_fraction)

    if share != WHOLE:
        rows = share.of_all(len(paths), batch_size)
        paths, batch_size = np.asarray(paths)[rows].ravel(), rows.shape[2]
    files = tf.data.Dataset.from_tensor_slices(tf.constant(list(paths), tf.string))
    images = files.map(image, tf.data.AUTOTUNE).batch(batch_size)
    images = images.cache() if keep else images.prefetch(2)
    # With the tuner, dropping the iterator took 0.6 times as long as the whole pass beside a model,
    # and decoding was no faster (TensorFlow 2.20, 2 cores).
    options = tf.data.Options()
    options.autotune.enabled = False
    return images.with_options(options)


def steps_per_epoch(num_images: int, batch_size: int) -> int:
    """Batches of one training epoch: whole ones only, at least one."""
    return max(1, num_images // batch_size)


def _order(
    labels: np.ndarray,
    batch_size: int,
    classes_per_batch: int | None,
    images_per_class: int | None,
    seed: int,
) -> Callable[[int], np.ndarray]:
    """The function from an epoch to its image indices, int32 (steps, batch_size)."""
    if classes_per_batch is None and images_per_class is None:
        return lambda epoch: sampling.shuffled(len(labels), batch_size, seed, int(epoch))
    classes = classes_per_batch or batch_size // images_per_class
    images = images_per_class or batch_size // classes_per_batch
    if classes * images != batch_size:
        raise ValueError(
            f"Expected classes_per_batch x images_per_class = batch_size; received {classes} x "
            f"{images} for a batch of {batch_size}; change one of the three."
        )
    return lambda epoch: sampling.balanced(labels, classes, images, seed, int(epoch))


def _epoch(draw: Callable[[int], np.ndarray], seed: int, share: Share) -> Callable:
    """The function from an epoch to its dataset of (image index, int64 (2,) image seed)."""

    def own(epoch: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        indices = draw(epoch)
        # Positions in the whole batch, so that an image is cropped alike whoever makes it.
        positions = np.arange(indices.size).reshape(indices.shape)
        return share.of(indices).ravel(), share.of(positions).ravel()

    def examples(epoch: tf.Tensor) -> tf.data.Dataset:
        indices, positions = tf.numpy_function(own, [epoch], (tf.int32, tf.int64))
        indices, positions = tf.reshape(indices, (-1,)), tf.reshape(positions, (-1,))
        positions += epoch * 2**32
        seeds = tf.stack([tf.fill(tf.shape(positions), tf.constant(seed, tf.int64)), positions], 1)
        return tf.data.Dataset.from_tensor_slices((indices, seeds))

    return examples


def _augment(
    batches: tf.data.Dataset, augment: Callable, seed: int, first_step: int, share: Share
) -> tf.data.Dataset:
    def augmented(number: tf.Tensor, batch: tuple) -> tuple[tf.Tensor, tf.Tensor]:
        images, labels = batch
        # Each part draws for itself.
        draw = tf.stack([tf.constant(seed, tf.int64), share.position(number)])
        return augment(images, draw), labels

    # One batch at a time: the layers keep their random state in variables.
    return batches.enumerate(first_step * share.number).map(augmented)
