"""Reads Stanford Online Products in its official layout, with its own split."""

import os
from pathlib import Path

from pa_keras.datasets._annotations import IMAGE_NAME, NUMBER, read_table
from pa_keras.datasets._official_checks import check_counts, check_files, some
from pa_keras.datasets._official_folders import find_set
from pa_keras.datasets.images import Dataset, Images, label_images

COUNTS = {"training": (11_318, 59_551), "test": (11_316, 60_502)}

SOP_WHERE = """
Get Stanford_Online_Products.zip from https://cvgl.stanford.edu/projects/lifted_struct/
Expected:
    {root}/
        Ebay_train.txt
        Ebay_test.txt
        bicycle_final/*.JPG ... toaster_final/*.JPG"""

_COLUMNS = {"image_id": NUMBER, "class_id": NUMBER, "super_class_id": NUMBER, "path": IMAGE_NAME}


def load_sop(data_dir: str) -> Dataset:
    """Read Stanford Online Products: 59,551 training images of 11,318 classes, and 60,502 test
    images of 11,316 other classes.

    Args:
        data_dir: The folder Stanford_Online_Products (or a folder one level above or below).

    Raises:
        FileNotFoundError: Annotations or images are missing; the message says where to get them.
        ValueError: The annotations are broken, or the number of images is wrong.

    Example:
        >>> load_sop("Stanford_Online_Products").train  # doctest: +SKIP
        Images(59551 images, 11318 classes)
    """
    files = ("Ebay_train.txt", "Ebay_test.txt")
    root = find_set("Stanford Online Products", data_dir, files, r"\w+_final", SOP_WHERE)
    train, test = (read_table(root / name, _COLUMNS, header=1) for name in files)
    title = f"Stanford Online Products in {root}"
    classes = {"training": _class_ids(train), "test": _class_ids(test)}
    every_class = range(1, COUNTS["training"][0] + COUNTS["test"][0] + 1)
    check_counts(title, COUNTS, classes, every_class)
    both = sorted({*classes["training"]} & {*classes["test"]})
    if both:
        raise ValueError(
            f"Expected other classes in Ebay_test.txt than in Ebay_train.txt of {root}; received "
            f"{len(both)} in both: {some(both)}. Fetch both files again."
        )
    check_files(title, [os.path.join(root, row[-1]) for row in train + test])
    return Dataset("sop", _images(root, train), _images(root, test))


def _class_ids(rows: list[list[str]]) -> list[int]:
    return [int(class_id) for _, class_id, _, _ in rows]


def _images(root: Path, rows: list[list[str]]) -> Images:
    class_ids = _class_ids(rows)
    # A class is one product offer, whose number is in the names of all its images.
    names = {c: _class_name(path) for c, (_, _, _, path) in zip(class_ids, rows, strict=True)}
    return label_images([os.path.join(root, path) for _, _, _, path in rows], class_ids, names)


def _class_name(path: str) -> str:
    """Returns "bicycle 111085122871" for "bicycle_final/111085122871_0.JPG"."""
    folder, _, file_name = path.rpartition("/")
    return f"{folder.removesuffix('_final')} {file_name.rpartition('_')[0]}"
