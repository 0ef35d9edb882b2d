"""Tests the images, borders and names of figure 3, and which queries are drawn."""

from pathlib import Path

import numpy as np
import pytest
from matplotlib.colors import same_color
from PIL import Image

from pa_keras import plots
from pa_keras.datasets import Images


def borders(figure):
    colours = {"black": "query", "green": "right", "red": "wrong"}

    def of(axis):
        (name,) = [n for c, n in colours.items() if same_color(axis.spines["left"].get_ec(), c)]
        return name

    return [of(axis) for axis in figure.axes]


def drawn(figure):
    """Reads the green of each image, which is its position in the set."""
    return [int(np.asarray(axis.images[0].get_array())[0, 0, 1]) for axis in figure.axes]


def test_images_borders_and_names_are_where_they_belong(images):
    queries = images("queries", [0, 1, 1, 0])
    indices = np.array([[3, 1], [0, 2], [1, 0], [1, 2]])
    figure = plots.neighbours_figure(queries, None, indices, [1, 3])
    assert drawn(figure) == [1, 0, 2, 3, 1, 2]
    assert borders(figure) == ["query", "wrong", "right", "query", "wrong", "wrong"]
    names = [queries.class_names[queries.labels[place]] for place in drawn(figure)]
    assert [axis.get_xlabel() for axis in figure.axes] == names
    assert not any(axis.xaxis.label.get_parse_math() for axis in figure.axes)
    assert [axis.get_title() for axis in figure.axes] == ["query", "1", "2", "", "", ""]


def test_neighbours_are_of_the_gallery(images):
    queries, gallery = images("queries", [0, 1]), images("gallery", [1, 1, 1, 0])
    figure = plots.neighbours_figure(queries, gallery, np.array([[3, 2], [3, 2]]), [0, 1], 1)
    assert drawn(figure) == [0, 3, 1, 3]
    assert borders(figure) == ["query", "right", "query", "wrong"]


def test_the_file(images, tmp_path):
    queries = images("queries", [0, 0, 1, 1, 1])
    for name in ("found.png", "found.jpg"):
        plots.retrieved(queries, None, np.array([[1, 2]] * 5), tmp_path / name, num_queries=2)
        with Image.open(tmp_path / name) as picture:
            assert picture.size == pytest.approx((3 * 1.58 * 120, 2 * 1.84 * 120), abs=40)


def test_random_queries_are_of_different_classes_and_then_a_second_of_each(images):
    queries = images("queries", [0, 0, 0, 0, 1, 1, 2])
    chosen = plots.random_queries(queries, None, 100, seed=0)
    assert sorted(chosen) == [0, 1, 2, 3, 4, 5], "the last has no right answer"
    assert sorted(queries.labels[chosen[:2]]) == sorted(queries.labels[chosen[2:4]]) == [0, 1]
    assert len(plots.random_queries(queries, None, 3, seed=0)) == 3
    others = [plots.random_queries(queries, None, 1, seed).item() for seed in range(20)]
    assert len(set(others)) > 2 and others[0] == chosen[0]


def test_random_queries_have_an_answer_in_the_gallery(images):
    queries, gallery = images("queries", [0, 1, 2]), images("gallery", [1])
    assert plots.random_queries(queries, gallery, 3, seed=0).tolist() == [1]


@pytest.fixture
def named():
    paths = ("/photos/cat/1.png", "/photos/dog/1.png", "/photos/dog/11.png", "/cat/1.png")
    return Images(paths, [0, 1, 1, 0], ("cat", "dog"))


def test_queries_by_place_and_by_path(named):
    asked = [2, "1", "photos/cat/1.png", "dog/11.png", "./dog/1.png", "/cat/1.png"]
    assert plots.find_queries(named, asked).tolist() == [2, 1, 0, 2, 1, 3]
    assert plots.find_queries(named, []).shape == (0,)


@pytest.mark.parametrize("asked", [4, "4", -1])
def test_a_place_outside_of_the_set(named, asked):
    with pytest.raises(ValueError, match=f"received '?{asked}"):
        plots.find_queries(named, [0, asked])


@pytest.mark.parametrize(("asked", "number"), [("bird/1.png", 0), ("og/1.png", 0), ("1.png", 3)])
def test_a_path_of_none_or_of_several(named, asked, number):
    with pytest.raises(ValueError, match=f"'{asked}', which {number} of them have"):
        plots.find_queries(named, [asked])


def test_the_paths_of_a_set_are_found(photos):
    paths = tuple(str(path) for path in sorted(Path(photos).rglob("*.png")))
    images = Images(paths, np.zeros(len(paths), int), ("all",))
    assert plots.find_queries(images, ["class 3/4.png"]).tolist() == [22]


def test_queries_stand_leftmost_beside_what_was_found(tmp_path):
    for name, colour in (("query", (0, 0, 255)), ("answer", (255, 0, 255))):
        Image.new("RGB", (30, 30), colour).save(tmp_path / f"{name}.png")
    query, answer = str(tmp_path / "query.png"), str(tmp_path / "answer.png")
    rows = [[answer, str(tmp_path / "deleted.png")], [answer, ""]]
    captions = [["$5 to $7", "gone"]] * 2
    plots.search_results([query, query], rows, captions, tmp_path / "found.png")
    with Image.open(tmp_path / "found.png") as image:
        pixels = np.asarray(image.convert("RGB"))
    third = pixels.shape[1] // 3

    def count(column, colour):
        part = pixels[:, column * third : (column + 1) * third]
        return int((part == colour).all(axis=-1).sum())

    assert count(0, (0, 0, 255)) > 10_000 and count(1, (255, 0, 255)) > 10_000
    assert count(0, (255, 0, 255)) == 0
    assert count(2, (0, 0, 255)) == count(2, (255, 0, 255)) == 0  # the missing image stays empty
