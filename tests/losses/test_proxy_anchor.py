"""Compares Proxy-Anchor with golden values and a float64 double loop, and checks invariants."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from pa_keras.kernels import class_log_sums
from pa_keras.kernels.tensors import NOTHING
from pa_keras.losses import ProxyAnchorLoss, proxy_anchor

ROWS, COLUMNS = np.arange(6)[:, None], np.arange(4)[None, :]
WAVES = np.sin(4 * ROWS + COLUMNS + 1)
WAVE_PROXIES = np.cos(4 * ROWS[:5] + COLUMNS + 1)
WAVE_LABELS = [0, 0, 1, 2, 2, 2]
CORNER = ([[1, 0], [0, 1], [1, 1]], [0, 1, 0])

# Proxy-Anchor in float64 with epsilon 1e-12: embeddings, proxies, labels, alpha, margin, then the
# positive term, the negative term and the loss; computed by a double loop apart from this package.
GOLDEN = [
    (CORNER[0], [[1, 0], [0, 1]], CORNER[1], 32, 0.1,
     1.8273588794773697e-09, 14.533685165634997, 14.533685167462357),
    (CORNER[0], [[1, 0], [0, 1], [-1, 0]], CORNER[1], 32, 0.1,
     1.8273588794773697e-09, 10.769107888191852, 10.769107890019212),
    (WAVES, WAVE_PROXIES, WAVE_LABELS, 32, 0.1,
     26.691487333377484, 31.67222797087565, 58.363715304253134),
    (WAVES, WAVE_PROXIES, WAVE_LABELS, 16, 0.2,
     15.020809741068396, 17.5392122995453, 32.560022040613696),
    (WAVES, WAVE_PROXIES, WAVE_LABELS, 1, 0.0,
     1.3868949105977328, 1.989982897113308, 3.3768778077110406),
]  # fmt: skip


def cosines(embeddings, proxies):
    x, p = np.asarray(embeddings, "float64"), np.asarray(proxies, "float64")
    x = x / np.sqrt((x**2).sum(1, keepdims=True) + 1e-12)
    p = p / np.sqrt((p**2).sum(1, keepdims=True) + 1e-12)
    return x @ p.T


def oracle(labels, s, margin, alpha):
    """Value, positive and negative term, and gradient by s: equation (4) as loops."""
    batch, num_classes = s.shape
    present = len(set(labels))
    value = [0.0, 0.0]
    gradient = np.zeros_like(s)
    for c in range(num_classes):
        for own, sign, share in ((True, -1, 1 / present), (False, 1, 1 / num_classes)):
            rows = [i for i in range(batch) if (labels[i] == c) == own]
            exponents = [sign * alpha * (s[i, c] + sign * margin) for i in rows]
            top = max([0.0, *exponents])
            total = np.exp(-top) + sum(np.exp(e - top) for e in exponents)
            value[0 if own else 1] += share * (top + np.log(total))
            for i, e in zip(rows, exponents, strict=True):
                gradient[i, c] += share * sign * alpha * np.exp(e - top) / total
    return sum(value), *value, gradient


def value_and_gradient(labels, s, margin, alpha, function=proxy_anchor):
    s = tf.constant(s, tf.float32)
    with tf.GradientTape() as tape:
        tape.watch(s)
        loss = tf.reduce_mean(function(tf.constant(labels), s, margin, alpha))
    return float(loss), tape.gradient(loss, s).numpy()


@pytest.mark.parametrize("case", GOLDEN)
def test_golden_values(case):
    embeddings, proxies, labels, alpha, margin, positive, negative, expected = case
    s = cosines(embeddings, proxies)
    assert float(ProxyAnchorLoss(margin, alpha)(labels, s)) == pytest.approx(expected, rel=1e-6)
    assert oracle(labels, s, margin, alpha)[:3] == pytest.approx(
        (expected, positive, negative), rel=1e-12
    )


@pytest.mark.parametrize("case", GOLDEN)
def test_golden_positive_and_negative_terms(case):
    embeddings, proxies, labels, alpha, margin, positive, negative, _ = case
    s = cosines(embeddings, proxies)
    num_classes, present = s.shape[1], len(set(labels))
    # A shift of +-8 in the cosines puts one of the two logarithms at log(1) = 0.
    own = np.eye(num_classes)[labels] > 0
    only_positive = np.mean(proxy_anchor(labels, np.where(own, s, -8.0), margin, alpha))
    only_negative = np.mean(proxy_anchor(labels, np.where(own, 8.0, s), margin, alpha))
    absent = np.log1p(len(labels) * np.exp(-alpha * (8 - margin)))
    assert only_positive == pytest.approx(positive, rel=1e-5, abs=absent)
    assert only_negative == pytest.approx(negative, rel=1e-5, abs=absent * num_classes / present)


@settings(max_examples=40, deadline=None)
@given(
    st.integers(1, 9), st.integers(2, 7), st.integers(0, 10**6),
    st.sampled_from([0.5, 8.0, 32.0, 1000.0]), st.floats(0, 0.5),
)  # fmt: skip
def test_value_and_gradient_equal_the_double_loop(batch, num_classes, seed, alpha, margin):
    rng = np.random.default_rng(seed)
    s = rng.uniform(-1, 1, (batch, num_classes)).astype("float32")
    labels = rng.integers(0, num_classes, batch)
    loss, gradient = value_and_gradient(labels, s, margin, alpha)
    expected, _, _, expected_gradient = oracle(labels, s.astype("float64"), margin, alpha)
    # alpha scales the float32 rounding of the exponents.
    assert loss == pytest.approx(expected, rel=1e-5, abs=1e-6)
    np.testing.assert_allclose(gradient, expected_gradient, rtol=1e-4, atol=1e-4 * alpha)


def test_second_derivative_equals_the_difference_of_gradients():
    rng = np.random.default_rng(0)
    s = tf.constant(rng.uniform(-1, 1, (6, 4)), tf.float32)
    direction = tf.constant(rng.normal(size=(6, 4)), tf.float32)

    def gradient(s):
        with tf.GradientTape() as tape:
            tape.watch(s)
            loss = tf.reduce_mean(proxy_anchor(WAVE_LABELS, s, 0.1, 4.0))
        return tape.gradient(loss, s)

    with tf.GradientTape() as tape:
        tape.watch(s)
        along = tf.reduce_sum(gradient(s) * direction)
    step = 1e-2 * direction
    expected = (gradient(s + step) - gradient(s - step)) / 2e-2
    np.testing.assert_allclose(tape.gradient(along, s), expected, atol=2e-3)


@pytest.mark.parametrize("alpha", [1.0, 32.0, 1e4])
def test_class_log_sums_equal_sums_in_float64(alpha):
    rng = np.random.default_rng(0)
    s = rng.uniform(-1, 1, (7, 5)).astype("float32")
    labels = np.array([0, 0, 1, 3, 3, 3, 1])
    own = labels[:, None] == np.arange(5)
    positive, negative = class_log_sums(tf.constant(labels), tf.constant(s), alpha)
    for found, rows, sign in ((positive, own, -1), (negative, ~own, 1)):
        exponents = np.where(rows, sign * alpha * s.astype("float64"), -np.inf)
        expected = np.logaddexp.reduce(exponents, axis=0)
        some = rows.any(axis=0)
        np.testing.assert_allclose(found.numpy()[some], expected[some], rtol=1e-6, atol=1e-6)
        assert (found.numpy()[~some] <= NOTHING / 2).all()


def test_a_batch_of_one_class_has_no_negatives_for_it():
    s = np.full((3, 2), 0.5, "float32")
    loss, gradient = value_and_gradient([1, 1, 1], s, 0.1, 32.0)
    expected, _, _, expected_gradient = oracle([1, 1, 1], s.astype("float64"), 0.1, 32.0)
    assert loss == pytest.approx(expected, rel=1e-6)
    np.testing.assert_allclose(gradient, expected_gradient, atol=1e-4)


@pytest.mark.parametrize("fill", [-1.0, 0.0, 1.0])
@pytest.mark.parametrize("labels", [[0, 0, 0, 0], [0, 1, 2, 3]])
def test_extremes_are_finite(fill, labels):
    loss, gradient = value_and_gradient(labels, np.full((4, 5), fill), 0.1, 1000.0)
    assert np.isfinite(loss) and np.isfinite(gradient).all()


@pytest.mark.parametrize("wrap", [tf.function, lambda f: tf.function(f, jit_compile=True)])
def test_graph_and_xla_equal_eager(wrap):
    s = cosines(WAVES, WAVE_PROXIES)
    eager = value_and_gradient(WAVE_LABELS, s, 0.1, 32.0)
    compiled = value_and_gradient(WAVE_LABELS, s, 0.1, 32.0, wrap(proxy_anchor))
    assert compiled[0] == pytest.approx(eager[0], rel=1e-6)
    np.testing.assert_allclose(compiled[1], eager[1], rtol=1e-5, atol=1e-6)


def test_one_hot_columns_and_integers_are_the_same():
    s = cosines(WAVES, WAVE_PROXIES)
    loss = ProxyAnchorLoss()
    expected = float(loss(WAVE_LABELS, s))
    assert float(loss(np.asarray(WAVE_LABELS)[:, None], s)) == expected
    for dtype in ("float32", "bool", "int64"):
        assert float(loss(np.eye(5, dtype=dtype)[WAVE_LABELS], s)) == expected


def test_order_of_batch_and_of_classes_does_not_matter():
    s = cosines(WAVES, WAVE_PROXIES)
    expected = float(np.mean(proxy_anchor(WAVE_LABELS, s)))
    labels, rows, classes = np.asarray(WAVE_LABELS), [3, 1, 5, 0, 2, 4], [4, 2, 0, 1, 3]
    renamed = np.argsort(classes)[labels]
    mixed = proxy_anchor(renamed[rows], s[rows][:, classes])
    assert float(np.mean(mixed)) == pytest.approx(expected, rel=1e-6)


def test_half_precision_cosines_are_computed_in_float32():
    s = tf.cast(cosines(WAVES, WAVE_PROXIES), tf.float16)
    terms = proxy_anchor(WAVE_LABELS, s)
    assert terms.dtype == tf.float32
    np.testing.assert_array_equal(terms, proxy_anchor(WAVE_LABELS, tf.cast(s, tf.float32)))


@pytest.fixture
def bfloat16_floatx():
    before = keras.config.floatx()
    keras.config.set_floatx("bfloat16")
    yield
    keras.config.set_floatx(before)


def test_labels_stay_whole_where_keras_computes_in_bfloat16(bfloat16_floatx):
    s = tf.one_hot([257, 3], 300)
    expected = float(tf.reduce_mean(proxy_anchor([257, 3], s)))
    assert float(ProxyAnchorLoss()(np.array([257, 3]), s)) == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("dtype", ["uint8", "int8", "int16", "uint32", "int64"])
def test_labels_of_any_integer_dtype(dtype):
    s = np.random.default_rng(0).uniform(-1, 1, (3, 300)).astype("float32")
    terms = proxy_anchor(np.array([0, 44, 99], dtype), s)
    np.testing.assert_array_equal(terms, proxy_anchor(np.array([0, 44, 99], "int32"), s))


def test_config_round_trip():
    loss = ProxyAnchorLoss(0.2, 16, num_classes=5, reduction="sum", name="mine")
    again = keras.losses.deserialize(keras.losses.serialize(loss))
    assert again.get_config() == loss.get_config()
    s = cosines(WAVES, WAVE_PROXIES)
    assert float(again(WAVE_LABELS, s)) == float(loss(WAVE_LABELS, s))


@pytest.mark.parametrize("out_of_range", [-1, 5, 99])
def test_label_out_of_range(out_of_range):
    s = tf.constant(cosines(WAVES, WAVE_PROXIES), tf.float32)
    labels = tf.constant([0, 0, 1, 2, 2, out_of_range])
    with pytest.raises(ValueError, match=rf"labels in \[0, 5\).*{out_of_range}"):
        ProxyAnchorLoss()(labels, s)
    with pytest.raises(tf.errors.InvalidArgumentError, match="Expected labels"):
        tf.function(ProxyAnchorLoss())(labels, s)
    assert np.isnan(tf.function(ProxyAnchorLoss(), jit_compile=True)(labels, s))


def test_rows_that_are_not_one_hot():
    with pytest.raises(ValueError, match="one-hot labels with a single positive"):
        proxy_anchor(np.ones((6, 5)), cosines(WAVES, WAVE_PROXIES))


@pytest.mark.parametrize(
    ("labels", "shape", "message"),
    [
        ([0, 1], (2, 3, 4), r"cosines of shape \(batch, num_classes\).*\(2, 3, 4\)"),
        ([0, 1], (2, 1), "at least 2 proxies"),
        ([0.5, 1.0], (2, 3), "whole numbers"),
        ([[0, 1], [1, 0]], (2, 3), "one-hot of shape"),
        ([[[0]], [[1]]], (2, 3), "received int32"),
    ],
)
def test_wrong_rank_width_or_dtype(labels, shape, message):
    with pytest.raises(ValueError, match=message):
        ProxyAnchorLoss()(labels, tf.zeros(shape))
    with pytest.raises(ValueError, match="floating"):
        proxy_anchor([0, 1], tf.zeros((2, 3), tf.int32))


def test_embeddings_in_place_of_cosines_are_found_when_traced():
    embeddings = keras.Input((8,))
    model = keras.Model(embeddings, keras.layers.Dense(4)(embeddings))
    model.compile(loss=ProxyAnchorLoss(num_classes=98), jit_compile=False)
    with pytest.raises(ValueError, match=r"num_classes=98.*Proxies\(98\)"):
        model.fit(np.zeros((4, 8)), np.zeros(4, "int32"), verbose=0)


def test_weights_of_samples_and_classes_are_refused():
    with pytest.raises(ValueError, match="one term for each proxy"):
        ProxyAnchorLoss()([0, 1], np.eye(2), sample_weight=[1.0, 2.0])
    inputs = keras.Input((2,))
    model = keras.Model(inputs, keras.layers.Dense(2)(inputs))
    model.compile(loss=ProxyAnchorLoss(), jit_compile=False)
    with pytest.raises(ValueError, match="class_weight"):
        model.fit(np.eye(2), np.arange(2), class_weight={0: 1.0, 1: 2.0}, verbose=0)


@pytest.mark.parametrize(
    "settings", [{"alpha": 0}, {"alpha": -1}, {"alpha": float("nan")}, {"margin": 2}]
)
def test_settings_out_of_range(settings):
    with pytest.raises(ValueError, match="Expected (alpha|margin)"):
        ProxyAnchorLoss(**settings)
    with pytest.raises(ValueError, match="num_classes of 2"):
        ProxyAnchorLoss(num_classes=1)
