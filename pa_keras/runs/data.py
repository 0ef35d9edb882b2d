"""Loading the images of a run, each of them checked to decode."""

import dataclasses
import logging
import re

import tensorflow as tf

from pa_keras import datasets
from pa_keras.config import DataConfig, FitConfig
from pa_keras.datasets import Dataset, Images
from pa_keras.pipelines import check_images, undecodable
from pa_keras.pipelines.image_checks import OnBadImage
from pa_keras.runs.loss import check_pairs

logger = logging.getLogger("pa_keras.fit")  # the log of the command


@dataclasses.dataclass(frozen=True)
class RunData:
    """The images that a run trains on, selects the best epoch by, and is tested on.

    Attributes:
        dataset: Training images without the held-out classes and with the label noise and
            outliers of the settings, and the test images.
        selection: Images that the best epoch is selected by. None: the last epoch is kept.
        skipped: The reason for each file that was left out, by its path.
        checksums: The checksum of each image, by its path.
    """

    dataset: Dataset
    selection: Dataset | None
    skipped: dict[str, str]
    checksums: dict[str, str]

    @property
    def train(self) -> Images:
        """The training images."""
        return self.dataset.training_images()

    def parts(self) -> dict[str, Images | None]:
        """All images by their purpose; None for a part that the run does not have."""
        held_out = None
        if self.selection is not None and self.selection.queries is not self.dataset.queries:
            held_out = self.selection.queries
        return {
            "train": self.train,
            "queries": self.dataset.queries,
            "gallery": self.dataset.gallery,
            "held out": held_out,
        }


def load_run_data(config: FitConfig) -> RunData:
    """Loads the data set of a run, holds classes out, and adds the noise of the settings.

    No classes are held out if the data set has a validation split, which then takes their place.

    Args:
        config: Settings, as returned by `pa_keras.runs.loss.resolved`.

    Raises:
        ValueError: The data set cannot be used, an image is bad, or the classes are too small for
            the loss.
        FileNotFoundError: Files do not exist.
    """
    dataset, skipped, checksums = load_checked(
        config.dataset,
        config.data_dir,
        on_bad_image=config.data.on_bad_image,
        test_fraction=config.data.test_fraction,
        crop_to_boxes=config.data.crop_to_boxes,
    )
    selection = dataset if config.training.selection == "reference_protocol" else None
    train = dataset.training_images()
    if config.training.selection == "held_out" and dataset.validation is not None:
        selection = Dataset("validation", train, dataset.validation)
        logger.info("Selecting the best epoch by the split val: %s.", dataset.validation)
    elif config.training.selection == "held_out":
        train, held_out = datasets.hold_out_classes(
            train, config.training.held_out_fraction, seed=config.seed
        )
        selection = Dataset("held out", train, held_out)
    train = _with_noise(train, config.data, config.seed, checksums)
    check_pairs(config.loss, config.batches, train.labels)
    return RunData(dataclasses.replace(dataset, train=train), selection, skipped, checksums)


def load_checked(
    name: str,
    data_dir: str | None = None,
    *,
    on_bad_image: OnBadImage = "error",
    test_fraction: float = 0.5,
    crop_to_boxes: bool = False,
    test_only: bool = False,
) -> tuple[Dataset, dict[str, str], dict[str, str]]:
    """Loads a data set and decodes each image once, to find bad ones before the work begins.

    Args:
        name: Name of the data set, as in `pa_keras.datasets.load`.
        data_dir: Folder or file of its images, as in `pa_keras.datasets.load`.
        on_bad_image: "error" raises; "skip" leaves bad images out. Default "error".
        test_fraction: Share of the classes for the test, if the set has no split; 1: there are
            only test images. Default 0.5.
        crop_to_boxes: Whether to crop Cars-196 to its boxes. Default False.
        test_only: Whether to check only the test images. Default False: there must be training
            images too.

    Returns:
        The data set without bad images; the reason for each that was left out, by its path; and
        the checksum of each that was not.

    Raises:
        ValueError: The data set cannot be used, or an image is bad and on_bad_image is "error".
        FileNotFoundError: Files do not exist.
    """
    dataset = datasets.load(
        name, data_dir, test_fraction=test_fraction, crop_to_boxes=crop_to_boxes
    )
    skipped: dict[str, str] = {}
    checksums: dict[str, str] = {}

    def readable(images: Images) -> Images:
        check = check_images(images.paths, on_bad_image)
        skipped.update(check.bad)
        good = images.take(check.good)
        checksums.update(zip(good.paths, check.checksums.tolist(), strict=True))
        return good

    train, validation = dataset.train, dataset.validation
    if not test_only:
        train = readable(dataset.training_images())
        # A class that lost all of its images gets no proxy.
        train = train.take_classes(range(train.num_classes))
        validation = None if validation is None else readable(validation)
    gallery = None if dataset.gallery is None else readable(dataset.gallery)
    queries = readable(dataset.queries)
    return Dataset(dataset.name, train, queries, gallery, validation), skipped, checksums


def unreadable_images(error: tf.errors.OpError, data: RunData) -> str | None:
    """A message about the images that made an input pipeline fail; None for other failures."""
    if not re.search("IteratorGetNext|DatasetToSingleElement", str(error)):
        return None
    paths = [path for images in data.parts().values() if images for path in images.paths]
    bad = undecodable(paths)
    if not bad:
        return (
            "Reading an image failed once, but all images can be read now: "
            f"{error.message.splitlines()[0]}."
        )
    lines = [f"  {path}: {reason}" for path, reason in list(bad.items())[:20]]
    return (
        f"Image files became unreadable after the run began, {len(bad)} in all:\n"
        + "\n".join(lines)
        + "\nPut them back."
    )


def _with_noise(train: Images, data: DataConfig, seed: int, checksums: dict[str, str]) -> Images:
    """The training images with the noise of the settings; the other images stay clean.

    The checksums of the outliers are added to `checksums`.
    """
    if data.outliers:
        if data.outliers_dir is None:
            raise ValueError(
                "Expected a folder of foreign images for data.outliers; add "
                "--data.outliers_dir DIR."
            )
        others = datasets.images_at(data.outliers_dir)
        check = check_images(others.paths, data.on_bad_image)
        foreign = others.take(check.good).paths
        checksums.update(zip(foreign, check.checksums.tolist(), strict=True))
        train = datasets.replace_by_outliers(train, foreign, data.outliers, seed)
    return datasets.flip_labels(train, data.label_noise, seed)
