"""The model of a search index: loading it, checking its checksum, and embedding with it."""

import logging
from collections.abc import Callable, Sequence
from pathlib import Path

import keras
import numpy as np

from pa_keras.evaluation.embedded_files import embed_files
from pa_keras.evaluation.embedder import Embedder, expect_unit_length
from pa_keras.index.items import Items
from pa_keras.index.record import ModelRecord
from pa_keras.models import checksum, in_float32
from pa_keras.runs.load import load_trained

logger = logging.getLogger(__name__)

_COMPARED = 8
_SAME_COSINE = 0.999  # other machines and exports with fewer bits round differently


def model_of(record: ModelRecord, run: str | None, model: str | None) -> keras.Model:
    """Loads the model that an index was built with.

    Args:
        record: Record of the model in the index.
        run: Run folder of the model, if it was moved since.
        model: File of the model, instead of `run`.

    Raises:
        ValueError: If it is a different model.
        FileNotFoundError: If the model is not there, or the index does not know its place.
    """
    if run is None and model is None:
        run, model = record.run, record.model
        known = run or model
        if known is None or not Path(known).exists():
            raise FileNotFoundError(
                f"Expected the model of the index in {known or 'a place that it knows'}; it is "
                "not there. Give its current place by --run DIR or --model FILE.keras; in Python, "
                "by open_index(folder, model=PATH)."
            )
    loaded = in_float32(load_trained(run, model)[0])
    if checksum(loaded) != record.checksum:
        raise ValueError(
            f"Expected the model that the index was built with; {run or model} is another one (its "
            "checksum differs), so similarities would mean nothing. Give the right model by --run "
            "or --model, in Python by open_index(folder, model=PATH), or build the index again."
        )
    return loaded


def embedding(
    model: keras.Model, crop_fraction: float, batch_size: int
) -> Callable[..., np.ndarray]:
    """Makes a function from image files to embeddings float32 (N, D), which is compiled once.

    Args:
        model: Result of `model_of`.
        crop_fraction: Crop fraction of the preprocessing.
        batch_size: Images embedded at once.

    Returns:
        A function of paths and, optionally, of a function to call with the size of each batch. It
        raises a ValueError, once all paths are embedded, if an embedding is not of unit length.
    """
    embedder = Embedder(model)

    def embed(paths: Sequence[str], advance: Callable[[int], object] = int) -> np.ndarray:
        embeddings = embed_files(embedder, paths, crop_fraction, batch_size, advance=advance)
        expect_unit_length(embeddings, paths)
        return embeddings

    return embed


def expect_made_by(model: keras.Model, record: ModelRecord, items: Items, gallery: str) -> None:
    """Raises a ValueError unless a model reproduces the embeddings of the first few files.

    Args:
        model: Model that is said to have made the embeddings.
        record: Record of the model.
        items: Items with embeddings. If no path is known, they are trusted, with a warning.
        gallery: Where the items are from, for messages.
    """
    rows = [row for row, path in enumerate(items.paths) if path][:_COMPARED]
    if not rows:
        logger.warning(
            "%s does not record which model made it, and its ids are not files. This model is "
            "assumed to have made it.",
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
