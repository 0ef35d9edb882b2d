"""XLA on the CPU: losses, proxies and complete steps; and how often a run traces its steps."""

from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from pa_keras import ProxyAnchorLoss, embedding_model, fit, with_proxies
from pa_keras.config import FitConfig, TrainingConfig
from pa_keras.evaluation import Embedder
from pa_keras.runs import build
from pa_keras.runs.loss import KINDS, make_loss, make_training_model, resolved
from pa_keras.training import distribution, two_rate_adamw, xla
from pa_keras.training.training_model import TrainingModel

pytestmark = pytest.mark.usefixtures("float32_policy")

CLASSES = 4
LABELS = np.repeat(range(CLASSES), 3)


@pytest.mark.parametrize(
    ("device", "replicas", "several_processes", "deterministic", "auto", "refused"),
    [
        ("GPU", 1, False, False, True, None),
        ("CPU", 1, False, False, False, None),
        ("TPU", 1, False, False, False, None),
        ("TPU", 8, False, False, False, None),
        ("GPU", 2, False, False, False, "for 2 replicas, since"),
        ("CPU", 2, False, False, False, "for 2 replicas, since"),
        ("GPU", 1, True, False, False, "for training.strategy=multi_worker, since"),
        ("CPU", 4, True, False, False, "for training.strategy=multi_worker, since"),
        ("GPU", 1, False, True, False, "with training.deterministic, since"),
        ("CPU", 1, False, True, False, "with training.deterministic, since"),
    ],
)
def test_what_compiles_by_xla(device, replicas, several_processes, deterministic, auto, refused):
    rest = device, replicas, several_processes, deterministic
    assert xla.jit_compile("auto", *rest) is auto
    if device == "TPU":  # the TPU strategy always compiles
        assert xla.jit_compile(True, *rest) is False
        with pytest.raises(ValueError, match="auto or true on a TPU.* received false"):
            xla.jit_compile(False, *rest)
        return
    assert xla.jit_compile(False, *rest) is False
    if refused is None:
        assert xla.jit_compile(True, *rest) is True
    else:
        with pytest.raises(ValueError, match=f"auto or false {refused}.* received true"):
            xla.jit_compile(True, *rest)


def test_auto_takes_the_devices_of_the_run(monkeypatch):
    class OfTwo:
        num_replicas_in_sync = 2

    one, many = distribution.make_strategy("none"), OfTwo()
    assert not build.jit_compile(TrainingConfig(), one)
    monkeypatch.setattr(distribution, "device_kind", lambda strategy: "GPU")
    assert build.jit_compile(TrainingConfig(), one)
    assert not build.jit_compile(TrainingConfig(), many)
    for training in (TrainingConfig(deterministic=True), TrainingConfig(strategy="multi_worker")):
        assert not build.jit_compile(training, one)


@pytest.mark.parametrize("flag", ["--dry-run", None])
@pytest.mark.parametrize("other", ["--deterministic", "--training.strategy=multi_worker"])
def test_what_xla_cannot_do_is_refused_before_there_is_a_run(tmp_path, monkeypatch, other, flag):
    # The process would wait for other processes, which do not exist.
    one = distribution.make_strategy("none")
    monkeypatch.setattr(distribution, "make_strategy", lambda *_: one)
    arguments = ["--training.jit_compile=true", other, f"--run-dir={tmp_path}/run"]
    with pytest.raises(SystemExit, match="Expected training.jit_compile to be auto or false"):
        fit.main([*arguments, *([flag] if flag else [])])
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("name", KINDS)
def test_loss_and_proxies_compile(name):
    config = resolved(FitConfig(loss=name))
    loss = make_loss(config.loss, config.loss_options, CLASSES)
    inputs = keras.Input((8,))
    embedder = keras.Model(inputs, inputs, name="embedding_model")
    model = make_training_model(config.loss, config.loss_options, embedder, CLASSES)
    embeddings = tf.constant(np.random.default_rng(0).normal(size=(12, 8)).astype("float32"))

    def step():
        with tf.GradientTape() as tape:
            tape.watch(embeddings)
            value = loss(LABELS, model(embeddings)) + sum(model.losses)
        return [value, *tape.gradient(value, [embeddings, *model.trainable_weights])]

    compiled = tf.function(step, jit_compile=True, autograph=False)()
    for received, expected in zip(compiled, step(), strict=True):
        np.testing.assert_allclose(received, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("chunks", [1, 3])
def test_the_whole_step_compiles(chunks):
    images = np.random.default_rng(0).uniform(0, 255, (12, 16, 16, 3)).astype("float32")
    model = with_proxies(embedding_model("conv4", 8, (16, 16), weights=None), CLASSES)
    if chunks > 1:
        model = TrainingModel(model.input, model.output, chunks=chunks)
    start, losses = model.get_weights(), []
    for jit_compile in (False, True):
        model.set_weights(start)
        optimizer = two_rate_adamw(model, 1e-4, 1e-2)
        model.compile(optimizer, ProxyAnchorLoss(num_classes=CLASSES), jit_compile=jit_compile)
        losses.append([model.train_on_batch(images, LABELS) for _ in range(2)])
    np.testing.assert_allclose(losses[1], losses[0], rtol=1e-3)


def test_embeddings_compile_once_for_all_batches():
    images = np.random.default_rng(0).uniform(0, 255, (11, 4, 4, 3)).astype("float32")
    inputs = keras.Input((4, 4, 3))
    pooled = keras.layers.GlobalAveragePooling2D()(inputs)
    model = keras.Model(inputs, keras.layers.UnitNormalization()(keras.layers.Dense(6)(pooled)))
    embedder, sizes = Embedder(model, jit_compile=True), []
    network: Any = embedder._network
    step = network.step
    network.step = lambda images: sizes.append(len(images)) or step(images)
    received = embedder(tf.data.Dataset.from_tensor_slices(images).batch(4))
    np.testing.assert_allclose(received, model(images, training=False), atol=1e-6)
    assert sizes == [4, 4, 4]  # XLA compiles again for each size
    assert step.experimental_get_tracing_count() == 1
    np.testing.assert_allclose(embedder.embed_batch(images[:1]), received[:1], atol=1e-6)
    assert sizes[-1] == 1  # a single query is not filled up


@pytest.mark.parametrize("chunks", [1, 2])
def test_a_run_traces_each_phase_and_its_evaluation_once(photos, tmp_path, monkeypatch, chunks):
    steps, embedders = [], []

    def counted(self, data, step=TrainingModel.train_step):
        steps.append(self.trainable_weights)
        return step(self, data)

    def remembered(self, *options, make=Embedder.__init__, **more):
        embedders.append(self)
        make(self, *options, **more)

    monkeypatch.setattr(TrainingModel, "train_step", counted)
    monkeypatch.setattr(Embedder, "__init__", remembered)
    fit.main([
        f"--data-dir={photos}", f"--run-dir={tmp_path / 'run'}", "--dataset=folder",
        "--model.backbone=conv4", "--model.weights=null", "--model.embedding_size=8",
        "--data.image_size=16", "--data.crop_fraction=1", "--batches.batch_size=6",
        "--training.epochs=4", "--training.warmup_epochs=2", "--logging.pictures=false",
        f"--training.batch_chunks={chunks}",
    ])  # fmt: skip
    assert [len(weights) for weights in steps] == [3, 7]  # the warm-up, then also the convolutions
    in_training = embedders[0]._network.step  # the last one evaluates the test images
    assert in_training.experimental_get_tracing_count() == 1
