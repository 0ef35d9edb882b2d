"""Pictures of queries and their nearest neighbours, as in figure 3 of the paper."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from pa_keras.datasets import Images
from pa_keras.plots import thumbnails
from pa_keras.plots.thumbnails import QUERY, RIGHT, WRONG
from pa_keras.retrieval import num_relevant


def retrieved(
    queries: Images,
    gallery: Images | None,
    indices: np.ndarray,
    path: Path,
    num_queries: int = 6,
    columns: int = 4,
    seed: int = 0,
    chosen: Sequence[int] | np.ndarray = (),
) -> None:
    """Draws queries on the left and their nearest neighbours; wrong ones have a red border.

    Args:
        queries: Q images.
        gallery: N images, or None: the queries themselves.
        indices: Neighbours of each query in the gallery, int (Q, k), the nearest first.
        path: Path of the picture; its suffix selects the format.
        num_queries: Number of random queries to draw, by `random_queries`. Default 6.
        columns: Largest number of neighbours to draw for each query. Default 4.
        seed: Seed of the choice of queries. Default 0.
        chosen: Positions of the queries to draw instead of random ones. Default: none.

    Source: Kim et al., Proxy Anchor Loss for Deep Metric Learning, CVPR 2020, figure 3.
    """
    if not len(chosen):
        chosen = random_queries(queries, gallery, num_queries, seed)
    figure = neighbours_figure(queries, gallery, indices, chosen, columns)
    thumbnails.save_picture(figure, path)


def neighbours_figure(
    queries: Images,
    gallery: Images | None,
    indices: np.ndarray,
    chosen: Sequence[int] | np.ndarray,
    columns: int = 4,
) -> Figure:
    """Returns the figure that `retrieved` writes, with one row for each of the chosen queries."""
    gallery = queries if gallery is None else gallery
    shown = indices[chosen, :columns]
    rows, width = shown.shape[0], shown.shape[1] + 1
    figure = Figure(figsize=thumbnails.size_of(rows, width))
    axes = thumbnails.cells(figure, rows, width)
    for row, query, found in zip(axes, chosen, shown, strict=True):
        draw_row(row, queries, query, gallery, found)
    thumbnails.head(axes[0], ["query", *map(str, range(1, width))])
    return figure


def draw_row(
    row: Sequence[Axes], queries: Images, query: int, gallery: Images, found: Sequence[int]
) -> None:
    """Draws a query on the first axes and gallery images, marked right or wrong, on the others."""
    label = queries.labels[query]
    thumbnails.show(row[0], queries.paths[query], QUERY, queries.class_names[label])
    for axis, index in zip(row[1:], found, strict=True):
        other = gallery.labels[index]
        color = RIGHT if other == label else WRONG
        thumbnails.show(axis, gallery.paths[index], color, gallery.class_names[other])


def search_results(
    queries: Sequence[str],
    paths: Sequence[Sequence[str]],
    captions: Sequence[Sequence[str]],
    path: Path,
) -> None:
    """Draws each query on the left with a black border, and beside it its results, best first.

    Beside a query without results is an empty frame with "no match" below.

    Args:
        queries: Q image files.
        paths: Q rows of up to k image files; a missing file becomes an empty frame.
        captions: A text for each of these files, drawn below the image.
        path: Path of the picture; its suffix selects the format.
    """
    columns = 1 + max(1, *(len(row) for row in paths))
    page = Figure(figsize=thumbnails.size_of(len(queries), columns))
    rows = thumbnails.cells(page, len(queries), columns)
    for axes, query, files, texts in zip(rows, queries, paths, captions, strict=True):
        thumbnails.show(axes[0], query, thumbnails.QUERY, Path(query).name)
        if not files:
            thumbnails.frame(axes[1], "lightgrey", "no match")
        for axis, file, text in zip(axes[1 : 1 + len(files)], files, texts, strict=True):
            if Path(file).is_file():
                thumbnails.show(axis, file, "lightgrey", text)
            else:
                thumbnails.frame(axis, "lightgrey", text)
    thumbnails.save_picture(page, path)


def random_queries(queries: Images, gallery: Images | None, number: int, seed: int) -> np.ndarray:
    """Returns positions of queries with a right answer, int (number,), or fewer if there are fewer.

    The queries are of different classes as long as possible; then a second one of each class
    follows.

    Args:
        queries: Q images.
        gallery: N images, or None: the queries themselves.
        number: Number of queries, 1 or more.
        seed: Seed of the choice.

    Example:
        >>> images = Images(("/a", "/b", "/c", "/d"), [0, 0, 1, 1], ("cat", "dog"))
        >>> len(set(images.labels[random_queries(images, None, 2, seed=0)]))
        2
    """
    answerable = num_relevant(queries.labels, None if gallery is None else gallery.labels) > 0
    order = np.random.default_rng([seed]).permutation(np.flatnonzero(answerable))
    turns = np.zeros(len(order), int)
    for label in np.unique(queries.labels[order]):
        of_class = queries.labels[order] == label
        turns[of_class] = np.arange(of_class.sum())
    return order[np.argsort(turns, kind="stable")][:number]


def find_queries(queries: Images, asked: Sequence[int | str]) -> np.ndarray:
    """Returns the positions of the queries that a user asked for, int (len(asked),).

    Args:
        queries: Q images.
        asked: For each query its position, from 0, or the last parts of its path.

    Raises:
        ValueError: A position or a path is not in the set, or several images have the path.

    Example:
        >>> images = Images(("/cat/1.png", "/dog/1.png"), [0, 1], ("cat", "dog"))
        >>> find_queries(images, [0, "dog/1.png"]).tolist()
        [0, 1]
    """
    return np.array([_find_query(queries, each) for each in asked], int)


def _find_query(queries: Images, asked: int | str) -> int:
    if asked in queries.paths:
        return queries.paths.index(asked)
    if isinstance(asked, int) or asked.isdecimal():
        if 0 <= int(asked) < len(queries):
            return int(asked)
        raise ValueError(
            f"Expected a query from 0 to {len(queries) - 1}; received {asked}. Give the place of "
            "an image of the test classes, or its path."
        )
    ending = "/" + Path(asked).as_posix().removeprefix("./").removeprefix("/")
    found = [place for place, path in enumerate(queries.paths) if ("/" + path).endswith(ending)]
    if len(found) == 1:
        return found[0]
    raise ValueError(
        f"Expected the path of one of the {len(queries)} queries; received {str(asked)!r}, which "
        f"{len(found)} of them have. Give more of the path, of an image of the test classes."
    )
