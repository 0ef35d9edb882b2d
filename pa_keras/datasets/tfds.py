"""Reads sets of TensorFlow Datasets: merged, written once as image files, and split by class."""

import csv
import hashlib
import logging
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from pa_keras.datasets.cache import CANNOT_WRITE, cache_folder, progress, write_once
from pa_keras.datasets.image_formats import DECODED, HEAD_BYTES, image_format
from pa_keras.datasets.images import Dataset, absolute
from pa_keras.datasets.manifest import load_written

if TYPE_CHECKING:
    import tensorflow_datasets

logger = logging.getLogger(__name__)

# Other splits, such as Omniglot's small1, repeat images of these.
_SPLITS = ("train", "validation", "test")


def load_tfds(name: str, data_dir: str | None = None, test_fraction: float = 0.5) -> Dataset:
    """Read a set of TensorFlow Datasets that has the features `image` and `label`.

    Its own splits (train, validation, test) are merged, since they share their classes: the first
    classes are for training and the others for testing. The encoded images are written once,
    unchanged, below `cache_folder()`; images without a label are left out.

    Args:
        name: Name for `tfds.builder`, such as "cars196" or "caltech_birds2011:0.1.1".
        data_dir: Folder of the copies of TensorFlow Datasets. Default: its own default folder.
        test_fraction: Share of the classes to test on, in (0, 1]; 1: there are only test images.
            Default 0.5.

    Raises:
        OSError: The set is unknown, or cannot be downloaded or prepared.
        ValueError: The features `image` and `label` are missing, no image has a label, or there
            are too few classes or images.

    Example:
        >>> load_tfds("cars196").train  # doctest: +SKIP
        Images(8054 images, 98 classes)
    """
    data_dir = data_dir and str(absolute(data_dir))
    key = re.sub(r"[^\w.-]", "-", name)
    if data_dir:
        key += "-" + hashlib.sha256(data_dir.encode()).hexdigest()[:8]

    def write(folder: Path) -> None:
        builder = _prepared_builder(name, data_dir)
        _check_features(name, builder)
        total = sum(builder.info.splits[split].num_examples for split in _splits(builder))
        examples = progress(_examples(builder), total, f"Writing {name}")
        if not _write_images(folder, examples, builder.info.features["label"].names):
            raise ValueError(
                f"Expected labelled images in {' or '.join(_SPLITS)} of the TensorFlow dataset "
                f"{name!r}; received none; its splits are {', '.join(builder.info.splits)}. "
                "Write its images to class folders and use --dataset folder."
            )

    return load_written(write_once(cache_folder() / "tfds" / key, write), name, test_fraction)


def _prepared_builder(name: str, data_dir: str | None) -> "tensorflow_datasets.core.DatasetBuilder":
    import tensorflow_datasets

    try:
        builder = tensorflow_datasets.builder(name, data_dir=data_dir)
        builder.download_and_prepare()
    # Downloads, archives, file systems and builders raise different exceptions.
    except Exception as error:
        # Keep the first line only: the others list about 400 names of data sets.
        reason = str(error).partition("\n")[0]
        raise OSError(
            f"Expected TensorFlow Datasets to prepare {name!r} in {data_dir or 'its folder'}; "
            f"received {type(error).__name__}: {reason}\n{_remedy(name, error)} A set that was "
            f"prepared elsewhere is read by --dataset tfds:{name} --data-dir FOLDER, the folder "
            "above the one named after the set."
        ) from error
    return builder


def _remedy(name: str, error: Exception) -> str:
    if getattr(error, "errno", None) in CANNOT_WRITE:
        return f"Free some space, or use another folder: --dataset tfds:{name} --data-dir FOLDER."
    if name.partition(":")[0] == "cars196":
        return (
            "The original Cars download is gone: get a copy by hand and give its folder, as "
            "--dataset cars196 --data-dir FOLDER."
        )
    if name.partition(":")[0] == "caltech_birds2011":
        return (
            "Get https://www.vision.caltech.edu/datasets/cub_200_2011/ by hand and give its "
            "folder, as --dataset cub200 --data-dir FOLDER."
        )
    return (
        "Check the name and the connection; or get the images by hand, put them into class "
        "folders, and give these, as --dataset folder --data-dir FOLDER."
    )


def _check_features(name: str, builder: "tensorflow_datasets.core.DatasetBuilder") -> None:
    features = builder.info.features
    labelled = "label" in features and hasattr(features["label"], "names")
    if "image" not in features or not labelled:
        raise ValueError(
            f"Expected the features image and label (a class) in the TensorFlow dataset {name!r}; "
            f"received {', '.join(features)}. Write its images to class folders and use "
            "--dataset folder."
        )


def _splits(builder: "tensorflow_datasets.core.DatasetBuilder") -> list[str]:
    return [split for split in _SPLITS if split in builder.info.splits]


def _examples(builder: "tensorflow_datasets.core.DatasetBuilder") -> Iterator[tuple[bytes, int]]:
    """Yields (encoded image, label) in a fixed order."""
    import tensorflow_datasets as tfds

    decoders = tfds.decode.PartialDecoding(
        {"image": True, "label": True}, decoders={"image": tfds.decode.SkipDecoding()}
    )
    for split in _splits(builder):
        examples = builder.as_dataset(split=split, decoders=decoders, shuffle_files=False)
        for example in tfds.as_numpy(examples):
            yield example["image"], int(example["label"])


def _write_images(
    folder: Path, examples: Iterable[tuple[bytes, int]], class_names: list[str]
) -> int:
    """Write class folders of images and their manifest; return the number of images."""
    written = unlabelled = 0
    with (folder / "manifest.csv").open("w", newline="", encoding="utf-8") as file:
        manifest = csv.writer(file)
        manifest.writerow(("path", "class_id", "class_name"))
        for number, (contents, label) in enumerate(examples):
            if label < 0:
                unlabelled += 1
                continue
            suffix = DECODED.get(image_format(contents[:HEAD_BYTES]) or "", ".jpg")
            path = Path(f"{label:05d}") / f"{number:07d}{suffix}"
            (folder / path).parent.mkdir(exist_ok=True)
            (folder / path).write_bytes(contents)
            manifest.writerow((path.as_posix(), label, class_names[label]))
            written += 1
    if unlabelled:
        logger.warning("%d images have no label: left out.", unlabelled)
    return written
