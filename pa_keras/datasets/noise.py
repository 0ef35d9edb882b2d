"""Training data made worse on purpose, to measure what a loss bears."""

from collections.abc import Sequence

import numpy as np

from pa_keras.datasets.images import Images


def flip_labels(images: Images, share: float, seed: int = 0) -> Images:
    """Changes the label of a share of the images to another class, each other one as likely.

    Args:
        images: N images of at least 2 classes.
        share: of the images, [0, 1); round(share * N) of them are changed.
        seed: of the choice. A greater share changes the images of a smaller one too, and to the
            same classes. Default 0.

    Returns:
        The same files under their new labels; class names stay, one may have lost all its images.

    Raises:
        ValueError: a share out of range, or labels to change and a single class.
    """
    chosen, rng = _chosen(len(images), share, "label_noise", seed, stream=1)
    if not len(chosen):
        return images
    if images.num_classes < 2:
        raise ValueError("Expected at least 2 classes to flip labels between; received 1.")
    # Drawn for all, so that the share does not shift what an image's new class is.
    steps = rng.integers(1, images.num_classes, len(images))
    labels = images.labels.copy()
    labels[chosen] = (labels[chosen] + steps[chosen]) % images.num_classes
    return Images(images.paths, labels, images.class_names)


def replace_by_outliers(
    images: Images, foreign: Sequence[str], share: float, seed: int = 0
) -> Images:
    """Puts foreign image files in place of a share of the images, under their labels.

    Args:
        images: N images.
        foreign: paths of images of none of the classes; while they last each is used once.
        share: of the images, [0, 1); round(share * N) of them are replaced.
        seed: of the choice. Default 0.

    Raises:
        ValueError: a share out of range, or no foreign image where some are needed.
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
    """Which rows a share is, the first of one shuffled order, and the generator to go on with."""
    if not 0 <= share < 1:
        raise ValueError(f"Expected {name} in [0, 1), a share of the images; received {share}.")
    # Three numbers, the last above 0: batches are drawn from [seed, epoch], and in the same order
    # all that was changed would come in the first batches of an epoch.
    rng = np.random.default_rng([seed, 0, stream])
    return rng.permutation(number)[: round(share * number)], rng
