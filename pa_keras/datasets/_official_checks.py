"""Checks that a benchmark is complete, with every class and every image exactly once."""

import dataclasses
import os
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from itertools import chain
from pathlib import Path

from pa_keras.datasets.images import Dataset
from pa_keras.datasets.manifest import missing_images_message
from pa_keras.datasets.tfds import load_tfds

# Maps each part of a data set to its numbers of classes and of images.
Counts = Mapping[str, tuple[int, int]]

_PART_OF_IT = "For a part of the set, list its images in a manifest.csv and use --dataset manifest."


def check_counts(
    title: str,
    expected: Counts,
    classes: Mapping[str, Sequence],
    every_class: Collection = (),
    remedy: str = f"Fetch its annotation files again. {_PART_OF_IT}",
) -> None:
    """Check that a data set has as many classes and images as the benchmark.

    Args:
        title: Name of the data set and its place, for the message.
        expected: Numbers of the benchmark.
        classes: Maps each part of the data set to the class of each of its images.
        every_class: Classes of the complete data set, to name the missing ones. Default: unknown.
        remedy: Advice at the end of the message.

    Raises:
        ValueError: The numbers differ. The message says how many are missing, and which classes.
    """
    wrong = []
    for part, numbers in expected.items():
        found = len(set(classes[part])), len(classes[part])
        for what, number, received in zip(("classes", "images"), numbers, found, strict=True):
            if received != number:
                more = "short" if received < number else "too many"
                wrong.append(
                    f"{received} of {number} {part} {what} ({abs(number - received)} {more})"
                )
    if wrong:
        present = set(chain.from_iterable(classes.values()))
        absent = [c for c in every_class if c not in present]
        named = f" No image is of class {some(absent)}." if absent else ""
        raise ValueError(f"Expected all of {title}; received {', '.join(wrong)}.{named} {remedy}")


def check_by_class(title: str, expected: Counts, class_ids: Sequence[int]) -> None:
    """Calls `check_counts` for a data set whose first classes, from 1, are for training."""
    first_test = expected["training"][0] + 1
    classes = {
        "training": [c for c in class_ids if c < first_test],
        "test": [c for c in class_ids if c >= first_test],
    }
    check_counts(title, expected, classes, range(1, first_test + expected["test"][0]))


def check_files(title: str, paths: Sequence[str]) -> None:
    """Raise `ValueError` for repeated paths and `FileNotFoundError` for missing images.

    Each folder is listed once, which is faster than looking up every file.
    """
    repeated = [path for path, count in Counter(paths).items() if count > 1]
    if repeated:
        raise ValueError(
            f"Expected each image once in {title}; received again {some(repeated)}. Fetch its "
            "annotation files again."
        )
    files: dict[str, set[str]] = {}
    missing = []
    for path in paths:
        folder, name = os.path.split(path)
        if folder not in files:
            files[folder] = _files(folder)
        if name not in files[folder]:
            missing.append(path)
    if missing:
        otherwise = "list those that you have in a manifest.csv"
        raise FileNotFoundError(missing_images_message(title, missing, len(paths), otherwise))


def load_whole_tfds(name: str, title: str, tfds_name: str, counts: Counts) -> Dataset:
    """Load a benchmark from TensorFlow Datasets, give it its name here, and check its counts."""
    dataset = dataclasses.replace(load_tfds(tfds_name), name=name)
    train = dataset.training_images()
    classes = {"training": train.labels.tolist(), "test": dataset.queries.labels.tolist()}
    folder = Path(train.paths[0]).parents[1]
    remedy = f"Delete {folder} and the copy of TensorFlow Datasets: both are then written again."
    check_counts(title, counts, classes, remedy=remedy)
    return dataset


def some(items: Sequence) -> str:
    """Format at most 20 of the items, separated by commas, and the number of the others."""
    more = f" and {len(items) - 20} more" if len(items) > 20 else ""
    return ", ".join(map(str, items[:20])) + more


def _files(folder: str) -> set[str]:
    try:
        with os.scandir(folder) as entries:
            return {entry.name for entry in entries if entry.is_file()}
    except OSError:
        return set()
