"""The pictures of an evaluation, from its settings."""

from pathlib import Path

import numpy as np

from pa_keras import cli, plots
from pa_keras.config import EvaluateConfig
from pa_keras.datasets import Images
from pa_keras.evaluation.evaluate import Evaluation
from pa_keras.evaluation.projector import expect_sprite, write_projector
from pa_keras.reports.subject import Subject
from pa_keras.retrieval import matches
from pa_keras.runs.load_data import trained_classes


def expect_outputs(config: EvaluateConfig) -> None:
    """Raises an error if a file cannot be drawn or written, before any work is done."""
    pictures = [
        config.picture, config.failures, config.map, config.thresholds_picture,
        config.suspects_picture,
    ]  # fmt: skip
    outputs = [*pictures, config.projector, config.json, config.per_class, config.suspects]
    for path in outputs:
        cli.expect_new(path)
    for path in pictures:
        if path is not None:
            plots.expect_picture(path)
    given = [Path(path).absolute() for path in outputs if path is not None]
    if len(set(given)) < len(given):
        raise ValueError("Expected another file for each result; received one name twice.")
    counts = ("num_queries", "columns", "map_images", "projector_images", "suspects_neighbours")
    for name in counts:
        if getattr(config, name) < 1:
            raise ValueError(f"Expected {name} of 1 or more; received {getattr(config, name)}.")


def to_draw(subject: Subject) -> tuple[np.ndarray, Images | None]:
    """The queries to draw, and the training images on the map; None without a map or images."""
    config, dataset = subject.config, subject.dataset
    chosen = plots.find_queries(dataset.queries, config.queries)
    if config.projector:
        expect_sprite(min(config.projector_images, len(dataset.queries)))
    if not config.map:
        return chosen, None
    train = trained_classes(subject.settings, dataset)
    number = min(len(dataset.queries), config.map_images)
    if train is not None:
        sample = _sample(len(train), config.map_images, config.seed)
        train = subject.readable(train.take(sample))
        number += len(train)
    plots.expect_map(number, config.map_method, config.map_neighbours)
    return chosen, train


def draw(subject: Subject, found: Evaluation, chosen: np.ndarray) -> None:
    """Draws the pictures that need no other images than the evaluation."""
    config, dataset = subject.config, subject.dataset
    queries, gallery = dataset.queries, dataset.gallery
    if config.picture:
        plots.retrieved(
            queries, gallery, found.indices, Path(config.picture),
            config.num_queries, config.columns, config.seed, chosen,
        )  # fmt: skip
    if config.failures:
        plots.failures(
            queries, gallery, found.indices, found.query_embeddings, _of_gallery(found, gallery),
            Path(config.failures), config.num_queries, config.columns,
        )  # fmt: skip
    if config.projector:
        sample = _sample(len(queries), config.projector_images, config.seed)
        labels = (gallery or queries).labels
        right = matches(found.indices[:, :1], queries.labels, labels)[:, 0]
        write_projector(
            Path(config.projector),
            queries.take(sample),
            found.query_embeddings[sample],
            right[sample],
        )


def draw_map(subject: Subject, found: Evaluation, trained: Images | None) -> None:
    """Draws the map: a panel for the training images, if there are any, and one for the test."""
    config, dataset = subject.config, subject.dataset
    if config.map is None:
        return
    sample = _sample(len(dataset.queries), config.map_images, config.seed)
    tested = dataset.queries.take(sample), found.query_embeddings[sample]
    parts = {f"{dataset.name}, test classes": tested}
    if trained is not None:
        vectors = subject.embed(trained)
        parts = {f"{dataset.name}, training classes": (trained, vectors), **parts}
    plots.embedding_map(
        parts,
        Path(config.map),
        config.map_method,
        config.map_neighbours,
        config.seed,
    )


def _sample(number: int, most: int, seed: int) -> np.ndarray:
    """All indices below `number`, or a random sample of `most` of them, sorted."""
    return np.sort(np.random.default_rng([seed]).permutation(number)[:most])


def _of_gallery(found: Evaluation, gallery: Images | None) -> np.ndarray | None:
    return None if gallery is None else found.gallery_embeddings
