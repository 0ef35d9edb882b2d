"""ScaNN: measured against exact search, and what happens when it cannot be used."""

import sys

import numpy as np
import pytest
import tensorflow as tf

from pa_keras.retrieval import approximate, nearest_neighbours, search
from pa_keras.retrieval import search as search_function
from pa_keras.retrieval.approximate import ScannUnusableError, SearchError, scann_neighbours
from pa_keras.retrieval.exact import exact_neighbours

search_module = sys.modules[search_function.__module__]


def clustered(number, size=16, classes=200, spread=0.2, seed=0):
    rng = np.random.default_rng(seed)
    centres = rng.normal(size=(classes, size))
    vectors = centres[rng.integers(classes, size=number)] + spread * rng.normal(size=(number, size))
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype("float32")


def without_scann(monkeypatch, error):
    """Make the import of scann fail as it does on another platform or with another TensorFlow."""

    class Finder:
        def find_spec(self, name, path=None, target=None):
            if name.split(".")[0] == "scann":
                raise error

    for name in [name for name in sys.modules if name.split(".")[0] == "scann"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setattr(sys, "meta_path", [Finder(), *sys.meta_path])


@pytest.fixture
def scann():
    return pytest.importorskip("scann", reason="ScaNN is for Linux x86-64 only")


@pytest.mark.parametrize("exclude_self", [False, True])
def test_brute_force_below_the_rule_equals_exact(scann, exclude_self):
    points = clustered(500)
    exact = nearest_neighbours(points, points, 6, exclude_self, method="exact")
    found = search(points, points, 6, exclude_self, method="scann")
    assert found.method == "scann" and found.indices.dtype == np.int32
    np.testing.assert_array_equal(found.indices, exact[0])
    np.testing.assert_allclose(found.similarities, exact[1], atol=1e-5)


@pytest.mark.parametrize("size", [16, 15])
@pytest.mark.parametrize("tree_above", [100_000, 1_000])
def test_hashing_and_tree_stay_within_the_error_they_report(scann, monkeypatch, tree_above, size):
    monkeypatch.setattr(approximate, "BRUTE_FORCE_BELOW", 1_000)
    monkeypatch.setattr(approximate, "TREE_ABOVE", tree_above)
    points = clustered(3_000, size)
    own = np.arange(len(points), dtype=np.int32)
    indices, similarities, error = scann_neighbours(points, points, 5, own, max_error=0.03)
    truth, _ = exact_neighbours(points, points, 5, own)
    missed = 1 - np.mean([len(set(a) & set(b)) / 5 for a, b in zip(indices, truth, strict=True)])
    assert error.sample_size == 2_000
    # ScaNN trains in threads, so that no two builds are alike: only the bound is promised.
    assert error.neighbours <= 0.03 and missed <= 0.05
    assert not (indices == own[:, None]).any()
    products = np.einsum("nd,nkd->nk", points, points[indices])
    np.testing.assert_allclose(similarities, products, atol=1e-4)


def test_a_tree_with_too_few_answers_is_completed_exactly(scann, monkeypatch):
    points = clustered(300)

    def half_empty(gallery, k):
        def find(queries, effort):
            indices, similarities = exact_neighbours(queries, gallery, k)
            similarities[250:, -1] = np.nan
            indices[250:, -1] = 0
            return indices, similarities

        return find

    monkeypatch.setattr(approximate, "_build", half_empty)
    monkeypatch.setattr(approximate, "SAMPLE_SIZE", 100)
    indices, similarities, _ = scann_neighbours(points, points, 4, max_error=0.5)
    truth = exact_neighbours(points, points, 4)
    np.testing.assert_array_equal(indices, truth[0])
    assert np.isfinite(similarities).all()


def test_the_first_vector_may_be_short_of_answers_too(monkeypatch):
    points = clustered(20)

    def two_missing(gallery, k):
        def find(queries, effort):
            indices, similarities = exact_neighbours(queries, gallery, k)
            similarities[:, -2:], indices[:, -2:] = np.nan, 0
            return indices, similarities

        return find

    monkeypatch.setattr(approximate, "_build", two_missing)
    own = np.arange(20, dtype=np.int32)
    indices, similarities, _ = scann_neighbours(points, points, 4, own, max_error=1.0)
    truth = exact_neighbours(points, points, 4, own)
    np.testing.assert_array_equal(indices, truth[0])
    np.testing.assert_allclose(similarities, truth[1], atol=1e-6)


def test_an_inexact_index_falls_back_and_says_so(monkeypatch, caplog):
    points = clustered(300)

    def wrong(gallery, k):
        return lambda queries, effort: exact_neighbours(-queries, gallery, k)

    monkeypatch.setattr(approximate, "_build", wrong)
    with pytest.raises(ScannUnusableError, match=r"missed 100.00% of the nearest.*1.00% allowed"):
        scann_neighbours(points, points, 3)
    found = search(points, points, 3, method="scann")
    assert found.method == "exact"
    assert found.note.startswith("exact search over 300, because ScaNN missed 100.00%")
    assert caplog.records[0].levelname == "WARNING" and "Fell back to exact" in caplog.text
    np.testing.assert_array_equal(found.indices, exact_neighbours(points, points, 3)[0])


@pytest.mark.parametrize(
    "error, message",
    [
        (ImportError("No module named 'scann'"), "not installed or not for this platform"),
        (tf.errors.NotFoundError(None, None, "undefined symbol"), "does not fit TensorFlow"),
        (OSError("invalid ELF header"), "does not fit TensorFlow"),
    ],
)
def test_scann_that_does_not_load_falls_back(monkeypatch, caplog, error, message):
    without_scann(monkeypatch, error)
    points = clustered(50)
    indices, _ = nearest_neighbours(points, points, 3, method="scann")
    np.testing.assert_array_equal(indices, exact_neighbours(points, points, 3)[0])
    assert message in caplog.text


def test_auto_is_exact_for_small_sets_and_scann_above(monkeypatch, caplog):
    points = clustered(300)
    monkeypatch.setattr(search_module, "SAMPLE_SIZE", 100)
    calls = []

    def recorded(queries, gallery, k, own):
        calls.append(len(gallery))
        return *exact_neighbours(queries, gallery, k, own), SearchError(0.001, 0.002, 100)

    monkeypatch.setattr(search_module, "scann_neighbours", recorded)
    assert search(points, points, 3).method == "exact"
    monkeypatch.setattr(search_module, "BRUTE_FORCE_BELOW", 300)
    assert search(points[:100], points, 3).method == "exact"
    assert search(points, points, 101).method == "exact"
    assert calls == []
    found = search(points, points, 3)
    assert calls == [300] and found.method == "scann"
    assert found.note == (
        "ScaNN over 300 missed 0.10% of the nearest and 0.20% of all neighbours of 100 queries "
        "that were also searched exactly"
    )


def test_auto_falls_back_without_scann(monkeypatch, caplog):
    monkeypatch.setattr(search_module, "SAMPLE_SIZE", 100)
    monkeypatch.setattr(search_module, "BRUTE_FORCE_BELOW", 200)
    without_scann(monkeypatch, ImportError("No module named 'scann'"))
    points = clustered(300)
    assert search(points, points, 3).method == "exact"
    assert "Fell back to exact search over 300, because ScaNN is not installed" in caplog.text
