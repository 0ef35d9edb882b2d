"""Where items come from: their ids, and the .npz of `python -m pa_keras.embed`."""

import os
import zipfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from pa_keras.index.items import Items


def new_ids(paths: Sequence[str], root: str | Path, prefix: str = "") -> list[str]:
    """Ids of image files: their paths below a folder, behind a prefix.

    Args:
        paths: absolute paths below `root`.
        root: the folder.
        prefix: stands before each id, as it is. Default "".

    Example:
        >>> new_ids(["/photos/cat/1.jpg"], "/photos", "more/")
        ['more/cat/1.jpg']
    """
    return [prefix + Path(os.path.relpath(path, root)).as_posix() for path in paths]


def read_npz(path: str | Path, prefix: str = "") -> tuple[Items, str, float]:
    """The embeddings that `python -m pa_keras.embed` wrote.

    Args:
        path: the .npz.
        prefix: of the ids, as of `new_ids`; they are the paths below the folder that all share.

    Returns:
        The items, the model's checksum, and the crop_fraction of the preprocessing.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is no such .npz.
    """
    try:
        # Opened here, since NumPy leaves a file open that is no archive.
        with open(path, "rb") as stream, np.load(stream) as file:
            embeddings, labels = file["embeddings"], file["labels"]
            paths, names = file["paths"].tolist(), file["class_names"].tolist()
            checksum, crop_fraction = str(file["checksum"]), float(file["crop_fraction"])
    except (KeyError, ValueError, EOFError, AttributeError, zipfile.BadZipFile) as error:
        raise ValueError(
            f"Expected an .npz of python -m pa_keras.embed; {path} is none ({error}). Make it anew."
        ) from error
    shared = os.path.commonpath([os.path.dirname(each) for each in paths])
    items = Items(embeddings, new_ids(paths, shared, prefix), paths, labels, names)
    return items, checksum, crop_fraction
