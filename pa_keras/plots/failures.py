"""A page of the worst failures of a model: its worst queries and its most confused classes."""

from pathlib import Path

import numpy as np

from pa_keras.datasets import Images
from pa_keras.plots import confusions, thumbnails
from pa_keras.plots.neighbours import draw_row

# Height in inches below a cell, including the text above the next cell.
_BELOW = 0.5


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
    """Draws the worst queries, one per class, and beside them the most confused pairs of classes.

    A query is worse the more the similarity of its nearest neighbour, which is wrong, exceeds that
    of its nearest right answer, which is last in its row, with its rank. Two classes are more
    confused the more queries have a nearest neighbour of the other class; the example is typical.

    Args:
        queries: Q images.
        gallery: N images, or None: the queries themselves.
        indices: Neighbours of each query in the gallery, int (Q, k), the nearest first.
        vectors: Embeddings of the queries, float (Q, D), unit rows.
        gallery_vectors: Embeddings of the gallery, float (N, D), or None if `gallery` is.
        path: Path of the picture; its suffix selects the format.
        rows: Largest number of queries, and of pairs of classes, to draw. Default 6.
        columns: Largest number of neighbours to draw for each query. Default 4.
    """
    alone = gallery is None
    gallery = queries if gallery is None else gallery
    searched = vectors if alone or gallery_vectors is None else gallery_vectors
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
    titles = ("Most wrong queries", "Most confused classes")
    counts = (len(worst), len(pairs))
    figure, (left, right_side) = thumbnails.parts(titles, counts, (columns + 2, 2), _BELOW)
    for row, query, rank in zip(left, worst, ranks, strict=False):
        draw_row(row, queries, query, gallery, [*indices[query, :columns], right[query]])
        numbers = map(str, range(1, columns + 1))
        thumbnails.head(row, ["query", *numbers, f"first right one: rank {rank:,}"])
    for row, pair in zip(right_side, pairs, strict=False):
        draw_row(row, queries, pair.query, gallery, [pair.neighbour])
        thumbnails.head(row, [f"{pair.count} of {pair.num_queries} queries", "nearest"])
    thumbnails.save_picture(figure, path)
