"""Splits by class: metric learning is measured on classes that training never saw."""

from collections.abc import Sequence

import numpy as np

from pa_keras.datasets.images import Dataset, Images


def split_by_class(images: Images, test_fraction: float = 0.5) -> tuple[Images, Images]:
    """Train on the first classes and test on the others, as the benchmarks do.

    Args:
        images: at least 4 classes, in the order of their labels.
        test_fraction: share of the classes, in (0, 1), that is kept for the test. Default 0.5.
            Each side gets at least 2 classes.

    Returns:
        (train, test), without a class in common, each labelled from 0.

    Raises:
        ValueError: fewer than 4 classes, or a fraction out of range.
    """
    num_test = _num_apart(images, test_fraction, "test_fraction")
    present = np.unique(images.labels)
    return images.take_classes(present[:-num_test]), images.take_classes(present[-num_test:])


def split_as_given(name: str, images: Images, splits: Sequence[str]) -> Dataset:
    """The `Dataset` of images that each say their split: train, test, query or gallery.

    Args:
        name: of the dataset.
        images: N images.
        splits: N names: "train", and "test" (leave-one-out) or both "query" and "gallery".

    Raises:
        ValueError: another combination of splits.
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


def hold_out_classes(
    images: Images, fraction: float = 0.2, num_classes: int | None = None, seed: int = 0
) -> tuple[Images, Images]:
    """Put random classes aside, to select a model by, so that the test classes stay unseen.

    Args:
        images: the training images, of at least 4 classes.
        fraction: share of the classes to put aside, in (0, 1). Default 0.2; at least 2 classes.
        num_classes: how many classes to put aside, in place of `fraction`.
        seed: of the choice. Default 0.

    Returns:
        (train, held_out), without a class in common, each labelled from 0.

    Raises:
        ValueError: fewer than 4 classes, a fraction or number out of range, or too few classes
            that have 2 images, which a class needs to be searched for.
    """
    present, counts = np.unique(images.labels, return_counts=True)
    if num_classes is None:
        num_classes = _num_apart(images, fraction, "fraction")
    candidates = present[counts > 1]
    if not 2 <= num_classes <= min(len(present) - 2, len(candidates)):
        raise ValueError(
            f"Expected to hold out from 2 to {len(present) - 2} of {len(present)} classes, each "
            f"with 2 images or more; received {num_classes}, and {len(candidates)} such classes. "
            "Hold out fewer, or add images."
        )
    held_out = np.random.default_rng([seed]).choice(candidates, num_classes, replace=False)
    return images.take_classes(np.setdiff1d(present, held_out)), images.take_classes(held_out)


def _num_apart(images: Images, fraction: float, name: str) -> int:
    """How many of the classes `fraction` is, at least 2 on either side."""
    present = len(np.unique(images.labels))
    if not 0 < fraction < 1:
        raise ValueError(f"Expected {name} between 0 and 1; received {fraction}. The usual is 0.5.")
    if present < 4:
        raise ValueError(
            "Expected at least 4 classes to split, 2 to train on and 2 others to test on; received "
            f"{present}: {', '.join(images.class_names[:3])}. Add classes; or, if these folders "
            "are not the classes, give the folder whose sub-folders are."
        )
    return min(max(round(present * fraction), 2), present - 2)
