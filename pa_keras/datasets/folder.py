"""Class folders: every sub-folder is a class, and every image below it belongs to that class."""

import logging
import os
from pathlib import Path

from pa_keras.datasets.images import Dataset, Images, absolute, label_images, natural_key
from pa_keras.datasets.splits import split_as_given, split_by_class

logger = logging.getLogger(__name__)

SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif")

_SPLITS = ("train", "test", "query", "gallery")
# Of no use to `fit`, which holds classes out itself; images all the same.
_OTHERS = ("val", "valid", "validation")

_TREE = """
    {root}/
        one_class/    any name, one folder a class
            a.jpg     any name, of type jpg, jpeg, png, webp, bmp or gif
            b.png
        another_class/
            ..."""


def load_folder(data_dir: str, test_fraction: float = 0.5) -> Dataset:
    """Read class folders, or `train/` and `test/` (or `query/` and `gallery/`) of class folders.

    Without `train/`, the first classes by name (9 before 10) are for training and the others for
    the test. Hidden files and files of other types are ignored.

    Args:
        data_dir: the folder above the class folders.
        test_fraction: share of the classes, in (0, 1), for the test. Default 0.5. Of no effect
            where the folders say the split.

    Raises:
        FileNotFoundError: no such folder.
        ValueError: no image, images outside of class folders, too few classes or images.

    Example:
        >>> load_folder("my_photos").train  # doctest: +SKIP
        Images(120 images, 10 classes)
    """
    root = _existing(data_dir)
    parts = _split_folders(root)
    unused = [parts.pop(split).name for split in _OTHERS if split in parts]
    if not parts:
        train, queries = split_by_class(folder_images(root), test_fraction)
        return Dataset(root.name, train, queries)
    if unused:
        logger.warning("In %s the splits %s are used; ignored: %s.", root, [*parts], _some(unused))
    paths, classes, splits = [], [], []
    for split, folder in parts.items():
        part = folder_images(folder)
        paths += part.paths
        classes += [part.class_names[label] for label in part.labels]
        splits += [split] * len(part)
    return split_as_given(root.name, label_images(paths, classes), splits)


def folder_images(root: str | Path, flat: bool = False) -> Images:
    """Every image of the class folders in `root`, in natural order, whatever part they are of.

    Args:
        root: folder of class folders, or of `train/`, `val/`, `test/`, `query/` or `gallery/` with
            class folders.
        flat: whether a folder without class folders counts as one class of its own name.

    Raises:
        FileNotFoundError: there is no such folder.
        ValueError: there is no image in class folders.
    """
    root = _existing(root)
    paths, classes, empty = [], [], []
    parts = _split_folders(root).values() or [root]
    for class_folder in (folder for part in parts for folder in _subfolders(part)):
        found = _images_below(class_folder)
        paths += found
        classes += [class_folder.name] * len(found)
        if not found:
            empty.append(class_folder.name)
    outside = [entry for entry in os.listdir(root) if _is_image(entry)]
    if flat and outside and not paths:
        names = sorted(outside, key=natural_key)
        return label_images([str(root / name) for name in names], [root.name] * len(names))
    if not paths:
        raise ValueError(
            f"Expected images in class folders; received {str(root)!r} with "
            f"{len(outside)} images outside of class folders and none inside. Move each image "
            f"into a folder named after its class:{_TREE.format(root=root)}"
        )
    if outside:
        logger.warning("%d images in %s are in no class folder: ignored.", len(outside), root)
    if empty:
        logger.warning("%d folders in %s hold no image: %s.", len(empty), root, _some(empty))
    return label_images(paths, classes)


def _existing(path: str | Path) -> Path:
    root = absolute(path)
    if not root.is_dir():
        raise FileNotFoundError(
            f"Expected a folder of class folders; received {str(root)!r}, which is "
            f"{'a file' if root.exists() else 'not there'}. Expected:{_TREE.format(root=root)}"
        )
    return root


def _split_folders(root: Path) -> dict[str, Path]:
    """Split name -> folder; empty where the sub-folders of `root` are the classes themselves."""
    found, others = {}, []
    for folder in _subfolders(root):
        # A class may be called "train" as well: it then holds images, not folders of images.
        holds_classes = _subfolders(folder) and not any(map(_is_image, os.listdir(folder)))
        if folder.name.lower() in (*_SPLITS, *_OTHERS) and holds_classes:
            found[folder.name.lower()] = folder
        else:
            others.append(folder.name)
    # Beside other folders they are splits only if they make a set.
    splits = found.keys() & set(_SPLITS)
    is_set = {"query", "gallery"} <= splits or ("train" in splits and len(splits) > 1)
    if others and not is_set:
        return {}
    if others:
        logger.warning("In %s, beside the splits, is ignored: %s.", root, _some(others))
    return found


def _subfolders(folder: Path) -> list[Path]:
    with os.scandir(folder) as entries:
        names = [e.name for e in entries if e.is_dir() and not e.name.startswith(".")]
    return [folder / name for name in sorted(names, key=natural_key)]


def _images_below(folder: Path) -> list[str]:
    found = []
    for parent, folders, files in os.walk(folder):
        folders[:] = sorted((f for f in folders if not f.startswith(".")), key=natural_key)
        found += [os.path.join(parent, f) for f in sorted(files, key=natural_key) if _is_image(f)]
    return found


def _is_image(name: str) -> bool:
    return name.lower().endswith(SUFFIXES) and not name.startswith(".")


def _some(names: list[str]) -> str:
    return ", ".join(names[:5]) + (", ..." if len(names) > 5 else "")
