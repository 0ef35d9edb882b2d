"""Reads CUB-200-2011 (birds) in its official layout, split by class."""

import os
from collections.abc import Collection, Iterable
from pathlib import Path

import numpy as np

from pa_keras.datasets._annotations import IMAGE_NAME, NUMBER, read_table
from pa_keras.datasets._official_checks import check_by_class, check_files, load_whole_tfds, some
from pa_keras.datasets._official_folders import find_set
from pa_keras.datasets.images import Dataset, Images
from pa_keras.datasets.splits import split_by_class

COUNTS = {"training": (100, 5_864), "test": (100, 5_924)}

_WHERE = """
Get CUB_200_2011.tgz from https://www.vision.caltech.edu/datasets/cub_200_2011/
Expected:
    {root}/
        images.txt
        image_class_labels.txt
        classes.txt
        images/001.Black_footed_Albatross/*.jpg ... 200.Common_Yellowthroat/*.jpg"""


def load_cub200(data_dir: str | None = None) -> Dataset:
    """Read CUB-200-2011: 100 classes to train on (5,864 images), 100 to test on (5,924 images).

    The official train/test flag is ignored, as in all papers on metric learning.

    Args:
        data_dir: The folder CUB_200_2011 (or a folder one level above or below). Default None: the
            copy of TensorFlow Datasets, whose class names are only the numbers 0 to 199, in the
            same order.

    Raises:
        FileNotFoundError: Annotations or images are missing; the message says where to get them.
        OSError: TensorFlow Datasets cannot prepare its copy.
        ValueError: The annotations are broken, or the number of images is wrong.

    Example:
        >>> load_cub200("CUB_200_2011").train  # doctest: +SKIP
        Images(5864 images, 100 classes)
    """
    if not data_dir:
        return load_whole_tfds("cub200", "CUB-200-2011", "caltech_birds2011", COUNTS)
    parts = ("image_class_labels.txt", "images.txt", "classes.txt", "images")
    inside = r"images|parts|attributes|\d{3}\..+"
    root = find_set("CUB-200-2011", data_dir, parts, inside, _WHERE)
    names, class_ids, class_names = _read_annotations(root)
    title = f"CUB-200-2011 in {root}"
    check_by_class(title, COUNTS, class_ids)
    paths = [os.path.join(root, "images", name) for name in names]
    check_files(title, paths)
    # The files count classes from 1.
    images = Images(tuple(paths), np.array(class_ids) - 1, class_names)
    return Dataset("cub200", *split_by_class(images))


def _read_annotations(root: Path) -> tuple[list[str], list[int], tuple[str, ...]]:
    """Returns image names and classes (from 1), in the order of images.txt, and class names."""
    names = _by_id(root / "images.txt", {"image_id": NUMBER, "name": IMAGE_NAME})
    class_of = _by_id(root / "image_class_labels.txt", {"image_id": NUMBER, "class_id": NUMBER})
    class_names = _by_id(root / "classes.txt", {"class_id": NUMBER, "name": ".+"})
    _check_ids(root, "images.txt", names, "image_class_labels.txt", class_of)
    _check_ids(root, "image_class_labels.txt", class_of, "images.txt", names)
    # The reverse is not checked here: `check_counts` names the classes without an image.
    _check_ids(root, "image_class_labels.txt", class_of.values(), "classes.txt", class_names)
    for line, (image, class_id) in enumerate(class_of.items(), 1):
        folder = names[image].partition("/")[0]
        if folder != class_names[class_id]:
            raise ValueError(
                f"Expected the class of image {image} to be that of its folder in images.txt, "
                f"{folder}; received class {class_id}, {class_names[class_id]}, in line {line} of "
                f"{root / 'image_class_labels.txt'}. Fetch both files, and classes.txt, again: one "
                "was cut short, or changed."
            )
    ordered = [class_names[class_id] for class_id in sorted(class_names, key=int)]
    return [*names.values()], [int(class_of[image]) for image in names], tuple(ordered)


def _by_id(path: Path, columns: dict[str, str]) -> dict[str, str]:
    """Maps the first column to the second; each key may occur only once."""
    entries: dict[str, str] = {}
    for line, (key, value) in enumerate(read_table(path, columns), 1):
        if key in entries:
            raise ValueError(
                f"Expected each {next(iter(columns))} once in {path}; received {key} again in line "
                f"{line}. Fetch the file again."
            )
        entries[key] = value
    return entries


def _check_ids(
    root: Path, has: str, ids: Iterable[str], lacks: str, known: Collection[str]
) -> None:
    absent = [i for i in dict.fromkeys(ids) if i not in known]
    if absent:
        raise ValueError(
            f"Expected every id of {has} in {lacks}, both in {root}; received {len(absent)} that "
            f"{lacks} does not have: {some(absent)}. Fetch both files again: one was cut short, or "
            "changed."
        )
