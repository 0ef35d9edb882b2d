"""Compares the worst failures with double loops."""

import itertools

import numpy as np
import pytest

from pa_keras.plots import confusions
from pa_keras.retrieval import nearest_neighbours


def unit(rng, number):
    vectors = rng.normal(size=(number, 4)).astype("float32")
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


@pytest.fixture(params=[True, False], ids=["leave-one-out", "gallery"])
def searched(request):
    """Queries, gallery, labels and all neighbours; some classes have no right answer."""
    rng = np.random.default_rng(5)
    queries, labels = unit(rng, 60), rng.integers(0, 12, 60)
    alone = request.param
    labels[-1] = 90
    gallery, gallery_labels = (queries, labels) if alone else (unit(rng, 40), labels[10:50])
    nearest = nearest_neighbours(queries, gallery, len(gallery) - alone, alone, "exact")[0]
    return queries, labels, gallery, gallery_labels, alone, nearest


def first_right(searched):
    """Finds the rank (from 0) of the first right answer of each query among its neighbours."""
    _, labels, _, gallery_labels, _, nearest = searched
    for query, found in enumerate(nearest):
        hits = [rank for rank, other in enumerate(found) if gallery_labels[other] == labels[query]]
        yield hits[0] if hits else None


def test_nearest_right_and_its_rank(searched):
    queries, labels, gallery, gallery_labels, alone, nearest = searched
    indices, similarities = confusions.nearest_right(
        queries, labels, gallery, gallery_labels, alone
    )
    assert indices[-1] == -1
    for query, rank in enumerate(first_right(searched)):
        if rank is None:
            assert (indices[query], similarities[query]) == (-1, -np.inf)
            continue
        assert indices[query] == nearest[query, rank]
        assert similarities[query] == pytest.approx(queries[query] @ gallery[indices[query]])
        itself = query if alone else None
        assert confusions.rank_of(queries[query], gallery, indices[query], itself) == rank + 1


def test_blocks_make_no_difference(searched, monkeypatch):
    *arguments, _ = searched
    whole = confusions.nearest_right(*arguments)
    monkeypatch.setattr(confusions, "_BLOCK", 2)
    for a, b in zip(whole, confusions.nearest_right(*arguments), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5)


def test_worst_first(searched):
    queries, labels, gallery, gallery_labels, alone, nearest = searched
    _, similarities = confusions.nearest_right(queries, labels, gallery, gallery_labels, alone)
    worst = confusions.worst_first(queries, gallery, nearest[:, 0], similarities, labels)
    lost = {
        query: queries[query] @ (gallery[nearest[query, 0]] - gallery[nearest[query, rank]])
        for query, rank in enumerate(first_right(searched))
        if rank
    }
    expected, seen = [], set()
    for query in sorted(lost, key=lost.get, reverse=True):
        if labels[query] not in seen:
            expected.append(query)
            seen.add(labels[query])
    assert worst.tolist() == expected


def test_most_confused(searched):
    queries, labels, gallery, gallery_labels, _, nearest = searched
    pairs = confusions.most_confused(
        queries, labels, gallery, gallery_labels, nearest[:, 0], number=8
    )
    counts = {}
    for a, b in itertools.combinations(sorted(set(labels)), 2):
        hits = [
            query
            for query, (other, *_) in enumerate(nearest)
            if {labels[query], gallery_labels[other]} == {a, b}
        ]
        if hits:
            counts[a, b] = hits
    assert [pair.count for pair in pairs] == sorted(map(len, counts.values()), reverse=True)[:8]
    for pair in pairs:
        hits = counts[tuple(sorted(pair.classes))]
        assert pair.query in hits and pair.count == len(hits)
        assert pair.neighbour == nearest[pair.query, 0]
        assert pair.classes == (labels[pair.query], gallery_labels[pair.neighbour])
        assert pair.num_queries == sum(label in pair.classes for label in labels)
        of = [queries[query] @ gallery[nearest[query, 0]] for query in hits]
        own = queries[pair.query] @ gallery[pair.neighbour]
        assert own == pytest.approx(sorted(of)[len(of) // 2])


def test_nothing_fails_where_all_is_right():
    points = np.eye(2, dtype="float32")[[0, 0, 1, 1]]
    labels, nearest = np.array([0, 0, 1, 1]), np.array([1, 0, 3, 2])
    _, similarities = confusions.nearest_right(points, labels, points, labels, True)
    assert confusions.worst_first(points, points, nearest, similarities, labels).size == 0
    assert confusions.most_confused(points, labels, points, labels, nearest, 3) == []
