"""Class IDs of every dtype reach every loss unchanged or are refused, and so are embeddings."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from pa_keras import losses

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
    losses.ProxyAnchorLoss(),
    losses.ProxyNCALoss(),
    losses.NormalizedSoftmaxLoss(),
    losses.CosFaceLoss(),
    losses.ArcFaceLoss(),
    losses.SoftTripleLoss(),
    losses.SubCenterArcFaceLoss(),
]
FUNCTIONS = [
    losses.arcface,
    losses.circle,
    losses.contrastive,
    losses.cosface,
    losses.lifted_structure,
    losses.multi_similarity,
    losses.n_pair,
    losses.normalized_softmax,
    losses.proxy_anchor,
    losses.proxy_nca,
    losses.smooth_ap,
    losses.soft_triple,
    losses.sub_center_arcface,
    losses.sup_con,
    losses.triplet,
]
OF_CENTERS = (
    losses.SoftTripleLoss,
    losses.SubCenterArcFaceLoss,
    losses.soft_triple,
    losses.sub_center_arcface,
)
EAGER, GRAPH, XLA = (
    lambda loss: loss,
    tf.function,
    lambda loss: tf.function(loss, jit_compile=True),
)
CLASSES = np.repeat(np.arange(5), 3)
# The first IDs that float32, int32 and int64 respectively cannot hold.
LARGE_IDS = [("int32", 20_000_000), ("int64", 2**33), ("int64", -(2**60)), ("uint64", 2**63 + 5)]


def name(loss):
    options = [f"{v}" for k, v in loss.get_config().items() if k not in ("name", "reduction")]
    return "-".join([loss.name, *options])


def large_ids(dtype, first):
    return CLASSES.astype(dtype) + np.array(first, dtype)


def predictions(loss, classes=5):
    """Outputs of a model for 15 images: embeddings, or cosines to `classes` proxies."""
    shape = (15, classes, 2) if isinstance(loss, OF_CENTERS[:2]) else (15, classes)
    return np.random.default_rng(0).uniform(-1, 1, shape).astype("float32")


@pytest.mark.parametrize("loss", PAIR_LOSSES, ids=name)
@pytest.mark.parametrize(("dtype", "first"), LARGE_IDS)
def test_large_class_ids_stay_apart(loss, dtype, first):
    ids, y = large_ids(dtype, first), predictions(loss)
    expected = float(loss(CLASSES, y))
    assert float(loss(ids, y)) == float(loss(ids[:, None], y)) == expected
    if dtype == "uint64":
        assert float(GRAPH(loss)(ids, y)) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("loss", PAIR_LOSSES[::2], ids=name)
def test_large_class_ids_stay_apart_under_xla(loss):
    y = predictions(loss)
    found = XLA(loss)(large_ids("uint64", 2**63 + 5), y)
    assert float(found) == pytest.approx(float(loss(CLASSES, y)), rel=1e-5)


@pytest.mark.parametrize("loss", PROXY_LOSSES, ids=name)
@pytest.mark.parametrize(
    "ids", [[2**32, 2**32 + 1], [2**53, 2**53 + 1], [-1, 0], np.array([2**64 - 1, 0], "uint64")]
)
def test_a_class_id_that_wraps_around_is_no_proxy(loss, ids):
    ids, y = np.resize(ids, 15), predictions(loss)
    with pytest.raises(ValueError, match=r"labels in \[0, 5\)"):
        loss(ids, y)
    if ids[0] == 2**32:
        with pytest.raises(tf.errors.InvalidArgumentError, match="Expected labels"):
            GRAPH(loss)(ids, y)
        assert np.isnan(XLA(loss)(ids, y))


@pytest.mark.parametrize("loss", PAIR_LOSSES + PROXY_LOSSES, ids=name)
@pytest.mark.parametrize(
    "dtype", ["int8", "uint8", "uint16", "uint32", "uint64", "float16", "float32", "float64"]
)
def test_every_dtype_that_holds_the_class_ids_gives_the_same_loss(loss, dtype):
    y = predictions(loss)
    expected = float(loss(CLASSES, y))
    assert float(loss(CLASSES.astype(dtype), y)) == expected
    if dtype == "float32":
        assert float(GRAPH(loss)(CLASSES.astype(dtype), y)) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("loss", PAIR_LOSSES + PROXY_LOSSES, ids=name)
def test_labels_may_be_lists_or_booleans(loss):
    y = predictions(loss)
    assert float(loss(CLASSES.tolist(), y.tolist())) == float(loss(CLASSES, y))
    assert float(loss(CLASSES > 2, y)) == float(loss((CLASSES > 2).astype(int), y))


@pytest.mark.parametrize("loss", PAIR_LOSSES + PROXY_LOSSES, ids=name)
@pytest.mark.parametrize("bad", [0.5, np.nan, np.inf, 2.0**24, -(2.0**24) - 2])
def test_a_fraction_or_a_float_that_rounds_class_ids_is_refused(loss, bad):
    y, labels = predictions(loss), np.where(np.arange(15) == 1, bad, CLASSES).astype("float32")
    with pytest.raises(ValueError, match=r"below 16,777,216 in float32.*integer ID; received"):
        loss(labels, y)
    if bad == 0.5:
        with pytest.raises(tf.errors.InvalidArgumentError, match="Expected class IDs as integers"):
            GRAPH(loss)(labels, y)
        assert np.isnan(XLA(loss)(labels, y))


def test_half_precision_rounds_class_ids_earlier():
    y = predictions(PAIR_LOSSES[0])
    for dtype, limit in ((tf.bfloat16, "256"), (tf.float16, "2,048")):
        with pytest.raises(ValueError, match=f"below {limit} in {dtype.name}"):
            losses.TripletLoss()(tf.cast(CLASSES + int(limit.replace(",", "")), dtype), y)


@pytest.mark.parametrize("loss", PAIR_LOSSES[:1] + PROXY_LOSSES[:1], ids=name)
def test_class_names_are_refused_with_the_remedy(loss):
    with pytest.raises(ValueError, match="received string.*return_inverse"):
        loss(np.array(["cat", "dog", "owl"] * 5), predictions(loss))


@pytest.mark.parametrize("loss", PROXY_LOSSES, ids=name)
@pytest.mark.parametrize("bad", [0.5, 0.9, 2.0, -1.0, np.nan])
def test_soft_labels_are_not_one_hot(loss, bad):
    one_hot = np.eye(5, dtype="float32")[CLASSES]
    y = predictions(loss)
    assert float(loss(one_hot, y)) == float(loss(CLASSES, y))
    one_hot[4, 0] = bad
    with pytest.raises(ValueError, match="one-hot labels with a single positive"):
        loss(one_hot, y)
    if bad == 0.5:
        assert np.isnan(XLA(loss)(one_hot, y))


@pytest.mark.parametrize(
    ("source", "dtype", "first", "jit_compile"),
    [
        ("numpy", "int64", 2**40, False),
        ("numpy", "int32", 2**30, False),
        ("tf.data", "uint64", 2**63, False),
        ("tf.data", "int64", 2**40, True),
    ],
)
def test_fit_sees_large_class_ids(source, dtype, first, jit_compile):
    x = np.random.default_rng(0).normal(size=(15, 8)).astype("float32")
    found = []
    for offset in (0, first):
        keras.utils.set_random_seed(0)
        model = keras.Sequential([keras.Input((8,)), keras.layers.Dense(4)])
        model.compile("sgd", losses.MultiSimilarityLoss(), jit_compile=jit_compile)
        ids = large_ids(dtype, offset)
        data = tf.data.Dataset.from_tensor_slices((x, ids)).batch(15)
        data = (data,) if source == "tf.data" else (x, ids, 15)
        found.append(model.fit(*data, shuffle=False, verbose=0).history["loss"][0])
    assert found[0] == pytest.approx(found[1], rel=1e-6)


def test_fit_with_several_losses_and_weights():
    """Features of Keras still work: several outputs, and weights of losses, samples and classes."""
    x = np.random.default_rng(0).normal(size=(15, 8)).astype("float32")
    inputs = keras.Input((8,))
    outputs = [keras.layers.Dense(5, name=each)(inputs) for each in ("a", "b")]
    model = keras.Model(inputs, outputs)
    pair, proxy = losses.TripletLoss(), losses.CosFaceLoss()
    model.compile("sgd", [pair, proxy], loss_weights=[2.0, 0.5], jit_compile=False)
    a, b = model(x)
    weights = np.linspace(0.5, 2, 15).astype("float32")
    labels = [CLASSES + 2**40, CLASSES]
    found = model.evaluate(x, labels, 15, sample_weight=[weights, weights], verbose=0)
    terms = losses.triplet(CLASSES, a), losses.cosface(CLASSES, b)
    expected = [float(np.mean(weights * each)) for each in terms]
    assert found == pytest.approx([2 * expected[0] + 0.5 * expected[1], *expected], rel=1e-5)


def test_class_weight_multiplies_the_terms_of_its_class():
    x = np.random.default_rng(0).normal(size=(15, 5)).astype("float32")
    inputs = keras.Input((5,))
    outputs = keras.layers.Dense(5, use_bias=False, kernel_initializer="identity")(inputs)
    model = keras.Model(inputs, outputs)
    model.compile("sgd", losses.CosFaceLoss(), jit_compile=False)
    weights = {0: 1.0, 1: 2.0, 2: 0.5, 3: 3.0, 4: 0.0}
    found = model.fit(x, CLASSES, 15, class_weight=weights, verbose=0).history["loss"][0]
    weighted = np.array([weights[c] for c in CLASSES]) * losses.cosface(CLASSES, x)
    assert found == pytest.approx(float(np.mean(weighted)), rel=1e-5)


@pytest.mark.parametrize("reduction", ["sum", "none", None, "mean"])
def test_reductions_are_those_of_keras(reduction):
    y = predictions(losses.TripletLoss())
    terms = losses.triplet(CLASSES, y).numpy()
    expected = {"sum": terms.sum(), "mean": terms.mean()}.get(reduction, terms)
    found = losses.TripletLoss(reduction=reduction)(CLASSES, y)
    np.testing.assert_allclose(found, expected, rtol=1e-5)


@pytest.mark.parametrize("function", FUNCTIONS, ids=lambda f: f.__name__)
def test_a_function_is_a_loss_for_compile(function):
    shape = (5, 2) if function in OF_CENTERS else (5,)
    x = np.random.default_rng(0).uniform(-1, 1, (15, *shape)).astype("float32")
    inputs = keras.Input(shape)
    model = keras.Model(inputs, keras.layers.Identity()(inputs))
    model.compile("sgd", function, jit_compile=False)
    expected = float(np.mean(function(CLASSES, x)))
    assert model.evaluate(x, CLASSES, 15, verbose=0) == pytest.approx(expected, rel=1e-5)
    # Keras has cast the labels before; numbers that it may have rounded are refused.
    with pytest.raises(tf.errors.InvalidArgumentError, match="below 16,777,216"):
        model.evaluate(x, CLASSES + 2**24, 15, verbose=0)


@pytest.mark.parametrize("loss", PAIR_LOSSES + PROXY_LOSSES, ids=name)
@pytest.mark.parametrize("wrap", [EAGER, GRAPH, XLA])
def test_no_loss_is_finite_where_an_output_is_not(loss, wrap):
    compiled, clean = wrap(loss), predictions(loss)
    assert np.isfinite(compiled(CLASSES, clean))
    for bad in (np.nan, np.inf, -np.inf):
        for row in range(5):
            y = clean.copy()
            y[row, row] = bad
            assert not np.isfinite(compiled(CLASSES, y)), (bad, row)
        assert not np.isfinite(compiled(CLASSES, np.full_like(clean, bad))), bad
    # A mean of terms could hide the NaN of one row.
    each = type(loss).from_config({**loss.get_config(), "reduction": "none"})
    assert not np.isfinite(each(CLASSES, y)).any()


@pytest.mark.parametrize("loss", PAIR_LOSSES, ids=name)
def test_an_embedding_whose_length_overflows_is_no_finite_loss(loss):
    y = predictions(loss)
    y[3] *= 1e25
    assert not np.isfinite(loss(CLASSES, y))


def test_terminate_on_nan_stops_in_the_first_bad_step():
    x = np.random.default_rng(0).normal(size=(45, 8)).astype("float32")
    x[20] = np.nan  # in the second batch of three
    model = keras.Sequential([keras.Input((8,)), keras.layers.Dense(4)])
    model.compile(keras.optimizers.SGD(0.0), losses.TripletLoss(), jit_compile=False)
    seen = []
    record = keras.callbacks.LambdaCallback(on_train_batch_end=lambda i, logs: seen.append(i))
    callbacks = [keras.callbacks.TerminateOnNaN(), record]
    model.fit(x, np.tile(CLASSES, 3), 15, callbacks=callbacks, shuffle=False, verbose=0)
    assert seen == [0, 1]
