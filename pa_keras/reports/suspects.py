"""Possible errors in a data set, as a CSV file and a picture."""

import csv
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from pa_keras import files, plots
from pa_keras.config import EvaluateConfig
from pa_keras.datasets import Images
from pa_keras.datasets.images import label_images
from pa_keras.evaluation.duplicates import first_of_same_bytes
from pa_keras.evaluation.evaluate import Evaluation
from pa_keras.reports.subject import Report, Subject
from pa_keras.retrieval import Suspects, find_suspects
from pa_keras.retrieval.suspects import check_similarity

COLUMNS = ("kind", "score", "path", "class_name", "other_path", "other_class_name")


def are_wanted(config: EvaluateConfig) -> bool:
    """Whether suspects are asked for, as a file or as a picture."""
    return bool(config.suspects or config.suspects_picture)


def expect_suspects(config: EvaluateConfig) -> None:
    """Raises a ValueError if the settings of suspects do not fit, before any work is done."""
    check_similarity(config.suspects_similarity)
    if are_wanted(config) and config.duplicates == "drop":
        raise ValueError(
            "Expected duplicates to be kept for suspects, since copies with two labels are among "
            "them; received duplicates=drop. Leave it out, or evaluate twice."
        )


def report(subject: Subject, found: Evaluation) -> Report:
    """Searches all images of the data set together for errors, and writes what is asked for."""
    config, dataset = subject.config, subject.dataset
    trained = [
        subject.readable(images)
        for images in (dataset.train, dataset.validation)
        if images is not None
    ]
    tested = [dataset.queries]
    vectors = [*map(subject.embed, trained), found.query_embeddings]
    if dataset.gallery is not None:
        tested.append(dataset.gallery)
        vectors.append(found.gallery_embeddings)
    images = together([*trained, *tested])
    suspects = find_suspects(
        np.concatenate(vectors),
        images.labels,
        min(config.suspects_neighbours, len(images) - 1),
        config.suspects_similarity,
        first_of_same_bytes(images.paths),
        config.search,
    )
    if config.suspects:
        write_suspects(suspects, images, Path(config.suspects))
    if config.suspects_picture:
        picture = Path(config.suspects_picture)
        plots.suspects(suspects, images, picture, config.num_queries, config.columns)
    others = {"images": len(images), "alone_in_class": suspects.num_alone}
    return {"suspects": {**suspects.counts(), **others}}, as_line(suspects, images)


def together(parts: Sequence[Images]) -> Images:
    """Returns the images of all parts, in order, with common labels.

    A class that is in several parts is one class, recognised by its name.

    Example:
        >>> images = Images(("/a", "/b", "/c", "/d"), [0, 0, 1, 1], ("cat", "dog"))
        >>> together([images, images])
        Images(8 images, 2 classes)
    """
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
        OSError: The file cannot be written; nothing is left of it.
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
    labels, duplicates, classes = suspects.counts().values()
    alone = suspects.num_alone
    return (
        f"suspects among {len(images)} images, training images included: {labels} labels, "
        f"{duplicates} near-duplicates with two labels, {classes} pairs of similar classes"
        + (f"; {alone} images are alone in their class and cannot be judged" if alone else "")
    )
