"""Pictures of a run: its curves, and what was found for some queries."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import tensorflow as tf
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from PIL import Image

from pa_keras.datasets import Images
from pa_keras.pipelines import decode_image


def curves(rows: Sequence[dict[str, float]], path: Path) -> None:
    """Draws loss and Recall@K against the epoch.

    Args:
        rows: one an epoch: `epoch`, `loss`, and any `recall_at_K`.
        path: of the picture, by whose ending the format is chosen.
    """
    epochs = [row["epoch"] for row in rows]
    figure = Figure(figsize=(9, 3.6), layout="constrained")
    loss, recall = figure.subplots(1, 2)
    loss.plot(epochs, [row["loss"] for row in rows], "o-", color="black", markersize=3)
    loss.set(xlabel="epoch", ylabel="training loss")
    for name in [name for name in rows[0] if name.startswith("recall_at_")]:
        label = f"Recall@{name.removeprefix('recall_at_')}"
        recall.plot(epochs, [100 * row[name] for row in rows], "o-", markersize=3, label=label)
    recall.set(xlabel="epoch", ylabel="Recall@K of the selection classes, %")
    if recall.lines:
        recall.legend()
    figure.savefig(path, dpi=120)


def retrieved(
    queries: Images,
    gallery: Images | None,
    indices: np.ndarray,
    path: Path,
    num_queries: int = 6,
    columns: int = 4,
    seed: int = 0,
) -> None:
    """Draws random queries, leftmost, and their nearest neighbours; wrong ones have a red border.

    Args:
        queries: Q images.
        gallery: N images; None: the queries themselves.
        indices: int (Q, k), neighbours of each query in the gallery, the nearest first.
        path: of the picture, by whose ending the format is chosen.
        num_queries: queries to draw, of different classes while there are some. Default 6.
        columns: neighbours to draw of each, at most k. Default 4.
        seed: of the choice of queries. Default 0.

    Source: Kim et al., CVPR 2020, figure 3.
    """
    gallery = queries if gallery is None else gallery
    order = np.random.default_rng([seed]).permutation(len(queries))
    first_of_class = np.unique(queries.labels[order], return_index=True)[1]
    chosen = np.sort(first_of_class)[:num_queries]
    shown = indices[:, :columns]
    figure = Figure(figsize=(1.5 * (shown.shape[1] + 1), 1.6 * len(chosen)), layout="constrained")
    rows = figure.subplots(len(chosen), shown.shape[1] + 1, squeeze=False)
    for axes, query in zip(rows, order[chosen], strict=True):
        label = queries.labels[query]
        _show(axes[0], queries.paths[query], "black")
        axes[0].set_xlabel(queries.class_names[label][:28], fontsize=7, parse_math=False)
        for axis, index in zip(axes[1:], shown[query], strict=True):
            _show(axis, gallery.paths[index], "green" if gallery.labels[index] == label else "red")
    figure.savefig(path, dpi=120)


def _show(axis: Axes, path: str, color: str) -> None:
    # As the model saw it: Pillow, for one, would turn 16-bit grey white.
    image = Image.fromarray(decode_image(tf.io.read_file(path)).numpy())
    image.thumbnail((256, 256))
    axis.imshow(image)
    axis.set(xticks=[], yticks=[])
    for spine in axis.spines.values():
        spine.set(color=color, linewidth=2.5)
