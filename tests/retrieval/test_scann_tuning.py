"""Compares ScaNN with exact search, and tests the fallback when it cannot be used."""

import json
import sys

import numpy as np
import pytest

from pa_keras.retrieval import nearest_neighbours, scann_index, scann_tuning, search
from pa_keras.retrieval import search as search_function
from pa_keras.retrieval.exact import exact_neighbours
from pa_keras.retrieval.metrics import recall_at_k
from pa_keras.retrieval.relevance import matches
from pa_keras.retrieval.scann_error import SearchError
from pa_keras.retrieval.scann_import import ScannUnusableError, load_scann
from pa_keras.retrieval.scann_tuning import Tuning, scann_neighbours

search_module = sys.modules[search_function.__module__]


def clustered(number, size=16, classes=200, spread=0.2, seed=0):
    rng = np.random.default_rng(seed)
    centres = rng.normal(size=(classes, size))
    vectors = centres[rng.integers(classes, size=number)] + spread * rng.normal(size=(number, size))
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype("float32")


def without_scann(monkeypatch, error):
    """Make the import of scann fail as it does on another platform or with broken files."""

    class Finder:
        def find_spec(self, name, path=None, target=None):
            if name.split(".")[0] == "scann":
                raise error

    for name in [name for name in sys.modules if name.split(".")[0] == "scann"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setattr(sys, "meta_path", [Finder(), *sys.meta_path])


class Altered:
    """An index whose exact answers are changed by `alter(indices, similarities)`."""

    def __init__(self, gallery, k, alter):
        self.gallery, self.k, self.alter = gallery, k, alter
        self.efforts = []

    def find(self, queries, effort):
        self.efforts.append(effort)
        indices, similarities = exact_neighbours(queries, self.gallery, self.k)
        self.alter(queries, effort, indices, similarities)
        return indices, similarities

    def settings(self, effort):
        return {"index": "altered", "candidates": effort}


def use(monkeypatch, alter):
    made = []

    def build(gallery, k):
        made.append(Altered(gallery, k, alter))
        return made[-1]

    monkeypatch.setattr(scann_tuning, "build_index", build)
    return made


def nothing(queries, effort, indices, similarities):
    pass


@pytest.fixture
def scann():
    try:
        return load_scann()
    except ScannUnusableError as error:
        pytest.skip(str(error))


@pytest.mark.parametrize("exclude_self", [False, True])
def test_brute_force_below_the_rule_equals_exact(scann, exclude_self):
    points = clustered(500)
    exact = nearest_neighbours(points, points, 6, exclude_self, method="exact")
    found = search(points, points, 6, exclude_self, method="scann")
    assert found.method == "scann" and found.indices.dtype == np.int32
    np.testing.assert_array_equal(found.indices, exact[0])
    np.testing.assert_allclose(found.similarities, exact[1], atol=1e-5)


@pytest.mark.parametrize("size", [16, 15])
def test_the_tree_stays_within_the_error_it_reports(scann, monkeypatch, size):
    monkeypatch.setattr(scann_index, "BRUTE_FORCE_BELOW", 1_000)
    monkeypatch.setattr(scann_tuning, "SMALLEST_SAMPLE", 2_000)
    points = clustered(3_000, size)
    own = np.arange(len(points), dtype=np.int32)
    indices, similarities, tuning = scann_neighbours(points, points, 5, own, max_error=0.03)
    truth, _ = exact_neighbours(points, points, 5, own)
    missed = 1 - np.mean([len(set(a) & set(b)) / 5 for a, b in zip(indices, truth, strict=True)])
    assert tuning.error.sample_size == 2_000
    # ScaNN trains in threads, so two builds differ: only the bound is guaranteed.
    assert tuning.error.neighbours < tuning.error.bound <= 0.03 and missed <= 0.03
    assert tuning.settings["index"] == "tree and hashing" and tuning.settings["num_leaves"] == 55
    assert not (indices == own[:, None]).any()
    products = np.einsum("nd,nkd->nk", points, points[indices])
    np.testing.assert_allclose(similarities, products, atol=1e-4)


@pytest.mark.parametrize("leave_one_out", [True, False])
def test_with_labels_the_recalls_of_all_queries_are_within_the_bound(
    scann, monkeypatch, leave_one_out
):
    monkeypatch.setattr(scann_index, "BRUTE_FORCE_BELOW", 1_000)
    monkeypatch.setattr(scann_tuning, "SMALLEST_SAMPLE", 3_000)
    rng = np.random.default_rng(0)
    gallery, labels = clustered(5_000, 24), rng.integers(50, size=5_000)
    queries = gallery if leave_one_out else clustered(4_000, 24, seed=1)
    query_labels = labels if leave_one_out else rng.integers(55, size=4_000)
    own = np.arange(5_000) if leave_one_out else None
    both = query_labels, labels
    indices, _, tuning = scann_neighbours(queries, gallery, 4, own, both, max_error=0.03)
    truth, _ = exact_neighbours(queries, gallery, 4, own)
    answerable = np.isin(query_labels, labels)
    for k in (1, 4):
        found, exact = (
            recall_at_k(matches(rows, *both)[answerable], k).mean() for rows in (indices, truth)
        )
        assert abs(found - exact) <= tuning.error.bound <= 0.03


def test_the_least_effort_within_the_bound_is_taken(monkeypatch):
    points = clustered(600)
    monkeypatch.setattr(scann_tuning, "SMALLEST_SAMPLE", 300)

    def worse_at_less_effort(queries, effort, indices, similarities):
        if effort < 4:
            similarities[::10] = 0.0

    made = use(monkeypatch, worse_at_less_effort)
    _, _, tuning = scann_neighbours(points, points, 3, max_error=0.05)
    assert made[0].efforts == [1, 2, 4, 4] and tuning.settings["candidates"] == 4
    assert tuning.error.nearest == 0 and 0 < tuning.error.bound <= 0.05
    assert tuning.build_seconds > 0 and tuning.tune_seconds > 0 and tuning.search_seconds > 0


def test_labels_forgive_a_neighbour_of_the_same_class_and_no_other(monkeypatch):
    points = clustered(600)
    # Return the second nearest instead of the nearest.
    use(monkeypatch, lambda q, e, indices, values: indices.__setitem__((..., 0), indices[:, 1]))
    alike = np.zeros(600, int)
    _, _, tuning = scann_neighbours(points, points, 3, labels=(alike, alike))
    # All queries are in the sample, so the bound is the error itself.
    assert tuning.error.recalls == (0.0, 0.0) and tuning.error.bound == 0
    apart = np.arange(600)
    with pytest.raises(ScannUnusableError, match=r"moved Recall@1 by -100.00 and Recall@3 by"):
        scann_neighbours(points, points, 3, labels=(apart, apart))


def test_queries_without_a_right_answer_are_not_in_the_sample(monkeypatch):
    points = clustered(400)
    use(monkeypatch, nothing)
    labels = np.where(np.arange(400) < 100, 0, np.arange(400))
    _, _, tuning = scann_neighbours(points, points, 3, np.arange(400), (labels, labels))
    assert tuning.error.sample_size == 100


def test_a_tree_with_too_few_answers_is_completed_exactly(monkeypatch):
    points = clustered(300)

    def half_empty(queries, effort, indices, similarities):
        similarities[250:, -1], indices[250:, -1] = np.nan, -1

    use(monkeypatch, half_empty)
    monkeypatch.setattr(scann_tuning, "SMALLEST_SAMPLE", 100)
    indices, similarities, _ = scann_neighbours(points, points, 4, max_error=0.5)
    truth = exact_neighbours(points, points, 4)
    np.testing.assert_array_equal(indices, truth[0])
    assert np.isfinite(similarities).all()


def test_the_first_vector_may_be_short_of_answers_too(monkeypatch):
    points = clustered(20)

    def two_missing(queries, effort, indices, similarities):
        similarities[:, -2:], indices[:, -2:] = np.nan, -1

    use(monkeypatch, two_missing)
    own = np.arange(20, dtype=np.int32)
    indices, similarities, _ = scann_neighbours(points, points, 4, own, max_error=1.0)
    truth = exact_neighbours(points, points, 4, own)
    np.testing.assert_array_equal(indices, truth[0])
    np.testing.assert_allclose(similarities, truth[1], atol=1e-6)


def test_scann_s_empty_answers_are_no_index():
    class Searcher:
        def search_batched_parallel(self, queries, **options):
            assert options == {"pre_reorder_num_neighbors": 10, "leaves_to_search": 3}
            return np.array([[2, 0]], "uint32"), np.array([[0.5, np.nan]], "float32")

    index = scann_index.ScannIndex(Searcher(), 10, candidates=4, num_leaves=3, leaves=1)
    assert index.find(np.ones((1, 2)), 4)[0].tolist() == [[2, -1]]
    expected = {"num_leaves": 3, "leaves_to_search": 3, "candidates": 10}
    assert index.settings(4) == {"index": "tree and hashing", **expected}


def test_without_an_answerable_query_it_cannot_be_measured():
    points = clustered(300)
    found = search(points, points, 2, True, "scann", np.arange(300))
    assert found.method == "exact" and "no query has a right answer" in found.note


def test_an_inexact_index_falls_back_and_says_so(monkeypatch, caplog):
    points = clustered(300)
    use(monkeypatch, lambda q, e, indices, similarities: similarities.fill(-1))
    with pytest.raises(ScannUnusableError, match=r"missed 100.00% of the nearest.*1.00% allowed"):
        scann_neighbours(points, points, 3)
    found = search(points, points, 3, method="scann")
    assert found.method == found.report["method"] == "exact"
    assert found.note.startswith("exact search over 300, because ScaNN missed 100.00%")
    assert found.report["why_not_scann"].startswith("ScaNN missed 100.00%")
    assert caplog.records[0].levelname == "WARNING" and "Fell back to exact" in caplog.text
    np.testing.assert_array_equal(found.indices, exact_neighbours(points, points, 3)[0])


@pytest.mark.parametrize(
    "error, message",
    [
        (ImportError("No module named 'scann'"), "not installed or not for this platform"),
        (OSError("invalid ELF header"), "does not load (OSError: invalid ELF header)"),
    ],
)
def test_scann_that_does_not_load_falls_back(monkeypatch, caplog, error, message):
    without_scann(monkeypatch, error)
    points = clustered(50)
    indices, _ = nearest_neighbours(points, points, 3, method="scann")
    np.testing.assert_array_equal(indices, exact_neighbours(points, points, 3)[0])
    assert message in caplog.text


def test_auto_is_exact_for_small_sets_and_scann_above(monkeypatch):
    points, labels = clustered(300), np.arange(300) // 2
    monkeypatch.setattr(search_module, "MANY_QUERIES", 101)
    calls = []

    def recorded(queries, gallery, k, own, labels):
        calls.append(labels)
        error = SearchError(k, 100, 0.001, 0.002, None if labels is None else (-0.01, 0.0), 0.03)
        tuning = Tuning({"index": "hashing", "candidates": 100}, error, 1.0, 2.0, 3.0)
        return *exact_neighbours(queries, gallery, k, own), tuning

    monkeypatch.setattr(search_module, "scann_neighbours", recorded)
    assert search(points, points, 3).method == "exact"
    monkeypatch.setattr(search_module, "BRUTE_FORCE_BELOW", 300)
    assert search(points[:100], points, 3).method == "exact"
    assert search(points, points, 101).method == "exact"
    assert calls == []
    found = search(points, points, 3)
    assert calls == [None] and found.method == "scann"
    assert found.note == (
        "ScaNN over 300 missed 0.10% of the nearest and 0.20% of all neighbours of 100 queries "
        "that were also searched exactly; at 95% confidence at most 3.00%"
    )
    found = search(points, points, 3, exclude_self=True, query_labels=labels)
    assert calls[1][0] is calls[1][1]
    np.testing.assert_array_equal(calls[1][0], labels)
    assert found.note == (
        "ScaNN over 300 moved Recall@1 by -1.00 and Recall@3 by +0.00 points on 100 queries that "
        "were also searched exactly; at 95% confidence by at most 3.00 points"
    )
    report = json.loads(json.dumps(found.report))
    assert report["settings"] == {"index": "hashing", "candidates": 100}
    assert report["error"]["bound"] == 0.03 and report["error"]["confidence"] == 0.95
    assert (report["method"], report["gallery_size"], report["k"]) == ("scann", 300, 3)


def test_auto_falls_back_without_scann(monkeypatch, caplog):
    monkeypatch.setattr(search_module, "MANY_QUERIES", 100)
    monkeypatch.setattr(search_module, "BRUTE_FORCE_BELOW", 200)
    without_scann(monkeypatch, ImportError("No module named 'scann'"))
    points = clustered(300)
    assert search(points, points, 3).method == "exact"
    assert "Fell back to exact search over 300, because ScaNN is not installed" in caplog.text


@pytest.mark.parametrize(
    "labels",
    [
        {"query_labels": [0] * 4},
        {"gallery_labels": [0] * 5},
        {"query_labels": [0] * 5, "gallery_labels": [0] * 4},
    ],
)
def test_labels_that_are_not_one_a_vector_are_refused(labels):
    points = clustered(5)
    with pytest.raises(ValueError, match=r"query_labels of shape \(5,\) and gallery_labels"):
        nearest_neighbours(points, points, 1, **labels)
