"""Compares losses with double loops, written from the papers, and their numerical gradients."""

import math

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from pa_keras import losses

LABELS = np.array([0, 1, 1, 2, 2, 2, 0, 3, 1, 0])  # 3 has a single embedding


def embeddings(seed=0):
    return np.random.default_rng(seed).normal(size=(len(LABELS), 4))


def cosines_of(x):
    unit = x / np.linalg.norm(x, axis=1, keepdims=True)
    return unit @ unit.T


def others_of(i):
    """The positives and the negatives of a row."""
    rows = [j for j in range(len(LABELS)) if j != i]
    return (
        [j for j in rows if LABELS[j] == LABELS[i]],
        [j for j in rows if LABELS[j] != LABELS[i]],
    )


def sup_con(x, start, temperature):
    s, terms = cosines_of(x), []
    for i in range(len(LABELS)):
        positives, negatives = others_of(i)
        total = sum(math.exp(s[i, a] / temperature) for a in positives + negatives)
        logs = [math.log(math.exp(s[i, p] / temperature) / total) for p in positives]
        if positives:
            terms.append(-sum(logs) / len(positives))
    return sum(terms) / len(terms)


def circle(x, start, margin, scale):
    s, fixed, terms = cosines_of(x), cosines_of(start), []
    for i in range(len(LABELS)):
        positives, negatives = others_of(i)
        total = 0.0
        for p in positives:
            for n in negatives:
                pull = max(1 + margin - fixed[i, p], 0) * (s[i, p] - (1 - margin))
                push = max(fixed[i, n] + margin, 0) * (s[i, n] - margin)
                total += math.exp(scale * (push - pull))
        if positives:
            terms.append(math.log(1 + total))
    return sum(terms) / len(terms)


def smooth_ap(x, start, temperature, query_in_gallery):
    s, terms = cosines_of(x), []
    for q in range(len(LABELS)):
        positives, negatives = others_of(q)
        if query_in_gallery:
            positives = [*positives, q]
        precisions = []
        for i in positives:
            above = {
                j: 1 / (1 + math.exp(-(s[q, j] - s[q, i]) / temperature))
                for j in positives + negatives
                if j != i
            }
            rank = 1 + sum(above.values())
            precisions.append((1 + sum(above[j] for j in positives if j != i)) / rank)
        if positives:
            terms.append(1 - sum(precisions) / len(precisions))
    return sum(terms) / len(terms)


def numerical_gradient(loop, x):
    """Central differences; what the loss holds constant stays at its value at `x`."""
    gradient = np.zeros_like(x)
    for place in np.ndindex(x.shape):
        moved = np.zeros_like(x)
        moved[place] = 1e-6
        gradient[place] = (loop(x + moved, x) - loop(x - moved, x)) / 2e-6
    return gradient


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
        expected = numerical_gradient(lambda x, fixed: loop(x, fixed, *options), start)
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
