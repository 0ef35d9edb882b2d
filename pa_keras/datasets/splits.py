"""Splits by class: metric learning is evaluated on classes that are not in the training data."""

import dataclasses
import logging
from collections.abc import Sequence

import numpy as np

from pa_keras.datasets.images import Dataset, Images

logger = logging.getLogger(__name__)

# Names of the split that the best epoch is selected by; a data set may mix them.
VALIDATION = ("val", "valid", "validation")
SPLITS = ("train", "test", "query", "gallery", *VALIDATION)


def split_by_fraction(name: str, images: Images, test_fraction: float) -> Dataset:
    """Returns the `Dataset` of images without a given split.

    Args:
        name: Name of the data set.
        images: Images of at least 4 classes, or of at least 2 if all are test images.
        test_fraction: Share of the classes to test on, in (0, 1]. 1: all images are test images.

    Raises:
        ValueError: There are too few classes, or the fraction is out of range.

    Example:
        >>> images = Images(("/a", "/b", "/c"), [0, 0, 1], ("cat", "dog"))
        >>> dataset = split_by_fraction("pets", images, test_fraction=1)
        >>> dataset.train, dataset.queries
        (None, Images(3 images, 2 classes))
    """
    if not 0 < test_fraction <= 1:
        raise ValueError(
            f"Expected test_fraction above 0 and at most 1; received {test_fraction}. Give a "
            "share, such as 0.5, or 1 to test on all classes."
        )
    if test_fraction == 1:
        return Dataset(name, None, images)
    return Dataset(name, *split_by_class(images, test_fraction))


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
            f"{len(present)}: {', '.join(images.class_names[:3])}. Add classes; or, to measure a "
            "trained model on all of them, give a test_fraction of 1; or, if these folders are not "
            "the classes, give the folder whose sub-folders are."
        )
    num_test = _num_apart(len(present), test_fraction, "test_fraction")
    return images.take_classes(present[:-num_test]), images.take_classes(present[-num_test:])


def split_as_given(name: str, images: Images, splits: Sequence[str] | np.ndarray) -> Dataset:
    """Returns the `Dataset` of images whose splits are given.

    Args:
        name: Name of the data set.
        images: N images.
        splits: N names: either "test" (leave-one-out) or both "query" and "gallery"; and, to train,
            "train", and any of `VALIDATION` to select the best epoch by.

    Raises:
        ValueError: The splits are another combination.
    """
    splits = np.asarray(["val" if split in VALIDATION else split for split in splits])
    found = set(splits.tolist())
    if found - {"train", "val"} not in ({"test"}, {"query", "gallery"}):
        raise ValueError(
            "Expected the splits train and test, or train, query and gallery, where val may be "
            "added, and train may be missing from a set that is only tested on; received "
            f"{', '.join(sorted(found))}. Add what is missing, or give no split at all: the "
            "classes are then split in two."
        )

    def part(is_in: np.ndarray) -> Images | None:
        return images.take(is_in).take_classes(range(images.num_classes)) if is_in.any() else None

    train, validation = part(splits == "train"), part(splits == "val")
    is_searched = ~np.isin(splits, ("train", "val"))
    # Queries and gallery are labelled together.
    searched = images.take(is_searched).take_classes(range(images.num_classes))
    if "test" in found:
        return Dataset(name, train, searched, validation=validation)
    is_query = splits[is_searched] == "query"
    return Dataset(name, train, searched.take(is_query), searched.take(~is_query), validation)


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
    return dataclasses.replace(dataset, queries=of_kept(queries), gallery=smaller)


def warn_of_doubtful_classes(dataset: Dataset) -> None:
    """Log what is allowed but seldom intended: classes of one image, and known test classes.

    A class of one image among the test images is a distractor: all other queries search it too.
    """
    lonely = int((~dataset.answerable()).sum())
    if lonely:
        logger.warning(
            "%d of %d queries have no other image of their class to find (a class with a single "
            "image): they cannot be answered and do not count in the metrics%s.",
            lonely,
            len(dataset.queries),
            ", but the other queries search them as distractors" if dataset.gallery is None else "",
        )
    train = dataset.train
    if train is None:
        return
    single = np.flatnonzero(np.bincount(train.labels) == 1)
    if len(single):
        logger.warning(
            "%d of %d training classes have only one image, such as %r: they teach little.",
            len(single),
            train.num_classes,
            train.class_names[single[0]],
        )
    for part, images in (("test", dataset.queries), ("val", dataset.validation)):
        seen = set(train.class_names) & set(() if images is None else images.class_names)
        if seen:
            logger.warning(
                "%d classes, such as %r, are in both training and %s: the metrics then measure how "
                "well known classes are found, not unseen ones.",
                len(seen),
                min(seen),
                part,
            )


def _num_apart(num_classes: int, fraction: float, name: str) -> int:
    """Returns the number of classes in `fraction`, such that each part has at least 2."""
    if not 0 < fraction < 1:
        raise ValueError(
            f"Expected {name} between 0 and 1; received {fraction}. Give a share, such as 0.5."
        )
    return min(max(round(num_classes * fraction), 2), num_classes - 2)
