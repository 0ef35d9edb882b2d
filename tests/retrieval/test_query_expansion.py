"""Query expansion, against a few lines of NumPy."""

import numpy as np
import pytest

from pa_keras.retrieval import (
    QueryExpansion,
    expand_queries,
    nearest_neighbours,
    query_expansion,
    search_expanded,
)


def unit(rng, number, size=6):
    vectors = rng.standard_normal((number, size))
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype("float32")


def plain(queries, gallery, n, alpha, alone):
    """The expanded queries, one by one in float64."""
    result = []
    for i, query in enumerate(queries.astype(np.float64)):
        cosines = gallery.astype(np.float64) @ query
        order = [j for j in np.argsort(-cosines, kind="stable") if not (alone and i == j)][:n]
        total = query + sum(max(cosines[j], 0) ** alpha * gallery[j].astype(float) for j in order)
        result.append(total / np.linalg.norm(total))
    return np.array(result)


@pytest.mark.parametrize("alone", [True, False])
@pytest.mark.parametrize("n, alpha", [(1, 0), (4, 0), (4, 3), (9, 0.5), (19, 3), (19, 0)])
def test_equals_a_loop(monkeypatch, alone, n, alpha):
    rng = np.random.default_rng(n)
    queries = unit(rng, 20)
    gallery = queries if alone else unit(rng, 30)
    monkeypatch.setattr(query_expansion, "_BLOCK_SIZE", 6 * n * 7)  # seven queries at once
    nearest, _ = nearest_neighbours(queries, gallery, 19, exclude_self=alone)
    settings = QueryExpansion(n, alpha)
    expanded = expand_queries(nearest, queries, None if alone else gallery, settings)
    expected = plain(queries, gallery, n, alpha, alone)
    assert expanded.dtype == np.float32
    np.testing.assert_allclose(expanded, expected, atol=1e-6)
    # The search asks for more neighbours where it was given fewer than n.
    indices, cosines = search_expanded(
        nearest[:, :5], queries, None if alone else gallery, settings
    )
    similarities = expected @ gallery.T.astype(np.float64)
    if alone:
        np.fill_diagonal(similarities, -np.inf)
    order = np.argsort(-similarities, axis=1)[:, :5]
    np.testing.assert_array_equal(indices, order)
    np.testing.assert_allclose(cosines, np.take_along_axis(similarities, order, 1), atol=1e-5)


def test_default_is_alpha_3_with_all_the_neighbours_given():
    queries = unit(np.random.default_rng(0), 12)
    nearest, _ = nearest_neighbours(queries, queries, 4, exclude_self=True)
    expected = expand_queries(nearest, queries, settings=QueryExpansion(4, 3))
    np.testing.assert_array_equal(expand_queries(nearest, queries), expected)
    np.testing.assert_array_equal(
        search_expanded(nearest, queries)[0],
        search_expanded(nearest, queries, settings=QueryExpansion(4, 3))[0],
    )


def test_a_query_opposite_to_its_neighbours_is_kept():
    points = np.array([[0.6, 0.8], [-0.6, -0.8]], "float32")
    for alpha in (0, 3):
        settings = QueryExpansion(1, alpha)
        np.testing.assert_array_equal(expand_queries([[1], [0]], points, settings=settings), points)


@pytest.mark.parametrize(
    "arguments, message",
    [
        ((0,), "Expected neighbours of 1 or more; received 0"),
        ((-1,), "Expected neighbours of 1 or more; received -1"),
        ((2, -0.5), "Expected alpha of 0 or more; received -0.5"),
        ((2, float("nan")), "Expected alpha of 0 or more; received nan"),
        ((2, float("inf")), "Expected alpha of 0 or more; received inf"),
    ],
)
def test_settings_out_of_range(arguments, message):
    with pytest.raises(ValueError, match=message):
        QueryExpansion(*arguments)


def test_bad_vectors_and_neighbours():
    queries = unit(np.random.default_rng(1), 10)
    nearest, _ = nearest_neighbours(queries, queries, 3, exclude_self=True)
    with pytest.raises(ValueError, match="from 1 to 3 neighbours for query expansion"):
        expand_queries(nearest, queries, settings=QueryExpansion(4))
    with pytest.raises(ValueError, match="from 1 to 9 neighbours .* received 10"):
        search_expanded(nearest, queries, settings=QueryExpansion(10))
    with pytest.raises(ValueError, match=r"neighbours of shape \(10, k\), .* received \(10, 0\)"):
        expand_queries(nearest[:, :0], queries)
    with pytest.raises(ValueError, match="neighbours from 0 to 9, .* received 10 to 10"):
        expand_queries(np.full((10, 1), 10), queries)
    with pytest.raises(ValueError, match="received a query among its own.*exclude_self=True"):
        search_expanded(np.arange(10)[:, None], queries)
    broken = queries.copy()
    broken[2] = np.nan
    with pytest.raises(ValueError, match="Expected finite rows in queries; .* rows 2"):
        expand_queries(nearest, broken)
    with pytest.raises(ValueError, match="Expected finite rows in gallery; .* rows 2"):
        search_expanded(nearest, queries, broken)
