"""Compares identification in open sets with a double loop."""

import numpy as np
import pytest

from pa_keras.retrieval import open_set
from pa_keras.retrieval.identification import AS_GIVEN, LEFT_OUT


def clustered(labels, size=5, seed=0):
    rng = np.random.default_rng(seed)
    centres = np.random.default_rng(9).normal(size=(60, size))
    vectors = centres[labels] + 0.8 * rng.normal(size=(len(labels), size))
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype("float32")


def looped(queries, labels, gallery, gallery_labels, threshold, own):
    """Detection and identification rate, and false alarm rate."""
    identified, alarms = [], []
    for i, query in enumerate(queries):
        others = [j for j in range(len(gallery)) if not (own and own[j] == i)]
        cosine, best = max((float(query @ gallery[j]), -j) for j in others)
        if any(gallery_labels[j] == labels[i] for j in others):
            identified.append(cosine >= threshold and gallery_labels[-best] == labels[i])
        else:
            alarms.append(cosine >= threshold)
    return np.mean(identified), np.mean(alarms), len(identified), len(alarms)


@pytest.mark.parametrize("threshold", [0.3, 0.8, 0.95])
def test_a_gallery_that_lacks_classes(threshold):
    labels, gallery_labels = np.arange(60) % 20, np.arange(48) % 16
    queries, gallery = clustered(labels), clustered(gallery_labels, seed=1)
    found = open_set(queries, labels, gallery, gallery_labels)
    result = found.as_json(threshold)
    expected = looped(queries, labels, gallery, gallery_labels, threshold, None)
    names = ("detection_and_identification_rate", "false_alarm_rate")
    assert tuple(result["rates"][name] for name in names) == pytest.approx(expected[:2])
    assert (result["num_with_mate"], result["num_without_mate"]) == expected[2:]
    assert (found.protocol, found.gallery_size) == (AS_GIVEN, 48)
    low, high = result["intervals"]["detection_and_identification_rate"]
    assert low <= expected[0] <= high
    assert "false_alarm_rate" not in result["intervals"], "only four classes"


@pytest.mark.parametrize("with_gallery", [False, True])
def test_half_of_the_classes_are_left_out(with_gallery):
    labels = np.concatenate([np.arange(60) % 20, [20, 21, 22, 23]])  # four with a single image
    queries = clustered(labels)
    gallery_labels = labels if not with_gallery else np.arange(72) % 24
    gallery = queries if not with_gallery else clustered(gallery_labels, seed=1)
    found = open_set(queries, labels, *((gallery, gallery_labels) if with_gallery else ()), seed=5)
    half = np.random.default_rng([5]).permutation(24)[:12]
    kept = np.flatnonzero(~np.isin(gallery_labels, half))
    own = None if with_gallery else kept.tolist()
    expected = looped(queries, labels, gallery[kept], gallery_labels[kept], 0.7, own)
    result = found.as_json(0.7)
    names = ("detection_and_identification_rate", "false_alarm_rate")
    assert tuple(result["rates"][name] for name in names) == pytest.approx(expected[:2])
    assert (result["num_with_mate"], result["num_without_mate"]) == expected[2:]
    assert (found.protocol, found.gallery_size) == (LEFT_OUT, len(kept))


def test_the_threshold_for_a_false_alarm_rate():
    labels = np.arange(400) % 20
    found = open_set(clustered(labels), labels)
    (row,) = found.at_false_alarm_rates()  # 200 queries have no mate: 1 % would be 2 of them
    again = found.as_json(row["threshold"])["rates"]
    assert row["false_alarm_rate"] == 0.1 and again["false_alarm_rate"] <= 0.1
    name = "detection_and_identification_rate"
    assert again[name] == pytest.approx(row[name])
    lower = found.cosines[found.cosines < row["threshold"]].max()
    assert found.as_json(lower)["rates"]["false_alarm_rate"] >= 0.1


def test_no_open_set():
    points = np.eye(2, dtype="float32")
    assert open_set(points, [0, 1]) is None, "no query has a mate"
    assert open_set(points, [0, 1], points, [2, 3]) is None
