"""The .npz of embeddings that `python -m pa_keras.embed` writes, and the IDs of its items."""

import os
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np


@dataclass(frozen=True, eq=False)
class EmbeddedImages:
    """The contents of the file.

    Args:
        embeddings: float32 (N, D), rows of unit length.
        labels: int (N,), each an index of `class_names`.
        class_names: C names.
        paths: N absolute paths of the images.
        checksum: `pa_keras.models.checksum` of the model that made the embeddings.
        crop_fraction: Crop fraction of the preprocessing.
    """

    embeddings: np.ndarray
    labels: np.ndarray
    class_names: list[str]
    paths: list[str]
    checksum: str
    crop_fraction: float


def read_embeddings(path: str | Path) -> EmbeddedImages:
    """Reads the embeddings that `python -m pa_keras.embed` wrote.

    Args:
        path: The .npz file.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: It is not an .npz file of `pa_keras.embed`.
    """
    try:
        # Opened here, since NumPy leaves a file open that is not an archive.
        with open(path, "rb") as stream, np.load(stream) as file:
            return EmbeddedImages(
                file["embeddings"],
                file["labels"],
                file["class_names"].tolist(),
                file["paths"].tolist(),
                str(file["checksum"]),
                float(file["crop_fraction"]),
            )
    except (KeyError, ValueError, EOFError, AttributeError, zipfile.BadZipFile) as error:
        raise ValueError(
            f"Expected an .npz of python -m pa_keras.embed; {path} is none ({error}). Run "
            "pa_keras.embed again."
        ) from error


def ids_of(paths: Sequence[str], folder: str | Path | None = None, prefix: str = "") -> list[str]:
    """The IDs of image files: their paths below a folder, after a prefix.

    So an answer does not tell where on the disk the files were.

    Args:
        paths: Absolute paths, one or more, below `folder`.
        folder: Default None: the deepest folder that contains all of them.
        prefix: Text before each ID. Default "".

    Example:
        >>> ids_of(["/data/photos/cat/1.jpg", "/data/photos/dog/1.jpg"])
        ['cat/1.jpg', 'dog/1.jpg']
        >>> ids_of(["/photos/cat/1.jpg"], "/photos", "more/")
        ['more/cat/1.jpg']
    """
    if folder is None:
        folder = os.path.commonpath([os.path.dirname(path) for path in paths])
    return [prefix + Path(os.path.relpath(path, folder)).as_posix() for path in paths]
