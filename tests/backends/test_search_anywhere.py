"""Exact search and the metrics on the backend that is set, against loops, with ties.

KERAS_BACKEND=jax python -m pytest tests/backends/test_search_anywhere.py
"""

import numpy as np
import pytest

from pa_keras import nearest_neighbours, retrieval_metrics
from pa_keras.retrieval import search


def unit_vectors(number, seed, copies=1):
    """Unit vectors of which each is there `copies` times, so that similarities are equal."""
    rows = np.random.default_rng(seed).normal(size=(number, 8)).astype("float32")
    return np.tile(rows / np.linalg.norm(rows, axis=1, keepdims=True), (copies, 1))


def by_loop(queries, gallery, k, exclude_self):
    indices = []
    for row, query in enumerate(queries):
        cosines = [float(np.float64(query) @ np.float64(vector)) for vector in gallery]
        # Copies have equal cosines, and Python's sort keeps their order.
        order = sorted(range(len(gallery)), key=lambda n: -cosines[n])
        indices.append([n for n in order if not (exclude_self and n == row)][:k])
    return np.array(indices)


@pytest.mark.parametrize("copies", [1, 4])
def test_exact_search_equals_a_loop_and_orders_ties_by_index(copies):
    queries, gallery = unit_vectors(9, seed=0), unit_vectors(30, seed=1, copies=copies)
    indices, similarities = nearest_neighbours(queries, gallery, k=7, method="exact")
    np.testing.assert_array_equal(indices, by_loop(queries, gallery, 7, False))
    found = np.take_along_axis(queries @ gallery.T, indices, axis=1)
    np.testing.assert_allclose(similarities, found, atol=1e-6)
    alone, _ = nearest_neighbours(gallery, gallery, k=5, exclude_self=True)
    np.testing.assert_array_equal(alone, by_loop(gallery, gallery, 5, True))


def test_the_default_search_of_a_small_gallery_is_exact():
    vectors = unit_vectors(12, seed=2)
    assert search(vectors, vectors, k=3).method == "exact"


def test_metrics_equal_a_loop():
    vectors, labels = unit_vectors(40, seed=3), np.arange(40) % 5
    found = retrieval_metrics(vectors, labels, ks=(1, 4))
    right = labels[by_loop(vectors, vectors, 4, True)] == labels[:, None]
    assert found["recall_at_1"] == pytest.approx(right[:, 0].mean())
    assert found["recall_at_4"] == pytest.approx(right.any(axis=1).mean())
