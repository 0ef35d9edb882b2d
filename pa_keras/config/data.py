"""Settings of the images and of the batches made of them."""

from dataclasses import dataclass
from typing import Literal


@dataclass
class DataConfig:
    """The images: which, how large, and how they are checked and split."""

    image_size: int | tuple[int, int] = 224
    """Size of evaluation and exports in pixels: one number, or [height, width]."""

    crop_fraction: float = 0.875
    """Evaluation resizes the shorter side to image_size / crop_fraction, then crops the centre."""

    test_fraction: float = 0.5
    """Share of the classes kept unseen for the test, (0, 1), where the set has no split."""

    crop_to_boxes: bool = False
    """Crop Cars-196 to its official bounding boxes (the crops are cached as files)."""

    on_bad_image: Literal["error", "skip"] = "error"
    """An image that cannot be decoded: stop before training, or leave it out and list it."""

    label_noise: float = 0.0
    """Share of the training labels that are changed to another class, [0, 1): a study of noise."""

    outliers: float = 0.0
    """Share of the training images that are replaced by foreign ones, [0, 1): another study."""

    outliers_dir: str | None = None
    """The foreign images: a folder of images or of class folders, or a manifest."""

    cache: Literal["none", "files", "pixels"] = "none"
    """Keep nothing, the files' bytes, or the decoded pixels of the training images in memory."""


@dataclass
class BatchConfig:
    """How training batches are drawn."""

    batch_size: int = 90
    """Images in a training batch."""

    sampling: Literal["auto", "random", "balanced"] = "auto"
    """random: all images shuffled; balanced: the same number of images of each of some classes;
    auto: balanced for losses of pairs and where one of the next two is given, else random."""

    classes_per_batch: int | None = None
    """Balanced batches: classes in each. Default: batch_size / images_per_class."""

    images_per_class: int | None = None
    """Balanced batches: images of each class. Default: the loss's own number, or the next smaller
    one that divides batch_size."""


@dataclass
class AugmentationConfig:
    """How a training image differs from its file."""

    image_size: int | tuple[int, int] | None = None
    """Size to train at, in pixels; None: data.image_size. Training a little smaller than the
    evaluation is cheaper, and objects then look the same size in both."""

    area: tuple[float, float] = (0.2, 1.0)
    """Range of the random crop's share of the image's area, (0, 1]."""

    ratio: tuple[float, float] = (0.75, 4 / 3)
    """Range of the random crop's width / height."""

    flip: bool = True
    """Mirror half of the images left-right; off for letters and other things with a direction."""

    extra: str | None = None
    """One more augmentation layer by its name, such as rand_augment."""
