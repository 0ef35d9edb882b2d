"""Every loss on the backend that is set, against float64: values, gradients, and bad input.

    KERAS_BACKEND=jax python -m pytest tests/backends
    KERAS_BACKEND=torch python -m pytest tests/backends

Only Keras, NumPy, pytest and the backend must be installed.
"""

import keras
import numpy as np
import pytest
from keras import ops

from pa_keras import kernels, losses
from tests.backends import loops
from tests.backends.loops import LABELS
from tests.backends.step import BACKEND, jitted, value_and_gradients

PAIRS = [
    (losses.ContrastiveLoss(1.2, 0.1), loops.contrastive, (1.2, 0.1, False, True)),
    (losses.ContrastiveLoss(1.2, 0.1, True, False), loops.contrastive, (1.2, 0.1, True, False)),
    (losses.TripletLoss(0.2, "semi_hard"), loops.triplet, (0.2, "semi_hard")),
    (losses.TripletLoss(0.2, "semi_hard_nearest"), loops.triplet, (0.2, "semi_hard_nearest")),
    (losses.TripletLoss(0.2, "hard"), loops.triplet, (0.2, "hard")),
    (losses.TripletLoss(0.2, "all"), loops.triplet, (0.2, "all")),
    (losses.NPairLoss(), loops.n_pair, ()),
    (losses.LiftedStructureLoss(), loops.lifted_structure, (1.0, True)),
    (losses.LiftedStructureLoss(normalize=False), loops.lifted_structure, (1.0, False)),
    (losses.MultiSimilarityLoss(), loops.multi_similarity, (2.0, 50.0, 0.5, 0.1)),
    (losses.MultiSimilarityLoss(epsilon=None), loops.multi_similarity, (2.0, 50.0, 0.5, None)),
    (losses.SupConLoss(), loops.sup_con, (0.1,)),
    (losses.CircleLoss(), loops.circle, (0.4, 80.0)),
    (losses.SmoothAPLoss(0.2), loops.smooth_ap, (0.2, False)),
    (losses.SmoothAPLoss(0.2, query_in_gallery=True), loops.smooth_ap, (0.2, True)),
]
PROXIES = [
    (losses.ProxyAnchorLoss(), loops.proxy_anchor, (0.1, 32.0)),
    (losses.ProxyNCALoss(4.0), loops.proxy_nca, (4.0, False)),
    (losses.ProxyNCALoss(4.0, True), loops.proxy_nca, (4.0, True)),
    (losses.NormalizedSoftmaxLoss(), loops.normalized_softmax, (0.05,)),
    (losses.CosFaceLoss(), loops.cosface, (0.35, 64.0)),
    (losses.ArcFaceLoss(), loops.arcface, (0.5, 64.0)),
    (losses.SoftTripleLoss(), loops.soft_triple, (20.0, 0.1, 0.01)),
    (losses.SubCenterArcFaceLoss(), loops.sub_center_arcface, (0.5, 64.0)),
]
OF_CENTERS = (losses.SoftTripleLoss, losses.SubCenterArcFaceLoss)

ROWS, COLUMNS = np.arange(6)[:, None], np.arange(4)[None, :]
WAVES, WAVE_PROXIES = np.sin(4 * ROWS + COLUMNS + 1), np.cos(4 * ROWS[:5] + COLUMNS + 1)
CORNER = [[1, 0], [0, 1], [1, 1]]
# Embeddings, proxies, labels, alpha, margin, and Proxy-Anchor loss in float64.
GOLDEN = [
    (CORNER, [[1, 0], [0, 1]], [0, 1, 0], 32, 0.1, 14.533685167462357),
    (CORNER, [[1, 0], [0, 1], [-1, 0]], [0, 1, 0], 32, 0.1, 10.769107890019212),
    (WAVES, WAVE_PROXIES, [0, 0, 1, 2, 2, 2], 32, 0.1, 58.363715304253134),
    (WAVES, WAVE_PROXIES, [0, 0, 1, 2, 2, 2], 16, 0.2, 32.560022040613696),
    (WAVES, WAVE_PROXIES, [0, 0, 1, 2, 2, 2], 1, 0.0, 3.3768778077110406),
]


def name(value):
    return f"{value.name}" if isinstance(value, keras.losses.Loss) else ""


def proxies(loss):
    centers = (2,) if isinstance(loss, OF_CENTERS) else ()
    return np.random.default_rng(1).normal(size=(5, *centers, 4))  # class 4 has no rows


def cosines(x, p):
    """Cosines (B, C) or (B, C, K), as `Proxies` computes them."""
    flat = kernels.cosines(x, ops.reshape(p, (-1, p.shape[-1])))
    return ops.reshape(flat, (-1, *p.shape[:-1]))


def predictions(loss):
    """Embeddings, or cosines to 5 proxies, float32."""
    x = loops.embeddings()
    if any(loss is each for each, *_ in PROXIES):
        x = loops.cosines(x, proxies(loss))
    return x.astype("float32")


def test_an_eager_step_equals_a_compiled_one():
    loss, x, p = losses.ProxyAnchorLoss(), loops.embeddings(), proxies(losses.ProxyAnchorLoss())
    found = [
        value_and_gradients(lambda x, p: loss(LABELS, cosines(x, p)), x, p, compiled=compiled)
        for compiled in (False, True)
    ]
    assert found[0][0] == pytest.approx(found[1][0], rel=1e-6)
    for eager, compiled in zip(found[0][1], found[1][1], strict=True):
        close(compiled, eager)


def close(found, expected):
    error = np.abs(found - expected).max() / np.abs(expected).max()
    assert error < 1e-4


@pytest.mark.parametrize("case", GOLDEN)
def test_golden_values(case):
    x, p, labels, alpha, margin, expected = case
    x, p = np.asarray(x, "float32"), np.asarray(p, "float32")
    s = kernels.cosines(ops.convert_to_tensor(x), ops.convert_to_tensor(p))
    loss = losses.ProxyAnchorLoss(margin, alpha)
    assert float(loss(labels, s)) == pytest.approx(expected, rel=1e-6)
    compiled = jitted(lambda s: loss(np.array(labels), s))
    assert float(compiled(s)) == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize(("loss", "loop", "options"), PAIRS, ids=name)
def test_pair_losses_equal_the_loops(loss, loop, options):
    x = loops.embeddings()
    value, (gradient,) = value_and_gradients(lambda x: loss(LABELS, x), x)
    assert value == pytest.approx(loop(x, x, *options), rel=1e-5)
    close(gradient, *loops.numerical_gradients(lambda moved: loop(moved, x, *options), x))


@pytest.mark.parametrize(("loss", "loop", "options"), PROXIES, ids=name)
def test_proxy_losses_equal_the_loops(loss, loop, options):
    x, p = loops.embeddings(), proxies(loss)

    def function(x, p):
        return loss(LABELS, cosines(x, p))

    def expected(x, p):
        return loop(loops.cosines(x, p), LABELS, *options)

    value, gradients = value_and_gradients(function, x, p)
    assert value == pytest.approx(expected(x, p), rel=1e-5)
    for found, each in zip(gradients, loops.numerical_gradients(expected, x, p), strict=True):
        close(found, each)


@pytest.mark.parametrize("fill", [-1.0, 0.0, 1.0])
@pytest.mark.parametrize("labels", [[0, 0, 0, 0], [0, 1, 2, 3]])
def test_proxy_anchor_is_finite_at_extremes(fill, labels):
    loss = losses.ProxyAnchorLoss(alpha=1000.0)
    labels = np.array(labels)
    value, (gradient,) = value_and_gradients(lambda s: loss(labels, s), np.full((4, 5), fill))
    assert value == pytest.approx(loops.proxy_anchor(np.full((4, 5), fill), labels, 0.1, 1000.0))
    assert np.isfinite(gradient).all()


@pytest.mark.parametrize("sign", [1.0, -1.0, 0.0])
@pytest.mark.parametrize(("loss", "loop", "options"), PROXIES, ids=name)
def test_proxy_losses_are_finite_for_identical_and_opposite_vectors(loss, loop, options, sign):
    p = proxies(loss)
    x = sign * (p[LABELS, 0] if isinstance(loss, OF_CENTERS) else p[LABELS])
    found = value_and_gradients(lambda x, p: loss(LABELS, cosines(x, p)), x, p)
    assert np.isfinite(found[0]) and all(np.isfinite(each).all() for each in found[1])


@pytest.mark.parametrize(("loss", "loop", "options"), PAIRS, ids=name)
def test_pair_losses_are_finite_where_embeddings_repeat(loss, loop, options):
    x = loops.embeddings()
    x[2], x[3], x[4], x[9] = x[1], x[0], -x[1], 0
    value, (gradient,) = value_and_gradients(lambda x: loss(LABELS, x), x)
    assert np.isfinite(value) and np.isfinite(gradient).all()


@pytest.mark.parametrize(("loss", "loop", "options"), PROXIES, ids=name)
@pytest.mark.parametrize("bad", [-1, 5, 99])
def test_a_label_out_of_range(loss, loop, options, bad):
    y, labels = predictions(loss), np.where(np.arange(10) == 3, bad, LABELS)
    with pytest.raises(ValueError, match=rf"labels in \[0, 5\).*received labels.*{bad}"):
        loss(labels, y)
    if BACKEND != "torch":  # which is always eager
        found = jitted(loss)(ops.convert_to_tensor(labels), ops.convert_to_tensor(y))
        assert np.isnan(found)


@pytest.mark.parametrize(("loss", "loop", "options"), PAIRS, ids=name)
@pytest.mark.parametrize("labels", [np.arange(10), np.zeros(10, int)])
def test_a_batch_without_pairs(loss, loop, options, labels):
    y = predictions(loss)
    with pytest.raises(ValueError, match="set images_per_class to 2 or more"):
        loss(labels, y)
    if BACKEND != "torch":
        assert np.isnan(jitted(loss)(ops.convert_to_tensor(labels), ops.convert_to_tensor(y)))


@pytest.mark.parametrize(("loss", "loop", "options"), PAIRS + PROXIES, ids=name)
def test_a_prediction_that_is_not_finite(loss, loop, options):
    compiled = jitted(loss)
    for bad in (np.nan, np.inf, -np.inf):
        y = predictions(loss)
        y[3, 2] = bad
        assert np.isnan(float(compiled(ops.convert_to_tensor(LABELS), ops.convert_to_tensor(y))))
    assert np.isnan(float(loss(LABELS, y)))


@pytest.mark.parametrize(("loss", "loop", "options"), [PAIRS[0], PROXIES[0]], ids=name)
def test_labels_of_every_dtype_are_the_same(loss, loop, options):
    y = predictions(loss)
    expected = float(loss(LABELS, y))
    dtypes = [
        "int8",
        "uint8",
        "int16",
        "uint16",
        "uint32",
        "int64",
        "float16",
        "float32",
        "float64",
    ]
    for dtype in dtypes:
        assert float(loss(LABELS.astype(dtype), y)) == expected, dtype
        assert float(loss(LABELS.astype(dtype)[:, None], y)) == expected, dtype
    assert float(loss(LABELS.tolist(), y.tolist())) == expected
    tensor = ops.convert_to_tensor(LABELS.astype("int32"))
    assert float(loss(tensor, ops.convert_to_tensor(y))) == expected


def test_one_hot_labels_are_the_same():
    loss = losses.ProxyAnchorLoss()
    y = predictions(PROXIES[0][0])
    for dtype in ("float32", "bool", "int64"):
        assert float(loss(np.eye(5, dtype=dtype)[LABELS], y)) == float(loss(LABELS, y))
    with pytest.raises(ValueError, match="one-hot labels with a single positive"):
        loss(np.ones((10, 5)), y)


@pytest.mark.parametrize("bad", [0.5, np.nan, np.inf, 2.0**24])
@pytest.mark.parametrize(("loss", "loop", "options"), [PAIRS[0], PROXIES[0]], ids=name)
def test_a_fraction_or_a_float_that_rounds_class_ids(loss, loop, options, bad):
    labels = np.where(np.arange(10) == 1, bad, LABELS).astype("float32")
    with pytest.raises(ValueError, match="below 16,777,216 in float32.*integer ID; received"):
        loss(labels, predictions(loss))


@pytest.mark.parametrize("first", [2**33, -(2**60)])
@pytest.mark.parametrize("kind", [np.asarray, np.ndarray.tolist])
def test_large_class_ids_stay_apart_or_are_refused(first, kind):
    loss, y = losses.ContrastiveLoss(1.2), predictions(PAIRS[0][0])
    labels = kind(LABELS * 2**32 + first)
    if kernels.integer_dtype() == "int64":
        assert float(loss(np.asarray(labels), y)) == float(loss(LABELS, y))
        return
    with pytest.raises(ValueError, match="integers that int32 can hold.*jax_enable_x64"):
        loss(labels, y)
    with pytest.raises(ValueError, match="int32 can hold"):
        losses.ProxyAnchorLoss()(labels, predictions(PROXIES[0][0]))
    with pytest.raises(ValueError, match="int32 can hold"):
        references = losses.References(y, labels, np.ones((10, 10), bool))
        loss(LABELS, y, references=references)


@pytest.mark.parametrize(("loss", "loop", "options"), [PAIRS[0], PROXIES[0]], ids=name)
def test_class_names_are_refused_with_the_remedy(loss, loop, options):
    with pytest.raises(ValueError, match="received string.*return_inverse"):
        loss(np.array(["cat", "dog"] * 5), predictions(loss))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: losses.proxy_anchor([0, 1], np.zeros((2, 3), int)), "floating cosines"),
        (lambda: losses.proxy_anchor([0, 1], np.zeros((2, 1))), "at least 2 proxies"),
        (lambda: losses.proxy_anchor([[0, 1], [1, 0]], np.zeros((2, 3))), "one-hot of shape"),
        (lambda: losses.contrastive([0, 1], np.zeros((2, 3, 4))), "floating embeddings"),
        (lambda: losses.soft_triple([0, 1], np.zeros((2, 3))), "centers_per_class"),
    ],
)
def test_wrong_shapes_and_dtypes(call, message):
    with pytest.raises(ValueError, match=message):
        call()


@pytest.mark.parametrize(("loss", "loop", "options"), PAIRS + PROXIES, ids=name)
def test_a_loss_is_rebuilt_from_its_config(loss, loop, options):
    again = keras.losses.deserialize(keras.losses.serialize(loss))
    assert again.get_config() == loss.get_config()
    assert float(again(LABELS, predictions(loss))) == float(loss(LABELS, predictions(loss)))
