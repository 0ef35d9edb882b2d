"""Data sets as paths and labels: the built-in one, your own files, and the benchmarks."""

from difflib import get_close_matches
from pathlib import Path

from pa_keras.datasets.cache import cache_folder
from pa_keras.datasets.cars196 import load_cars196
from pa_keras.datasets.cub200 import load_cub200
from pa_keras.datasets.folder import folder_images, load_folder
from pa_keras.datasets.images import Dataset, Images, label_images
from pa_keras.datasets.inshop import INSHOP_WHERE, load_inshop
from pa_keras.datasets.manifest import load_manifest, read_manifest
from pa_keras.datasets.noise import flip_labels, replace_by_outliers
from pa_keras.datasets.sop import SOP_WHERE, load_sop
from pa_keras.datasets.splits import (
    hold_out_classes,
    sample_classes,
    split_by_class,
    warn_of_doubtful_classes,
)
from pa_keras.datasets.tfds import load_tfds

__all__ = [
    "NAMES",
    "Dataset",
    "Images",
    "cache_folder",
    "flip_labels",
    "folder_images",
    "hold_out_classes",
    "images_at",
    "label_images",
    "load",
    "read_manifest",
    "replace_by_outliers",
    "sample_classes",
    "split_by_class",
]

NAMES = ("glyphs", "folder", "manifest", "cars196", "cub200", "sop", "inshop", "tfds:NAME")


def load(
    name: str,
    data_dir: str | None = None,
    *,
    test_fraction: float = 0.5,
    crop_to_boxes: bool = False,
    seed: int = 0,
) -> Dataset:
    """Load a dataset by its name, as paths and labels.

    Args:
        name: "glyphs" (built in), "folder" (class folders), "manifest" (a CSV), "cars196" or
            "cub200" (the official files, or without `data_dir` the copy of TensorFlow Datasets),
            "sop" or "inshop" (the official files) or "tfds:NAME" (any classification set of
            TensorFlow Datasets).
        data_dir: Folder of its files. Required for "folder", "manifest", "sop" and "inshop".
        test_fraction: Share of the classes to test on, in (0, 1]; 1: there are only test images. It
            has no effect on a data set that defines its own split. Default 0.5.
        crop_to_boxes: Whether to crop to the annotated boxes, which "cars196" has. Default False.
        seed: Seed of the drawing of "glyphs". Default 0.

    Returns:
        The training images, the queries, the gallery unless the queries search each other, and
        the validation images if the data set has some.

    Raises:
        ValueError: The name is unknown, `data_dir` is missing or unexpected, or the data are
            invalid.
        OSError: Files are missing, or cannot be downloaded or written.

    Example:
        >>> load("folder", "my_photos").train  # doctest: +SKIP
        Images(120 images, 10 classes)
    """
    if crop_to_boxes and not (name == "cars196" and data_dir):
        raise ValueError(
            "Expected crop_to_boxes with cars196 and a data_dir that holds its annotation files; "
            f"received {name!r} and data_dir={data_dir!r}. Leave crop_to_boxes out."
        )
    if name == "glyphs" and data_dir:
        raise ValueError(
            f"Expected no data_dir with glyphs, which are built in; received {data_dir!r}. To read "
            f"images from there: --dataset folder --data-dir {data_dir}"
        )
    match name:
        case "glyphs":
            from pa_keras.datasets.glyphs import load_glyphs

            dataset = load_glyphs(seed=seed)
        case "folder":
            dataset = load_folder(_needed(name, data_dir, "folder of class folders"), test_fraction)
        case "manifest":
            dataset = load_manifest(_needed(name, data_dir, "CSV, or its folder,"), test_fraction)
        case "cars196":
            dataset = load_cars196(data_dir, crop_to_boxes)
        case "cub200":
            dataset = load_cub200(data_dir)
        case "sop":
            dataset = load_sop(_needed(name, data_dir, "folder", SOP_WHERE))
        case "inshop":
            dataset = load_inshop(_needed(name, data_dir, "folder", INSHOP_WHERE))
        case _ if name.startswith("tfds:") and name != "tfds:":
            dataset = load_tfds(name.removeprefix("tfds:"), data_dir, test_fraction)
        case _:
            raise ValueError(_unknown(name))
    warn_of_doubtful_classes(dataset)
    return dataset


def images_at(path: str | Path) -> Images:
    """Returns all images of a folder, with or without class folders, or of a manifest.

    Classes are not required. Images directly in the folder form a class with the folder's name.
    Images for which a manifest gives no class have the class "".

    Args:
        path: The folder, a CSV file, or a folder with a manifest.csv.

    Raises:
        ValueError: There is no image, or the manifest is invalid.
        FileNotFoundError: There is no such folder or file.

    Example:
        >>> images_at("my_photos")  # doctest: +SKIP
        Images(120 images, 10 classes)
    """
    path = Path(path).expanduser()
    if path.suffix.lower() in (".csv", ".tsv") or (path / "manifest.csv").exists():
        return read_manifest(path)[0]
    return folder_images(path, flat=True)


def _needed(name: str, data_dir: str | None, what: str, where: str = "") -> str:
    if not data_dir:
        raise ValueError(
            f"Expected data_dir, the {what} to read; received {data_dir!r}. Give it, for "
            f"example: --dataset {name} --data-dir PATH.{where.format(root='PATH')}"
        )
    return data_dir


def _unknown(name: str) -> str:
    message = f"Expected one of the datasets {', '.join(NAMES)}; received {name!r}. "
    if Path(name).exists():
        kind = "folder" if Path(name).is_dir() else "manifest"
        return f"{message}To read these files: --dataset {kind} --data-dir {name}"
    close = get_close_matches(name.lower(), NAMES, n=1)
    if close:
        return f"{message}Did you mean {close[0]!r}?"
    return f"{message}For your own images: --dataset folder --data-dir PATH"
