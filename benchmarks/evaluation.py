"""Evaluation (decode, embed, search, metrics) of the test cars against the forward pass alone.

    PA_KERAS_DATA=... PA_KERAS_WEIGHTS=... python -m benchmarks.evaluation [--images 8131]

The forward pass is that of the same batches, in memory.
"""

import argparse
import os
import time
from pathlib import Path

import keras

from benchmarks.turns import Row, in_turns
from pa_keras import datasets, embedding_model, pipelines
from pa_keras.training import RecallAtK
from pa_keras.training.embedding import Embedder

SIZE = (128, 128)


def rows(images=None, turns=5):
    """Seconds of RecallAtK, decoding anew and from kept pixels; both against the forward pass."""
    cars = datasets.load("manifest", str(Path(os.environ["PA_KERAS_DATA"], "cars196"))).queries
    cars = cars.take(range(images or len(cars)))
    model = embedding_model("efficientnet_lite0", image_size=SIZE, batch_norm="frozen")

    def batches(keep):
        return pipelines.evaluation_batches(cars.paths, batch_size=256, image_size=SIZE, keep=keep)

    def evaluated(keep):
        callback = RecallAtK((batches(keep), cars.labels), embedding_model=model)
        callback.set_model(keras.Model(model.inputs, model.outputs))
        callback.set_params({"epochs": 1})
        callback.on_train_begin()
        return timed(lambda: callback.on_epoch_end(0, {}))

    in_memory, embedder = list(batches(keep=False)), Embedder(model)
    values = in_turns(
        {
            "forward": timed(lambda: embedder(in_memory)),
            "decoded": evaluated(keep=False),
            "kept": evaluated(keep=True),  # its first turn, which does not count, decodes
        },
        turns,
    )
    what = f"evaluation of {len(cars):,} cars at {SIZE[0]} px against the forward pass, "
    return [
        Row(f"{what}decoded", "s", values["decoded"], values["forward"], "<= 1.35"),
        Row(f"{what}kept pixels", "s", values["kept"], values["forward"], "<= 1.05"),
    ]


def timed(work):
    """The function that measures the seconds of another."""

    def measure():
        started = time.perf_counter()
        work()
        return time.perf_counter() - started

    return measure


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int)
    parser.add_argument("--turns", type=int, default=5)
    options = parser.parse_args()
    print(*rows(options.images, options.turns), sep="\n")
