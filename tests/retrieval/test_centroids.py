"""Nearest-centroid accuracy, against scikit-learn and against a loop that leaves one out."""

import numpy as np
import pytest
from sklearn.metrics.pairwise import cosine_similarity
from sklearn.neighbors import NearestCentroid

from pa_keras.retrieval import centroids, nearest_centroid, num_relevant, retrieval_metrics

# Of standard deviations that scikit-learn computes beside the centroids.
pytestmark = [
    pytest.mark.filterwarnings("ignore:self.within_class_std_dev_ has at least 1 zero standard"),
    pytest.mark.filterwarnings("ignore:divide by zero encountered"),
    pytest.mark.filterwarnings("ignore:invalid value encountered"),
]


def case(seed, number):
    """Vectors with many ties, zero sums, copies, and classes of one image."""
    rng = np.random.default_rng([seed, number])
    size = int(rng.integers(2, 5))
    if seed % 2:
        vectors = np.eye(size)[rng.integers(size, size=number)] * rng.choice([-1, 1], (number, 1))
    else:
        vectors = rng.standard_normal((number, size))
        vectors = vectors[rng.integers(number, size=number)]
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors.astype("float32"), rng.integers(2, 12, size=number)


def assigned(query, gallery, labels):
    """The class of the nearest centroid by scikit-learn, the lowest of equal ones."""
    if len(set(labels.tolist())) == 1:
        return labels[0]
    model = NearestCentroid().fit(gallery.astype(np.float64), labels)
    cosines = cosine_similarity(query[None].astype(np.float64), model.centroids_)[0]
    return model.classes_[cosines.round(9).argmax()]


@pytest.mark.parametrize("seed", range(0, 200, 10))
def test_gallery_equals_scikit_learn(monkeypatch, seed):
    monkeypatch.setattr(centroids, "_BLOCK_SIZE", 30)
    for each in range(seed, seed + 10):
        vectors, all_labels = case(each, 23)
        gallery, gallery_labels = vectors[9:], all_labels[9:]
        queries, labels = (
            vectors[:9],
            all_labels[:9],
        )  # some of their classes are not in the gallery
        known = np.isin(labels, gallery_labels)
        if not known.any():
            continue
        expected = [
            assigned(query, gallery, gallery_labels) == label
            for query, label in zip(queries[known], labels[known], strict=True)
        ]
        received = nearest_centroid(queries, labels, gallery, gallery_labels)
        np.testing.assert_array_equal(received, expected)


@pytest.mark.parametrize("seed", range(0, 200, 10))
def test_leave_one_out_equals_a_loop(monkeypatch, seed):
    monkeypatch.setattr(centroids, "_BLOCK_SIZE", 30)
    for each in range(seed, seed + 10):
        vectors, labels = case(each, 13)
        expected = []
        for i in np.flatnonzero(num_relevant(labels) > 0):
            rest = np.arange(len(labels)) != i
            expected.append(assigned(vectors[i], vectors[rest], labels[rest]) == labels[i])
        if expected:
            received = nearest_centroid(vectors, labels)
            np.testing.assert_array_equal(received, expected)


def test_a_class_of_one_image_is_no_query_but_draws_others():
    points = np.array([[1, 0], [0.8, 0.6], [0.6, 0.8], [0, 1]], "float32")
    # Without itself, class 0 has its centroid in one of the two; class 1 is a distractor.
    assert nearest_centroid(points[:3], [0, 0, 1]).tolist() == [1, 0]
    assert nearest_centroid(points, ["b", "b", "a", "c"]).tolist() == [1, 0]


def test_it_is_among_the_retrieval_metrics():
    vectors, labels = case(2, 60)
    expected = nearest_centroid(vectors, labels).mean()
    assert retrieval_metrics(vectors, labels, ks=1)["centroid_accuracy"] == expected
    gallery, gallery_labels = vectors[20:], labels[20:]
    answers = vectors[:20], labels[:20], gallery, gallery_labels
    expected = nearest_centroid(*answers).mean()
    assert retrieval_metrics(*answers, ks=1)["centroid_accuracy"] == expected


def test_bad_input():
    points = np.eye(3, dtype="float32")
    with pytest.raises(ValueError, match="received only gallery_labels"):
        nearest_centroid(points, [0, 0, 1], gallery_labels=[0, 1])
    with pytest.raises(ValueError, match="received only gallery"):
        nearest_centroid(points, [0, 0, 1], points)
    with pytest.raises(ValueError, match=r"a label for each of 3 queries .*received \(2,\)"):
        nearest_centroid(points, [0, 0])
    with pytest.raises(ValueError, match="a right answer in the gallery"):
        nearest_centroid(points, [0, 1, 2])
    points[1, 0] = np.nan
    with pytest.raises(ValueError, match="Expected finite rows in queries"):
        nearest_centroid(points, [0, 0, 1])
