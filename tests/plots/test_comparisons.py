"""Tests the pictures of a comparison, by Matplotlib's objects and the files written."""

import numpy as np
import pytest
from matplotlib.figure import Figure

from pa_keras import plots


@pytest.fixture
def drawn(monkeypatch):
    """The figures that were saved, so that tests can read the data of their lines."""
    figures = []
    save = Figure.savefig

    def keep(self, path, **options):
        figures.append(self)
        save(self, path, **options)

    monkeypatch.setattr(Figure, "savefig", keep)
    return figures


def test_convergence(tmp_path, drawn):
    seconds = {"a": np.array([[60.0, 120.0], [60.0, 180.0]]), "b": np.array([[30.0, 60.0]])}
    recalls = {"a": np.array([[0.2, 0.4], [0.4, 0.6]]), "b": np.array([[0.1, 0.3]])}
    plots.convergence(seconds, recalls, tmp_path / "c.png")
    by_time, by_epoch = drawn[0].axes
    assert [line.get_label() for line in by_epoch.get_lines()] == ["a", "b"]
    np.testing.assert_allclose(by_time.get_lines()[0].get_xydata(), [[1, 30], [2.5, 50]])
    np.testing.assert_allclose(by_epoch.get_lines()[1].get_xydata(), [[1, 10], [2, 30]])
    assert len(by_time.collections) == 1, "a band for two seeds, none for one"
    band = by_epoch.collections[0].get_paths()[0].vertices[:, 1]
    assert band.min() == pytest.approx(30 - np.sqrt(200)), "one sample deviation below"
    assert (tmp_path / "c.png").stat().st_size > 1000


def test_convergence_from_before_training(tmp_path, drawn):
    seconds = {name: np.array([[60.0, 120.0], [60.0, 180.0]]) for name in "ab"}
    recalls = {name: np.array([[0.2, 0.4], [0.4, 0.6]]) for name in "ab"}
    untrained = {"a": np.array([0.1, 0.1])}
    plots.convergence(seconds, recalls, tmp_path / "c.png", untrained)
    by_time, by_epoch = drawn[0].axes
    first, second = by_epoch.get_lines()
    np.testing.assert_allclose(first.get_xydata(), [[0, 10], [1, 30], [2, 50]])
    np.testing.assert_allclose(second.get_xydata(), [[1, 30], [2, 50]])
    np.testing.assert_allclose(by_time.get_lines()[0].get_xdata(), [0, 1, 2.5])


@pytest.mark.parametrize(
    ("values", "x"), [([0.0, 0.2, 0.4], [0, 0.2, 0.4]), (["random", "balanced", "x"], [0, 1, 2])]
)
def test_study(tmp_path, drawn, values, x):
    recalls = {"a": [np.array([v]) for v in (0.1, 0.2, 0.3)]}
    plots.study("setting", values, recalls, tmp_path / "s.png")
    (line,) = drawn[0].axes[0].get_lines()
    np.testing.assert_allclose(line.get_xydata(), np.stack([x, [10, 20, 30]], axis=1))


def test_study_of_uneven_seeds(tmp_path, drawn):
    recalls = {"a": [np.array([0.1, 0.3]), np.array([0.4]), np.array([])]}
    plots.study("setting", [0, 1, 2], recalls, tmp_path / "s.png")
    (line,) = drawn[0].axes[0].get_lines()
    np.testing.assert_allclose(line.get_ydata(), [20, 40, np.nan])


def test_heat_maps(tmp_path, drawn):
    cells = [[[0.1], [0.2], [0.2, 0.4]], [[0.4], [], [0.6]]]
    recalls = {"a": [[np.array(cell) for cell in row] for row in cells]}
    plots.heat_maps(("alpha", "margin"), ([4, 32], [0, 0.1, 0.2]), recalls, tmp_path / "h.png")
    (axes,) = drawn[0].axes
    np.testing.assert_allclose(
        axes.images[0].get_array().filled(np.nan), [[0.1, 0.2, 0.3], [0.4, np.nan, 0.6]]
    )
    assert [text.get_text() for text in axes.texts] == ["10.0", "20.0", "30.0", "40.0", "", "60.0"]
    assert axes.get_ylabel() == "alpha" and axes.get_xlabel() == "margin"
