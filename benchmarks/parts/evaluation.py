"""Evaluation, from files to metrics, compared with the forward pass alone."""

import time
from collections.abc import Callable

import keras
import tensorflow as tf

from benchmarks.cars import cars
from benchmarks.rows import Part, Side, in_turns, missing, no_slower
from pa_keras import embedding_model, pipelines
from pa_keras.evaluation.embedder import Embedder
from pa_keras.training import RecallAtK

SIZE, BATCH = (128, 128), 256
TURNS = 5  # at most, because each takes minutes

INCLUDES = f"""\
All test images of Cars-196 (160 px, JPEG) at {SIZE[0]} px, EfficientNet-Lite0 with random
weights, batches of {BATCH}. Evaluation is decoding, embedding, exact search and Recall@K, as
`RecallAtK` does after an epoch; with kept pixels it does not decode, as
`evaluation.cache_gigabytes` allows. The forward pass embeds the same batches from memory.
"""


def measure(turns: int) -> Part:
    what = "evaluation of {} cars, {}"
    try:
        images = cars().queries
    except FileNotFoundError as problem:
        return Part([missing(what.format("the", "decoded"), "forward", str(problem))], INCLUDES)
    model = embedding_model(
        "efficientnet_lite0", image_size=SIZE, weights=None, batch_norm="frozen"
    )

    def batches(keep: bool) -> tf.data.Dataset:
        return pipelines.evaluation_batches(
            images.paths, batch_size=BATCH, image_size=SIZE, keep=keep
        )

    def evaluated(keep: bool) -> Side:
        callback = RecallAtK((batches(keep), images.labels), embedding_model=model)
        callback.set_model(keras.Model(model.inputs, model.outputs))
        callback.set_params({"epochs": 1})
        callback.on_train_begin()
        return once(lambda: callback.on_epoch_end(0, {}))

    kept, embedder = list(batches(keep=False)), Embedder(model)
    sides = {
        "forward": once(lambda: embedder(kept)),
        "decoded": evaluated(keep=False),
        "kept": evaluated(keep=True),
    }
    for side in sides.values():
        side()  # traces; with kept pixels, also decodes
    seconds = in_turns(sides, min(turns, TURNS))
    number = f"{len(images):,}"
    rows = [
        no_slower(what.format(number, name), seconds[side], seconds["forward"], "forward", bar)
        for side, name, bar in (("decoded", "decoded", 1.35), ("kept", "kept pixels", 1.05))
    ]
    return Part(rows, INCLUDES)


def once(work: Callable[[], object]) -> Side:
    """Makes a side that does its work once per turn."""

    def side() -> float:
        started = time.perf_counter()
        work()
        return time.perf_counter() - started

    return side
