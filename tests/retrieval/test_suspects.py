"""Compares the suspects with double loops, and finds errors that were planted."""

import itertools

import numpy as np
import pytest

from pa_keras.retrieval import Suspect, find_suspects

# The 24 corners of a regular polytope have unit length, and their cosines, multiples of 1/2, are
# exact in any order, so that many of them are equal.
AXES = np.concatenate([np.eye(4), -np.eye(4)])
CORNERS = np.array([*AXES, *itertools.product([0.5, -0.5], repeat=4)], "float32")


def shares_by_loop(points, labels, k):
    """The share of the votes for each class, {} for an image alone in its class; and neighbours."""
    shares, neighbours = [], []
    for i, point in enumerate(points):
        pairs = [(-float(point @ other), j) for j, other in enumerate(points) if j != i]
        pairs = sorted(pairs)[:k]
        neighbours.append([(j, -negative) for negative, j in pairs])
        votes = {labels[i]: 1.0}
        for negative, j in pairs[: labels.count(labels[i]) - 1]:
            votes[labels[j]] = votes.get(labels[j], 0) + max(-negative, 0)
        shares.append({label: vote / sum(votes.values()) for label, vote in votes.items()})
    return shares, neighbours


def by_loop(points, labels, k, similarity, copies):
    shares, neighbours = shares_by_loop(points, labels, k)
    rows = []
    for i, of_image in enumerate(shares):
        others = [(-share, c) for c, share in of_image.items() if c != labels[i]]
        if others and -min(others)[0] > of_image[labels[i]]:
            proposed = min(others)[1]
            other = next(j for j, _ in neighbours[i] if labels[j] == proposed)
            rows.append(("label", 1 - of_image[labels[i]], i, other))
    for i, j in itertools.combinations(range(len(points)), 2):
        near = max([s for n, s in neighbours[i] if n == j] + [s for n, s in neighbours[j] if n == i]
                   + [-1])  # fmt: skip
        if labels[i] != labels[j] and (near >= similarity or copies[j] == i):
            rows.append(("duplicate", 1 if copies[j] == i else min(near, 1), i, j))
    for a, b in itertools.combinations(sorted(set(labels)), 2):
        if min(labels.count(a), labels.count(b)) > 1:
            score = np.mean([s.get(b, 0) for s, c in zip(shares, labels, strict=True) if c == a])
            score += np.mean([s.get(a, 0) for s, c in zip(shares, labels, strict=True) if c == b])
            rows.append(("classes", min(score, 1), a, b))
    return rows


def by_key(rows):
    return {(kind, *rest): score for kind, score, *rest in rows}


def test_equals_double_loops_with_ties_on_100_cases():
    rng = np.random.default_rng(0)
    seen = {"label": 0, "duplicate": 0, "classes": 0}
    for _ in range(100):
        number = int(rng.integers(4, 30))
        points = CORNERS[rng.integers(0, len(CORNERS), number)]
        labels = [0, 1, *rng.integers(0, rng.integers(2, 7), number - 2).tolist()]
        k = int(rng.integers(1, number))
        copies = np.minimum(np.arange(number), rng.integers(0, 2 * number, number))
        copies = np.where(copies[copies] == copies, copies, np.arange(number))
        similarity = float(rng.choice([0.5, 1.0]))
        found = find_suspects(points, labels, k, similarity, copies)
        expected = by_key(by_loop(points, labels, k, similarity, copies))
        result = {}
        for kind, score, image, other in found.rows:
            key = (kind, image, other)
            if kind == "classes":
                key = (kind, *sorted((labels[image], labels[other])))
            assert key not in result
            result[key] = score
            seen[kind] += 1
        near = [key for key in expected if key[0] == "classes" and expected[key] < 0.5 - 1e-9]
        unclear = {key for key, score in expected.items() if abs(score - 0.5) < 1e-9}
        expected = {key: score for key, score in expected.items() if key not in near}
        assert set(result) - unclear == set(expected) - unclear
        assert result == pytest.approx({key: expected[key] for key in result})
        assert found.num_alone == sum(labels.count(label) == 1 for label in labels)
        scores = [row.score for row in found.rows]
        assert scores == sorted(scores, reverse=True)
    assert min(seen.values()) > 50


def clusters(classes=8, images=12, size=16, noise=0.15, seed=0):
    rng = np.random.default_rng(seed)
    labels = np.repeat(np.arange(classes), images)
    centres = np.linalg.qr(rng.normal(size=(size, size)))[0][labels]
    points = (centres + noise * rng.normal(size=centres.shape)).astype("float32")
    return points / np.linalg.norm(points, axis=1, keepdims=True), labels


def test_planted_flips_are_found_first():
    points, true = clusters()
    labels = true.copy()
    flipped = np.random.default_rng(1).choice(len(labels), 9, replace=False)
    labels[flipped] = (labels[flipped] + 3) % 8
    found = find_suspects(points, labels).of_kind("label")
    assert {row.image for row in found[:9]} == set(flipped.tolist())
    assert [labels[row.other] for row in found[:9]] == [true[row.image] for row in found[:9]]
    assert find_suspects(points, true).rows == []


def test_planted_duplicates_are_found():
    points, labels = clusters(noise=0.2)
    points[40] = points[3]
    found = find_suspects(points, labels, similarity=0.999).of_kind("duplicate")
    assert found == [Suspect("duplicate", pytest.approx(1), 3, 40)]
    copies = np.arange(len(labels))
    copies[[5, 50]] = 4  # of the same class, and of another
    found = find_suspects(points, labels, copies=copies, similarity=1.0).of_kind("duplicate")
    assert Suspect("duplicate", 1.0, 4, 50) in found and len(found) == 2


@pytest.mark.parametrize("share", [0.5, 0.25])
def test_planted_twin_classes_are_found(share):
    points, labels = clusters(classes=5, images=40)
    twin = np.random.default_rng(2).permutation(40)[: round(40 * share)] + 80  # of class 2
    names = np.array(["a", "b", "c", "d", "e"], "U4")[labels]
    names[twin] = "twin"
    (pair,) = find_suspects(points, names).of_kind("classes")
    assert {names[pair.image], names[pair.other]} == {"c", "twin"}
    assert 0.7 < pair.score <= 1


def test_a_single_neighbour_does_not_decide():
    points = CORNERS[[0, 1, 1, 0]]
    assert not find_suspects(points, [0, 0, 1, 1], k=3).of_kind("label")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"labels": [1, 1, 1, 1]}, "at least 2 classes; received 1"),
        ({"k": 4}, "k from 1 to 3; received k=4"),
        ({"k": 0}, "k from 1 to 3; received k=0"),
        ({"labels": [0, 1, 1]}, "one label per embedding; received 3 labels and 4"),
        ({"embeddings": np.full((4, 2), np.nan)}, "Expected finite rows .* received 4 others"),
        ({"embeddings": np.ones((4, 2))}, "Expected unit-length rows"),
        ({"similarity": 0.0}, r"similarity in \(0, 1\]; received 0.0"),
        ({"similarity": 1.5}, "similarity in"),
    ],
)
def test_bad_arguments(arguments, message):
    given = {"embeddings": CORNERS[:4], "labels": [0, 0, 1, 1], "k": 2} | arguments
    with pytest.raises(ValueError, match=message):
        find_suspects(**given)
