"""Whether an exported SavedModel decides on matches as the Keras model does."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import keras
import numpy as np

from pa_keras.datasets import Images
from pa_keras.evaluation.evaluate import embed_dataset_images
from pa_keras.exporters.gallery import Gallery
from pa_keras.exporters.runners import Artefact
from pa_keras.exporters.search_graph import rounding_error
from pa_keras.retrieval import search

_BATCH_SIZE = 32
_SAMPLE = 200
_FLOAT32_ERROR = 1e-5  # of the product of two unit vectors


@dataclass(frozen=True)
class MatchAgreement:
    """The comparison of a SavedModel's output `matched` with the Keras model.

    Args:
        min_similarity: Least cosine of a match.
        images: Number of query images, Q.
        neighbours: Number of neighbours of each, k.
        images_matched: Images with one match or more.
        differing: Decisions, of Q x k, that differ from those of the Keras model and the gallery in
            float32.
        wrong: Those of them that rounding does not explain.
        band: Largest distance of a similarity from min_similarity that rounding explains.
    """

    min_similarity: float
    images: int
    neighbours: int
    images_matched: int
    differing: int
    wrong: int
    band: float

    @property
    def agrees(self) -> bool:
        """Whether rounding explains every difference."""
        return not self.wrong

    def as_json(self) -> dict:
        """Returns all fields, ready for `json.dump`."""
        return asdict(self)

    def as_line(self) -> str:
        """Returns the comparison as a sentence."""
        decisions = f"{self.images * self.neighbours:,}"
        return (
            f"{self.images_matched} of {self.images} test images have a match among their "
            f"{self.neighbours} neighbours (cosine >= {self.min_similarity:.4f}); {self.differing} "
            f"of {decisions} decisions differ from those of the Keras model, {self.wrong} of them "
            f"by more than rounding: {'agrees' if self.agrees else '**disagrees**'}."
        )


def measure_matches(
    artefact: Artefact,
    model: keras.Model,
    queries: Images,
    gallery: Gallery,
    *,
    min_similarity: float,
    cosine_min: float,
    crop_fraction: float = 0.875,
) -> MatchAgreement:
    """Compares the decisions of a SavedModel on images with those of the Keras model.

    Args:
        artefact: SavedModel with a gallery and the output `matched`.
        model: Keras model of the SavedModel.
        queries: Query images, of which a random sample of at most 200 is used.
        gallery: Gallery of the SavedModel.
        min_similarity: Least cosine of a match.
        cosine_min: Minimum cosine of the SavedModel's embeddings with those of the Keras model, as
            in `Agreement`.
        crop_fraction: Crop fraction of the evaluation preprocessing. Default 0.875.

    Raises:
        ValueError: If the SavedModel has no output `matched`.
    """
    sample = queries.take(np.random.default_rng(0).permutation(len(queries))[:_SAMPLE])
    paths = sample.paths
    embeddings = embed_dataset_images(model, sample, crop_fraction, progress=False)
    found = [
        _found(artefact, paths[start : start + _BATCH_SIZE])
        for start in range(0, len(paths), _BATCH_SIZE)
    ]
    matched = np.concatenate([each["matched"] for each in found])
    similarities = np.concatenate([each["similarities"] for each in found])
    k = matched.shape[1]
    exact = search(embeddings, gallery.embeddings, k, method="exact").similarities
    # A similarity changes by no more than the distance that either vector moves, and the i-th
    # largest similarity by no more than the similarities do.
    distance = max(0.0, 2 - 2 * cosine_min) ** 0.5
    band = distance + rounding_error(gallery) + _FLOAT32_ERROR
    differs = matched != (exact >= min_similarity)
    is_near = np.abs(exact - min_similarity) <= band
    contradicts = matched != (similarities >= min_similarity)
    return MatchAgreement(
        min_similarity=min_similarity,
        images=len(paths),
        neighbours=k,
        images_matched=int(matched.any(axis=1).sum()),
        differing=int(differs.sum()),
        wrong=int((differs & ~is_near | contradicts).sum()),
        band=band,
    )


def expect_matches(agreement: MatchAgreement) -> None:
    """Raises a ValueError if the SavedModel decides differently from the Keras model."""
    if not agreement.agrees:
        raise ValueError(
            f"Expected the output matched to agree with the Keras model; {agreement.wrong} of its "
            f"{agreement.images * agreement.neighbours:,} decisions differ by more than rounding, "
            f"{agreement.band:.2g} of a similarity."
        )


def _found(artefact: Artefact, paths: Sequence[str]) -> dict[str, np.ndarray]:
    contents = np.array([Path(path).read_bytes() for path in paths], object)
    found = artefact.find(contents) if artefact.find is not None else {}
    if "matched" not in found:
        raise ValueError(
            f"Expected a SavedModel with an output matched; this {artefact.kind} export has none. "
            "Export it with a gallery and a min_similarity."
        )
    return found
