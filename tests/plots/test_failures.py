"""Tests the page of failures: its rows, borders and texts."""

import numpy as np
import pytest
from matplotlib.colors import same_color
from matplotlib.figure import Figure
from PIL import Image

from pa_keras import plots
from pa_keras.retrieval import nearest_neighbours


@pytest.fixture
def pages(monkeypatch):
    """The figures that are saved."""
    saved = []
    save = Figure.savefig
    monkeypatch.setattr(
        Figure, "savefig", lambda self, *args, **options: saved.append(self) or save(self, *args)
    )
    return saved


def circle(*degrees):
    angles = np.deg2rad(degrees)
    return np.stack([np.cos(angles), np.sin(angles)], axis=1).astype("float32")


def shown(page):
    return [axis for axis in page.axes if axis.axison]


def place(axis):
    return int(np.asarray(axis.images[0].get_array())[0, 0, 1])


@pytest.mark.parametrize("alone", [True, False])
def test_a_row_is_the_query_what_was_found_and_the_first_right_one(images, tmp_path, pages, alone):
    # The last image of class 0 lies among class 1; the nearest neighbours of the others are right.
    labels, vectors = [0, 0, 1, 1, 1, 0], circle(0, 2, 50, 53, 57, 51)
    queries = images("queries", labels)
    gallery = None if alone else images("gallery", labels)
    indices = nearest_neighbours(vectors, vectors, 4, exclude_self=True)[0]
    path = tmp_path / "failures.png"
    other = None if alone else np.concatenate([vectors[:-1], -vectors[-1:]])
    plots.failures(queries, gallery, indices, vectors, other, path, rows=3, columns=2)
    worst, _, confused = pages[0].subfigs
    assert worst.get_suptitle() == "Most wrong queries"
    row = shown(worst)[:4]
    assert [place(axis) for axis in row] == [5, 2, 3, 1]
    colours = ["black", "red", "red", "green"]
    for axis, colour in zip(row, colours, strict=True):
        assert same_color(axis.spines["top"].get_ec(), colour)
    assert [axis.get_title() for axis in row][:3] == ["query", "1", "2"]
    assert row[3].get_title() == "first right one: rank 4"
    query, nearest = shown(confused)[:2]
    assert query.get_title() == "3 of 6 queries"
    assert {query.get_xlabel(), nearest.get_xlabel()} == set(queries.class_names[:2])
    with Image.open(path) as picture:
        assert picture.size[0] > picture.size[1] > 100


def test_a_page_without_failures_says_so(images, tmp_path, pages):
    queries, vectors = images("queries", [0, 0, 1, 1]), circle(0, 1, 90, 91)
    indices = nearest_neighbours(vectors, vectors, 2, exclude_self=True)[0]
    plots.failures(queries, None, indices, vectors, None, tmp_path / "failures.png")
    assert not shown(pages[0])
    titles = [page.get_suptitle() for page in pages[0].subfigs]
    assert titles == ["Most wrong queries: none", "", "Most confused classes: none"]
