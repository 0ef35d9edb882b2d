"""Cars-196 (Stanford Cars) in its official layouts, split by class."""

import hashlib
import os
import shutil
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import numpy as np

from pa_keras.datasets.cache import cache_folder, progress, write_once
from pa_keras.datasets.images import Dataset, Images, absolute
from pa_keras.datasets.manifest import load_manifest, missing_images_message

NUM_TRAIN_CLASSES = 98
NUM_TRAIN, NUM_TEST = 8_054, 8_131

_THREAD = "https://github.com/pytorch/vision/issues/7545"

_WHERE = """
The original download is gone; {thread} names copies.
Expected, as https://www.kaggle.com/datasets/jessicali9530/stanford-cars-dataset has it, either
    {root}/
        cars_annos.mat
        car_ims/000001.jpg ... 016185.jpg
or
    {root}/
        devkit/cars_train_annos.mat, devkit/cars_meta.mat
        cars_test_annos_withlabels.mat    (not in the devkit; without it the test has no classes)
        cars_train/00001.jpg ... 08144.jpg
        cars_test/00001.jpg ... 08041.jpg"""


class Car(NamedTuple):
    """A photograph, its class from 0 and its box (x1, y1, x2, y2), counted from 1, inclusive."""

    path: str
    label: int
    box: tuple[int, int, int, int]


def load_cars196(data_dir: str, crop_to_boxes: bool = False) -> Dataset:
    """Read Cars-196: 98 classes to train on (8,054 images), the 98 others to test (8,131).

    The official train/test flag is ignored, as all papers on metric learning do.

    Args:
        data_dir: the folder with the annotation files and the images, in either official layout
            (also one level too high or too low); or one with a `manifest.csv`, which is then read.
        crop_to_boxes: whether to crop each photograph to its car. The crops are written once, as
            JPEG files of quality 95, below `cache_folder()`. Default False.

    Raises:
        FileNotFoundError: no annotations or images; the message says where to get them.
        ValueError: test annotations without classes, or other numbers of images than the set has.

    Example:
        >>> load_cars196("cars").train  # doctest: +SKIP
        Images(8054 images, 98 classes)
    """
    root = absolute(data_dir)
    if root.suffix == ".csv" or (root / "manifest.csv").is_file():
        if crop_to_boxes:
            raise ValueError(
                "Expected the official annotation files for crop_to_boxes; received "
                f"the manifest of {root}, which has no boxes. Leave crop_to_boxes out."
            )
        return load_manifest(str(root))
    while root.name in ("car_ims", "cars_train", "cars_test", "devkit"):
        root = root.parent
    cars, class_names = read_annotations(root)
    _check_complete(cars, root)
    paths = _crops(cars) if crop_to_boxes else [car.path for car in cars]
    images = Images(tuple(paths), np.array([car.label for car in cars]), class_names)
    train = images.take_classes(range(NUM_TRAIN_CLASSES))
    return Dataset("cars196", train, images.take_classes(range(NUM_TRAIN_CLASSES, 196)))


def read_annotations(root: Path) -> tuple[list[Car], tuple[str, ...]]:
    """Every car that the official files in or near `root` list, and the 196 class names."""
    folders = _folders_near(root)
    if (annotations := _find(folders, "cars_annos.mat")) and (images := _find(folders, "car_ims")):
        return _read_cars(annotations, images, "relative_im_path"), _class_names(annotations)
    cars = []
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
            raise FileNotFoundError(
                f"Expected Cars-196 in {root}; received no {part if annotations else file_name} "
                f"there.{_WHERE.format(root=root, thread=_THREAD)}"
            )
        # Some copies nest the images once more.
        nested = images / part
        cars += _read_cars(annotations, nested if nested.is_dir() else images, "fname")
    return cars, _class_names(_find(folders, "cars_meta.mat"))


def _check_complete(cars: list[Car], root: Path) -> None:
    """Raise unless every image is there and their numbers are the benchmark's."""
    missing = [car.path for car in cars if not os.path.isfile(car.path)]
    if missing:
        otherwise = "list those that you have in a manifest.csv"
        raise FileNotFoundError(missing_images_message("Cars-196", missing, len(cars), otherwise))
    num_train = sum(car.label < NUM_TRAIN_CLASSES for car in cars)
    if (num_train, len(cars) - num_train) != (NUM_TRAIN, NUM_TEST):
        raise ValueError(
            f"Expected {NUM_TRAIN} images of classes 1-98 and {NUM_TEST} of 99-196; received "
            f"{num_train} and {len(cars) - num_train}. The annotation files in {root} are not the "
            "official ones: fetch them again."
        )


def _folders_near(root: Path) -> list[Path]:
    """`root` and the folders at most two levels below it, nearest first."""
    levels = [[root] if root.is_dir() else []]
    for _ in range(2):
        levels.append([below for folder in levels[-1] for below in _subfolders(folder)])
    return [folder for level in levels for folder in sorted(level)]


def _subfolders(folder: Path) -> list[Path]:
    try:
        with os.scandir(folder) as entries:
            return [Path(entry) for entry in entries if entry.is_dir()]
    except PermissionError:  # such as of lost+found, at the root of a disk
        return []


def _find(folders: list[Path], name: str) -> Path | None:
    return next((folder / name for folder in folders if os.path.exists(folder / name)), None)


def _read_cars(annotations: Path, images: Path, name_field: str) -> list[Car]:
    from scipy.io import loadmat

    table = np.atleast_1d(loadmat(annotations, squeeze_me=True)["annotations"])
    names = [str(name).rpartition("/")[2] for name in table[name_field]]
    # The files count classes from 1.
    labels = [int(label) - 1 for label in table["class"]]
    columns = (table[f"bbox_{side}"].astype(int).tolist() for side in ("x1", "y1", "x2", "y2"))
    boxes = zip(*columns, strict=True)
    return [
        Car(os.path.join(images, name), label, box)
        for name, label, box in zip(names, labels, boxes, strict=True)
    ]


def _class_names(meta: Path | None) -> tuple[str, ...]:
    if meta is None:
        return tuple(f"class {i}" for i in range(1, 197))
    from scipy.io import loadmat

    return tuple(str(name) for name in loadmat(meta, squeeze_me=True)["class_names"])


def _crops(cars: Sequence[Car]) -> list[str]:
    """Paths of the crops, written now unless they were before from the same files and boxes."""
    # With the time of the last change, so that a photograph that is repaired is cropped anew.
    sources = [(car.path, car.box, os.stat(car.path).st_mtime_ns) for car in cars]
    key = hashlib.sha256(repr(sources).encode()).hexdigest()[:12]
    names = [f"{Path(car.path).parent.name}_{Path(car.path).stem}.jpg" for car in cars]

    def write(folder: Path) -> None:
        # Decoding and encoding leave the interpreter lock, so threads do help.
        with ThreadPoolExecutor() as pool:
            done = pool.map(_write_crop, cars, [folder / name for name in names])
            for _ in progress(done, len(cars), "Cropping cars"):
                pass

    folder = write_once(cache_folder() / "cars196" / f"crops-{key}", write)
    return [str(folder / name) for name in names]


def _write_crop(car: Car, target: Path) -> None:
    from PIL import Image

    try:
        with Image.open(car.path) as photograph:
            crop = photograph.crop(_pixel_box(car, *photograph.size)).convert("RGB")
    except OSError:
        # As broken as it is: the check of all images then names it, or leaves it out.
        shutil.copyfile(car.path, target)
    else:
        crop.save(target, quality=95)


def _pixel_box(car: Car, width: int, height: int) -> tuple[int, int, int, int]:
    """(left, top, right, bottom) as Pillow counts them, inside of the photograph."""
    x1, y1, x2, y2 = car.box
    right, bottom = min(x2, width), min(y2, height)
    if x1 > right or y1 > bottom:
        raise ValueError(
            f"Expected the whole photograph, with the box {car.box} inside it; received "
            f"{car.path} of {width} x {height} pixels. If these are crops already, leave "
            "crop_to_boxes out."
        )
    return max(x1, 1) - 1, max(y1, 1) - 1, right, bottom
