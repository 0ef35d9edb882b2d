"""Tests the page of suspects: its parts, rows, borders and texts."""

import numpy as np
import pytest
from matplotlib.colors import same_color
from matplotlib.figure import Figure
from PIL import Image

from pa_keras import plots
from pa_keras.retrieval import Suspect, Suspects


@pytest.fixture
def pages(monkeypatch):
    """The figures that are saved."""
    saved = []
    save = Figure.savefig
    monkeypatch.setattr(
        Figure, "savefig", lambda self, *args, **options: saved.append(self) or save(self, *args)
    )
    return saved


def shown(page):
    return [axis for axis in page.axes if axis.axison]


def place(axis):
    return int(np.asarray(axis.images[0].get_array())[0, 0, 1])


INDICES = np.array([[1, 2, 3], [0, 2, 3], [3, 0, 1], [2, 1, 0]])


def test_the_parts_show_the_worst_of_each_kind(images, tmp_path, pages):
    rows = [
        Suspect("duplicate", 1.0, 1, 3),
        Suspect("label", 0.9, 2, 0),
        Suspect("label", 0.8, 0, 3),
        Suspect("label", 0.7, 1, 2),
        Suspect("classes", 0.6, 0, 2),
    ]
    found = Suspects(rows, 0, INDICES)
    path = tmp_path / "suspects.png"
    plots.suspects(found, images("all", [0, 0, 1, 0]), path, rows=2, columns=2)
    labels, _, duplicates, _, classes = pages[0].subfigs
    assert [place(axis) for axis in shown(labels)] == [2, 3, 0, 0, 1, 2]
    assert shown(labels)[0].get_title() == "score 0.90"
    colours = ["black", "red", "red", "black", "green", "red"]
    for axis, colour in zip(shown(labels), colours, strict=True):
        assert same_color(axis.spines["top"].get_ec(), colour)
    assert [place(axis) for axis in shown(duplicates)] == [1, 3]
    assert [place(axis) for axis in shown(classes)] == [0, 2]
    assert [axis.get_xlabel() for axis in shown(classes)] == ["$5 to $7", r"100% $\wrong$"]
    with Image.open(path) as picture:
        assert picture.size[0] > picture.size[1] > 100


def test_a_page_without_suspects_says_so(images, tmp_path, pages):
    found = Suspects([], 0, INDICES)
    plots.suspects(found, images("all", [0, 0, 1, 1]), tmp_path / "suspects.png")
    assert not shown(pages[0])
    titles = [page.get_suptitle() for page in pages[0].subfigs if page.get_suptitle()]
    assert len(titles) == 3 and all(title.endswith(": none") for title in titles)
