"""Compares exact search with a double loop, and tests that bad arguments are refused."""

import logging

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pa_keras.retrieval import exact, nearest_neighbours, search
from pa_keras.retrieval.exact import exact_neighbours, without_own


def unit_rows(seed, number, size):
    vectors = np.random.default_rng(seed).normal(size=(number, size)).astype("float32")
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def on_grid(codes):
    """Makes vectors of multiples of 1/4: their products, and so ties, are exact in any order."""
    return np.asarray(codes, dtype="float32").reshape(len(codes), 3) / 4


def by_loop(queries, gallery, k, exclude_self):
    """Sorts every pair by falling similarity, then by index."""
    answers = []
    for i, query in enumerate(queries):
        pairs = []
        for j, other in enumerate(gallery):
            if not (exclude_self and i == j):
                product = sum(float(a) * float(b) for a, b in zip(query, other, strict=True))
                pairs.append((-product, j))
        answers.append([j for _, j in sorted(pairs)[:k]])
    return answers


codes = st.lists(st.integers(-4, 4), min_size=3, max_size=3)


@settings(max_examples=100, deadline=None)
@given(st.lists(codes, min_size=1, max_size=7), st.lists(codes, min_size=1, max_size=9), st.data())
def test_exact_equals_double_loop_with_ties(queries, gallery, data):
    queries, gallery = on_grid(queries), on_grid(gallery)
    k = data.draw(st.integers(1, len(gallery)))
    indices, similarities = exact_neighbours(queries, gallery, k)
    assert indices.tolist() == by_loop(queries, gallery, k, False)
    expected = np.take_along_axis(queries @ gallery.T, indices, axis=1)
    np.testing.assert_array_equal(similarities, expected)


@settings(max_examples=100, deadline=None)
@given(st.lists(codes, min_size=2, max_size=9), st.data())
def test_leave_one_out_equals_double_loop_with_duplicates(points, data):
    points = on_grid(points + points[:2])
    k = data.draw(st.integers(1, len(points) - 1))
    indices, _ = exact_neighbours(points, points, k, np.arange(len(points)))
    assert indices.tolist() == by_loop(points, points, k, True)


def test_blocks_give_the_same_answers(monkeypatch):
    points = unit_rows(0, 50, 8)
    whole = nearest_neighbours(points, points, 5, exclude_self=True)
    monkeypatch.setattr(exact, "BLOCK_SIZE", 7 * 50)
    blocked = nearest_neighbours(points, points, 5, exclude_self=True)
    np.testing.assert_array_equal(whole[0], blocked[0])
    np.testing.assert_allclose(whole[1], blocked[1], atol=1e-6)


@pytest.mark.parametrize("k", [1, 10, 999, 1000])
def test_few_groups_or_many_equal_a_whole_sort(k, monkeypatch):
    monkeypatch.setattr(exact, "BLOCK_SIZE", 100 * 9_000)
    queries = np.random.default_rng(0).integers(-3, 4, (150, 5)).astype("float32")
    gallery = np.random.default_rng(1).integers(-3, 4, (9_000, 5)).astype("float32")
    gallery[::7] = -0.0  # its products are equal to those that are 0.0
    indices, similarities = exact_neighbours(queries, gallery, k)
    products = queries @ gallery.T
    np.testing.assert_array_equal(indices, np.argsort(-products, axis=1, kind="stable")[:, :k])
    np.testing.assert_array_equal(similarities, np.take_along_axis(products, indices, axis=1))


def test_repeats_are_bit_equal():
    points = unit_rows(1, 300, 64)
    first = nearest_neighbours(points, points, 10)
    second = nearest_neighbours(points, points, 10)
    assert first[0].dtype == np.int32 and first[1].dtype == np.float32
    np.testing.assert_array_equal(first[0], second[0])
    np.testing.assert_array_equal(first[1], second[1])


def test_identical_images_find_each_other_but_never_themselves():
    points = np.tile(unit_rows(2, 1, 16), (6, 1))
    indices, similarities = nearest_neighbours(points, points, 5, exclude_self=True)
    assert all(i not in row for i, row in enumerate(indices))
    assert indices[0].tolist() == [1, 2, 3, 4, 5]
    assert indices[5].tolist() == [0, 1, 2, 3, 4]
    np.testing.assert_allclose(similarities, 1, atol=1e-6)


def test_without_own_drops_the_last_where_own_is_absent():
    indices = np.array([[3, 0, 1], [4, 5, 6]], np.int32)
    kept, similarities = without_own(indices, indices / 10, np.array([0, 1]))
    assert kept.tolist() == [[3, 1], [4, 5]]
    np.testing.assert_allclose(similarities, [[0.3, 0.1], [0.4, 0.5]])


def test_a_gallery_of_its_own_and_half_precision():
    queries, gallery = unit_rows(3, 4, 32), unit_rows(4, 9, 32)
    indices, _ = nearest_neighbours(queries.astype("float16"), gallery, 1)
    assert indices[:, 0].tolist() == (queries @ gallery.T).argmax(axis=1).tolist()


def test_negative_similarities_are_in_order_too():
    queries, gallery = -np.ones((1, 1), "float32"), np.array([[3], [1], [2], [1]], "float32")
    assert exact_neighbours(queries, gallery, 4)[0].tolist() == [[1, 3, 2, 0]]


def test_says_which_search(caplog):
    caplog.set_level(logging.INFO, logger="pa_keras")
    points = unit_rows(5, 12, 4)
    nearest_neighbours(points, points, 1)
    assert "exact search over 12" in caplog.text
    assert search(points, points, 1).method == "exact"


def test_k_beyond_the_gallery_is_refused():
    points = unit_rows(6, 5, 4)
    with pytest.raises(ValueError, match=r"k from 1 to 5; received k=6 with a gallery of 5.*lower"):
        nearest_neighbours(points, points, 6)
    with pytest.raises(ValueError, match=r"k from 1 to 4; received k=5.*without the query itself"):
        nearest_neighbours(points, points, 5, exclude_self=True)
    with pytest.raises(ValueError, match="received k=0"):
        nearest_neighbours(points, points, 0)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_rows_that_are_not_finite_are_named(value):
    points = unit_rows(7, 6, 4)
    broken = points.copy()
    broken[[2, 4], 1] = value
    with pytest.raises(ValueError, match=r"finite rows in gallery; received 2 .* of 6, rows 2 .*4"):
        nearest_neighbours(points, broken, 1)


def test_rows_not_of_unit_length_are_named():
    points = unit_rows(8, 8, 4)
    points[3] = 0
    with pytest.raises(ValueError, match=r"unit-length rows in queries.*rows 3 \(length 0\)"):
        nearest_neighbours(points, points, 1)
    with pytest.raises(ValueError, match=r"received 8 others.*, \.\.\.; divide each row"):
        nearest_neighbours(2 * unit_rows(8, 8, 4), points, 1)


def test_wrong_shapes_are_refused():
    points = unit_rows(9, 5, 4)
    with pytest.raises(ValueError, match=r"queries of shape \(number, embedding_size\).*\(4,\)"):
        nearest_neighbours(points[0], points, 1)
    with pytest.raises(ValueError, match=r"gallery of shape .* \(0, 4\)"):
        nearest_neighbours(points, points[:0], 1)
    with pytest.raises(ValueError, match="one embedding_size; received 4 and 3"):
        nearest_neighbours(points, unit_rows(9, 5, 3), 1)
    with pytest.raises(ValueError, match="5 queries and 3 gallery vectors"):
        nearest_neighbours(points, points[:3], 1, exclude_self=True)
    with pytest.raises(ValueError, match="method to be one of auto, exact, scann; .*'faiss'"):
        nearest_neighbours(points, points, 1, method="faiss")


def test_copies_stand_by_index_for_a_single_query_too():
    rng = np.random.default_rng(0)
    gallery = rng.standard_normal((501, 512)).astype("float32")
    gallery = np.concatenate([gallery, gallery, gallery])
    gallery /= np.linalg.norm(gallery, axis=1, keepdims=True)
    indices, _ = nearest_neighbours(gallery[:1], gallery, 3, method="exact")
    assert indices.tolist() == [[0, 501, 1002]]
