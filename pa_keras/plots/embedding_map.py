"""A map of embeddings: each image is drawn at its embedding, projected to two dimensions."""

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

# Size of a panel in inches, and the number of thumbnails side by side in it.
_PANEL = 8.0
_ACROSS = 26


def embedding_map(
    parts: Mapping[str, tuple[Images, np.ndarray]],
    path: Path,
    method: Method = "tsne",
    neighbours: int = 30,
    seed: int = 0,
) -> None:
    """Draws a panel for each part of the images, all with the same map.

    An image whose thumbnail would overlap another is drawn as a dot. The other parts are grey dots.

    Args:
        parts: N images and their embeddings, float (N, D) with unit rows, by title of the panel.
        path: Path of the picture; its suffix selects the format.
        method: Method of `flattened`. Default "tsne".
        neighbours: Number of neighbours for `flattened`. Default 30.
        seed: Seed of the map and of the choice of thumbnails. Default 0.
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
    """Projects vectors to the plane such that near vectors stay near: float (N, 2) in [0, 1].

    Args:
        vectors: Unit rows, float (N, D).
        method: "tsne", from scikit-learn, or "umap", from the package umap-learn. Default "tsne".
        neighbours: Perplexity of t-SNE, or n_neighbors of UMAP, below N. Default 30.
        seed: Seed of the map. Default 0.

    Raises:
        ValueError: The method is unknown, or there are too few vectors.
        ImportError: The package umap-learn is not installed.

    Source: van der Maaten and Hinton, Visualizing Data using t-SNE, JMLR 2008; McInnes et al.,
    UMAP, 2018.
    """
    expect_map(len(vectors), method, neighbours)
    if method == "tsne":
        from sklearn.manifold import TSNE

        reducer = TSNE(perplexity=neighbours, init="pca", random_state=seed)
    else:
        from umap import UMAP

        # A seed requires one thread; UMAP would warn if it had to set n_jobs itself.
        reducer = UMAP(n_neighbors=neighbours, metric="cosine", random_state=seed, n_jobs=1)
    points = reducer.fit_transform(vectors)
    lowest = points.min(axis=0)
    return (points - lowest) / np.maximum(points.max(axis=0) - lowest, 1e-12)


def expect_map(number: int, method: str, neighbours: int) -> None:
    """Raises the errors of `flattened` for this number of vectors, before they are computed."""
    if method not in get_args(Method):
        raise ValueError(f"Expected a map by {' or '.join(get_args(Method))}; received {method!r}.")
    if not 2 <= neighbours < number:
        raise ValueError(
            f"Expected neighbours (the perplexity of t-SNE) from 2 to below the {number} images of "
            f"the map; received {neighbours}. Lower it by --map-neighbours, or add images."
        )
    if method == "umap" and importlib.util.find_spec("umap") is None:
        raise ImportError(
            "Expected the package umap-learn for a map by UMAP. Install it: pip install "
            '"pa_keras[umap]", or use t-SNE.'
        )


def apart(points: np.ndarray, size: float, seed: int) -> np.ndarray:
    """Returns indices of points such that squares centred on them do not overlap: int (M,).

    Args:
        points: Points in the plane, float (N, 2).
        size: Side of the squares.
        seed: Seed of the order in which points are chosen.
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
        # Keep the aspect ratio: the longer side is that of the square.
        width, height = size * np.array(image.size) / max(image.size) / 2
        x, y = points[index]
        axes.imshow(image, extent=(x - width, x + width, y - height, y + height), zorder=2)
    axes.set(xticks=[], yticks=[], xlim=(-size, 1 + size), ylim=(-size, 1 + size), aspect="equal")
