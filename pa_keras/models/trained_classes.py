"""The training classes and their proxies, kept in the `.keras` file of an embedding model."""

import io
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

# A `.keras` file is a zip archive; Keras reads only the members that it knows.
_MEMBER = "pa_keras/training_classes.npz"


@dataclass(frozen=True, eq=False)
class TrainedClasses:
    """The classes that an embedding model was trained on.

    Args:
        names: The C class names.
        proxies: The proxies, float (C, D) or (C, K, D). None: the loss has none.
    """

    names: tuple[str, ...]
    proxies: np.ndarray | None


def write_classes(path: str | Path, classes: TrainedClasses) -> None:
    """Adds training classes to the `.keras` file of a model, which Keras still opens.

    Args:
        path: The file, without classes so far.
        classes: Names and proxies of the classes.

    Example:
        >>> write_classes("best.keras", TrainedClasses(("a", "b"), None))  # doctest: +SKIP
    """
    arrays: dict[str, Any] = {"names": np.array(classes.names)}
    if classes.proxies is not None:
        arrays["proxies"] = classes.proxies
    content = io.BytesIO()
    np.savez(content, **arrays)
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr(_MEMBER, content.getvalue())


def read_classes(path: str | Path) -> TrainedClasses:
    """The training classes in the `.keras` file of a model; none if pa_keras did not write it.

    Args:
        path: The file.

    Example:
        >>> read_classes("best.keras").names  # doctest: +SKIP
        ('a', 'b')
    """
    with zipfile.ZipFile(path) as archive:
        if _MEMBER not in archive.namelist():
            return TrainedClasses((), None)
        with np.load(io.BytesIO(archive.read(_MEMBER))) as arrays:
            proxies = arrays["proxies"] if "proxies" in arrays.files else None
            return TrainedClasses(tuple(map(str, arrays["names"])), proxies)
