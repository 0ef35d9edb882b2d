"""Compares every metric with a double loop written from its definition."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score, top_k_accuracy_score

from pa_keras.retrieval import (
    first_hit_rank,
    matches,
    mean_average_precision_at_r,
    num_relevant,
    per_class_metrics,
    per_query_metrics,
    precision_at_k,
    r_precision,
    recall_at_k,
    retrieval_metrics,
)

KS = (1, 2, 4, 8, 50)
CLOSE = {"rtol": 1e-9, "atol": 1e-12}


AXES = [(1, 0, 0, 0), (0, 1, 0, 0), (0, 0, 0, -1), (-1, 0, 0, 0)]
CORNERS = [(0.5, 0.5, 0.5, 0.5), (0.5, -0.5, 0.5, 0.5), (-0.5, -0.5, 0.5, 0.5), (0.5,) * 4]


def on_sphere(steps):
    """Makes few unit vectors, for many ties, with products that are exact in any order of sums."""
    return np.array([(AXES + CORNERS)[step] for step in steps], dtype="float32")


def by_loop(queries, query_labels, gallery, gallery_labels, ks, leave_one_out):
    """Computes the metrics query by query, as the papers define them, in plain Python."""
    rows, left_out = [], 0
    for i, (query, label) in enumerate(zip(queries, query_labels, strict=True)):
        others = [j for j in range(len(gallery)) if not (leave_one_out and i == j)]
        products = {j: float(np.float32(query) @ np.float32(gallery[j])) for j in others}
        ranked = sorted(others, key=lambda j: (-products[j], j))
        right = [gallery_labels[j] == label for j in ranked]
        total = sum(right)
        if total == 0:
            left_out += 1
            continue
        row = {f"recall_at_{k}": float(any(right[:k])) for k in ks}
        row |= {f"precision_at_{k}": sum(right[:k]) / k for k in ks}
        row["r_precision"] = sum(right[:total]) / total
        precisions = [sum(right[: r + 1]) / (r + 1) for r in range(total) if right[r]]
        row["map_at_r"] = sum(precisions) / total
        sums = {
            # In float64, since rounding errors of float32 would decide between equal cosines.
            c: sum(np.float64(gallery[j]) for j in others if gallery_labels[j] == c)
            for c in gallery_labels
        }
        lengths = {c: float(np.linalg.norm(sums[c])) or 1 for c in sums}
        cosines = {c: round(float(query @ sums[c]) / lengths[c], 9) for c in sums}
        row["centroid_accuracy"] = float(label == min(cosines, key=lambda c: (-cosines[c], c)))
        row["first_hit_rank"] = right.index(True) + 1
        rows.append(row)
    means = {name: float(np.mean([row[name] for row in rows])) for name in rows[0]} if rows else {}
    return {**means, "num_queries": len(rows), "num_left_out": left_out}


points = st.lists(st.tuples(st.integers(0, 7), st.integers(0, 3)), min_size=1, max_size=14)


def check(queries, query_labels, gallery, gallery_labels):
    leave_one_out = gallery is None
    arguments = (queries, query_labels, gallery, gallery_labels)
    others = (queries, query_labels) if leave_one_out else (gallery, gallery_labels)
    expected = by_loop(queries, query_labels, *others, KS, leave_one_out)
    if not expected["num_queries"]:
        with pytest.raises(ValueError, match="a right answer in the gallery for some query"):
            retrieval_metrics(*arguments, ks=KS)
        return
    received = retrieval_metrics(*arguments, ks=KS)
    assert received.keys() == expected.keys()
    for name, value in expected.items():
        np.testing.assert_allclose(received[name], value, err_msg=name, **CLOSE)


@settings(max_examples=200, deadline=None)
@given(points)
def test_leave_one_out_equals_double_loop(items):
    steps, labels = zip(*items, strict=True)
    check(on_sphere(steps), np.array(labels), None, None)


@settings(max_examples=200, deadline=None)
@given(points, points)
def test_query_and_gallery_equal_double_loop(queries, gallery):
    steps, labels = zip(*queries, strict=True)
    gallery_steps, gallery_labels = zip(*gallery, strict=True)
    check(on_sphere(steps), np.array(labels), on_sphere(gallery_steps), np.array(gallery_labels))


def test_a_case_by_hand():
    found = np.array([[True, False, True, False], [False, False, True, True]])
    relevant = [3, 2]
    assert recall_at_k(found, 1).tolist() == [1, 0]
    assert recall_at_k(found, 3).tolist() == [1, 1]
    assert precision_at_k(found, 4).tolist() == [0.5, 0.5]
    np.testing.assert_allclose(r_precision(found, relevant), [2 / 3, 0])
    expected = [(1 + 2 / 3) / 3, 0]
    np.testing.assert_allclose(mean_average_precision_at_r(found, relevant), expected)


def test_the_first_hit_of_what_was_not_searched_deep_enough():
    found = np.array([[True, True], [False, True], [False, False]])
    assert first_hit_rank(found).tolist() == [1, 2, 3]
    labels = [0, 0, 1, 1, 1]
    # The hit of the second query is at rank 4, beyond the two neighbours of R-precision.
    indices = [[1, 2], [2, 3], [3, 4], [4, 2], [3, 2]]
    values = per_query_metrics(indices, labels, ks=(1,))
    assert values["first_hit_rank"].tolist() == [1, 3, 1, 1, 1]


def test_per_class_means_equal_a_loop():
    rng = np.random.default_rng(0)
    labels = rng.choice([2, 5, 9], size=40)
    values = {"recall_at_1": rng.integers(2, size=40).astype(float), "map_at_r": rng.random(40)}
    columns = per_class_metrics(values, labels)
    assert columns["label"].tolist() == [2, 5, 9]
    for row, label in enumerate(columns["label"]):
        assert columns["num_queries"][row] == (labels == label).sum()
        for name, each in values.items():
            np.testing.assert_allclose(columns[name][row], each[labels == label].mean())
    with pytest.raises(ValueError, match="one label for each value of recall_at_1"):
        per_class_metrics(values, labels[1:])


def test_average_precision_equals_scikit_learn_s_where_all_is_searched():
    """MAP@R with every right answer among the first R is the average precision: 1."""
    rng = np.random.default_rng(1)
    for _ in range(50):
        right = rng.random(12) < 0.5
        total = int(right.sum())
        if total and right[:total].all():
            assert mean_average_precision_at_r(right[None], [total])[0] == 1
        elif total:
            cut = right.copy()
            cut[total:] = False
            if cut.any():
                expected = average_precision_score(cut, -np.arange(12)) * cut.sum() / total
                received = mean_average_precision_at_r(right[None], [total])[0]
                np.testing.assert_allclose(received, expected)


def test_recall_at_k_equals_scikit_learn_s_top_k_accuracy():
    """With one gallery vector per class, Recall@K is the top-K accuracy of a classifier."""
    rng = np.random.default_rng(2)
    gallery = rng.normal(size=(9, 6))
    queries = rng.normal(size=(100, 6))
    labels = rng.integers(9, size=100)
    gallery, queries = (v / np.linalg.norm(v, axis=1, keepdims=True) for v in (gallery, queries))
    values = retrieval_metrics(queries, labels, gallery, np.arange(9), ks=(1, 3, 5))
    for k in (1, 3, 5):
        expected = top_k_accuracy_score(labels, queries @ gallery.T, k=k)
        np.testing.assert_allclose(values[f"recall_at_{k}"], expected)


def test_matches_and_num_relevant():
    assert matches([[1, 2]], [5], [9, 5, 9]).tolist() == [[True, False]]
    assert num_relevant([3, 3, 1]).tolist() == [1, 1, 0]
    assert num_relevant([3, 9, 0], [3, 3, 1]).tolist() == [2, 0, 0]


def test_perfect_neighbours_give_one():
    labels = np.repeat(np.arange(5), 4)
    vectors = np.eye(5, dtype="float32")[labels]
    metrics = retrieval_metrics(vectors, labels, ks=(1, 2))
    assert metrics["recall_at_1"] == metrics["r_precision"] == metrics["map_at_r"] == 1
    assert metrics["num_queries"] == 20 and metrics["num_left_out"] == 0


def test_recall_grows_with_k_and_bounds_the_rest():
    rng = np.random.default_rng(0)
    vectors = rng.normal(size=(200, 8))
    vectors = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype("float32")
    metrics = retrieval_metrics(vectors, rng.integers(20, size=200))
    recalls = [metrics[f"recall_at_{k}"] for k in (1, 2, 4, 8)]
    assert recalls == sorted(recalls)
    assert metrics["map_at_r"] <= metrics["r_precision"] <= 1


def test_too_few_neighbours_are_refused():
    with pytest.raises(ValueError, match="k from 1 to the 2 neighbours.*k=4; search more"):
        per_query_metrics([[1, 2], [0, 2], [0, 1], [0, 1]], [0, 0, 1, 1], ks=(1, 4))
    with pytest.raises(ValueError, match="received k=0"):
        recall_at_k(np.ones((1, 2), bool), 0)


def test_queries_without_an_answer_are_refused_by_r_precision():
    with pytest.raises(ValueError, match="leave them out first"):
        r_precision(np.ones((2, 3), bool), [1, 0])


def test_labels_that_do_not_fit_are_refused():
    vectors = on_sphere([0, 1, 2])
    with pytest.raises(ValueError, match=r"query_labels of shape \(3,\).*\(2,\)"):
        retrieval_metrics(vectors, [0, 0])
    with pytest.raises(ValueError, match="together, or neither.*only gallery"):
        retrieval_metrics(vectors, [0, 0, 1], gallery=vectors)
    with pytest.raises(ValueError, match=r"indices of shape \(Q, k\)"):
        matches([1, 2], [0], [0, 1, 2])


def test_an_empty_gallery_has_no_right_answer():
    assert num_relevant([1, 2], []).tolist() == [0, 0]
