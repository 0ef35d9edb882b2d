"""Warnings of what a data set may hold but seldom means to."""

import logging

import numpy as np

from pa_keras.datasets.images import Dataset

logger = logging.getLogger(__name__)


def warn_of_doubtful_classes(dataset: Dataset) -> None:
    """Log what is allowed but seldom meant: single-image classes, and test classes seen before."""
    lonely = int((~dataset.answerable()).sum())
    if lonely:
        logger.warning(
            "%d of %d queries have no other image of their class to find (a class with a single "
            "image): they cannot be answered and do not count in the metrics.",
            lonely,
            len(dataset.queries),
        )
    single = np.flatnonzero(np.bincount(dataset.train.labels) == 1)
    if len(single):
        logger.warning(
            "%d of %d training classes have a single image, such as %r: little is learnt of them.",
            len(single),
            dataset.train.num_classes,
            dataset.train.class_names[single[0]],
        )
    seen = set(dataset.train.class_names) & set(dataset.queries.class_names)
    if seen:
        logger.warning(
            "%d classes, such as %r, are in both training and test: the metrics then say how well "
            "known classes are found, not unseen ones.",
            len(seen),
            min(seen),
        )
