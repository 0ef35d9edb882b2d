"""A page of what a model gets most wrong: its worst queries, and the classes it confuses most."""

from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from pa_keras.datasets import Images
from pa_keras.plots import confusions, thumbnails
from pa_keras.plots.thumbnails import QUERY, RIGHT, WRONG

# Inches: for the headings, below a cell, where the words above the next are too, and between the
# two parts.
_HEADING = 0.5
_BELOW = 0.5
_ROOM = 0.3


def failures(
    queries: Images,
    gallery: Images | None,
    indices: np.ndarray,
    vectors: np.ndarray,
    gallery_vectors: np.ndarray | None,
    path: Path,
    rows: int = 6,
    columns: int = 4,
) -> None:
    """Draws the worst queries, one a class, and beside them the most confused pairs of classes.

    A query is the worse the more similar its nearest neighbour, a wrong one, is than its nearest
    right answer, which stands last in its row with its rank. Two classes are the more confused the
    more queries of the one have the other as nearest neighbour; the example is the most similar.

    Args:
        queries: Q images.
        gallery: N images; None: the queries themselves.
        indices: int (Q, k), neighbours of each query in the gallery, the nearest first.
        vectors: float (Q, D), unit rows, the embeddings of the queries.
        gallery_vectors: float (N, D), those of the gallery; None with it.
        path: of the picture, by whose ending the format is chosen.
        rows: queries, and pairs of classes, to draw at most. Default 6.
        columns: neighbours to draw of each query; k of them where it is more. Default 4.
    """
    alone = gallery is None
    gallery = queries if alone else gallery
    searched = vectors if alone else gallery_vectors
    nearest = indices[:, 0]
    columns = min(columns, indices.shape[1])
    right, similarities = confusions.nearest_right(
        vectors, queries.labels, searched, gallery.labels, alone
    )
    worst = confusions.worst_first(vectors, searched, nearest, similarities, queries.labels)[:rows]
    pairs = confusions.most_confused(
        vectors, queries.labels, searched, gallery.labels, nearest, rows
    )
    ranks = [
        confusions.rank_of(vectors[query], searched, right[query], query if alone else None)
        for query in worst
    ]
    rows = max(1, len(worst), len(pairs))
    figure, left, right_side = _pages(rows, columns + 2)
    _draw_worst(left, queries, gallery, worst, indices[:, :columns], right, ranks)
    _draw_pairs(right_side, queries, gallery, pairs)
    figure.savefig(path, dpi=120)


def _draw_worst(
    axes: np.ndarray,
    queries: Images,
    gallery: Images,
    worst: np.ndarray,
    indices: np.ndarray,
    right: np.ndarray,
    ranks: list[int],
) -> None:
    names = queries.class_names
    for row, query, rank in zip(axes, worst, ranks, strict=False):
        label = queries.labels[query]
        thumbnails.show(row[0], queries.paths[query], QUERY, names[label])
        for axis, index in zip(row[1:-1], indices[query], strict=True):
            other = gallery.labels[index]
            color = RIGHT if other == label else WRONG
            thumbnails.show(axis, gallery.paths[index], color, names[other])
        thumbnails.show(row[-1], gallery.paths[right[query]], RIGHT, names[label])
        places = map(str, range(1, len(row) - 1))
        thumbnails.head(row, ["query", *places, f"first right one: rank {rank:,}"])


def _draw_pairs(
    axes: np.ndarray, queries: Images, gallery: Images, pairs: list[confusions.Confusion]
) -> None:
    names = queries.class_names
    for row, pair in zip(axes, pairs, strict=False):
        own, other = pair.classes
        thumbnails.show(row[0], queries.paths[pair.query], QUERY, names[own])
        thumbnails.show(row[1], gallery.paths[pair.neighbour], WRONG, names[other])
        thumbnails.head(row, [f"{pair.count} of {pair.num_queries} queries", "nearest"])


def _pages(rows: int, columns: int) -> tuple[Figure, np.ndarray, np.ndarray]:
    """A figure, and the cells of its two parts: of so many columns, and of a pair."""
    width, height = thumbnails.size_of(rows, columns, _HEADING, _BELOW)
    pair_width, _ = thumbnails.size_of(rows, 2, _HEADING, _BELOW)
    figure = Figure(figsize=(width + _ROOM + pair_width, height))
    left, _, right = figure.subfigures(1, 3, wspace=0, width_ratios=(width, _ROOM, pair_width))
    parts = ((left, columns, "Most wrong"), (right, 2, "Most confused"))
    for page, _, title in parts:
        page.suptitle(title, fontsize=10, y=1 - 0.08 / height, va="top")
    return figure, *(
        thumbnails.cells(page, rows, number, _HEADING, _BELOW) for page, number, _ in parts
    )
