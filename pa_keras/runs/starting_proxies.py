"""The proxies that a run starts from, where they are not random."""

import logging
import math

import numpy as np

from pa_keras.evaluation.embedder import Embedder
from pa_keras.models.trained_classes import TrainedClasses, read_classes
from pa_keras.runs.batches import make_evaluation_batches, training_size
from pa_keras.runs.build import Run, jit_compile
from pa_keras.runs.known_classes import kept_proxies, warn_of_known_classes
from pa_keras.runs.own_model import own_model

logger = logging.getLogger(__name__)

# The standard error of a mean of 50 embeddings is a seventh of their deviation.
MOST_PER_CLASS = 50


def start_proxies(run: Run) -> None:
    """Sets the proxies before the first step, as `model.proxies_init` and `model.weights` ask.

    If the run starts from a model of the user's own, the classes that the model knows keep their
    proxies, and the others start from class means. All workers embed together and get all
    embeddings, so that they start from the same proxies. A class that lost all its images to label
    noise keeps its random proxy.

    Args:
        run: The parts of a run that has no checkpoint yet.

    Raises:
        tf.errors.OpError: An image can no longer be read.
    """
    file, known = own_model(run.config.model.weights), TrainedClasses((), None)
    if file is not None:
        known = read_classes(file)
        warn_of_known_classes(known, run.data, file)
    layer, train = run.proxies, run.data.train
    if layer is None or (file is None and run.config.model.proxies_init == "random"):
        return
    proxies = layer.get_weights()[0]
    kept = kept_proxies(known, train.class_names, proxies.shape[1:])
    if file is not None:
        logger.info(
            "%d of %d classes keep the proxies of %s; the proxies of its %d other classes are "
            "dropped.",
            len(kept),
            len(proxies),
            file,
            len(set(known.names) - set(train.class_names)),
        )
    for index, proxy in kept.items():
        proxies[index] = proxy
    new = np.setdiff1d(train.labels, np.array(list(kept), int))
    if len(new):
        means = _mean_embeddings(run, new, layer.centers_per_class or 1)
        # As long as random proxies are on average: the length sets how far a step turns a proxy.
        length = math.sqrt(2 * proxies.shape[-1] / len(proxies))
        proxies[new] = length * means.reshape(len(new), *proxies.shape[1:])
    layer.set_weights([proxies])


def class_means(embeddings: np.ndarray, labels: np.ndarray, centers: int = 1) -> np.ndarray:
    """The directions of the mean embeddings of each class, for K centers of each.

    Center j is the mean of every K-th image of its class, from image j on. If a class has no image
    j, center j is the mean of the complete class.

    Args:
        embeddings: Embeddings (N, D).
        labels: Integers (N,), from 0 on, each with an image at least.
        centers: K, at least 1. Default 1.

    Returns:
        Unit vectors (C, K, D), float64.

    Example:
        >>> class_means(np.array([[3.0, 0.0], [1.0, 0.0], [0.0, 2.0]]), np.array([0, 0, 1]))[:, 0]
        array([[1., 0.],
               [0., 1.]])
    """
    means = [
        [embeddings[rows[j::centers] if j < len(rows) else rows].mean(0) for j in range(centers)]
        for rows in _rows_by_class(labels)
    ]
    found = np.asarray(means, np.float64)
    return found / np.maximum(np.linalg.norm(found, axis=-1, keepdims=True), 1e-12)


def _mean_embeddings(run: Run, classes: np.ndarray, centers: int) -> np.ndarray:
    """The `class_means` of some training classes, by the network as it is now."""
    train = run.data.train.take_classes(classes)
    images = train.take(np.concatenate([_spread(rows) for rows in _rows_by_class(train.labels)]))
    logger.info(
        "%d proxies start from the mean embeddings of %d images.", len(classes), len(images)
    )
    embed = Embedder(
        run.model.get_layer("embedding_model"), jit_compile(run.config.training, run.strategy)
    )
    size = training_size(run.config.data, run.config.augmentation)
    batches = make_evaluation_batches(run.config, images, run.strategy, size=size)
    # On several replicas, the last image is repeated until all have the same number.
    return class_means(embed(batches)[: len(images)], images.labels, centers)


def _rows_by_class(labels: np.ndarray) -> list[np.ndarray]:
    return np.split(np.argsort(labels, kind="stable"), np.cumsum(np.bincount(labels))[:-1])


def _spread(rows: np.ndarray) -> np.ndarray:
    """At most `MOST_PER_CLASS` rows, at equal distances, since neighbouring images are alike."""
    number = min(len(rows), MOST_PER_CLASS)
    return rows[np.arange(number) * len(rows) // number]
