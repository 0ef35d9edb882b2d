"""Corrupts training data on purpose, to measure how robust a loss is."""

from collections.abc import Sequence

import numpy as np

from pa_keras.datasets.images import Images


def flip_labels(images: Images, share: float, seed: int = 0) -> Images:
    """Changes the labels of a share of the images to other classes, which are equally likely.

    Args:
        images: N images of at least 2 classes.
        share: Share of the images, in [0, 1); the labels of round(share * N) images change.
        seed: Seed of the choice. A larger share changes the images of a smaller one too, to the
            same classes. Default 0.

    Returns:
        The same files and class names with new labels; a class may have lost all its images.

    Raises:
        ValueError: The share is out of range, or labels are to change but there is only one class.
    """
    chosen, rng = _chosen(len(images), share, "label_noise", seed, stream=1)
    if not len(chosen):
        return images
    if images.num_classes < 2:
        raise ValueError("Expected at least 2 classes to flip labels between; received 1.")
    # Drawn for all images, so that the new class of an image does not depend on the share.
    steps = rng.integers(1, images.num_classes, len(images))
    labels = images.labels.copy()
    labels[chosen] = (labels[chosen] + steps[chosen]) % images.num_classes
    return Images(images.paths, labels, images.class_names)


def replace_by_outliers(
    images: Images, foreign: Sequence[str], share: float, seed: int = 0
) -> Images:
    """Replaces a share of the images by foreign image files, which keep the labels.

    Args:
        images: N images.
        foreign: Paths of images of other classes. No path is repeated before all have been used.
        share: Share of the images, in [0, 1); round(share * N) images are replaced.
        seed: Seed of the choice. Default 0.

    Raises:
        ValueError: The share is out of range, or foreign images are needed but there are none.
    """
    chosen, rng = _chosen(len(images), share, "outliers", seed, stream=2)
    if len(chosen) and not len(foreign):
        raise ValueError("Expected foreign images to replace some by; received none.")
    rounds = -(-len(chosen) // max(1, len(foreign)))
    order = np.concatenate(
        [rng.permutation(len(foreign)) for _ in range(rounds)] or [np.zeros(0, np.int64)]
    )
    paths = list(images.paths)
    for place, other in zip(chosen, order, strict=False):
        paths[place] = foreign[int(other)]
    return Images(tuple(paths), images.labels, images.class_names)


def _chosen(
    number: int, share: float, name: str, seed: int, stream: int
) -> tuple[np.ndarray, np.random.Generator]:
    """Returns the rows of a share, the first of a random order, and the generator."""
    if not 0 <= share < 1:
        raise ValueError(f"Expected {name} in [0, 1), a share of the images; received {share}.")
    # The seed has three numbers, because batches are drawn from [seed, epoch]: in the same order,
    # all changed images would be in the first batches of an epoch.
    rng = np.random.default_rng([seed, 0, stream])
    return rng.permutation(number)[: round(share * number)], rng
