"""Tests that near embeddings stay near on the map, and that thumbnails do not overlap."""

import importlib.util
import sys

import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image

from pa_keras import plots
from pa_keras.plots.embedding_map import apart, flattened


@pytest.fixture
def clusters():
    """Makes unit vectors (60, 8), twenty around each of three directions."""
    rng = np.random.default_rng(0)
    vectors = np.repeat(np.eye(8)[:3], 20, axis=0) + rng.normal(size=(60, 8)) / 50
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype("float32")


@pytest.mark.parametrize(
    "method",
    [
        "tsne",
        pytest.param(
            "umap",
            marks=[
                pytest.mark.large,
                pytest.mark.skipif(not importlib.util.find_spec("umap"), reason="an extra"),
            ],
        ),
    ],
)
def test_clusters_stay_together_and_a_seed_repeats_the_map(clusters, method):
    points = flattened(clusters, method, neighbours=8, seed=3)
    assert points.shape == (60, 2) and points.min() == 0 and points.max() == 1
    distances = np.linalg.norm(points[:, None] - points[None], axis=-1)
    np.fill_diagonal(distances, np.inf)
    assert (distances.argmin(axis=1) // 20 == np.arange(60) // 20).all()
    np.testing.assert_array_equal(points, flattened(clusters, method, neighbours=8, seed=3))


def test_apart_keeps_as_many_as_do_not_overlap():
    points = np.random.default_rng(1).random((300, 2))
    kept = apart(points, 0.1, seed=0)
    distances = np.abs(points[kept][:, None] - points[kept][None]).max(axis=-1)
    assert (distances[~np.eye(len(kept), dtype=bool)] >= 0.1).all()
    rest = np.setdiff1d(np.arange(300), kept)
    nearest = np.abs(points[rest][:, None] - points[kept][None]).max(axis=-1).min(axis=1)
    assert (nearest < 0.1).all(), "each that is left out would hide one"


def test_a_panel_of_each_part(images, clusters, tmp_path, monkeypatch):
    figures = []
    save = Figure.savefig
    monkeypatch.setattr(
        Figure, "savefig", lambda self, *args, **options: figures.append(self) or save(self, *args)
    )
    seen, unseen = images("seen", [0, 1] * 20), images("unseen", [2] * 20)
    parts = {"training $classes$": (seen, clusters[:40]), "test classes": (unseen, clusters[40:])}
    plots.embedding_map(parts, tmp_path / "map.png", neighbours=8)
    left, right = figures[0].axes
    assert left.get_title() == "training $classes$: 40 images"
    assert right.get_title() == "test classes: 20 images"
    for axes, number in ((left, 40), (right, 20)):
        others, dots = (len(dots.get_offsets()) for dots in axes.collections)
        assert others == 60 - number and dots + len(axes.images) == number
        boxes = np.array([image.get_extent() for image in axes.images])
        assert 3 <= len(boxes) < number, "some of a cluster hide each other"
        for a in range(len(boxes)):
            for b in range(a):
                x = min(boxes[a][1], boxes[b][1]) - max(boxes[a][0], boxes[b][0])
                y = min(boxes[a][3], boxes[b][3]) - max(boxes[a][2], boxes[b][2])
                assert min(x, y) <= 1e-9
        shapes = (boxes[:, 1] - boxes[:, 0]) / (boxes[:, 3] - boxes[:, 2])
        np.testing.assert_allclose(shapes, 20 / 30)
    with Image.open(tmp_path / "map.png") as picture:
        assert picture.size[0] > 1.8 * picture.size[1]


@pytest.mark.parametrize(("number", "neighbours"), [(30, 30), (5, 30), (30, 1)])
def test_too_few_images(number, neighbours):
    with pytest.raises(ValueError, match=f"the {number} images.*received {neighbours}"):
        flattened(np.zeros((number, 2)), "tsne", neighbours)


def test_an_unknown_method():
    with pytest.raises(ValueError, match="tsne or umap; received 'pca'"):
        plots.expect_map(100, "pca", 30)


def test_umap_is_an_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "umap", None)
    with pytest.raises(ImportError, match=r'pip install "pa_keras\[umap\]"'):
        plots.expect_map(100, "umap", 30)
