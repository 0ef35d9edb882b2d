"""The gallery of an export: what a served model searches, and what it says of each item."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

import numpy as np

from pa_keras.class_ids import class_indices
from pa_keras.evaluation.embeddings_file import ids_of, read_embeddings

GalleryDtype = Literal["float32", "bfloat16", "int8"]


@dataclass(frozen=True, eq=False)
class Gallery:
    """Embeddings to search, with what an answer says of each.

    Args:
        embeddings: float32 (N, D), rows of unit length.
        ids: N names of the items, such as paths.
        labels: int (N,), each an index of `class_names`.
        class_names: C names; an answer's label is one of them.
        dtype: how the embeddings are kept in the export. Default "float32".

    Raises:
        ValueError: nothing to search, lengths that differ, an embedding that is not finite, a label
            without a class name, or an unknown dtype.
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
    """Raises a ValueError unless so many neighbours can be found in a gallery of that size."""
    if not 1 <= k <= size:
        raise ValueError(
            f"Expected k of 1 to the gallery's size, {size}; received {k}. Lower k, or give a "
            "larger gallery."
        )


def read_gallery(
    path: str | Path, checksum: str, crop_fraction: float, dtype: GalleryDtype = "float32"
) -> Gallery:
    """The embeddings that `python -m pa_keras.embed` wrote, if this model made them.

    Args:
        path: the .npz.
        checksum: `pa_keras.models.checksum` of the model that is exported.
        crop_fraction: of the preprocessing that is exported.
        dtype: see `Gallery`.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is no such .npz; another model or another preprocessing made it.
    """
    found = read_embeddings(path)
    if found.checksum != checksum:
        raise ValueError(
            f"Expected a gallery that the exported model embedded; another one made {path} (its "
            "checksum differs), so that similarities would mean nothing. Run pa_keras.embed again."
        )
    if found.crop_fraction != crop_fraction:
        raise ValueError(
            f"Expected a gallery that was embedded with crop_fraction {crop_fraction}; {path} was "
            f"with {found.crop_fraction}. Run pa_keras.embed again with --crop-fraction "
            f"{crop_fraction}."
        )
    return Gallery(found.embeddings, ids_of(found.paths), found.labels, found.class_names, dtype)
