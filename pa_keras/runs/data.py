"""A data set whose images are known to decode."""

from pa_keras import datasets
from pa_keras.datasets import Dataset, Images
from pa_keras.pipelines import check_images


def load_checked(
    name: str,
    data_dir: str | None = None,
    *,
    on_bad_image: str = "error",
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
