"""Tests of label noise and outliers: their number, and that they are repeatable."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pa_keras.datasets import Images, flip_labels, replace_by_outliers
from pa_keras.pipelines import shuffled


def images(number=40, classes=5):
    paths = tuple(f"/{i}.jpg" for i in range(number))
    return Images(paths, np.arange(number) % classes, tuple("abcdefgh"[:classes]))


@settings(max_examples=50, deadline=None)
@given(st.integers(2, 60), st.integers(2, 8), st.floats(0, 0.99), st.integers(0, 10**6))
def test_so_many_labels_change(number, classes, share, seed):
    before = images(number, classes)
    after = flip_labels(before, share, seed)
    assert (after.labels != before.labels).sum() == round(share * number)
    assert after.paths == before.paths and after.class_names == before.class_names


def test_more_noise_keeps_the_changes_of_less():
    before, less, more = images(), flip_labels(images(), 0.2, 3), flip_labels(images(), 0.5, 3)
    changed = less.labels != before.labels
    assert (more.labels[changed] == less.labels[changed]).all()
    assert (flip_labels(images(), 0.2, 4).labels != less.labels).any()


def test_every_other_class_is_as_likely():
    before = images(50_000, 5)
    after = flip_labels(before, 0.9, 0)
    steps = (after.labels - before.labels) % 5
    np.testing.assert_allclose(np.bincount(steps) / 50_000, [0.1, *[0.225] * 4], atol=0.01)


@pytest.mark.parametrize("number_foreign", [3, 100])
def test_outliers_keep_the_labels(number_foreign):
    foreign = [f"/foreign-{i}.png" for i in range(number_foreign)]
    after = replace_by_outliers(images(), foreign, 0.25, seed=1)
    replaced = [path for path in after.paths if "foreign" in path]
    assert len(replaced) == 10 and len(set(replaced)) == min(10, number_foreign)
    assert (after.labels == images().labels).all()


def test_nothing_changes_without_a_share():
    one = Images(("/a", "/b"), np.array([0, 0]), ("a",))
    assert (flip_labels(one, 0.0).labels == one.labels).all()
    assert (flip_labels(images(), 0.0).labels == images().labels).all()
    assert replace_by_outliers(images(), [], 0.0).paths == images().paths


@pytest.mark.parametrize("share", [-0.1, 1.0, float("nan")])
def test_shares_out_of_range(share):
    with pytest.raises(ValueError, match=r"label_noise in \[0, 1\)"):
        flip_labels(images(), share)
    with pytest.raises(ValueError, match=r"outliers in \[0, 1\)"):
        replace_by_outliers(images(), ["/a"], share)


def test_noise_is_spread_over_an_epochs_batches():
    """Batches are drawn from the same seed, but must not have the same order."""
    before = images(1000)
    for seed in range(3):
        changed = flip_labels(before, 0.2, seed).labels != before.labels
        replaced = np.array(
            ["foreign" in p for p in replace_by_outliers(before, ["/foreign"], 0.2, seed).paths]
        )
        for epoch in range(3):
            order = shuffled(1000, 50, seed, epoch)
            assert changed[order].sum(axis=1).max() < 25 and replaced[order].sum(axis=1).max() < 25
        assert 20 < (changed & replaced).sum() < 60, "independent of each other"


def test_no_foreign_images():
    with pytest.raises(ValueError, match="received none"):
        replace_by_outliers(images(), [], 0.1)
