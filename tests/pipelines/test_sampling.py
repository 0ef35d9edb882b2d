"""Tests the invariants of the two samplers."""

import collections

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pa_keras.pipelines import balanced, shuffled

seeds = st.integers(0, 2**31 - 1)


@settings(deadline=None)
@given(num_images=st.integers(1, 200), batch_size=st.integers(1, 50), seed=seeds)
def test_shuffled_takes_each_image_at_most_once(num_images, batch_size, seed):
    batch_size = min(batch_size, num_images)
    order = shuffled(num_images, batch_size, seed)
    assert order.dtype == np.int32
    assert order.shape == (num_images // batch_size, batch_size)
    assert len(np.unique(order)) == order.size
    assert order.min() >= 0 and order.max() < num_images


@settings(deadline=None)
@given(
    counts=st.lists(st.integers(1, 12), min_size=2, max_size=12),
    classes_per_batch=st.integers(1, 6),
    images_per_class=st.integers(1, 6),
    seed=seeds,
)
def test_balanced_batches(counts, classes_per_batch, images_per_class, seed):
    labels = np.random.default_rng(seed).permutation(np.repeat(np.arange(len(counts)), counts))
    classes_per_batch = min(classes_per_batch, len(counts))
    images_per_class = min(images_per_class, len(labels) // classes_per_batch)
    order = balanced(labels, classes_per_batch, images_per_class, seed)
    batch_size = classes_per_batch * images_per_class
    assert order.shape == (len(labels) // batch_size, batch_size)
    for batch in order:
        classes, images = np.unique(labels[batch], return_counts=True)
        assert len(classes) == classes_per_batch
        assert (images == images_per_class).all()
        for each in classes:
            members = batch[labels[batch] == each]
            assert len(np.unique(members)) == min(images_per_class, counts[each])


@settings(deadline=None)
@given(seed=seeds, epoch=st.integers(0, 1000))
def test_the_seed_and_the_epoch_fix_the_order(seed, epoch):
    labels = np.arange(60) % 6
    for draw in (
        lambda seed, epoch: shuffled(60, 12, seed, epoch),
        lambda seed, epoch: balanced(labels, 4, 3, seed, epoch),
    ):
        np.testing.assert_array_equal(draw(seed, epoch), draw(seed, epoch))
        assert (draw(seed, epoch) != draw(seed, epoch + 1)).any()
        assert (draw(seed, epoch) != draw(seed + 1, epoch)).any()


def test_labels_need_not_be_contiguous():
    labels = np.repeat([3, 50, 7], 4)
    assert set(labels[balanced(labels, 3, 2, seed=0)].ravel()) == {3, 7, 50}


def test_every_class_is_as_likely():
    labels = np.repeat(np.arange(10), 20)
    chosen = [labels[balanced(labels, 5, 4, seed=0, epoch=epoch)] for epoch in range(50)]
    counts = np.bincount(np.ravel(chosen))
    assert counts.min() > 0.8 * counts.mean()


def test_the_draws_are_as_likely_as_those_of_a_loop():
    """Compares the frequency of each possible batch with that of a loop of permutations."""
    members = [np.array([0]), np.array([1, 2]), np.array([3, 4, 5])]
    labels = np.repeat([0, 1, 2], [1, 2, 3])

    def drawn_in_a_loop(rng):
        batch = []
        for each in rng.permutation(3)[:2]:
            rounds = [rng.permutation(members[each]) for _ in range(2)]
            batch += np.concatenate(rounds)[:2].tolist()
        return tuple(batch)

    rng = np.random.default_rng(0)
    number = 20_000
    expected = collections.Counter(drawn_in_a_loop(rng) for _ in range(number))
    found = collections.Counter(
        tuple(batch)
        for epoch in range(number)
        for batch in balanced(labels, 2, 2, seed=1, epoch=epoch).tolist()
    )
    assert set(found) == set(expected)  # 2 x (1 x 2 + 1 x 6 + 2 x 6) batches
    assert len(found) == 40
    assert sum(found.values()) == number
    for batch, times in found.items():
        # Each of the 3 x 2 pairs of classes is as likely, and each order of images within it.
        classes = labels[list(batch[::2])]
        likely = number / 6 / np.prod([(1, 2, 6)[each] for each in classes])
        assert abs(times - likely) < 5 * np.sqrt(likely)
        assert abs(expected[batch] - likely) < 5 * np.sqrt(likely)


def test_a_class_is_drawn_in_complete_rounds():
    labels = np.repeat([0, 1, 2], [2, 3, 20])
    for batch in balanced(labels, 3, 7, seed=0, epoch=3).reshape(-1, 7):
        size = np.bincount(labels)[labels[batch[0]]]
        for start in range(0, 7, size):
            part = batch[start : start + size]
            assert len(np.unique(part)) == len(part)


def test_a_batch_of_every_class_and_image():
    labels = np.arange(60) % 6
    (batch,) = balanced(labels, 6, 10, seed=0)
    np.testing.assert_array_equal(np.sort(batch), np.arange(60))
    assert (batch.reshape(6, 10).argmax(axis=1) != 9).any()


@pytest.mark.large
def test_many_classes_and_large_ones():
    counts = np.full(100_000, 9)
    counts[:3] = 30_000
    labels = np.repeat(np.arange(len(counts)), counts)
    batches = balanced(labels, 45, 2, seed=0)
    drawn = labels[batches].reshape(-1, 45, 2)
    assert (drawn[..., 0] == drawn[..., 1]).all()
    assert (np.diff(np.sort(drawn[..., 0], axis=1), axis=1) > 0).all()
    assert (batches[:, ::2] != batches[:, 1::2]).all()


def test_fewer_classes_than_a_batch_needs():
    with pytest.raises(ValueError, match="at least classes_per_batch = 8 classes; received 5"):
        balanced(np.arange(50) % 5, classes_per_batch=8, images_per_class=2, seed=0)


def test_batch_larger_than_the_data():
    with pytest.raises(ValueError, match="a batch of 11 for 10 images; lower"):
        shuffled(10, 11, seed=0)
    with pytest.raises(ValueError, match="a batch of 12 for 10 images; lower"):
        balanced(np.arange(10) % 5, classes_per_batch=4, images_per_class=3, seed=0)


def test_empty_batch():
    with pytest.raises(ValueError, match="batch_size of at least 1; received 0"):
        shuffled(10, 0, seed=0)
    with pytest.raises(ValueError, match="images_per_class of at least 1; received -3"):
        balanced(np.arange(10) % 5, classes_per_batch=2, images_per_class=-3, seed=0)
