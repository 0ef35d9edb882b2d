"""Compares losses with double loops, written from the papers, and their numerical gradients."""

import math

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from pa_keras import losses
from tests.backends.loops import (
    LABELS,
    circle,
    embeddings,
    numerical_gradients,
    smooth_ap,
    sup_con,
)

CASES = [
    (losses.SupConLoss(), sup_con, (0.1,)),
    (losses.SupConLoss(0.7), sup_con, (0.7,)),
    (losses.CircleLoss(), circle, (0.4, 80.0)),
    (losses.CircleLoss(0.25, 5.0), circle, (0.25, 5.0)),
    (losses.SmoothAPLoss(), smooth_ap, (0.01, False)),
    (losses.SmoothAPLoss(0.2), smooth_ap, (0.2, False)),
    (losses.SmoothAPLoss(0.2, query_in_gallery=True), smooth_ap, (0.2, True)),
]


@pytest.mark.parametrize(("loss", "loop", "options"), CASES, ids=lambda x: str(x)[:24])
def test_values_and_gradients(loss, loop, options):
    for seed in range(3):
        start = embeddings(seed)
        x = tf.constant(start, tf.float32)
        with tf.GradientTape() as tape:
            tape.watch(x)
            value = loss(LABELS, x)
        assert float(value) == pytest.approx(loop(start, start, *options), rel=1e-4)
        expected = numerical_gradients(lambda x, y=start: loop(x, y, *options), start)[0]
        error = np.abs(tape.gradient(value, x) - expected).max() / np.abs(expected).max()
        assert error < (2e-3 if options[0] == 0.01 else 1e-4)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 4), st.floats(0, 3.1), st.floats(0.5, 64))
def test_sub_center_arcface_is_arcface_of_the_nearest_center(seed, centers, margin, scale):
    s = np.random.default_rng(seed).uniform(-1, 1, (6, 4, centers))
    labels, expected = np.arange(6) % 4, []
    for row, own in zip(s, labels, strict=True):
        nearest = [max(of_class) for of_class in row]
        angle = math.acos(nearest[own])
        turned = math.cos(angle + margin)
        if angle > math.pi - margin:
            turned = nearest[own] - margin * math.sin(margin)
        logits = scale * np.array([turned if z == own else nearest[z] for z in range(4)])
        expected.append(np.log(np.exp(logits - logits.max()).sum()) + logits.max() - logits[own])
    found = losses.sub_center_arcface(labels, s, margin, scale)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-3 * scale)


def test_only_the_nearest_center_learns():
    s = tf.constant([[[0.9, 0.2], [0.1, 0.3]]])
    with tf.GradientTape() as tape:
        tape.watch(s)
        value = losses.SubCenterArcFaceLoss(0.1, 4.0)([0], s)
    gradient = tape.gradient(value, s).numpy()
    assert gradient[0, 0, 0] < 0 < gradient[0, 1, 1]
    assert gradient[0, 0, 1] == gradient[0, 1, 0] == 0


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_one_center_that_is_not_finite_is_not_hidden_by_the_others(bad):
    s = np.random.default_rng(0).uniform(-1, 1, (3, 3, 2)).astype("float32")
    s[1, 2, 0] = bad
    assert np.isnan(losses.sub_center_arcface([0, 1, 2], s)).all()
    assert np.isnan(losses.soft_triple([0, 1, 2], s)).all()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: losses.sub_center_arcface([0], [[1.0, 0.0]]), "centers_per_class"),
        (lambda: losses.sub_center_arcface([0], np.zeros((1, 2, 3), int)), "floating"),
        (lambda: losses.sub_center_arcface([3], np.zeros((1, 3, 2))), "Expected labels in"),
    ],
)
def test_bad_input_of_sub_center_arcface(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_a_perfect_ranking_has_no_smooth_ap_loss():
    x = np.eye(3)[[0, 0, 1, 1, 2, 2]]
    assert float(losses.SmoothAPLoss()([0, 0, 1, 1, 2, 2], x)) == pytest.approx(0, abs=1e-6)
