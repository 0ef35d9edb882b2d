"""k-reciprocal re-ranking, against a double loop over the paper's formulas."""

import tracemalloc

import numpy as np
import pytest

from pa_keras.retrieval import KReciprocal, nearest_neighbours, rerank
from pa_keras.retrieval.k_reciprocal import encode


def clusters(rng, number, size=4, classes=5):
    """Unit vectors around random centres, float32."""
    centres = rng.standard_normal((classes, size))
    vectors = centres[rng.integers(classes, size=number)]
    vectors = vectors + 0.7 * rng.standard_normal((number, size))
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype("float32")


def by_the_paper(vectors, k1, k2, weight):
    """All final distances (M, M), from sets and loops in float64."""
    number = len(vectors)
    distance = 1 - vectors.astype(np.float64) @ vectors.astype(np.float64).T

    def sorted_others(p):
        return [g for _, g in sorted((distance[p, g], g) for g in range(number) if g != p)]

    lists = [[p, *sorted_others(p)] for p in range(number)]

    def nearest(p, k):  # N(p, k), with p itself in front
        return lists[p][: k + 1]

    def reciprocal(p, k):
        return {g for g in nearest(p, k) if p in nearest(g, k)}

    codes = np.zeros((number, number))
    for p in range(number):
        near = reciprocal(p, k1)
        expanded = set(near)
        for q in near:
            half = reciprocal(q, round(k1 / 2))
            if len(near & half) >= 2 / 3 * len(half) - 1e-9:
                expanded |= half
        for g in expanded:
            codes[p, g] = np.exp(-distance[p, g])
        codes[p] /= codes[p].sum()
    codes = np.array([np.mean([codes[g] for g in nearest(p, k2 - 1)], 0) for p in range(number)])
    result = np.empty((number, number))
    for p in range(number):
        for g in range(number):
            least, most = np.minimum(codes[p], codes[g]), np.maximum(codes[p], codes[g])
            result[p, g] = (1 - weight) * (1 - least.sum() / most.sum()) + weight * distance[p, g]
    return result


def expect_the_order(indices, distances, expected):
    """The k smallest of each row of the expected distances, up to rounding."""
    k = indices.shape[1]
    np.testing.assert_allclose(distances, np.sort(expected, axis=1)[:, :k], atol=1e-5)
    np.testing.assert_allclose(np.take_along_axis(expected, indices, 1), distances, atol=1e-5)
    assert all(len(set(row)) == k for row in indices.tolist())


@pytest.mark.parametrize("k1, k2, weight", [(6, 3, 0.3), (5, 1, 0), (7, 7, 0.9), (1, 1, 0.3)])
@pytest.mark.parametrize("k", [1, 4, 10, 29])
def test_leave_one_out_equals_a_double_loop(k1, k2, weight, k):
    vectors = clusters(np.random.default_rng(k1), 30)
    nearest, _ = nearest_neighbours(vectors, vectors, k, exclude_self=True)
    indices, distances = rerank(nearest, vectors, settings=KReciprocal(k1, k2, weight))
    assert (indices != np.arange(30)[:, None]).all()  # no query is its own neighbour
    expected = by_the_paper(vectors, k1, k2, weight)
    np.fill_diagonal(expected, np.inf)
    expect_the_order(indices, distances, expected)


@pytest.mark.parametrize("k", [1, 5, 25])
def test_a_gallery_equals_a_double_loop_over_queries_and_gallery(k):
    vectors = clusters(np.random.default_rng(8), 35)
    queries, gallery = vectors[:10], vectors[10:]
    nearest, _ = nearest_neighbours(queries, gallery, k)
    indices, distances = rerank(nearest, queries, gallery, KReciprocal(6, 3, 0.3))
    expect_the_order(indices, distances, by_the_paper(vectors, 6, 3, 0.3)[:10, 10:])


def test_copies_of_a_query_are_its_neighbours_but_it_is_not():
    vectors = np.repeat(clusters(np.random.default_rng(3), 8), 4, axis=0)
    nearest, _ = nearest_neighbours(vectors, vectors, 3, exclude_self=True)
    indices, distances = rerank(nearest, vectors, settings=KReciprocal(3, 2, 0.3))
    expected = [[i for i in range(32) if i // 4 == q // 4 and i != q] for q in range(32)]
    assert np.sort(indices, axis=1).tolist() == expected
    np.testing.assert_allclose(distances, 0, atol=1e-6)


def test_weight_1_keeps_the_order_and_k2_1_averages_nothing():
    vectors = clusters(np.random.default_rng(4), 40, 16)
    nearest, cosines = nearest_neighbours(vectors, vectors, 10, exclude_self=True)
    indices, distances = rerank(nearest, vectors, settings=KReciprocal(5, 2, 1))
    np.testing.assert_array_equal(indices, nearest)
    np.testing.assert_allclose(distances, 1 - cosines, atol=1e-6)


def test_the_classes_of_the_data_get_closer():
    rng = np.random.default_rng(5)
    labels = np.repeat(np.arange(20), 25)
    vectors = rng.standard_normal((20, 32))[labels] + 1.6 * rng.standard_normal((500, 32))
    vectors = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype("float32")
    nearest, _ = nearest_neighbours(vectors, vectors, 24, exclude_self=True)
    indices, _ = rerank(nearest, vectors)
    before, after = (np.mean(labels[each] == labels[:, None]) for each in (nearest, indices))
    assert after > before + 0.05


def test_no_matrix_of_all_pairs_is_kept():
    vectors = clusters(np.random.default_rng(6), 4000, 32, 200)
    nearest, _ = nearest_neighbours(vectors, vectors, 20, exclude_self=True)
    tracemalloc.start()
    codes = encode(vectors, nearest, KReciprocal())
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert codes.rows.nnz < 4000 * 150
    assert peak < 4000**2 * 4 / 2  # half of one float32 matrix of all pairs


@pytest.mark.parametrize(
    "settings, message",
    [
        ({"k1": 0}, "Expected k1 of 1 or more; received 0"),
        ({"k1": 2.5}, "Expected k1 of 1 or more; received 2.5"),
        ({"k2": 0}, "Expected k2 of 1 or more; received 0"),
        ({"k1": 5}, "Expected k2 from 1 to k1=5; received k2=6"),
        ({"weight": -0.1}, r"Expected weight in \[0, 1\]; received -0.1"),
        ({"weight": 1.1}, r"Expected weight in \[0, 1\]; received 1.1"),
        ({"weight": float("nan")}, r"Expected weight in \[0, 1\]; received nan"),
    ],
)
def test_settings_out_of_range(settings, message):
    with pytest.raises(ValueError, match=message):
        KReciprocal(**settings)


def test_bad_vectors_and_neighbours():
    vectors = clusters(np.random.default_rng(7), 20)
    nearest, _ = nearest_neighbours(vectors, vectors, 3, exclude_self=True)
    with pytest.raises(ValueError, match="k1 below the number of vectors, 20; received k1=20"):
        rerank(nearest, vectors)
    with pytest.raises(ValueError, match=r"neighbours of shape \(20, k\), .*received \(19, 3\)"):
        rerank(nearest[:19], vectors, settings=KReciprocal(5, 2))
    with_self, _ = nearest_neighbours(vectors, vectors, 3)
    with pytest.raises(ValueError, match="received a query among its own.*exclude_self=True"):
        rerank(with_self, vectors, settings=KReciprocal(5, 2))
    broken = vectors.copy()
    broken[4, 1] = np.nan
    with pytest.raises(ValueError, match="Expected finite rows in queries; .* rows 4"):
        rerank(nearest, broken, settings=KReciprocal(5, 2))
    with pytest.raises(ValueError, match="Expected finite rows in gallery; .* rows 4"):
        rerank(nearest, vectors, broken, settings=KReciprocal(5, 2))
    with pytest.raises(ValueError, match="neighbours from 0 to 19, .* received -1 to"):
        rerank(nearest - 1, vectors, settings=KReciprocal(5, 2))
