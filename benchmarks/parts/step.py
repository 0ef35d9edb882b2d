"""The training step, compared with PyTorch; and `fit`, compared with the bare step."""

from collections.abc import Callable

import keras
import numpy as np
import tensorflow as tf

from benchmarks.cars import cars
from benchmarks.peer import Peer
from benchmarks.rows import Part, Row, Side, faster, here, in_turns, missing, no_slower
from pa_keras import ProxyAnchorLoss, cpu, datasets, embedding_model, pipelines, with_proxies
from pa_keras.training import two_rate_adamw
from pa_keras.training.callbacks.preemption import Stopping, StopRequests
from pa_keras.training.callbacks.progress import Progress
from pa_keras.training.callbacks.stop_at_nan import StopAtNaN
from pa_keras.training.training_model import TrainingModel

CLASSES = 98
# Names, which are the same in timm: pixels, images in a batch.
NETWORKS = {"efficientnet_lite0": (112, 90), "resnet50": (160, 32)}
# By instruction set: least ratio to the best setting of PyTorch.
BARS = {"AVX2": 1.15, "AVX-512": 1.8, "AVX-512 VNNI": 1.8}
TORCH = {
    "PyTorch": {"channels_last": False, "compiled": False},
    "PyTorch, channels_last": {"channels_last": True, "compiled": False},
    "PyTorch, compiled": {"channels_last": True, "compiled": True},
}
STEPS = 10  # of `fit` in each turn

INCLUDES = f"""\
Seconds per step. The comparison with PyTorch has one batch in memory, random weights, frozen
batch norm, {CLASSES} proxies of 512 numbers, Proxy-Anchor, clipping, AdamW, and reads the loss
after each step; PyTorch's side is timm's network and PyTorch Metric Learning's loss, eager in
both layouts and with `torch.compile`. Ours is the model of `fit`, which folds batch norms into
convolutions; "not folded" is the stock Keras model. `fit` runs on cars at 128 px, random crops of
pixels in memory, EfficientNet-Lite0, once its buffers are full, with the callbacks of a run that
work at each step but without saving, which has its own budget; the bare step is the train
function on one such batch.
"""


def measure(turns: int) -> Part:
    rows, versions, limits = [], {}, ""
    try:
        with Peer("torch") as peer:
            versions = peer.versions
            for network in NETWORKS:
                found, limit = _against_torch(network, turns, peer)
                rows += found
                limits += limit
    except FileNotFoundError as problem:
        rows.append(missing("training step", "PyTorch", str(problem)))
    rows += [_folding(network, turns) for network in NETWORKS]
    what = "fit against the bare step"
    try:
        rows.append(_fit(what, cars().train, turns))
    except FileNotFoundError as problem:
        rows.append(missing(what, "bare step", str(problem)))
    return Part(rows, INCLUDES, limits, versions)


def trained(network: str, pixels: int, kind: type[keras.Model] = TrainingModel) -> keras.Model:
    """Returns a compiled model to train, as in `fit`."""
    keras.utils.set_random_seed(0)
    embedder = embedding_model(network, image_size=pixels, weights=None, batch_norm="frozen")
    model = with_proxies(embedder, CLASSES)
    model = kind(model.input, model.output)
    loss = ProxyAnchorLoss(num_classes=CLASSES)
    model.compile(two_rate_adamw(model, 1e-4, 1e-2), loss, jit_compile=False)
    return model


def one_batch(pixels: int, number: int) -> tuple[tf.Tensor, tf.Tensor]:
    """Returns the images and labels of a batch."""
    images = np.random.default_rng(0).uniform(0, 255, (number, pixels, pixels, 3))
    return tf.constant(images, tf.float32), tf.range(number) % CLASSES


def bare_step(model: keras.Model, batch: tuple) -> Callable[[], float]:
    """Makes the call that takes one step on the batch."""
    batches = iter(tf.data.Dataset.from_tensors(batch).repeat())
    model.make_train_function()
    return lambda: float(model.train_function(batches)["loss"])


def _against_torch(network: str, turns: int, peer: Peer) -> tuple[list[Row], str]:
    pixels, number = NETWORKS[network]
    batch, model = one_batch(pixels, number), trained(network, pixels)
    sides = {"ours": here(bare_step(model, batch))}
    sizes = {"network": network, "pixels": pixels, "batch_size": number, "classes": CLASSES}
    seconds = {}
    for name, settings in TORCH.items():
        # One at a time, because preparing a case replaces the one before.
        sides["torch"], _ = peer.side("training_step", **sizes, **settings)
        seconds[name] = in_turns(sides, turns)
    best = min(TORCH, key=lambda name: np.median(seconds[name]["torch"]))
    what = f"training {network}, {number} images of {pixels} px"
    bar = BARS.get(cpu.instruction_set())
    rows = [
        faster(what, each["ours"], each["torch"], name, bar if name == best else None)
        for name, each in seconds.items()
    ]
    operations = 3 * _operations(model, batch[0])
    rate = _product_rate(turns)
    limit = (
        f"A step of {network} takes {operations / 1e9:,.0f} GFLOP, three times its forward pass. "
        f"At the speed of a product of two 2,048 x 2,048 matrices, {rate / 1e9:,.0f} GFLOP/s, "
        f"nothing else counted, the ratio to {best} would be "
        f"{np.median(seconds[best]['torch']) * rate / operations:.2f}.\n"
    )
    return rows, limit


def _folding(network: str, turns: int) -> Row:
    pixels, number = NETWORKS[network]
    batch, kinds = one_batch(pixels, number), {"folded": TrainingModel, "stock": keras.Model}
    sides = {
        name: here(bare_step(trained(network, pixels, kind), batch)) for name, kind in kinds.items()
    }
    seconds = in_turns(sides, turns)
    what = f"training {network}, batch norm folded"
    return faster(what, seconds["folded"], seconds["stock"], "not folded")


def _operations(model: keras.Model, images: tf.Tensor) -> int:
    """Returns the floating point operations of a forward pass, counted by TensorFlow."""
    graph = tf.function(lambda: model(images, training=True)).get_concrete_function().graph
    options = tf.compat.v1.profiler.ProfileOptionBuilder.float_operation()
    found = tf.compat.v1.profiler.profile(graph, options={**options, "output": "none"})
    return found.total_float_ops


def _product_rate(turns: int) -> float:
    """Measures floating point operations per second of a product of large matrices."""
    side = 2_048
    matrix = tf.random.stateless_normal((side, side), (0, 0))
    product = tf.function(lambda: tf.matmul(matrix, matrix))
    return 2 * side**3 / float(np.median(in_turns({"product": here(product)}, turns)["product"]))


def _fit(what: str, images: datasets.Images, turns: int) -> Row:
    model = trained("efficientnet_lite0", 128)
    batches = pipelines.training_batches(
        images.paths,
        images.labels,
        batch_size=90,
        image_size=(128, 128),
        seed=0,
        cache="pixels",
        endless=True,
    )
    sides = {"fit": _of_fit(model, batches), "bare": here(bare_step(model, next(iter(batches))))}
    seconds = in_turns(sides, turns)
    return no_slower(what, seconds["fit"], seconds["bare"], "bare step", 1 / 0.97)


def _of_fit(model: keras.Model, batches: tf.data.Dataset) -> Side:
    def side() -> float:
        progress = Progress(STEPS, 90)
        listening = StopRequests()
        callbacks = [progress, StopAtNaN(progress), Stopping(listening, progress)]
        # The first epoch fills the buffers.
        found = model.fit(
            batches, steps_per_epoch=STEPS, epochs=2, shuffle=False, verbose=0, callbacks=callbacks
        )
        return 90 / found.history["images_per_second"][1]

    return side
