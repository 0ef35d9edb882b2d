"""The image files of a run: whether they are still those that it was begun with."""

import re

import tensorflow as tf

from pa_keras.datasets import Dataset
from pa_keras.pipelines import undecodable
from pa_keras.runs.fingerprint import fingerprint


def fingerprint_of(
    dataset: Dataset, selection: Dataset | None
) -> dict[tuple[str, str], tuple[str, str]]:
    """What tells whether the images of a run are those that it was begun with."""
    parts = {"train": dataset.train, "queries": dataset.queries, "gallery": dataset.gallery}
    held_out = None if selection is None or selection is dataset else selection.queries
    return fingerprint({**parts, "held out": held_out})


def unreadable_images(
    error: tf.errors.OpError, dataset: Dataset, selection: Dataset | None
) -> str | None:
    """Which images had made an input pipeline fail; None if it was not the pipeline that failed."""
    if not re.search("IteratorGetNext|DatasetToSingleElement", str(error)):
        return None
    sets = [dataset.train, dataset.queries, dataset.gallery, selection and selection.queries]
    paths = [path for images in sets if images is not None for path in images.paths]
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
