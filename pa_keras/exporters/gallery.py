"""The gallery of an export: the embeddings that a served model searches, with IDs and labels."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

import numpy as np

from pa_keras.arguments.class_ids import class_indices
from pa_keras.evaluation.embeddings_file import ids_of, read_embeddings

GalleryDtype = Literal["float32", "bfloat16", "int8"]


@dataclass(frozen=True, eq=False)
class Gallery:
    """Embeddings to search, with an ID and a label for each.

    Args:
        embeddings: Embeddings float32 (N, D) of unit length.
        ids: Names of the N items, such as paths.
        labels: Class IDs int (N,), indices into `class_names`.
        class_names: C class names; the label in a response is one of them.
        dtype: Type in which the export stores the embeddings. Default "float32".

    Raises:
        ValueError: If the gallery is empty, lengths differ, an embedding is not finite, a label has
            no class name, or the dtype is unknown.
    """

    embeddings: np.ndarray
    ids: Sequence[str]
    labels: np.ndarray
    class_names: Sequence[str]
    dtype: GalleryDtype = "float32"

    def __post_init__(self) -> None:
        if self.dtype not in get_args(GalleryDtype):
            raise ValueError(
                f"Expected a gallery dtype of {', '.join(get_args(GalleryDtype))}; received "
                f"{self.dtype!r}."
            )
        shape = np.shape(self.embeddings)
        if len(shape) != 2 or 0 in shape:
            raise ValueError(
                f"Expected gallery embeddings of shape (N, D), neither of them 0; received {shape}."
            )
        if not len(self.ids) == len(self.labels) == shape[0]:
            raise ValueError(
                f"Expected an id and a label for each of {shape[0]} embeddings; received "
                f"{len(self.ids)} ids and {len(self.labels)} labels."
            )
        if not np.isfinite(self.embeddings).all():
            raise ValueError("Expected finite gallery embeddings; received NaN or infinity.")
        object.__setattr__(self, "labels", class_indices(self.labels, self.class_names))

    def __len__(self) -> int:
        return len(self.embeddings)


def expect_k(k: int, size: int) -> None:
    """Raises a ValueError unless k is between 1 and the size of the gallery."""
    if not 1 <= k <= size:
        raise ValueError(
            f"Expected k of 1 to the gallery's size, {size}; received {k}. Lower k, or give a "
            "larger gallery."
        )


def read_gallery(
    path: str | Path, checksum: str, crop_fraction: float, dtype: GalleryDtype = "float32"
) -> Gallery:
    """Reads embeddings that `python -m pa_keras.embed` wrote with the same model.

    Args:
        path: The .npz file.
        checksum: `pa_keras.models.checksum` of the exported model.
        crop_fraction: Crop fraction of the exported preprocessing.
        dtype: As in `Gallery`. Default "float32".

    Raises:
        FileNotFoundError: If the file does not exist.
        ValueError: If the file is not such an .npz, or has another model or preprocessing.
    """
    found = read_embeddings(path)
    if found.checksum != checksum:
        raise ValueError(
            f"Expected a gallery that the exported model embedded; another one made {path} (its "
            "checksum differs), so similarities would mean nothing. Run pa_keras.embed again."
        )
    if found.crop_fraction != crop_fraction:
        raise ValueError(
            f"Expected a gallery that was embedded with crop_fraction {crop_fraction}; {path} has "
            f"{found.crop_fraction}. Run pa_keras.embed again with --crop-fraction "
            f"{crop_fraction}."
        )
    return Gallery(found.embeddings, ids_of(found.paths), found.labels, found.class_names, dtype)
