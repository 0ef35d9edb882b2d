"""The search inside a SavedModel, compared with NumPy, in every dtype and across blocks."""

import numpy as np
import pytest
import tensorflow as tf

from pa_keras.exporters import search_graph
from pa_keras.exporters.gallery import Gallery
from pa_keras.exporters.search_graph import GalleryIndex, measure_gallery


def unit(number, size, seed=0):
    vectors = np.random.default_rng(seed).normal(size=(number, size)).astype(np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def gallery_of(embeddings, dtype="float32", labels=None):
    number = len(embeddings)
    labels = np.arange(number) % 3 if labels is None else np.asarray(labels)
    names = [f"class {i}" for i in range(labels.max() + 1)]
    return Gallery(embeddings, [f"é/{i}.jpg" for i in range(number)], labels, names, dtype)


def nearest(index, queries, k):
    similarities, rows = tf.function(index.nearest)(tf.constant(queries), k)
    return similarities.numpy(), rows.numpy()


def ranked(similarities, k):
    """Searches one query at a time; equal neighbours are sorted by index."""
    rows = np.array(
        [sorted(range(len(s)), key=lambda i, s=s: (-s[i], i))[:k] for s in similarities]
    )
    return np.take_along_axis(similarities, rows, axis=1), rows


@pytest.mark.parametrize("block", [3, 8, 50, 8192])
@pytest.mark.parametrize(("number", "k"), [(50, 1), (50, 7), (50, 50), (1, 1), (9, 4)])
def test_float32_equals_numpy(monkeypatch, block, number, k):
    monkeypatch.setattr(search_graph, "_LEAST_BLOCK", block)
    vectors, queries = unit(number, 5), unit(4, 5, seed=1)
    similarities, rows = nearest(GalleryIndex(gallery_of(vectors)), queries, k)
    expected, expected_rows = ranked(queries.astype(np.float64) @ vectors.T, k)
    np.testing.assert_array_equal(rows, expected_rows)
    np.testing.assert_allclose(similarities, expected, atol=1e-6)


@pytest.mark.parametrize("block", [3, 8192])
def test_equal_similarities_by_lower_index(monkeypatch, block):
    monkeypatch.setattr(search_graph, "_LEAST_BLOCK", block)
    vectors = np.repeat(unit(2, 4), [3, 8], axis=0)[[0, 5, 1, 4, 2, 3, 6, 7, 8, 9, 10]]
    _, rows = nearest(GalleryIndex(gallery_of(vectors)), vectors[:1], 11)
    assert rows[0].tolist() == [0, 2, 4, 1, 3, 5, 6, 7, 8, 9, 10]


@pytest.mark.parametrize(("dtype", "tolerance"), [("bfloat16", 2**-8), ("int8", 1 / 127)])
def test_rounded_rows_are_compared_as_unit_vectors(dtype, tolerance):
    vectors, queries = unit(200, 32), unit(6, 32, seed=1)
    similarities, rows = nearest(GalleryIndex(gallery_of(vectors, dtype)), queries, 200)
    exact = np.take_along_axis(queries @ vectors.T, rows, axis=1)
    assert 0 < np.abs(similarities - exact).max() < tolerance
    own, _ = nearest(GalleryIndex(gallery_of(vectors, dtype)), vectors[:6], 1)
    assert (own <= 1 + 1e-6).all() and (own > 1 - 1e-3).all()


def test_int8_rounds_to_steps_of_the_largest_component():
    vectors = np.array([[0.6, 0.8, 0.0], [-1.0, 0.0, 0.0]], np.float32)
    index = GalleryIndex(gallery_of(vectors, "int8", [0, 0]))
    rounded = np.array([[95, 127, 0], [-127, 0, 0]], np.float64)  # 0.6 / 0.8 x 127 = 95.25
    query = np.array([[1.0, 0.0, 0.0]], np.float32)
    similarities, _ = nearest(index, query, 2)
    expected = rounded[:, 0] / np.linalg.norm(rounded, axis=1)
    np.testing.assert_allclose(similarities[0], expected, rtol=1e-6)


def test_answers_name_items_and_classes():
    answer = GalleryIndex(gallery_of(unit(7, 4)))(tf.constant(unit(7, 4)[5:6]), 1)
    assert answer["ids"].numpy()[0, 0].decode() == "é/5.jpg"
    assert answer["labels"].numpy()[0, 0] == b"class 2"
    np.testing.assert_allclose(answer["similarities"].numpy(), [[1]], atol=1e-6)


@pytest.mark.parametrize("length", [1e-30, 1e-8, 5, 1e20])
def test_queries_of_any_length_give_cosines(length):
    index, queries = GalleryIndex(gallery_of(unit(9, 4))), unit(2, 4, seed=1)
    similarities, rows = nearest(index, np.float32(length) * queries, 9)
    expected, expected_rows = nearest(index, queries, 9)
    np.testing.assert_array_equal(rows, expected_rows)
    np.testing.assert_allclose(similarities, expected, atol=1e-6)


def test_a_query_of_zeros():
    with pytest.raises(tf.errors.InvalidArgumentError, match="not all zeros"):
        nearest(GalleryIndex(gallery_of(unit(9, 4))), np.zeros((1, 4), np.float32), 3)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_query_that_is_not_finite(value):
    queries = np.full((1, 4), value, np.float32)
    with pytest.raises(tf.errors.InvalidArgumentError, match="Expected finite embeddings"):
        nearest(GalleryIndex(gallery_of(unit(9, 4))), queries, 3)


def test_no_queries():
    with pytest.raises(tf.errors.InvalidArgumentError, match="Expected a batch of 1 or more"):
        nearest(GalleryIndex(gallery_of(unit(9, 4))), np.zeros((0, 4), np.float32), 3)


def test_measured_cost_equals_a_double_loop():
    # Pairs of one class a tenth of a degree apart, with others in between, closer than int8 steps.
    angles = np.sort(np.random.default_rng(0).uniform(0, 0.5, 100))
    angles = np.concatenate([angles, angles + 0.0015])
    vectors = np.stack([np.cos(angles), np.sin(angles)], axis=1).astype(np.float32)
    labels = np.tile(np.arange(100), 2)
    rounded = np.rint(vectors * 127 / np.abs(vectors).max(axis=1, keepdims=True))
    rounded /= np.linalg.norm(rounded, axis=1, keepdims=True)
    nearest_of, right = {}, {}
    for name, rows in (("exact", vectors), ("rounded", rounded)):
        found = []
        for i, query in enumerate(vectors.astype(np.float64)):
            others = [(-float(query @ rows[j]), j) for j in range(200) if j != i]
            found.append(min(others)[1])
        nearest_of[name] = np.array(found)
        right[name] = 100 * np.mean(labels[found] == labels)
    lost = right["exact"] - right["rounded"]
    assert lost > 10  # a wrong sign or order would show
    measured = measure_gallery(gallery_of(vectors, "int8", labels))
    # Float32 sums may swap neighbours that agree to seven digits.
    assert measured["recall_at_1_lost"] == pytest.approx(lost, abs=3)
    same = np.mean(nearest_of["exact"] == nearest_of["rounded"])
    assert measured["same_nearest"] == pytest.approx(same, abs=0.03)
    assert (measured["size"], measured["dtype"], measured["queries"]) == (200, "int8", 200)


def test_cost_of_float32_is_none():
    measured = measure_gallery(gallery_of(unit(5000, 8), labels=np.arange(5000) % 10))
    assert (measured["same_nearest"], measured["recall_at_1_lost"]) == (1.0, 0.0)
    assert measured["queries"] == 2000


def test_cost_where_nothing_can_be_measured():
    alone = measure_gallery(gallery_of(unit(9, 4), labels=np.arange(9)))
    assert (alone["same_nearest"], alone["recall_at_1_lost"]) == (1.0, None)
    single = measure_gallery(gallery_of(unit(1, 4), labels=[0]))
    assert (single["same_nearest"], single["recall_at_1_lost"]) == (None, None)


@pytest.mark.parametrize("dtype", ["float32", "int8"])
def test_matched_is_a_similarity_of_the_threshold_or_more(dtype):
    vectors, queries = unit(50, 5), unit(4, 5, seed=1)
    index = GalleryIndex(gallery_of(vectors, dtype))
    similarities, _ = nearest(index, queries, 7)
    threshold = float(similarities[1, 3])  # equal to one of them
    answer = index(tf.constant(queries), 7, threshold)
    assert answer["matched"].dtype == tf.bool
    expected = [[value >= threshold for value in row] for row in similarities.tolist()]
    assert answer["matched"].numpy().tolist() == expected
    assert answer["matched"].numpy()[1].tolist() == [True] * 4 + [False] * 3
    assert "matched" not in index(tf.constant(queries), 7)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "int8"])
def test_the_rounding_error_bounds_the_change_of_every_similarity(monkeypatch, dtype):
    monkeypatch.setattr(search_graph, "_LEAST_BLOCK", 64)
    vectors, queries = unit(200, 32), unit(300, 32, seed=1)
    gallery = gallery_of(vectors, dtype)
    similarities, rows = nearest(GalleryIndex(gallery), queries, 200)
    changes = np.abs(similarities - np.take_along_axis(queries @ vectors.T, rows, axis=1))
    error = search_graph.rounding_error(gallery)
    assert changes.max() <= error + 1e-6
    assert error < 1e-6 if dtype == "float32" else error < 4 * changes.max()
