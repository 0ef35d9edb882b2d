"""Tests the invariants of the two samplers."""

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
