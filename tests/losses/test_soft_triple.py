"""Compares SoftTriple with a double loop, and checks what it refuses."""

import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pa_keras import losses
from pa_keras.layers import SoftTripleRegularizer
from pa_keras.models import embedding_model, with_proxies

LABELS = np.array([0, 1, 2, 0])


def cosines(seed=0, centers=5):
    return np.random.default_rng(seed).uniform(-1, 1, (4, 3, centers))


@settings(max_examples=25, deadline=None)
@given(
    st.integers(0, 10**6),
    st.integers(1, 6),
    st.floats(0.5, 60),
    st.floats(0.01, 2),
    st.floats(0, 1),
)
def test_it_equals_a_double_loop(seed, centers, scale, gamma, margin):
    s = cosines(seed, centers)
    expected = []
    for row, own in zip(s, LABELS, strict=True):
        values = []
        for of_class in row:
            weights = np.exp(of_class / gamma - (of_class / gamma).max())
            values.append((weights * of_class).sum() / weights.sum())
        relaxed = np.array(values)
        relaxed[own] -= margin
        logits = scale * relaxed
        expected.append(np.log(np.exp(logits - logits.max()).sum()) + logits.max() - logits[own])
    found = losses.soft_triple(LABELS, s, scale, gamma, margin)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4 * scale)


def test_one_center_without_margin_is_a_softmax_of_cosines():
    s = cosines(centers=1)
    found = losses.soft_triple(LABELS, s, scale=10.0, margin=0.0)
    np.testing.assert_allclose(
        found, losses.normalized_softmax(LABELS, s[..., 0], temperature=0.1), rtol=1e-5
    )


def test_one_hot_labels_are_the_same():
    found = losses.SoftTripleLoss()(np.eye(3)[LABELS], cosines())
    assert float(found) == pytest.approx(float(losses.SoftTripleLoss()(LABELS, cosines())))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: losses.soft_triple([0], [[1.0, 0.0]]), "centers_per_class"),
        (lambda: losses.soft_triple([0], np.zeros((1, 2, 3), int)), "floating"),
        (lambda: losses.soft_triple([3], np.zeros((1, 3, 2))), "Expected labels in"),
        (lambda: losses.soft_triple([0, 1], np.zeros((2, 1, 2))), "at least 2 proxies"),
        (lambda: losses.SoftTripleLoss(gamma=0), "gamma"),
        (lambda: losses.SoftTripleLoss(scale=-1), "scale"),
    ],
)
def test_bad_input(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_config_round_trip():
    loss = losses.SoftTripleLoss(5.0, 0.2, 0.3)
    assert losses.SoftTripleLoss.from_config(loss.get_config()).get_config() == loss.get_config()


def test_it_trains_and_its_model_reloads(tmp_path):
    keras.utils.set_random_seed(0)
    embedder = embedding_model("conv4", 8, (16, 16), weights=None)
    model = with_proxies(embedder, 4, 3, SoftTripleRegularizer())
    model.compile(keras.optimizers.AdamW(3e-3), losses.SoftTripleLoss(), jit_compile=False)
    labels = np.tile(np.arange(4), 8)
    images = 60.0 * labels[:, None, None, None] + np.random.default_rng(0).normal(
        0, 25, (32, 16, 16, 3)
    )
    history = model.fit(images.astype("float32"), labels, 16, epochs=6, verbose=0).history["loss"]
    assert history[-1] < history[0]
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    assert loaded.output_shape == (None, 4, 3)
    np.testing.assert_allclose(
        loaded.predict(images, verbose=0), model.predict(images, verbose=0), atol=1e-6
    )
    assert float(loaded.losses[0]) == pytest.approx(float(model.losses[0]), rel=1e-6)
