"""Selects the images of each batch: index arrays of an epoch, drawn from the seed and the epoch."""

import numpy as np

_NONE = np.iinfo(np.int64).max


def shuffled(num_images: int, batch_size: int, seed: int, epoch: int = 0) -> np.ndarray:
    """Shuffles all images into batches; the last, incomplete batch is dropped.

    Args:
        num_images: Number of images in the training set.
        batch_size: Number of images in a batch.
        seed: Seed of the run; the order depends on it and on the epoch.
        epoch: Number of the epoch, from 0.

    Returns:
        int32 (num_images // batch_size, batch_size), every index at most once.

    Raises:
        ValueError: The batch is empty or larger than the data.

    Example:
        >>> shuffled(num_images=10, batch_size=4, seed=0).shape
        (2, 4)
    """
    expect_counts(batch_size=batch_size)
    steps = _steps(num_images, batch_size)
    order = np.random.default_rng([seed, epoch]).permutation(num_images)
    return order[: steps * batch_size].reshape(steps, batch_size).astype(np.int32)


def balanced(
    labels: np.ndarray,
    classes_per_batch: int,
    images_per_class: int,
    seed: int,
    epoch: int = 0,
) -> np.ndarray:
    """Draws batches of different classes with the same number of images of each.

    The classes of a batch are drawn without replacement, and so are the images of a class. If a
    class has fewer than `images_per_class` images, all of them are taken before any is repeated.
    An epoch has as many batches as with `shuffled`, but may not include every image.

    Args:
        labels: Class of each image, int (N,).
        classes_per_batch: Number of classes in a batch.
        images_per_class: Number of images of each class.
        seed: Seed of the run; the draw depends on it and on the epoch.
        epoch: Number of the epoch, from 0.

    Returns:
        int32 (N // batch_size, batch_size) with batch_size = classes_per_batch *
        images_per_class; the images of a class are adjacent.

    Raises:
        ValueError: The batch is empty, or there are fewer classes or images than it needs.

    Example:
        >>> balanced(np.repeat(range(5), 4), classes_per_batch=2, images_per_class=3, seed=0).shape
        (3, 6)
    """
    expect_counts(classes_per_batch=classes_per_batch, images_per_class=images_per_class)
    labels = np.asarray(labels)
    classes, counts = np.unique(labels, return_counts=True)
    if classes_per_batch > len(classes):
        raise ValueError(
            f"Expected at least classes_per_batch = {classes_per_batch} classes; received "
            f"{len(classes)}; lower classes_per_batch or add classes."
        )
    steps = _steps(len(labels), classes_per_batch * images_per_class)
    rng = np.random.default_rng([seed, epoch])
    chosen = np.array(
        [rng.choice(len(classes), classes_per_batch, replace=False) for _ in range(steps)]
    ).ravel()
    by_class, first = np.argsort(labels, kind="stable"), np.cumsum(counts) - counts
    places = first[chosen, None] + _draw(counts[chosen], images_per_class, rng)
    return by_class[places].astype(np.int32).reshape(steps, -1)


def expect_counts(**counts: int | None) -> None:
    """Raises a ValueError that names the first count below 1."""
    for name, count in counts.items():
        if count is not None and count < 1:
            raise ValueError(f"Expected {name} of at least 1; received {count}; raise it.")


def _draw(sizes: np.ndarray, count: int, rng: np.random.Generator) -> np.ndarray:
    """Draws `count` members of each range(size), int64 (len(sizes), count).

    The members come in rounds: each member is drawn once before any is drawn again.
    """
    drawn = np.empty((len(sizes), count), np.int64)
    for i in range(count):
        in_round = i % sizes
        # Ranks among the members that the round has not drawn. The member of rank r is r plus the
        # number of drawn members below it: those for which member - (place in order) <= r.
        ranks = rng.integers(sizes - in_round)
        is_of_round = np.arange(i) >= (i - in_round)[:, None]
        earlier = np.sort(np.where(is_of_round, drawn[:, :i], _NONE), axis=1)
        drawn[:, i] = ranks + (earlier - np.arange(i) <= ranks[:, None]).sum(axis=1)
    return drawn


def _steps(num_images: int, batch_size: int) -> int:
    if batch_size > num_images:
        raise ValueError(
            f"Expected a batch no larger than the data; received a batch of {batch_size} for "
            f"{num_images} images; lower the batch size or add images."
        )
    return num_images // batch_size
