"""Reads Cars-196 (Stanford Cars) in its official layouts, split by class."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from pa_keras.datasets._car_crops import Car, crop_cars
from pa_keras.datasets._official_checks import check_by_class, check_files, load_whole_tfds
from pa_keras.datasets._official_folders import folders_near, not_found, outermost, start_of
from pa_keras.datasets.images import Dataset, Images, absolute
from pa_keras.datasets.manifest import load_manifest
from pa_keras.datasets.splits import split_by_class

COUNTS = {"training": (98, 8_054), "test": (98, 8_131)}

_THREAD = "https://github.com/pytorch/vision/issues/7545"

_WHERE = f"""
The original download is gone; {_THREAD} names copies.
Expected, as https://www.kaggle.com/datasets/jessicali9530/stanford-cars-dataset has it, either
    {{root}}/
        cars_annos.mat
        car_ims/000001.jpg ... 016185.jpg
or
    {{root}}/
        devkit/cars_train_annos.mat, devkit/cars_meta.mat
        cars_test_annos_withlabels.mat    (not in the devkit; without it the test has no classes)
        cars_train/00001.jpg ... 08144.jpg
        cars_test/00001.jpg ... 08041.jpg"""


def load_cars196(data_dir: str | None = None, crop_to_boxes: bool = False) -> Dataset:
    """Read Cars-196: 98 classes to train on (8,054 images), 98 others to test on (8,131 images).

    The official train/test flag is ignored, as in all papers on metric learning.

    Args:
        data_dir: The folder with the annotation files and the images, in either official layout
            (or a folder one level above or below); or a folder with a `manifest.csv` to read.
            Default None: the copy of TensorFlow Datasets, without crops.
        crop_to_boxes: Whether to crop each photograph to its car. The crops are written once, as
            JPEG files of quality 95, below `cache_folder()`. Default False.

    Raises:
        FileNotFoundError: Annotations or images are missing; the message says where to get them.
        OSError: TensorFlow Datasets cannot prepare its copy.
        ValueError: The test annotations have no classes, an annotation file is broken, or the
            number of images is wrong.

    Example:
        >>> load_cars196("cars").train  # doctest: +SKIP
        Images(8054 images, 98 classes)
    """
    if not data_dir:
        return load_whole_tfds("cars196", "Cars-196", "cars196", COUNTS)
    path = absolute(data_dir)
    if path.suffix == ".csv" or (path / "manifest.csv").is_file():
        if crop_to_boxes:
            raise ValueError(
                "Expected the official annotation files for crop_to_boxes; received "
                f"the manifest of {path}, which has no boxes. Leave crop_to_boxes out."
            )
        return load_manifest(path)
    root = outermost(start_of(data_dir), "car_ims|cars_train|cars_test|devkit")
    cars, class_names = read_annotations(root)
    title = f"Cars-196 in {root}"
    check_by_class(title, COUNTS, [car.label + 1 for car in cars])
    if len(class_names) != sum(classes for classes, _ in COUNTS.values()):
        raise ValueError(
            f"Expected a name for each class of {title}; received {len(class_names)}. Fetch "
            "cars_meta.mat or cars_annos.mat again: it was changed."
        )
    check_files(title, [car.path for car in cars])
    paths = crop_cars(cars) if crop_to_boxes else [car.path for car in cars]
    images = Images(tuple(paths), np.array([car.label for car in cars]), class_names)
    return Dataset("cars196", *split_by_class(images))


def read_annotations(root: Path) -> tuple[list[Car], tuple[str, ...]]:
    """Returns all cars in the official files in or near `root`, and the class names."""
    folders = list(folders_near(root))
    annotations, images = _find(folders, "cars_annos.mat"), _find(folders, "car_ims")
    if annotations and images:
        return [*_read_cars(annotations, images, "relative_im_path")], _class_names(annotations)
    if annotations and not _find(folders, "cars_train_annos.mat"):
        raise not_found("Cars-196", root, "car_ims", _WHERE)
    cars: list[Car] = []
    for part, file_name in (
        ("cars_train", "cars_train_annos.mat"),
        ("cars_test", "cars_test_annos_withlabels.mat"),
    ):
        annotations, images = _find(folders, file_name), _find(folders, part)
        unlabelled = _find(folders, "cars_test_annos.mat")
        if part == "cars_test" and not annotations and unlabelled:
            raise ValueError(
                f"Expected {file_name}; received {unlabelled}, the devkit's, which has no classes. "
                f"Get {file_name} ({_THREAD} says where) and put it beside that file."
            )
        if not annotations or not images:
            raise not_found("Cars-196", root, part if annotations else file_name, _WHERE)
        # Some copies have the images in another folder of the same name.
        nested = images / part
        cars += _read_cars(annotations, nested if nested.is_dir() else images, "fname")
    return cars, _class_names(_find(folders, "cars_meta.mat"))


def _find(folders: list[Path], name: str) -> Path | None:
    return next((folder / name for folder in folders if os.path.exists(folder / name)), None)


def _read_cars(annotations: Path, images: Path, name_field: str) -> Iterator[Car]:
    table = np.atleast_1d(_variable(annotations, "annotations"))
    sides = [f"bbox_{side}" for side in ("x1", "y1", "x2", "y2")]
    absent = {name_field, "class", *sides} - {*(table.dtype.names or ())}
    if absent:
        raise ValueError(
            f"Expected the fields {name_field}, class and {', '.join(sides)} in {annotations}; "
            f"received none called {', '.join(sorted(absent))}. Fetch the file again."
        )
    for number, row in enumerate(table, 1):
        name = str(row[name_field]).rpartition("/")[2]
        try:
            left, top, right, bottom = (int(row[side]) for side in sides)
            # The files count classes from 1.
            box = (left, top, right, bottom)
            yield Car(os.path.join(images, name), int(row["class"]) - 1, box)
        except (TypeError, ValueError) as error:
            raise ValueError(
                f"Expected numbers for class and box of entry {number}, {name}, of {annotations}; "
                f"received {error}. Fetch the file again: it was changed."
            ) from error


def _class_names(meta: Path | None) -> tuple[str, ...]:
    if meta is None:
        return tuple(f"class {i}" for i in range(1, COUNTS["training"][0] + COUNTS["test"][0] + 1))
    return tuple(str(name) for name in np.atleast_1d(_variable(meta, "class_names")))


def _variable(path: Path, name: str) -> Any:
    """Reads one variable of a MATLAB file."""
    from scipy.io import loadmat

    try:
        return loadmat(path, squeeze_me=True)[name]
    # For a file that is cut short, SciPy raises TypeError, OSError, KeyError and others.
    except Exception as error:
        raise ValueError(
            f"Expected a MATLAB file with {name}; received {path}: {type(error).__name__}: {error}"
            "\nFetch it again: it was cut short, or is another file."
        ) from error
