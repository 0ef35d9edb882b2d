"""The suspects of a data set: all its images together, and the CSV file."""

import csv
import os
from pathlib import Path

from pa_keras import files
from pa_keras.datasets import Dataset, Images
from pa_keras.datasets.images import label_images
from pa_keras.retrieval import Suspects

COLUMNS = ("kind", "score", "path", "class_name", "other_path", "other_class_name")


def all_images(dataset: Dataset) -> Images:
    """Returns the training images, the queries and the gallery, in this order, labelled together.

    A class that is in several parts is one class, recognised by its name.

    Example:
        >>> images = Images(("/a", "/b", "/c", "/d"), [0, 0, 1, 1], ("cat", "dog"))
        >>> all_images(Dataset("pets", images, images))
        Images(8 images, 2 classes)
    """
    parts = [each for each in (dataset.train, dataset.queries, dataset.gallery) if each is not None]
    paths = [path for images in parts for path in images.paths]
    names = [images.class_names[label] for images in parts for label in images.labels]
    return label_images(paths, names)


def write_suspects(suspects: Suspects, images: Images, path: Path) -> None:
    """Writes a row for each suspect, worst first; paths are relative to their common folder.

    Args:
        suspects: From `find_suspects`.
        images: The images that were searched.
        path: The new CSV file.

    Raises:
        OSError: The file cannot be written; there is none then.
    """
    root = os.path.commonpath([os.path.dirname(each) for each in images.paths])

    def columns_of(index: int) -> tuple[str, str]:
        name = images.class_names[images.labels[index]]
        return os.path.relpath(images.paths[index], root), name

    def write(partial: str) -> None:
        with Path(partial).open("w", newline="", encoding="utf-8") as file:
            table = csv.writer(file)
            table.writerow(COLUMNS)
            for kind, score, image, other in suspects.rows:
                table.writerow((kind, f"{score:.4f}", *columns_of(image), *columns_of(other)))

    files.save_whole(write, path, files.START_AGAIN)


def as_line(suspects: Suspects, images: Images) -> str:
    """Returns a line for people with the number of suspects of each kind."""
    counts = [len(suspects.of_kind(kind)) for kind in ("label", "duplicate", "classes")]
    alone = suspects.num_alone
    return (
        f"suspects among {len(images)} images, training images included: {counts[0]} labels, "
        f"{counts[1]} near-duplicates with two labels, {counts[2]} pairs of similar classes"
        + (f"; {alone} images are alone in their class and cannot be judged" if alone else "")
    )
