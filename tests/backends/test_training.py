"""Training, saving and several devices on the backend that is set."""

import subprocess
import sys

import keras
import numpy as np
import pytest
from keras import ops

from pa_keras import (
    CrossBatchMemory,
    Proxies,
    SoftTripleRegularizer,
    embedding_model,
    losses,
    with_memory,
    with_proxies,
)
from tests.backends import loops
from tests.backends.step import BACKEND

X = np.random.default_rng(0).normal(size=(24, 8)).astype("float32")
LABELS = np.repeat(np.arange(4), 6)[np.random.default_rng(1).permutation(24)]


def step(model, rows):
    """The loss of one step on some rows; `train_on_batch` would give a mean over the steps."""
    model.reset_metrics()
    return float(model.train_on_batch(X[rows], LABELS[rows]))


def test_proxies_equal_numpy():
    for centers in (None, 3):
        layer = Proxies(5, centers, seed=0)
        found = ops.convert_to_numpy(layer(X))
        expected = loops.cosines(X.astype("float64"), ops.convert_to_numpy(layer.proxies.value))
        np.testing.assert_allclose(found, expected, atol=1e-6)
        assert found.dtype == "float32"
    with pytest.raises(ValueError, match="Pool the features"):
        Proxies(3)(np.zeros((2, 5, 5, 4)))


def test_fit_lowers_proxy_anchor_and_the_model_reloads(tmp_path):
    keras.utils.set_random_seed(0)
    images = 60.0 * np.tile(np.arange(4), 8)[:, None, None, None] + np.random.default_rng(0).normal(
        0, 25, (32, 16, 16, 3)
    )
    images, labels = images.astype("float32"), np.tile(np.arange(4), 8)
    embedder = embedding_model("conv4", 8, (16, 16), weights=None)
    model = with_proxies(embedder, 4, seed=0)
    before = model.get_layer("proxies").get_weights()[0]
    model.compile(keras.optimizers.AdamW(3e-3), losses.ProxyAnchorLoss(num_classes=4))
    history = model.fit(images, labels, 16, epochs=6, verbose=0).history["loss"]
    assert float(history[-1]) < float(history[0])
    assert np.abs(model.get_layer("proxies").get_weights()[0] - before).max() > 1e-3
    model.save(tmp_path / "model.keras")
    again = keras.saving.load_model(tmp_path / "model.keras")
    expected = model.predict(images, verbose=0)
    np.testing.assert_allclose(again.predict(images, verbose=0), expected, atol=1e-6)
    found = float(again.evaluate(images, labels, verbose=0))
    assert found == pytest.approx(float(model.evaluate(images, labels, verbose=0)), rel=1e-5)
    lengths = np.linalg.norm(embedder.predict(images, verbose=0), axis=1)
    np.testing.assert_allclose(lengths, 1, atol=1e-5)


def test_a_bad_label_in_fit_is_an_error_or_nan():
    inputs = keras.Input((8,))
    model = keras.Model(inputs, Proxies(3)(inputs))  # LABELS has a class 3
    model.compile("sgd", losses.ProxyAnchorLoss(), jit_compile=BACKEND == "jax")
    if BACKEND == "jax":
        assert np.isnan(step(model, slice(None)))
    else:
        problems = [ValueError]
        if BACKEND == "tensorflow":
            import tensorflow as tf

            problems = [tf.errors.InvalidArgumentError]
        with pytest.raises(tuple(problems), match=r"Expected labels in \[0, 3\)"):
            step(model, slice(None))


def test_soft_triple_trains_with_its_regularizer():
    keras.utils.set_random_seed(0)
    layer = Proxies(4, 3, SoftTripleRegularizer(), seed=0)
    model = keras.Sequential([keras.Input((8,)), layer])
    model.compile(keras.optimizers.SGD(0.1), losses.SoftTripleLoss(), jit_compile=BACKEND == "jax")
    centers = layer.get_weights()[0].astype("float64")
    u = loops.unit(centers)
    roots = [
        np.sqrt(2 + 1e-5 - 2 * u[c, s] @ u[c, t])
        for c in range(4)
        for s in range(3)
        for t in range(s)
    ]
    s = loops.cosines(X.astype("float64"), centers)
    expected = loops.soft_triple(s, LABELS, 20.0, 0.1, 0.01) + 0.2 * sum(roots) / (4 * 3 * 2)
    assert step(model, slice(None)) == pytest.approx(expected, rel=1e-5)
    assert step(model, slice(None)) < expected


def test_each_step_compares_with_the_memory(tmp_path):
    keras.utils.set_random_seed(0)
    embedder = keras.Sequential([keras.Input((8,)), keras.layers.Dense(4)])
    model = with_memory(embedder, size=10, warm_up_steps=1)
    # Without a learning rate, the embeddings of earlier batches are those of the model.
    optimizer, loss = keras.optimizers.SGD(0.0), losses.ContrastiveLoss(1.2)
    model.compile(optimizer, loss, jit_compile=BACKEND == "jax")
    x = np.array(model.predict(X, verbose=0))
    queue: list[int] = []
    for number, start in enumerate(range(0, 24, 6)):
        rows = np.arange(start, start + 6)
        expected = _contrastive(x[rows], LABELS[rows], rows, x, rows)
        if number >= 1:  # the warm-up is over
            queue = [*queue, *rows][-10:]
            expected += _contrastive(x[rows], LABELS[rows], rows, x, queue)
        assert step(model, slice(start, start + 6)) == pytest.approx(expected, rel=1e-4)
    memory = model.get_layer("memory")
    assert sorted(memory.labels.numpy()) == sorted(LABELS[queue])
    assert int(memory.next_slot.numpy()) == 18 % 10 and int(memory.filled.numpy()) == 10
    model.save(tmp_path / "model.keras")
    again = keras.saving.load_model(tmp_path / "model.keras")
    for old, new in zip(model.get_weights(), again.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)
    with pytest.raises(ValueError, match="at most 10 rows.*received 11. Enlarge the memory"):
        memory.append(np.arange(11), np.zeros((11, 4), "float32"))
    assert isinstance(memory, CrossBatchMemory)


def _contrastive(rows, labels, places, everything, queue, margin=1.2):
    """Contrastive loss of rows with a queue of other rows, of which none is the row itself."""
    hinges = {True: [], False: []}
    for place, label, row in zip(places, labels, loops.unit(rows), strict=True):
        for other in queue:
            if other != place:
                apart = loops.distance(row, loops.unit(everything[other]))
                same = bool(LABELS[other] == label)
                hinges[same].append(apart if same else max(margin - apart, 0.0))
    return sum(loops.mean(h for h in each if h > 0) for each in hinges.values())


@pytest.mark.parametrize("name", ["mobilenetv2", "bn_inception", "efficientnet_lite0"])
def test_backbones_of_stock_layers(name):
    model = embedding_model(name, 16, (64, 64), weights=None)
    pixels = np.random.default_rng(0).uniform(0, 255, (2, 64, 64, 3)).astype("float32")
    found = ops.convert_to_numpy(model(pixels))
    np.testing.assert_allclose(np.linalg.norm(found, axis=1), 1, atol=1e-5)


@pytest.mark.skipif(BACKEND != "torch", reason="other backends build them")
@pytest.mark.parametrize("name", ["googlenet", "torch_resnet18"])
def test_backbones_that_the_torch_backend_refuses(name):
    with pytest.raises(ValueError, match=f"{name} cannot be built on the torch backend.*dots"):
        embedding_model(name, 16, (64, 64), weights=None)


@pytest.mark.skipif(BACKEND != "jax", reason="keras.distribution is for JAX")
@pytest.mark.parametrize(
    ("loss", "centers"),
    [
        (losses.ProxyAnchorLoss(alpha=8.0), (None,)),
        (losses.CosFaceLoss(scale=8.0), (None,)),
        (losses.SoftTripleLoss(), (3, SoftTripleRegularizer())),
        (losses.SmoothAPLoss(0.2), ()),
        ("memory", ()),
    ],
    ids=["proxy_anchor", "cosface", "soft_triple", "smooth_ap", "memory"],
)
def test_two_devices_step_like_one_on_the_global_batch(loss, centers):
    import jax

    devices = jax.devices()
    if len(devices) < 2:
        pytest.skip("needs XLA_FLAGS=--xla_force_host_platform_device_count=2")
    ends = []
    for number in (1, 2):
        distribution = keras.distribution.DataParallel(devices=devices[:number])
        keras.distribution.set_distribution(distribution)
        try:
            ends.append(_trained(loss, centers))
        finally:
            keras.distribution.set_distribution(None)
    (value, weights), (other_value, other_weights) = ends
    assert other_value == pytest.approx(value, rel=1e-5)
    for one, two in zip(weights, other_weights, strict=True):
        np.testing.assert_allclose(two, one, rtol=1e-4, atol=1e-5)


def _trained(loss, centers):
    """The losses and the weights after two steps of SGD on batches of 12 rows."""
    keras.utils.set_random_seed(0)
    embedder = keras.Sequential([keras.Input((8,)), keras.layers.Dense(4)], name="embedding_model")
    if loss == "memory":
        model, loss = with_memory(embedder, size=16, warm_up_steps=0), losses.ContrastiveLoss(1.2)
    else:
        model = with_proxies(embedder, 4, *centers, seed=0) if centers else embedder
    model.compile(keras.optimizers.SGD(0.1), loss)
    # Each half of a batch lacks a class that the other half has.
    order = np.argsort(LABELS, kind="stable").reshape(4, 2, 3).transpose(1, 0, 2).reshape(24)
    history = model.fit(X[order], LABELS[order], 12, epochs=1, shuffle=False, verbose=0)
    return history.history["loss"][0], model.get_weights()


@pytest.mark.skipif(BACKEND == "tensorflow", reason="needs another backend")
def test_losses_layers_and_models_do_without_tensorflow():
    code = (
        "import sys, numpy as np, pa_keras\n"
        "from pa_keras import losses, layers, models\n"
        "model = pa_keras.with_proxies(pa_keras.embedding_model('conv4', 8, (16, 16), None), 4)\n"
        "cosines = model(np.ones((4, 16, 16, 3), 'float32'))\n"
        "assert losses.ProxyAnchorLoss()(np.arange(4), cosines) > 0\n"
        "assert 'tensorflow' not in sys.modules\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
