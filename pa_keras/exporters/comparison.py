"""Comparison of exported files with the Keras model on real images: accuracy, size and speed."""

import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from tqdm import tqdm

from pa_keras.datasets import Images
from pa_keras.exporters.agreement import Agreement, keeps_bound
from pa_keras.exporters.runners import Artefact
from pa_keras.pipelines import evaluation_batches
from pa_keras.retrieval import matches, num_relevant, recall_at_k, search
from pa_keras.retrieval.relevance import check_answerable

_BATCH_SIZE = 32
_TIMES = 5


def measure_agreement(
    reference: Artefact,
    artefacts: Sequence[Artefact],
    queries: Images,
    gallery: Images | None = None,
    *,
    image_size: tuple[int, int],
    crop_fraction: float = 0.875,
) -> list[Agreement]:
    """Embeds real images with each artefact and compares the results with the Keras model.

    Args:
        reference: `keras_artefact` of the model.
        artefacts: Exports of the model.
        queries: Query images.
        gallery: Gallery images. Default None: each query searches all other queries.
        image_size: (height, width) of the model in pixels.
        crop_fraction: Crop fraction of the evaluation preprocessing. Default 0.875.

    Returns:
        One agreement for the Keras model itself, then one for each artefact, in order.

    Raises:
        FloatingPointError: If an artefact gives embeddings that are not finite.

    Example:
        >>> found = measure_agreement(
        ...     keras_artefact(model), [load_artefact(path, "onnx")], data.queries,
        ...     image_size=(160, 160))  # doctest: +SKIP
        >>> found[1].cosine_min  # doctest: +SKIP
        0.999998
    """
    images = [queries] if gallery is None else [queries, gallery]
    every = [reference, *artefacts]
    embeddings = [_embed_all(every, part, image_size, crop_fraction) for part in images]
    sample = _first_batch(queries, image_size, crop_fraction)
    expected = [part[0] for part in embeddings]
    recall = _recall(expected, queries, gallery)
    result = []
    for index, artefact in enumerate(every):
        own = [part[index] for part in embeddings]
        _expect_finite(artefact, own)
        cosines = np.concatenate([_cosines(a, b) for a, b in zip(own, expected, strict=True)])
        own_recall = _recall(own, queries, gallery)
        lost = 100 * (recall - own_recall)
        bound, agrees = keeps_bound(artefact.kind, float(cosines.min()), lost, len(queries))
        alone, together = (_milliseconds(artefact, sample, size) for size in (1, _BATCH_SIZE))
        result.append(
            Agreement(
                artefact.kind, float(cosines.min()), float(cosines.mean()), own_recall, lost,
                artefact.size, alone, together, bound, agrees,
            )
        )  # fmt: skip
    return result


def _embed_all(
    artefacts: Sequence[Artefact], images: Images, image_size: tuple[int, int], crop_fraction: float
) -> list[np.ndarray]:
    """Returns the embeddings by each artefact. Every image is read once for all artefacts."""
    batches = evaluation_batches(
        images.paths, batch_size=_BATCH_SIZE, image_size=image_size, crop_fraction=crop_fraction
    )
    parts: list[list[np.ndarray]] = [[] for _ in artefacts]
    with tqdm(total=len(images), desc="comparing", unit=" images", disable=None) as bar:
        for number, pixels in enumerate(batches):
            paths = images.paths[number * _BATCH_SIZE : (number + 1) * _BATCH_SIZE]
            batch = {"pixels": pixels.numpy(), "image_bytes": _contents(paths)}
            for part, artefact in zip(parts, artefacts, strict=True):
                part.append(artefact.embed(batch[artefact.takes]))
            bar.update(len(paths))
    return [np.concatenate(part) for part in parts]


def _first_batch(
    images: Images, image_size: tuple[int, int], crop_fraction: float
) -> dict[str, np.ndarray]:
    paths = images.paths[:_BATCH_SIZE]
    batches = evaluation_batches(
        paths, batch_size=_BATCH_SIZE, image_size=image_size, crop_fraction=crop_fraction
    )
    return {"pixels": next(iter(batches)).numpy(), "image_bytes": _contents(paths)}


def _contents(paths: Sequence[str]) -> np.ndarray:
    return np.array([Path(path).read_bytes() for path in paths], object)


def _milliseconds(artefact: Artefact, sample: dict[str, np.ndarray], batch_size: int) -> float:
    """Returns milliseconds per image: the median of several calls after a warm-up call."""
    batch = sample[artefact.takes][:batch_size]
    artefact.embed(batch)
    times = []
    for _ in range(_TIMES):
        start = time.perf_counter()
        artefact.embed(batch)
        times.append(time.perf_counter() - start)
    return 1000 * float(np.median(times)) / len(batch)


def _cosines(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    # In float64, and divided by lengths, which may differ a little from 1: the bound is 1e-6.
    a, b = a.astype(np.float64), b.astype(np.float64)
    lengths = np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1)
    return (a * b).sum(axis=1) / np.maximum(lengths, 1e-12)


def _recall(embeddings: list[np.ndarray], queries: Images, gallery: Images | None) -> float:
    unit = [each / np.linalg.norm(each, axis=1, keepdims=True) for each in embeddings]
    found = search(unit[0], unit[-1], 1, exclude_self=gallery is None, method="exact")
    labels = queries.labels if gallery is None else gallery.labels
    relevant = num_relevant(queries.labels, None if gallery is None else labels)
    right = matches(found.indices, queries.labels, labels)[check_answerable(relevant)]
    return float(recall_at_k(right, 1).mean())


def _expect_finite(artefact: Artefact, embeddings: list[np.ndarray]) -> None:
    if not all(np.isfinite(each).all() for each in embeddings):
        raise FloatingPointError(
            f"Expected finite embeddings; the {artefact.kind} export gives others. Evaluate the "
            "Keras model first, and leave that format out."
        )
