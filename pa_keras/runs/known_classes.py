"""Compares the classes of a run with those that its model was trained on before."""

import logging
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from pa_keras.datasets.similar_names import similar_names
from pa_keras.models.trained_classes import TrainedClasses
from pa_keras.runs.data import RunData

logger = logging.getLogger(__name__)

_NAMED = 5  # classes in a message


def kept_proxies(
    known: TrainedClasses, names: tuple[str, ...], shape: tuple[int, ...]
) -> dict[int, np.ndarray]:
    """The proxies of the classes that a model knows, by their index in `names`.

    Args:
        known: The classes that the model was trained on.
        names: Names of the training classes of the run.
        shape: Shape of the proxies of a class in this run: (D,), or (K, D) with K centers. If it is
            another in the model, no proxies are kept.

    Example:
        >>> known = TrainedClasses(("a", "b"), np.eye(2))
        >>> kept_proxies(known, ("b", "c"), (2,))
        {0: array([0., 1.])}
    """
    if known.proxies is None or known.proxies.shape[1:] != shape:
        return {}
    of_name = dict(zip(known.names, known.proxies, strict=True))
    return {index: of_name[name] for index, name in enumerate(names) if name in of_name}


def warn_of_known_classes(known: TrainedClasses, data: RunData, file: Path) -> None:
    """Logs class names that nearly equal those of a model, and test classes that it was trained on.

    Args:
        known: The classes that the model was trained on.
        data: The images of the run.
        file: The file of the model.
    """
    names = data.train.class_names
    new, gone = set(names) - set(known.names), set(known.names) - set(names)
    alike = [group for group in similar_names(new | gone) if new & set(group) and gone & set(group)]
    if alike:
        logger.warning(
            "%d classes have almost the name of a class that %s was trained on: %s. They start as "
            "new classes. If they are the same, give them the same name.",
            len(alike),
            file,
            _listed(", ".join(map(repr, group)) for group in alike),
        )
    parts = {"test": data.dataset.queries}
    if data.selection is not None and data.selection.queries is not data.dataset.queries:
        parts["held-out"] = data.selection.queries
    for part, images in parts.items():
        present = {images.class_names[label] for label in np.unique(images.labels)}
        seen = sorted(present & set(known.names))
        if seen:
            logger.warning(
                "%d of %d %s classes have the name of a class that %s was trained on: %s. If they "
                "are the same classes, the Recall@K of this run on them is too good.",
                len(seen),
                len(present),
                part,
                file,
                _listed(map(repr, seen)),
            )


def _listed(names: Iterable[str]) -> str:
    every = list(names)
    return "; ".join(every[:_NAMED]) + "; ..." * (len(every) > _NAMED)
