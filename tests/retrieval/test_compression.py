"""Compares compression with another form of PCA, loops for the codes, and Hamming distances."""

import numpy as np
import pytest
from sklearn.decomposition import TruncatedSVD

from pa_keras.retrieval import (
    compression_table,
    per_query_metrics,
    retrieval_metrics,
    search,
)
from pa_keras.retrieval.compression import as_table, coded, halves, principal_axes, unit
from pa_keras.retrieval.exact import exact_neighbours


def classes_of_vectors(seed=0, number=300, size=48, classes=30, noise=1.0):
    rng = np.random.default_rng(seed)
    labels = rng.integers(classes, size=number)
    centres = np.random.default_rng(99).normal(size=(classes, size)) * np.linspace(2, 0.1, size)
    return unit(centres[labels] + noise * rng.normal(size=(number, size))), labels


def test_axes_are_those_of_a_truncated_svd():
    vectors, _ = classes_of_vectors()
    axes = principal_axes(vectors, 10)
    np.testing.assert_allclose(axes.T @ axes, np.eye(10), atol=1e-5)
    svd = TruncatedSVD(10, algorithm="arpack", random_state=0).fit(vectors)
    overlap = np.abs(np.sum(axes * svd.components_.T, axis=0))
    np.testing.assert_allclose(overlap, 1, atol=1e-3)


def test_all_axes_change_no_inner_product():
    vectors, _ = classes_of_vectors()
    turned = vectors @ principal_axes(vectors, 48)
    np.testing.assert_allclose(turned @ turned.T, vectors @ vectors.T, atol=1e-5)


def test_int8_rounds_to_127_steps_and_its_cosine_is_that_of_the_codes():
    vectors, _ = classes_of_vectors(number=5)
    for vector, received in zip(vectors, coded(vectors, "int8"), strict=True):
        codes = [round(float(127 * value / max(abs(vector)))) for value in vector]
        np.testing.assert_allclose(received, np.array(codes) / np.linalg.norm(codes), atol=1e-6)


def test_binary_neighbours_are_those_by_hamming_distance():
    vectors, _ = classes_of_vectors(number=80)
    bits = np.packbits(vectors >= 0, axis=1)
    distances = np.bitwise_count(bits[:, None] ^ bits[None]).sum(axis=2, dtype=int)
    expected = np.argsort(distances, axis=1, kind="stable")[:, :5]
    signs = coded(vectors, "binary")
    indices, products = exact_neighbours(signs, signs, 5)
    np.testing.assert_array_equal(indices, expected)
    hamming = np.take_along_axis(distances, indices, axis=1)
    np.testing.assert_array_equal(products, 48 - 2 * hamming)


@pytest.mark.parametrize("leave_one_out", [True, False])
def test_the_whole_size_in_floats_is_the_uncompressed_recall(leave_one_out):
    queries, labels = classes_of_vectors(0)
    searched = () if leave_one_out else classes_of_vectors(1, number=200)
    rows = compression_table(queries, labels, *searched)
    assert [(row.size, row.code) for row in rows[:4]] == [
        (48, "float32"),
        (48, "int8"),
        (48, "binary"),
        (24, "float32"),
    ]
    assert [row.bytes_per_vector for row in rows] == [192, 48, 6, 96, 24, 3]
    expected = retrieval_metrics(queries, labels, *searched, ks=(1,))["recall_at_1"]
    np.testing.assert_allclose(rows[0].recall_at_1, expected)
    assert abs(rows[1].recall_at_1 - expected) < 0.02 and rows[2].recall_at_1 < expected


def test_queries_without_a_right_answer_do_not_count():
    queries, labels = classes_of_vectors()
    more = np.concatenate([queries, queries[:1]]), np.append(labels, 99)
    rows = compression_table(more[0], more[1], queries, labels, sizes=[24])
    assert rows == compression_table(queries, labels, queries, labels, sizes=[24])


def test_rows_that_lose_everything_stay_finite():
    vectors = np.eye(4, dtype="float32")[[0, 0, 0, 1, 1, 3]]
    rows = compression_table(vectors, [0, 0, 0, 1, 1, 1], sizes=[1])
    assert all(0 <= row.recall_at_1 <= 1 for row in rows)


def test_the_table_and_the_sizes():
    assert halves(100) == [100, 50, 25] and halves(8) == [8]
    queries, labels = classes_of_vectors()
    lines = as_table(compression_table(queries, labels, sizes=[9])).splitlines()
    assert lines[0].split() == ["size", "float32", "bytes", "int8", "bytes", "binary", "bytes"]
    assert lines[1].split()[0::2] == ["9", "36", "9", "2"]


def test_bad_input_is_refused():
    vectors, labels = classes_of_vectors()
    with pytest.raises(ValueError, match="size from 1 to the embeddings' 48; received 49"):
        principal_axes(vectors, 49)
    with pytest.raises(ValueError, match="size from 1 .*received 64"):
        compression_table(vectors, labels, sizes=[64])
    with pytest.raises(ValueError, match="a right answer in the gallery for some query"):
        compression_table(vectors, np.arange(len(vectors)))


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("leave_one_out", [True, False])
def test_ties_are_decided_as_in_the_search_that_is_not_compressed(leave_one_out, seed):
    # The last bit decides between nearly equal vectors, and half of them repeat in another
    # class. Every 8th query is alone in its class.
    rng = np.random.default_rng(seed)
    vectors = unit(1 + 1e-3 * rng.normal(size=(40, 8)))
    vectors = np.concatenate([vectors, vectors])
    labels = np.where(np.arange(80) % 8 == 0, np.arange(80) + 100, rng.integers(5, size=80))
    searched = () if leave_one_out else (vectors[rng.permutation(80)], labels)
    rows = compression_table(vectors, labels, *searched, sizes=[8])
    found = search(vectors, searched[0] if searched else vectors, 79, leave_one_out)
    of_search = per_query_metrics(found.indices, labels, searched[1] if searched else None, (1,))
    assert rows[0].recall_at_1 == of_search["recall_at_1"].mean()
