"""Pictures of a run, read back pixel by pixel."""

from functools import partial

import numpy as np
import pytest
from PIL import Image

from pa_keras import plots
from pa_keras.datasets import Images

BLUE = (0, 0, 255)
GREEN, RED = (0, 128, 0), (255, 0, 0)  # as Matplotlib has them


def count(picture, colour):
    return int((picture == colour).all(axis=-1).sum())


def read(path):
    with Image.open(path) as image:
        return np.asarray(image.convert("RGB"))


@pytest.fixture
def images(tmp_path):
    """Makes `Images` of blue files, one a label, of classes whose names have two `$`."""

    def make(folder, labels):
        (tmp_path / folder).mkdir()
        paths = [str(tmp_path / folder / f"{number}.png") for number in range(len(labels))]
        for path in paths:
            Image.new("RGB", (20, 30), BLUE).save(path)
        names = ("$5 to $7", r"100% $\wrong$")
        return Images(tuple(paths), np.array(labels, np.int32), names)

    return make


def borders(picture):
    """Green and red pixels of the left and of the right half."""
    halves = np.array_split(picture, 2, axis=1)
    return [[count(half, colour) for colour in (GREEN, RED)] for half in halves]


@pytest.mark.parametrize("with_recall", [True, False])
def test_curves(tmp_path, with_recall):
    recall = {"recall_at_1": 0.5, "recall_at_2": 0.7} if with_recall else {}
    rows = [{"epoch": epoch, "loss": 9.0 - epoch, **recall} for epoch in range(3)]
    plots.curves(rows, tmp_path / "curves.png")
    left, right = np.array_split(read(tmp_path / "curves.png"), 2, axis=1)
    first_colour = (31, 119, 180)  # of Matplotlib's cycle
    assert count(left, first_colour) == 0
    assert (count(right, first_colour) > 0) == with_recall


def test_right_and_wrong_neighbours_have_their_borders(tmp_path, images):
    queries, gallery = images("queries", [0, 1]), images("gallery", [0, 1])
    path = tmp_path / "neighbours.png"
    draw = partial(plots.retrieved, queries, path=path, columns=1)

    draw(gallery, np.array([[0], [1]]))
    (left_green, left_red), (green, red) = borders(read(path))
    assert left_green == left_red == red == 0 and green > 0

    draw(gallery, np.array([[1], [0]]))
    (left_green, left_red), (green, red) = borders(read(path))
    assert left_green == left_red == green == 0 and red > 0

    draw(None, np.array([[1], [1]]))
    _, (green, red) = borders(read(path))
    assert green > 0 and red > 0


def test_one_row_a_class_where_there_are_fewer_classes_than_rows(tmp_path, images):
    queries = images("queries", [0, 0, 1, 1, 1])
    path = tmp_path / "neighbours.png"
    plots.retrieved(queries, None, np.array([[1, 2]] * 5), path, num_queries=6, columns=2)
    picture = read(path)
    assert picture.shape == (2 * 1.6 * 120, 3 * 1.5 * 120, 3)
    blue_rows = (picture == BLUE).all(axis=-1).any(axis=1)
    assert np.diff(blue_rows.astype(int)).tolist().count(1) == 2


def test_16_bit_grey_is_drawn_as_the_model_sees_it(tmp_path):
    paths = [str(tmp_path / f"{number}.png") for number in range(2)]
    for path in paths:
        Image.fromarray(np.full((20, 20), 100 * 256, np.uint16)).save(path)
    queries = Images(tuple(paths), np.zeros(2, np.int32), ("grey",))
    plots.retrieved(queries, None, np.array([[1], [0]]), tmp_path / "neighbours.png")
    assert count(read(tmp_path / "neighbours.png"), (100, 100, 100)) > 5_000
