"""Reads class folders: each subfolder is a class, which contains all images below the folder."""

import logging
from pathlib import Path

from pa_keras.datasets.images import Dataset, Images, absolute, label_images
from pa_keras.datasets.listing import (
    OUTSIDE,
    LeftOut,
    images_below,
    list_folder,
    some,
    warn_of_left_out,
)
from pa_keras.datasets.similar_names import warn_of_similar_classes
from pa_keras.datasets.splits import SPLITS, VALIDATION, split_as_given, split_by_fraction

logger = logging.getLogger(__name__)

_TREE = """
    {root}/
        one_class/    any name, one folder a class
            a.jpg     any name; JPEG, PNG, WebP, BMP or GIF
            b.png
        another_class/
            ..."""


def load_folder(data_dir: str, test_fraction: float = 0.5) -> Dataset:
    """Read class folders, or `train/` and `test/` (or `query/` and `gallery/`) of class folders.

    `val/` (or `valid/`, `validation/`) of class folders may be added to select the best epoch by.
    Without `train/` there are only test images. Without any of these folders, the first classes by
    name (9 before 10) are for training and the others for testing. Files that are not images,
    hidden files and the folders of storage systems are left out; a warning counts them by reason.

    Args:
        data_dir: The folder above the class folders.
        test_fraction: Share of the classes to test on, in (0, 1]; 1: there are only test images. It
            has no effect if the folders define the split. Default 0.5.

    Raises:
        FileNotFoundError: There is no such folder.
        ValueError: There is no image in class folders, or there are too few classes or images.

    Example:
        >>> load_folder("my_photos").train  # doctest: +SKIP
        Images(120 images, 10 classes)
    """
    root = _existing(data_dir)
    top = list_folder(root)
    parts = _split_folders(root, top.folders)
    if parts.keys() <= set(VALIDATION):
        return split_by_fraction(root.name, folder_images(root), test_fraction)
    warn_of_left_out(root, top.left_out + [LeftOut(path, OUTSIDE) for path in top.images])
    paths, classes, splits = [], [], []
    for split, folder in parts.items():
        part_paths, part_classes = _paths_and_classes(folder)
        paths += part_paths
        classes += part_classes
        splits += [split] * len(part_paths)
    warn_of_similar_classes(classes, root)
    return split_as_given(root.name, label_images(paths, classes), splits)


def folder_images(root: str | Path, flat: bool = False) -> Images:
    """Returns all images of the class folders in `root`, of every split, in natural order.

    Args:
        root: Folder of class folders, or of `train/`, `val/`, `test/`, `query/` or `gallery/` with
            class folders.
        flat: Whether to include the images in `root` itself, as one class with the name of
            `root`. Default False: they are left out with a warning.

    Raises:
        FileNotFoundError: There is no such folder.
        ValueError: There is no image in class folders.
    """
    root = _existing(root, "images" if flat else "class folders")
    paths, classes = _paths_and_classes(root, flat)
    warn_of_similar_classes(classes, root)
    return label_images(paths, classes)


def _paths_and_classes(root: Path, flat: bool = False) -> tuple[list[str], list[str]]:
    """Returns all images of the class folders in `root`, and the class of each."""
    top = list_folder(root)
    parts = _split_folders(root, top.folders).values()
    class_folders, left_out = list(top.folders), list(top.left_out)
    if parts:
        listings = [list_folder(part) for part in parts]
        class_folders = [folder for listing in listings for folder in listing.folders]
        left_out += [each for listing in listings for each in listing.left_out]
    paths = list(top.images) if flat else []
    classes = [root.name] * len(paths)
    empty = []
    for class_folder in class_folders:
        found = images_below(class_folder)
        paths += found.images
        classes += [class_folder.name] * len(found.images)
        left_out += found.left_out
        if not found.images:
            empty.append(class_folder.name)
    if not flat:
        left_out += [LeftOut(path, OUTSIDE) for path in top.images]
    warn_of_left_out(root, left_out)
    if not paths and flat:
        raise ValueError(
            f"Expected a folder with images, or with folders of images; received {str(root)!r}, "
            "which has none. Check the path."
        )
    if not paths:
        raise ValueError(
            f"Expected images in class folders; received {str(root)!r} with "
            f"{len(top.images)} images outside of class folders and none inside. Move each image "
            f"into a folder named after its class:{_TREE.format(root=root)}"
        )
    if empty:
        logger.warning("%d folders in %s hold no image: %s.", len(empty), root, some(empty))
    return paths, classes


def _existing(path: str | Path, contents: str = "class folders") -> Path:
    root = absolute(path)
    if not root.is_dir():
        tree = f"Expected:{_TREE.format(root=root)}"
        advice = "Check the path." if contents == "images" else tree
        raise FileNotFoundError(
            f"Expected a folder of {contents}; received {str(root)!r}, which is "
            f"{'a file' if root.exists() else 'not there'}. {advice}"
        )
    return root


def _split_folders(root: Path, folders: list[Path]) -> dict[str, Path]:
    """Maps split names to folders; empty if the subfolders of `root` are the classes themselves."""
    found, others = {}, []
    for folder in folders:
        name = folder.name.lower()
        if name in SPLITS and _holds_classes(folder):
            found[name] = folder
        else:
            others.append(folder.name)
    # If there are other folders too, these are splits only if they form a complete data set.
    splits = found.keys() - set(VALIDATION)
    is_set = {"query", "gallery"} <= splits or ("train" in splits and len(splits) > 1)
    if others and not is_set:
        if found:
            logger.warning(
                "In %s, %s are taken as classes, not as splits, since there are other folders: %s.",
                root,
                some([folder.name for folder in found.values()]),
                some(others),
            )
        return {}
    if others:
        logger.warning("In %s, folders beside the splits are ignored: %s.", root, some(others))
    return found


def _holds_classes(folder: Path) -> bool:
    """Whether a folder named like a split is one; a class of that name contains images directly."""
    listing = list_folder(folder)
    return bool(listing.folders) and not listing.images
