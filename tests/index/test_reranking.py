"""Re-ranking and query expansion of an index, against those of `retrieval` on the same vectors."""

import numpy as np
import pytest

from pa_keras.index import Items, ModelRecord, only_matches, open_index, write_index
from pa_keras.retrieval import KReciprocal, QueryExpansion, nearest_neighbours, rerank
from pa_keras.search import _found

SETTINGS = KReciprocal(8, 3, 0.3)


def clusters(number, seed=0, size=8):
    rng = np.random.default_rng(seed)
    vectors = np.random.default_rng(9).standard_normal((12, size))[rng.integers(12, size=number)]
    vectors = vectors + 0.8 * rng.standard_normal((number, size))
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype("float32")


def index_of(vectors, folder):
    number = len(vectors)
    ids = [str(i) for i in range(number)]
    items = Items(vectors, ids, [""] * number, np.zeros(number, np.int32), [""])
    write_index(folder, items, ModelRecord("c" * 64, 0.875))
    return open_index(folder)


@pytest.mark.parametrize("settings", [SETTINGS, KReciprocal(7, 1, 0), KReciprocal(3, 3, 0.9)])
def test_all_items_are_sorted_as_in_a_gallery(tmp_path, settings):
    vectors = clusters(150)
    index = index_of(vectors, tmp_path)
    queries = clusters(4, seed=1)
    rows, cosines = index.search(queries, 150, settings)
    np.testing.assert_allclose(cosines, np.take_along_axis(queries @ vectors.T, rows, 1), atol=1e-6)
    for query, found in zip(queries, rows, strict=True):
        # Without the other queries, which do not matter in an index.
        nearest, _ = nearest_neighbours(query[None], vectors, 150)
        expected, distances = rerank(nearest, query[None], vectors, settings)
        of_item = np.empty(150)
        of_item[expected[0]] = distances[0]
        np.testing.assert_allclose(of_item[found], distances[0], atol=1e-6)


def test_the_nearest_100_are_reranked(tmp_path):
    vectors = clusters(400)
    index = index_of(vectors, tmp_path)
    query = clusters(1, seed=1)
    candidates, _ = nearest_neighbours(query, vectors, 100)
    all_of_them, _ = index.search(query, 400, SETTINGS)
    expected = [row for row in all_of_them[0] if row in candidates[0]]
    assert index.search(query, 7, SETTINGS)[0][0].tolist() == expected[:7]
    assert expected[:7] != candidates[0][:7].tolist()


def test_an_item_searched_for_is_its_own_nearest(tmp_path):
    vectors = clusters(150)
    rows, cosines = index_of(vectors, tmp_path).search(vectors[:5], 3, SETTINGS)
    assert rows[:, 0].tolist() == [0, 1, 2, 3, 4]
    np.testing.assert_allclose(cosines[:, 0], 1, atol=1e-6)


@pytest.mark.parametrize("alpha", [0, 3])
def test_query_expansion_equals_a_loop(tmp_path, alpha):
    vectors, queries = clusters(60), clusters(5, seed=1)
    rows, cosines = index_of(vectors, tmp_path).search(queries, 6, QueryExpansion(4, alpha))
    for query, found, values in zip(queries, rows, cosines, strict=True):
        similarities = vectors @ query
        near = np.argsort(-similarities)[:4]
        expanded = query + (np.maximum(similarities[near], 0) ** alpha) @ vectors[near]
        assert found.tolist() == np.argsort(-(vectors @ expanded))[:6].tolist()
        np.testing.assert_allclose(values, similarities[found], atol=1e-6)  # not of the expanded


def test_an_index_that_is_too_small(tmp_path):
    vectors = clusters(8)
    index = index_of(vectors, tmp_path)
    with pytest.raises(ValueError, match="k1 below the number of vectors, 8; received k1=8"):
        index.search(vectors, 2, SETTINGS)
    with pytest.raises(ValueError, match="from 1 to 8 neighbours .*received 9"):
        index.search(vectors, 2, QueryExpansion(9))
    assert index.search(vectors, 8, KReciprocal(7, 1))[0].shape == (8, 8)
    vectors[0, 0] = np.nan
    with pytest.raises(ValueError, match="Expected finite rows in queries"):
        index.search(vectors, 2, KReciprocal(7, 1))


def test_matches_of_another_order():
    rows = np.array([[5, 6, 7, 8], [1, 2, 3, 4]])
    similarities = np.array([[0.6, 0.9, 0.5, 0.8], [0.1, 0.2, 0.4, 0.3]])
    found, values = only_matches(rows, similarities, 2, 0.6)
    assert [each.tolist() for each in found] == [[5, 6], [3]]
    assert [each.tolist() for each in values] == [[0.6, 0.9], [0.4]]


def test_an_expanded_query_still_finds_the_match_that_the_query_has(tmp_path):
    # Item 0 has a cosine of 0.9 to the query; 150 items on the other side draw the expanded query.
    angles = np.array([-np.arccos(0.9), *np.linspace(0.55, 0.57, 150)])
    vectors = np.stack([np.cos(angles), np.sin(angles)], axis=1).astype("float32")
    index, query = index_of(vectors, tmp_path), np.array([[1.0, 0.0]], "float32")
    rows, _ = _found(index, query, 4, QueryExpansion(5), 0.88)
    assert [found.tolist() for found in rows] == [[0]]
    rows, cosines = _found(index, query, 4, QueryExpansion(5), 0.95)  # no match: the most similar
    assert rows[0].tolist() == [0] and cosines[0][0] == pytest.approx(0.9, abs=1e-6)
