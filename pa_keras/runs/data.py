"""The images of a run: loaded once, each known to decode."""

import dataclasses
import re

import tensorflow as tf

from pa_keras import datasets
from pa_keras.config import FitConfig
from pa_keras.datasets import Dataset, Images
from pa_keras.pipelines import check_images, undecodable
from pa_keras.pipelines.image_checks import OnBadImage
from pa_keras.runs.loss import check_pairs


@dataclasses.dataclass(frozen=True)
class RunData:
    """What a run trains on, what it selects the best epoch by, and what it is tested on.

    Attributes:
        dataset: Training images without the held-out classes and with any noise that was asked
            for, and the test images.
        selection: Images that the best epoch is selected by. None: the last epoch is kept.
        skipped: The reason for each file that was left out, by its path.
    """

    dataset: Dataset
    selection: Dataset | None
    skipped: dict[str, str]

    def parts(self) -> dict[str, Images | None]:
        """All images by their purpose; a part that the run does not have is None."""
        held_out = None
        if self.selection is not None and self.selection.queries is not self.dataset.queries:
            held_out = self.selection.queries
        return {
            "train": self.dataset.train,
            "queries": self.dataset.queries,
            "gallery": self.dataset.gallery,
            "held out": held_out,
        }


def load_run_data(config: FitConfig) -> RunData:
    """Loads the data set of a run, holds classes out, and adds the noise that was asked for.

    Args:
        config: Resolved settings, as of `pa_keras.runs.loss.resolved`.

    Raises:
        ValueError: An unfit data set, a bad image, or classes too small for the loss.
        FileNotFoundError: Files that are not there.
    """
    dataset, skipped = load_checked(
        config.dataset,
        config.data_dir,
        on_bad_image=config.data.on_bad_image,
        test_fraction=config.data.test_fraction,
        crop_to_boxes=config.data.crop_to_boxes,
    )
    selection = dataset if config.training.selection == "reference_protocol" else None
    train = dataset.train
    if config.training.selection == "held_out":
        train, held_out = datasets.hold_out_classes(
            train, config.training.held_out_fraction, seed=config.seed
        )
        selection = Dataset("held out", train, held_out)
    train = _with_noise(config, train)
    check_pairs(config, train.labels)
    return RunData(dataclasses.replace(dataset, train=train), selection, skipped)


def load_checked(
    name: str,
    data_dir: str | None = None,
    *,
    on_bad_image: OnBadImage = "error",
    test_fraction: float = 0.5,
    crop_to_boxes: bool = False,
    test_only: bool = False,
) -> tuple[Dataset, dict[str, str]]:
    """Loads a data set and decodes each image once, so that a bad one is met before the work.

    Args:
        name: as of `pa_keras.datasets.load`, as are data_dir, test_fraction and crop_to_boxes.
        data_dir: where its files are.
        on_bad_image: "error" raises; "skip" leaves bad images out.
        test_fraction: share of the classes for the test, where the set has no split.
        crop_to_boxes: whether to crop Cars-196 to its boxes.
        test_only: whether the training images may stay unchecked.

    Returns:
        The data set without bad images, and the reason for each that was left out, by its path.

    Raises:
        ValueError: an unfit data set; a bad image and on_bad_image is "error".
        FileNotFoundError: files that are not there.
    """
    dataset = datasets.load(
        name, data_dir, test_fraction=test_fraction, crop_to_boxes=crop_to_boxes
    )
    skipped: dict[str, str] = {}

    def readable(images: Images) -> Images:
        check = check_images(images.paths, on_bad_image)
        skipped.update(check.bad)
        return images.take(check.good)

    train = dataset.train
    if not test_only:
        train = readable(train)
        # No proxy for a class that lost its last image.
        train = train.take_classes(train.labels)
    gallery = None if dataset.gallery is None else readable(dataset.gallery)
    return Dataset(dataset.name, train, readable(dataset.queries), gallery), skipped


def unreadable_images(error: tf.errors.OpError, data: RunData) -> str | None:
    """Which images made an input pipeline fail; None if something else failed."""
    if not re.search("IteratorGetNext|DatasetToSingleElement", str(error)):
        return None
    paths = [path for images in data.parts().values() if images for path in images.paths]
    bad = undecodable(paths)
    if not bad:
        return (
            "Expected images that can be read; an attempt failed, though all can be read now: "
            f"{error.message.splitlines()[0]}."
        )
    lines = [f"  {path}: {reason}" for path, reason in list(bad.items())[:20]]
    return (
        f"Expected images that stay as they were when the run began; {len(bad)} cannot be read any "
        "more:\n" + "\n".join(lines) + "\nPut them back."
    )


def _with_noise(config: FitConfig, train: Images) -> Images:
    """The training images with the noise that was asked for; what is measured on stays clean."""
    data = config.data
    if data.outliers:
        if data.outliers_dir is None:
            raise ValueError(
                "Expected a folder of foreign images for data.outliers; add "
                "--data.outliers_dir DIR."
            )
        others = datasets.images_at(data.outliers_dir)
        foreign = others.take(check_images(others.paths, data.on_bad_image).good).paths
        train = datasets.replace_by_outliers(train, foreign, data.outliers, config.seed)
    return datasets.flip_labels(train, data.label_noise, config.seed)
