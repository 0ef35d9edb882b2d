"""The model of a search index: found, known by its checksum, and made to embed."""

import logging
from collections.abc import Callable, Sequence
from pathlib import Path

import keras
import numpy as np

from pa_keras.evaluation.embedder import Embedder, embed_files
from pa_keras.index import Items, ModelRecord
from pa_keras.models import checksum, in_float32
from pa_keras.retrieval.search import LENGTH_TOLERANCE
from pa_keras.runs.load import load_trained

logger = logging.getLogger(__name__)

_COMPARED = 8
_SAME_COSINE = 0.999  # other machines and an export in fewer bits round otherwise


def model_of(record: ModelRecord, run: str | None, model: str | None) -> keras.Model:
    """The model that an index is of.

    Args:
        record: of the index.
        run: where the model is now, if not where the index knows it.
        model: or its file.

    Raises:
        ValueError: it is another model, or the index knows no place.
        FileNotFoundError: there is no model.
    """
    if run is None and model is None:
        run, model = record.run, record.model
        known = run or model
        if known is None or not Path(known).exists():
            raise FileNotFoundError(
                f"Expected the model of the index in {known or 'a place that it knows'}; it is "
                "not there. Say where it is now: --run DIR, or --model FILE.keras."
            )
    loaded = in_float32(load_trained(run, model)[0])
    if checksum(loaded) != record.checksum:
        raise ValueError(
            f"Expected the model that the index was built by; {run or model} is another one (its "
            "checksum differs), so that similarities would mean nothing. Give that model by --run "
            "or --model, or build the index anew."
        )
    return loaded


def embedding(
    model: keras.Model, crop_fraction: float, batch_size: int
) -> Callable[..., np.ndarray]:
    """The function from image files to embeddings float32 (N, D), compiled once.

    Args:
        model: of `model_of`.
        crop_fraction: of the preprocessing.
        batch_size: images embedded at once.

    Returns:
        A function of paths and, if wanted, of a function to call with each batch's size. It raises
        a ValueError at the first batch with an embedding that is not of unit length.
    """
    embedder = Embedder(model)

    def embed(paths: Sequence[str], advance: Callable[[int], object] = int) -> np.ndarray:
        embeddings = embed_files(embedder, paths, crop_fraction, batch_size, advance=advance)
        _expect_unit_length(embeddings, paths)
        return embeddings

    return embed


def _expect_unit_length(embeddings: np.ndarray, paths: Sequence[str]) -> None:
    lengths = np.linalg.norm(embeddings, axis=1)
    bad = np.flatnonzero(~(np.abs(lengths - 1) <= LENGTH_TOLERANCE))  # NaN is bad, too
    if len(bad):
        raise ValueError(
            f"Expected embeddings of unit length; the model gave {len(bad)} others in a batch of "
            f"{len(paths)}, such as that of {paths[bad[0]]}, of length {lengths[bad[0]]:.4g}. End "
            "the model with keras.layers.UnitNormalization(), as pa_keras.embedding_model does, "
            "and save it again. A length of nan or 0 tells of a model that diverged."
        )


def expect_made_by(model: keras.Model, record: ModelRecord, items: Items, gallery: str) -> None:
    """Raises a ValueError unless a model makes embeddings anew of the first few files.

    Args:
        model: said to have made them.
        record: of the model.
        items: unit vectors; those without a path are taken on trust, with a warning.
        gallery: where they are from.
    """
    rows = [row for row, path in enumerate(items.paths) if path][:_COMPARED]
    if not rows:
        logger.warning(
            "%s does not say which model made it, and its ids are no files: that it was this one "
            "is taken on trust.",
            gallery,
        )
        return
    embed = embedding(model, record.crop_fraction, len(rows))
    own = embed([items.paths[row] for row in rows])
    cosines = np.einsum("nd,nd->n", own, items.embeddings[rows])
    if not cosines.min() >= _SAME_COSINE:
        raise ValueError(
            f"Expected embeddings by this model; those of {len(rows)} files in {gallery} have "
            f"cosines down to {cosines.min():.4f} with its own. Give the model that made them, "
            "with its --crop-fraction."
        )
