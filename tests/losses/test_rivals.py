"""Tests without a peer: double loops, invariants, bad inputs, and stock `compile` and `fit`."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from pa_keras import losses
from pa_keras.models import embedding_model, with_proxies

PAIR_LOSSES = [
    losses.ContrastiveLoss(),
    losses.ContrastiveLoss(1.2, 0.1, squared=True, average_nonzero=False),
    losses.TripletLoss(0.2, "semi_hard"),
    losses.TripletLoss(0.2, "semi_hard_nearest"),
    losses.TripletLoss(0.2, "hard"),
    losses.TripletLoss(0.2, "all"),
    losses.NPairLoss(),
    losses.LiftedStructureLoss(),
    losses.LiftedStructureLoss(normalize=False),
    losses.MultiSimilarityLoss(),
    losses.MultiSimilarityLoss(epsilon=None),
    losses.SupConLoss(),
    losses.CircleLoss(),
    losses.SmoothAPLoss(),
    losses.SmoothAPLoss(query_in_gallery=True),
]
PROXY_LOSSES = [
    losses.ProxyNCALoss(),
    losses.ProxyNCALoss(target_in_denominator=True),
    losses.NormalizedSoftmaxLoss(),
    losses.CosFaceLoss(),
    losses.ArcFaceLoss(),
    losses.ArcFaceLoss(margin=3.0),
]


def names(loss):
    settings_ = {k: v for k, v in loss.get_config().items() if k not in ("name", "reduction")}
    return f"{loss.name} {settings_}"


def batch(seed=0, number=12, size=6, classes=4):
    rng = np.random.default_rng(seed)
    embeddings = rng.normal(size=(number, size)).astype("float32")
    return np.arange(number) % classes, embeddings


def cosines(seed=0, number=6, classes=4):
    return np.random.default_rng(seed).uniform(-1, 1, (number, classes)).astype("float32")


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10**6), st.floats(0.5, 50), st.booleans())
def test_proxy_nca_equals_a_double_loop(seed, scale, target_in_denominator):
    s, labels = cosines(seed).astype("float64"), np.arange(6) % 4
    expected = []
    for row, own in zip(s, labels, strict=True):
        others = [z for z in range(4) if target_in_denominator or z != own]
        squared = [2 - 2 * row[z] for z in range(4)]
        total = sum(np.exp(-scale * squared[z]) for z in others)
        expected.append(scale * squared[own] + np.log(total))
    found = losses.proxy_nca(labels, s, scale, target_in_denominator)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4 * scale)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10**6), st.floats(0, 3.1), st.floats(0.5, 64))
def test_arcface_equals_its_angles(seed, margin, scale):
    s, labels = cosines(seed).astype("float64"), np.arange(6) % 4
    expected = []
    for row, own in zip(s, labels, strict=True):
        angle = np.arccos(row[own])
        turned = np.cos(angle + margin)
        if angle > np.pi - margin:
            turned = row[own] - margin * np.sin(margin)
        logits = scale * np.array([turned if z == own else row[z] for z in range(4)])
        expected.append(np.log(np.exp(logits - logits.max()).sum()) + logits.max() - logits[own])
    found = losses.arcface(labels, s, margin, scale)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-3 * scale)


def test_contrastive_as_in_tensorflow_addons():
    """TensorFlow Addons has y d^2 + (1 - y) max(m - d, 0)^2; here each side is a mean."""
    labels, x = batch()
    unit = x / np.linalg.norm(x, axis=1, keepdims=True)
    sides = {True: [], False: []}
    for i in range(12):
        for j in range(12):
            apart = np.linalg.norm(unit[i] - unit[j])
            if i != j:
                same = bool(labels[i] == labels[j])
                sides[same].append(apart**2 if same else max(1.3 - apart, 0) ** 2)
    loss = losses.ContrastiveLoss(1.3, squared=True, average_nonzero=False)
    expected = np.mean(sides[True]) + np.mean(sides[False])
    assert float(loss(labels, x)) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("loss", PAIR_LOSSES, ids=names)
def test_order_of_a_batch_does_not_matter(loss):
    labels, x = batch()
    order = np.random.default_rng(1).permutation(12)
    if isinstance(loss, losses.NPairLoss):  # it uses the first two of each class
        order = np.array([1, 0, 3, 2, 5, 4, 7, 6, 8, 9, 10, 11])
    found = float(loss(labels[order], x[order]))
    assert found == pytest.approx(float(loss(labels, x)), rel=1e-5)


@pytest.mark.parametrize("loss", PAIR_LOSSES, ids=names)
def test_gradients_are_finite_where_embeddings_repeat(loss):
    labels, x = batch()
    x[4:8] = x[0:4]  # copies in the same class and, below, in different classes
    x[9] = x[2]
    x = tf.constant(x)
    with tf.GradientTape() as tape:
        tape.watch(x)
        value = loss(labels, x)
    assert np.isfinite(value) and np.isfinite(tape.gradient(value, x)).all()


@pytest.mark.parametrize("loss", PROXY_LOSSES, ids=names)
@pytest.mark.parametrize("fill", [-1.0, 0.0, 1.0])
def test_gradients_are_finite_at_extremes(loss, fill):
    s = tf.fill((4, 5), fill)
    with tf.GradientTape() as tape:
        tape.watch(s)
        value = loss(np.arange(4), s)
    assert np.isfinite(value) and np.isfinite(tape.gradient(value, s)).all()


@pytest.mark.parametrize("loss", PAIR_LOSSES + PROXY_LOSSES, ids=names)
def test_config_round_trip(loss):
    again = keras.losses.deserialize(keras.losses.serialize(loss))
    assert again.get_config() == loss.get_config()
    labels, x = batch(classes=4, size=4)
    assert float(again(labels, x)) == pytest.approx(float(loss(labels, x)))


@pytest.mark.parametrize("loss", PAIR_LOSSES, ids=names)
@pytest.mark.parametrize("labels", [[0, 1, 2, 3], [5, 5, 5, 5]])
def test_a_batch_without_pairs(loss, labels):
    x = batch(number=4)[1]
    with pytest.raises(ValueError, match="set images_per_class to 2 or more"):
        loss(np.array(labels), x)
    with pytest.raises(tf.errors.InvalidArgumentError, match="images_per_class"):
        tf.function(lambda: loss(tf.constant(labels), tf.constant(x)))()
    compiled = tf.function(lambda: loss(tf.constant(labels), tf.constant(x)), jit_compile=True)
    assert np.isnan(compiled())


@pytest.mark.parametrize("loss", PROXY_LOSSES, ids=names)
def test_labels_out_of_range(loss):
    with pytest.raises(ValueError, match=r"Expected labels in \[0, 4\)"):
        loss(np.array([0, 1, 2, 3, 4, 0]), cosines())


@pytest.mark.parametrize("loss", PAIR_LOSSES, ids=names)
def test_wrong_shapes(loss):
    with pytest.raises(ValueError, match="embeddings of shape"):
        loss(np.arange(4) % 2, np.zeros((4, 2, 2), "float32"))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: losses.ContrastiveLoss(0), "negative_margin in"),
        (lambda: losses.ContrastiveLoss(0.5, -1), "positive_margin of 0 or more"),
        (lambda: losses.TripletLoss(0), "margin > 0; received 0"),
        (lambda: losses.TripletLoss(mining="easy"), "semi_hard, .* received 'easy'"),
        (lambda: losses.LiftedStructureLoss(-1), "margin > 0"),
        (lambda: losses.MultiSimilarityLoss(alpha=0), "alpha > 0"),
        (lambda: losses.MultiSimilarityLoss(beta=-1), "beta > 0"),
        (lambda: losses.SupConLoss(0), "temperature > 0"),
        (lambda: losses.CircleLoss(1.1), r"margin in \[0, 1\]"),
        (lambda: losses.CircleLoss(scale=0), "scale > 0"),
        (lambda: losses.SmoothAPLoss(-1), "temperature > 0"),
        (lambda: losses.SubCenterArcFaceLoss(scale=0), "scale > 0"),
        (lambda: losses.SubCenterArcFaceLoss(margin=-1), r"margin in \[0, pi\)"),
        (lambda: losses.ProxyNCALoss(0), "scale > 0"),
        (lambda: losses.NormalizedSoftmaxLoss(0), "temperature > 0"),
        (lambda: losses.CosFaceLoss(scale=0), "scale > 0"),
        (lambda: losses.ArcFaceLoss(scale=0), "scale > 0"),
        (lambda: losses.ArcFaceLoss(margin=3.2), r"margin in \[0, pi\)"),
    ],
)
def test_settings_out_of_range(make, message):
    with pytest.raises(ValueError, match=message):
        make()


@pytest.mark.parametrize("policy", ["float32", "mixed_bfloat16"])
@pytest.mark.parametrize(
    "loss", [losses.TripletLoss(), losses.NPairLoss(), losses.ArcFaceLoss()], ids=names
)
def test_stock_compile_and_fit(loss, policy, float32_policy):
    keras.utils.set_random_seed(0)
    keras.config.set_dtype_policy(policy)
    model = embedding_model("conv4", 8, (16, 16), weights=None)
    if isinstance(loss, losses.ArcFaceLoss):
        model = with_proxies(model, 4)
    model.compile(keras.optimizers.AdamW(3e-3), loss, jit_compile=False)
    rng = np.random.default_rng(0)
    labels = np.tile(np.arange(4), 8)
    images = 60.0 * labels[:, None, None, None] + rng.normal(0, 25, (32, 16, 16, 3))
    history = model.fit(images.astype("float32"), labels, 16, epochs=6, verbose=0).history["loss"]
    assert history[-1] < history[0]


@pytest.mark.parametrize("loss", [*PAIR_LOSSES[:2], *PROXY_LOSSES[:1]], ids=names)
def test_terms_are_one_a_row(loss):
    """Keras needs this to scale correctly under `tf.distribute` and to apply sample weights."""
    labels, x = batch(classes=4, size=4)
    terms = type(loss).from_config({**loss.get_config(), "reduction": "none"})(labels, x)
    assert terms.shape == (12,)
    assert float(np.mean(terms)) == pytest.approx(float(loss(labels, x)), rel=1e-6)
