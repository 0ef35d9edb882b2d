"""Settings of the images and of the training batches."""

from dataclasses import dataclass
from typing import Literal


@dataclass
class DataConfig:
    """The images: their size, and how they are checked and split."""

    image_size: int | tuple[int, int] = 224
    """Image size for evaluation and exports, in pixels: one number, or [height, width]."""

    crop_fraction: float = 0.875
    """Evaluation resizes the shorter side to image_size / crop_fraction and crops the centre."""

    test_fraction: float = 0.5
    """Share of the classes used for the test, (0, 1), if the data set has no split of its own. With
    1 there is nothing to train on, but evaluate and export accept it."""

    crop_to_boxes: bool = False
    """Crop Cars-196 to its official bounding boxes (the crops are cached as files)."""

    on_bad_image: Literal["error", "skip"] = "error"
    """If an image cannot be decoded: stop before training, or skip the image and list it."""

    label_noise: float = 0.0
    """Share of the training labels to change to another class, [0, 1), to study label noise."""

    outliers: float = 0.0
    """Share of the training images to replace by images from outliers_dir, [0, 1)."""

    outliers_dir: str | None = None
    """The images for outliers: a folder of images or of class folders, or a manifest."""

    cache: Literal["none", "files", "pixels"] = "none"
    """What to keep in memory: nothing, the bytes of the training files, or their decoded pixels."""


@dataclass
class BatchConfig:
    """How training batches are sampled."""

    batch_size: int = 90
    """Images in a training batch."""

    sampling: Literal["auto", "random", "balanced"] = "auto"
    """random: shuffle all images; balanced: the same number of images of some classes; auto:
    balanced for pair losses, or if one of the next two settings is given, otherwise random."""

    classes_per_batch: int | None = None
    """Classes in a balanced batch. Default: batch_size / images_per_class."""

    images_per_class: int | None = None
    """Images of each class in a balanced batch. Default: the number that suits the loss, or the
    next smaller one that divides batch_size."""


@dataclass
class AugmentationConfig:
    """Random changes to the training images."""

    image_size: int | tuple[int, int] | None = None
    """Training image size in pixels; null: data.image_size. A training size a little below the
    evaluation size is cheaper, and objects then have the same apparent size in both."""

    area: tuple[float, float] = (0.2, 1.0)
    """Range of the area of the random crop, as a share of the area of the image, (0, 1]."""

    ratio: tuple[float, float] = (0.75, 4 / 3)
    """Range of the aspect ratio, width / height, of the random crop."""

    flip: bool = True
    """Flip half of the images left to right; turn it off for letters and other directed objects."""

    extra: str | None = None
    """Name of one more augmentation layer, such as rand_augment."""
