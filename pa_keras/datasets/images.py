"""Labelled image files, and the data set that a run trains on and is evaluated on."""

import os
import re
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from pa_keras.arguments.class_ids import class_indices


@dataclass(frozen=True, eq=False, repr=False)
class Images:
    """Image files and the class of each: paths and labels only, no pixels.

    Args:
        paths: N absolute paths.
        labels: Integers (N,), indices of `class_names`; stored as a read-only int32 copy.
        class_names: The name of each class, in the order of the labels.

    Raises:
        ValueError: There is no image, the lengths differ, or a label is not an integer or is out
            of range.

    Example:
        >>> Images(("/a.jpg", "/b.jpg"), [0, 1], ("cat", "dog"))
        Images(2 images, 2 classes)
    """

    paths: tuple[str, ...]
    labels: np.ndarray
    class_names: tuple[str, ...]

    def __post_init__(self) -> None:
        if not len(self.paths):
            raise ValueError("Expected at least one image; received none. Give some paths.")
        labels = class_indices(self.labels, self.class_names).astype(np.int32)
        if len(labels) != len(self.paths):
            raise ValueError(
                f"Expected one label for each of {len(self.paths)} paths; received {len(labels)}."
            )
        labels.setflags(write=False)
        object.__setattr__(self, "paths", tuple(self.paths))
        object.__setattr__(self, "labels", labels)
        object.__setattr__(self, "class_names", tuple(self.class_names))

    def __len__(self) -> int:
        return len(self.paths)

    def __repr__(self) -> str:
        return f"Images({len(self)} images, {self.num_classes} classes)"

    @property
    def num_classes(self) -> int:
        """Number of class names; after `take`, some classes may have no image."""
        return len(self.class_names)

    def take(self, indices: Sequence[int] | np.ndarray) -> "Images":
        """Returns the images at `indices` (M,) or in a mask (N,), with the same class names."""
        indices = np.arange(len(self))[np.asarray(indices)]
        return Images(tuple(self.paths[i] for i in indices), self.labels[indices], self.class_names)

    def take_classes(self, classes: Iterable[int]) -> "Images":
        """Returns the images of `classes`, relabelled from 0; drops classes without an image."""
        counts = np.bincount(self.labels, minlength=self.num_classes)
        kept = sorted(c for c in set(classes) if counts[c])
        new_labels = np.full(self.num_classes, -1)
        new_labels[kept] = np.arange(len(kept))
        indices = np.flatnonzero(new_labels[self.labels] >= 0)
        names = tuple(self.class_names[c] for c in kept)
        return Images(
            tuple(self.paths[i] for i in indices), new_labels[self.labels[indices]], names
        )


@dataclass(frozen=True)
class Dataset:
    """The images that a run trains on and is evaluated on.

    Args:
        name: Name of the data set in logs and tables.
        train: Training images, of at least 2 classes. None: there are only test images.
        queries: Images to search with.
        gallery: Images to search, with the class names of `queries`. Default None: each query
            searches the other queries (leave-one-out).
        validation: Images to select the best epoch by. Default None: there are none.

    Raises:
        ValueError: There are fewer than 2 classes to train on or to search, the gallery has other
            class names, or no query has a right answer.
    """

    name: str
    train: Images | None
    queries: Images
    gallery: Images | None = None
    validation: Images | None = None

    def __post_init__(self) -> None:
        for part, images in (("train", self.train), ("search among", self.gallery or self.queries)):
            if images is None:
                continue
            found = np.unique(images.labels)
            if len(found) < 2:
                raise ValueError(
                    f"Expected images of at least 2 classes to {part}; received those of "
                    f"{images.class_names[found[0]]!r} only. Add another class."
                )
        if self.gallery is not None and self.gallery.class_names != self.queries.class_names:
            raise ValueError(
                "Expected queries and gallery with the same class names; received "
                f"{self.queries} and {self.gallery}. Label them together, then `take` each."
            )
        if not self.answerable().any():
            raise ValueError(
                "Expected test classes with at least 2 images, one to search with and one to "
                f"find; received {len(self.queries)} queries without any right answer, as in "
                f"class {self.queries.class_names[self.queries.labels[0]]!r}. Add images."
            )

    def training_images(self) -> Images:
        """Returns the training images.

        Raises:
            ValueError: The data set has only test images.
        """
        if self.train is None:
            raise ValueError(
                f"Expected training images in the data set {self.name!r}; received only test "
                f"images, {self.queries}. To train, add a split train, or give a test_fraction "
                "below 1. To measure a trained model on them: python -m pa_keras.evaluate"
            )
        return self.train

    def answerable(self) -> np.ndarray:
        """Returns whether the gallery has a right answer to each query, bool (num_queries,)."""
        searched = self.queries if self.gallery is None else self.gallery
        counts = np.bincount(searched.labels, minlength=searched.num_classes)
        return counts[self.queries.labels] > (1 if self.gallery is None else 0)


def absolute(path: str | Path) -> Path:
    """Returns a user's path as an absolute one; expands `~` and does not resolve links."""
    return Path(os.path.abspath(Path(path).expanduser()))


def natural_key(text: str) -> tuple:
    """Returns a sorting key for which "class 9" comes before "class 10"."""
    parts = re.split(r"(\d+)", text.casefold())
    return tuple(int(p) if i % 2 else p for i, p in enumerate(parts)), text


def label_images(
    paths: Sequence[str],
    classes: Sequence[Hashable],
    class_names: Mapping[Any, str] | None = None,
) -> Images:
    """Number the classes from 0 in natural order, and return the `Images`.

    Args:
        paths: N absolute paths.
        classes: The class of each path, a string or an integer.
        class_names: Maps each class to its name. Default: the class itself as a string.

    Example:
        >>> label_images(["/a.jpg", "/b.jpg"], ["10", "9"]).class_names
        ('9', '10')
    """
    ordered = sorted(set(classes), key=lambda c: natural_key(str(c)))
    label_of = {c: i for i, c in enumerate(ordered)}
    labels = np.fromiter((label_of[c] for c in classes), np.int32, count=len(classes))
    names = tuple(str(c) if class_names is None else class_names[c] for c in ordered)
    return Images(tuple(paths), labels, names)
