"""Tests names, thumbnails and the suffixes of pictures."""

import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image

from pa_keras.plots import thumbnails


@pytest.mark.parametrize("name", ["a.png", "a.JPG", "b/a.pdf"])
def test_endings_of_pictures(name):
    thumbnails.expect_picture(name)


@pytest.mark.parametrize("name", ["a", "a.txt", "png", "a.png.csv"])
def test_other_endings_are_refused(name):
    with pytest.raises(ValueError, match=r"end with one of .*\.png.*; received"):
        thumbnails.expect_picture(name)


def test_a_name_is_two_lines_at_most():
    assert thumbnails.fitted("short") == "short"
    assert thumbnails.fitted("") == ""
    lines = thumbnails.fitted("Ferrari 458 Italia Convertible 2012").split("\n")
    assert lines == ["Ferrari 458 Italia", "Convertible 2012"]
    long = thumbnails.fitted("word " * 30)
    assert len(long.split("\n")) == 2 and long.endswith("\N{HORIZONTAL ELLIPSIS}")
    assert max(map(len, thumbnails.fitted("x" * 90).split("\n"))) <= 24


def test_a_thumbnail_keeps_its_shape_and_is_not_enlarged(tmp_path):
    Image.new("RGB", (200, 100)).save(tmp_path / "wide.png")
    assert thumbnails.thumbnail(str(tmp_path / "wide.png"), 64).size == (64, 32)
    assert thumbnails.thumbnail(str(tmp_path / "wide.png"), 900).size == (200, 100)


def test_16_bit_grey_is_drawn_as_the_model_sees_it(tmp_path):
    Image.fromarray(np.full((20, 20), 100 * 256, np.uint16)).save(tmp_path / "grey.png")
    assert (np.asarray(thumbnails.thumbnail(str(tmp_path / "grey.png"), 20)) == 100).all()


def test_cells_are_squares_of_their_size_and_blank():
    figure = Figure(figsize=thumbnails.size_of(3, 4))
    axes = thumbnails.cells(figure, 3, 4)
    assert axes.shape == (3, 4) and not any(axis.axison for axis in axes.flat)
    inches = [axis.get_position().size * figure.get_size_inches() for axis in axes.flat]
    np.testing.assert_allclose(inches, thumbnails.CELL)
