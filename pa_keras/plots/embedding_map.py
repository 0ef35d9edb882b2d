"""A map of embeddings: each image where its vector lies, flattened to two dimensions."""

import importlib.util
from collections.abc import Mapping
from pathlib import Path
from typing import Literal, get_args

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from pa_keras.datasets import Images
from pa_keras.plots.thumbnails import save_picture, thumbnail

Method = Literal["tsne", "umap"]

# Inches of a panel, and thumbnails side by side in it.
_PANEL = 8.0
_ACROSS = 26


def embedding_map(
    parts: Mapping[str, tuple[Images, np.ndarray]],
    path: Path,
    method: Method = "tsne",
    neighbours: int = 30,
    seed: int = 0,
) -> None:
    """Draws a panel of each part of the images, at the places of one map of them all.

    A thumbnail that would hide another is left out and is a dot. The other parts are grey dots.

    Args:
        parts: by their titles, N images and their embeddings, float (N, D), unit rows.
        path: of the picture, by whose ending the format is chosen.
        method: as of `flattened`, as are neighbours and seed. Default "tsne".
        neighbours: that each image is laid out by. Default 30.
        seed: of the map, and of which thumbnails are drawn. Default 0.
    """
    vectors = np.concatenate([vectors for _, vectors in parts.values()])
    points = flattened(vectors, method, neighbours, seed)
    figure = Figure(figsize=(_PANEL * len(parts), _PANEL + 0.3), layout="constrained")
    start = 0
    for axes, (title, (images, _)) in zip(
        figure.subplots(1, len(parts), squeeze=False)[0], parts.items(), strict=True
    ):
        own = np.zeros(len(points), bool)
        own[start : start + len(images)] = True
        start += len(images)
        axes.set_title(f"{title}: {len(images):,} images", parse_math=False)
        axes.scatter(*points[~own].T, s=2, color="lightgrey")
        _draw_images(axes, images, points, points[own], seed)
    save_picture(figure, path)


def flattened(
    vectors: np.ndarray, method: Method = "tsne", neighbours: int = 30, seed: int = 0
) -> np.ndarray:
    """Places in the plane, in [0, 1], at which vectors that are near stay near: float (N, 2).

    Args:
        vectors: float (N, D), unit rows.
        method: "tsne", by scikit-learn, or "umap", by the package umap-learn. Default "tsne".
        neighbours: the perplexity of t-SNE, or UMAP's n_neighbors, below N. Default 30.
        seed: of the map. Default 0.

    Raises:
        ValueError: an unknown method; too few vectors.
        ImportError: umap-learn is not installed.

    Source: van der Maaten and Hinton, Visualizing Data using t-SNE, JMLR 2008; McInnes et al.,
    UMAP, 2018.
    """
    expect_map(len(vectors), method, neighbours)
    if method == "tsne":
        from sklearn.manifold import TSNE

        reducer = TSNE(perplexity=neighbours, init="pca", random_state=seed)
    else:
        from umap import UMAP

        # A seed means one thread: said here, it is no news to UMAP.
        reducer = UMAP(n_neighbors=neighbours, metric="cosine", random_state=seed, n_jobs=1)
    points = reducer.fit_transform(vectors)
    lowest = points.min(axis=0)
    return (points - lowest) / np.maximum(points.max(axis=0) - lowest, 1e-12)


def expect_map(number: int, method: str, neighbours: int) -> None:
    """Raises what `flattened` would for so many vectors, before they are computed."""
    if method not in get_args(Method):
        raise ValueError(f"Expected a map by {' or '.join(get_args(Method))}; received {method!r}.")
    if not 2 <= neighbours < number:
        raise ValueError(
            f"Expected neighbours (the perplexity of t-SNE) from 2 to below the {number} images of "
            f"the map; received {neighbours}. Lower it by --map-neighbours, or add images."
        )
    if method == "umap" and importlib.util.find_spec("umap") is None:
        raise ImportError(
            "Expected the package umap-learn for a map by UMAP; install it: pip install "
            '"pa_keras[umap]", or draw it by t-SNE.'
        )


def apart(points: np.ndarray, size: float, seed: int) -> np.ndarray:
    """Indices of points whose squares of a size, centred on them, do not overlap: int (M,).

    Args:
        points: float (N, 2).
        size: side of the squares.
        seed: of the order in which places are given away.
    """
    kept = np.zeros((0, 2))
    result = []
    for index in np.random.default_rng([seed]).permutation(len(points)):
        if (np.abs(kept - points[index]).max(axis=1, initial=0) >= size).all():
            kept = np.vstack([kept, points[index]])
            result.append(index)
    return np.array(result, int)


def _draw_images(
    axes: Axes, images: Images, everything: np.ndarray, points: np.ndarray, seed: int
) -> None:
    size = 1 / _ACROSS
    shown = apart(points, size, seed)
    hidden = np.setdiff1d(np.arange(len(points)), shown)
    axes.scatter(*points[hidden].T, s=4, c=images.labels[hidden], cmap="tab20")
    for index in shown:
        image = thumbnail(images.paths[index], 64)
        # In its shape: the longer side is the square's.
        width, height = size * np.array(image.size) / max(image.size) / 2
        x, y = points[index]
        axes.imshow(image, extent=(x - width, x + width, y - height, y + height), zorder=2)
    axes.set(xticks=[], yticks=[], xlim=(-size, 1 + size), ylim=(-size, 1 + size), aspect="equal")
