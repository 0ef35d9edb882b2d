"""Splits by class: metric learning is evaluated on classes that are not in the training data."""

import logging
from collections.abc import Sequence

import numpy as np

from pa_keras.datasets.images import Dataset, Images

logger = logging.getLogger(__name__)


def split_by_class(images: Images, test_fraction: float = 0.5) -> tuple[Images, Images]:
    """Train on the first classes and test on the others, as the benchmarks do.

    Args:
        images: Images of at least 4 classes.
        test_fraction: Share of the classes to test on, in (0, 1). Each part has at least 2
            classes. Default 0.5.

    Returns:
        (train, test), without a class in common, each labelled from 0.

    Raises:
        ValueError: There are fewer than 4 classes, or the fraction is out of range.
    """
    present = np.unique(images.labels)
    if len(present) < 4:
        raise ValueError(
            "Expected at least 4 classes to split, 2 to train on and 2 others to test on; received "
            f"{len(present)}: {', '.join(images.class_names[:3])}. Add classes; or, if these "
            "folders are not the classes, give the folder whose sub-folders are."
        )
    num_test = _num_apart(len(present), test_fraction, "test_fraction")
    return images.take_classes(present[:-num_test]), images.take_classes(present[-num_test:])


def split_as_given(name: str, images: Images, splits: Sequence[str] | np.ndarray) -> Dataset:
    """Returns the `Dataset` of images whose splits are given.

    Args:
        name: Name of the data set.
        images: N images.
        splits: N names: "train", and either "test" (leave-one-out) or both "query" and "gallery".

    Raises:
        ValueError: The splits are another combination.
    """
    splits = np.asarray(splits)
    found = set(splits.tolist())
    if found not in ({"train", "test"}, {"train", "query", "gallery"}):
        raise ValueError(
            "Expected the splits train and test, or train, query and gallery; received "
            f"{', '.join(sorted(found))}. Add what is missing, or give no split at all: the "
            "classes are then split in two."
        )
    everything = range(images.num_classes)
    train = images.take(np.flatnonzero(splits == "train")).take_classes(everything)
    searched = images.take(np.flatnonzero(splits != "train")).take_classes(everything)
    if "test" in found:
        return Dataset(name, train, searched)
    is_query = splits[splits != "train"] == "query"
    queries, gallery = np.flatnonzero(is_query), np.flatnonzero(~is_query)
    return Dataset(name, train, searched.take(queries), searched.take(gallery))


def hold_out_classes(images: Images, fraction: float = 0.2, seed: int = 0) -> tuple[Images, Images]:
    """Hold out random classes to select a model with, so that the test classes stay unseen.

    Args:
        images: Training images of at least 4 classes.
        fraction: Share of the classes to hold out, in (0, 1); at least 2 classes. Default 0.2.
        seed: Seed of the choice. Default 0.

    Returns:
        (train, held_out), without a class in common, each labelled from 0.

    Raises:
        ValueError: There are fewer than 4 classes, the fraction is out of range, or too few
            classes have the 2 images that a search needs.
    """
    present, counts = np.unique(images.labels, return_counts=True)
    if len(present) < 4:
        raise ValueError(
            "Expected at least 4 training classes, of which some are held out to select the model; "
            f"received {len(present)}: {len(present)} training classes are too few to hold out 2 "
            "and train on 2 others. Add classes, or use --training.selection last."
        )
    num_held_out = _num_apart(len(present), fraction, "fraction")
    candidates = present[counts > 1]
    if len(candidates) < num_held_out:
        raise ValueError(
            f"Expected {num_held_out} training classes with 2 images or more to hold out; received "
            f"{len(candidates)}. Add images, or use --training.selection last."
        )
    held_out = np.random.default_rng([seed]).choice(candidates, num_held_out, replace=False)
    return images.take_classes(np.setdiff1d(present, held_out)), images.take_classes(held_out)


def sample_classes(dataset: Dataset, num_images: int, seed: int = 0) -> Dataset:
    """Returns the data set with the test images of random complete classes only.

    Args:
        dataset: Data set from which queries, and the gallery images of their classes, are taken.
        num_images: Smallest number of queries, 1 or more. Queries of at least 2 classes are
            taken; those without a right answer are taken last.
        seed: Seed of the choice. Default 0.

    Raises:
        ValueError: `num_images` is below 1.
    """
    if num_images < 1:
        raise ValueError(f"Expected num_images of 1 or more; received {num_images}.")
    queries, gallery = dataset.queries, dataset.gallery
    if num_images >= len(queries):
        return dataset
    searched = queries if gallery is None else gallery
    answerable = np.unique(queries.labels[dataset.answerable()])
    others = np.setdiff1d(np.union1d(queries.labels, searched.labels), answerable)
    rng = np.random.default_rng([seed])
    order = np.concatenate([rng.permutation(answerable), rng.permutation(others)])
    counts = np.bincount(queries.labels, minlength=queries.num_classes)[order]
    enough = max(2, int(np.searchsorted(counts.cumsum(), num_images)) + 1)
    kept = order[:enough]

    def of_kept(images: Images) -> Images:
        return images.take(np.isin(images.labels, kept))

    smaller = None if gallery is None else of_kept(gallery)
    return Dataset(dataset.name, dataset.train, of_kept(queries), smaller)


def warn_of_doubtful_classes(dataset: Dataset) -> None:
    """Log what is allowed but seldom intended: classes of one image, and known test classes."""
    lonely = int((~dataset.answerable()).sum())
    if lonely:
        logger.warning(
            "%d of %d queries have no other image of their class to find (a class with a single "
            "image): they cannot be answered and do not count in the metrics.",
            lonely,
            len(dataset.queries),
        )
    single = np.flatnonzero(np.bincount(dataset.train.labels) == 1)
    if len(single):
        logger.warning(
            "%d of %d training classes have only one image, such as %r: they teach little.",
            len(single),
            dataset.train.num_classes,
            dataset.train.class_names[single[0]],
        )
    seen = set(dataset.train.class_names) & set(dataset.queries.class_names)
    if seen:
        logger.warning(
            "%d classes, such as %r, are in both training and test: the metrics then measure how "
            "well known classes are found, not unseen ones.",
            len(seen),
            min(seen),
        )


def _num_apart(num_classes: int, fraction: float, name: str) -> int:
    """Returns the number of classes in `fraction`, such that each part has at least 2."""
    if not 0 < fraction < 1:
        raise ValueError(
            f"Expected {name} between 0 and 1; received {fraction}. Give a share, such as 0.5."
        )
    return min(max(round(num_classes * fraction), 2), num_classes - 2)
