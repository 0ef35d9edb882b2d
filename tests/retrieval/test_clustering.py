"""Tests NMI and AMI by their definitions, and on clusterings with known values."""

import numpy as np
import pytest
from sklearn.cluster import KMeans

from pa_keras.retrieval import clustering_metrics


def entropy(counts):
    shares = counts[counts > 0] / counts.sum()
    return -(shares * np.log(shares)).sum()


def test_nmi_equals_its_definition_and_ami_its_mean_over_permutations():
    rng = np.random.default_rng(0)
    labels = rng.integers(4, size=120)
    points = rng.normal(size=(4, 5))[labels] + 1.2 * rng.normal(size=(120, 5))
    clusters = KMeans(4, n_init=1, random_state=3).fit_predict(points)

    def information(of_labels):
        table = np.zeros((4, 4))
        np.add.at(table, (of_labels, clusters), 1)
        return entropy(table.sum(0)) + entropy(table.sum(1)) - entropy(table.ravel())

    mean_entropy = (entropy(np.bincount(labels)) + entropy(np.bincount(clusters))) / 2
    by_chance = np.mean([information(rng.permutation(labels)) for _ in range(3000)])
    received = clustering_metrics(points, labels, seed=3)
    np.testing.assert_allclose(received["nmi"], information(labels) / mean_entropy)
    expected = (information(labels) - by_chance) / (mean_entropy - by_chance)
    np.testing.assert_allclose(received["ami"], expected, atol=2e-3)


def test_chance_is_worth_nothing_by_ami_alone():
    rng = np.random.default_rng(1)
    received = clustering_metrics(rng.normal(size=(200, 4)), rng.integers(40, size=200))
    assert received["nmi"] > 0.4 and abs(received["ami"]) < 0.1


def test_the_same_seed_gives_the_same_numbers():
    rng = np.random.default_rng(2)
    points, labels = rng.normal(size=(90, 4)), rng.integers(9, size=90)
    assert clustering_metrics(points, labels, 1) == clustering_metrics(points, labels, 1)


@pytest.mark.parametrize("labels", [[0, 1], [0, 0, 0]])
def test_labels_that_do_not_fit_are_refused(labels):
    with pytest.raises(ValueError, match="one label for each embedding, of 2 classes"):
        clustering_metrics(np.ones((3, 2)), labels)
