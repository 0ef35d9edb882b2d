"""The .npz file of embeddings from `python -m pa_keras.embed`, and the IDs of its items."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

# The arrays that `python -m pa_keras.embed` writes: kinds of dtype (NumPy's letters) and rank.
_ARRAYS = {
    "embeddings": ("f", 2),
    "labels": ("iu", 1),
    "class_names": ("U", 1),
    "paths": ("U", 1),
    "checksum": ("U", 0),
    "crop_fraction": ("f", 0),
}


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
        ValueError: The file is not an .npz file of `pa_keras.embed`.
    """
    with open(path, "rb") as stream:
        try:
            found = np.load(stream)
            arrays = {name: found[name] for name in _ARRAYS}
            for name, (kinds, rank) in _ARRAYS.items():
                array = arrays[name]
                if array.dtype.kind not in kinds or array.ndim != rank:
                    raise ValueError(f"{name} is {array.dtype} of shape {array.shape}")
        # NumPy and zipfile raise almost any exception for a damaged file.
        except Exception as error:
            raise ValueError(
                f"Expected an .npz of python -m pa_keras.embed; {path} is another file or damaged "
                f"({error}). Embed the images again."
            ) from error
    return EmbeddedImages(
        arrays["embeddings"],
        arrays["labels"],
        arrays["class_names"].tolist(),
        arrays["paths"].tolist(),
        str(arrays["checksum"]),
        float(arrays["crop_fraction"]),
    )


def ids_of(paths: Sequence[str], folder: str | Path | None = None, prefix: str = "") -> list[str]:
    """The IDs of image files: their paths below a folder, after a prefix.

    A search result then does not disclose where on the disk the files were.

    Args:
        paths: Absolute paths below `folder`.
        folder: Folder of all files. Default None: the deepest folder that contains all of them.
        prefix: Text before each ID. Default "".

    Example:
        >>> ids_of(["/data/photos/cat/1.jpg", "/data/photos/dog/1.jpg"])
        ['cat/1.jpg', 'dog/1.jpg']
        >>> ids_of(["/photos/cat/1.jpg"], "/photos", "more/")
        ['more/cat/1.jpg']
    """
    if not paths:
        return []
    if folder is None:
        folder = os.path.commonpath([os.path.dirname(path) for path in paths])
    return [prefix + Path(os.path.relpath(path, folder)).as_posix() for path in paths]
