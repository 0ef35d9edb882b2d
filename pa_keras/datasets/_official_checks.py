"""Checks that a benchmark is whole: that its classes and images are all there, once each."""

import dataclasses
import os
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from itertools import chain
from pathlib import Path

from pa_keras.datasets.images import Dataset
from pa_keras.datasets.manifest import missing_images_message
from pa_keras.datasets.tfds import load_tfds

# Part of a set -> its numbers of classes and of images.
Counts = Mapping[str, tuple[int, int]]

_PART_OF_IT = "For a part of the set, list its images in a manifest.csv and use --dataset manifest."


def check_counts(
    title: str,
    expected: Counts,
    classes: Mapping[str, Sequence],
    every_class: Collection = (),
    remedy: str = f"Fetch its annotation files again. {_PART_OF_IT}",
) -> None:
    """Raise unless a set has the classes and images of the benchmark.

    Args:
        title: of the set, and where it is.
        expected: the benchmark's numbers.
        classes: part of the set -> the class of each of its images.
        every_class: the classes that the whole set has, if the absent ones can be named.
        remedy: what to do about it.

    Raises:
        ValueError: other numbers; the message says how many are missing, and which classes.
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
        raise ValueError(
            f"Expected the whole of {title}; received {', '.join(wrong)}.{named} {remedy}"
        )


def check_by_class(title: str, expected: Counts, class_ids: Sequence[int]) -> None:
    """`check_counts` of a set whose first classes, counted from 1, are for training."""
    first_test = expected["training"][0] + 1
    classes = {
        "training": [c for c in class_ids if c < first_test],
        "test": [c for c in class_ids if c >= first_test],
    }
    check_counts(title, expected, classes, range(1, first_test + expected["test"][0]))


def check_files(title: str, paths: Sequence[str]) -> None:
    """Raise `ValueError` for a path that is there twice, `FileNotFoundError` for missing images.

    Each folder is listed once, which is faster than to look up every file.
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
    """A benchmark from TensorFlow Datasets, under the name that it has here, counts checked."""
    dataset = dataclasses.replace(load_tfds(tfds_name), name=name)
    classes = {"training": dataset.train.labels.tolist(), "test": dataset.queries.labels.tolist()}
    folder = Path(dataset.train.paths[0]).parents[1]
    remedy = f"Delete {folder} and the copy of TensorFlow Datasets: both are then written again."
    check_counts(title, counts, classes, remedy=remedy)
    return dataset


def some(items: Sequence) -> str:
    """At most 20 of the items, separated by commas, and how many more there are."""
    more = f" and {len(items) - 20} more" if len(items) > 20 else ""
    return ", ".join(map(str, items[:20])) + more


def _files(folder: str) -> set[str]:
    try:
        with os.scandir(folder) as entries:
            return {entry.name for entry in entries if entry.is_file()}
    except OSError:
        return set()
