"""Training images a second as `fit` trains, against the bare Keras step on one batch in memory.

    PA_KERAS_DATA=... PA_KERAS_WEIGHTS=... python benchmarks/throughput.py

Both sides train the same model on batches of the same shape, in turns, in one process; the ratio of
the medians is what counts, since the machine's speed changes from minute to minute.
"""

import argparse
import os
from pathlib import Path

import numpy as np
import tensorflow as tf

from pa_keras import ProxyAnchorLoss, datasets, embedding_model, pipelines, with_proxies
from pa_keras.training import two_rate_adamw
from pa_keras.training.callbacks import StopAtNaN
from pa_keras.training.progress import Progress


def main():
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--image-size", type=int, default=128)
    parser.add_argument("--batch-size", type=int, default=90)
    parser.add_argument("--steps", type=int, default=12, help="steps in each turn")
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--cache", choices=("none", "files", "pixels"), default="pixels")
    options = parser.parse_args()
    size = (options.image_size, options.image_size)
    images = datasets.load("manifest", str(Path(os.environ["PA_KERAS_DATA"], "cars196"))).train
    embedder = embedding_model("efficientnet_lite0", image_size=size, batch_norm="frozen")
    model = with_proxies(embedder, images.num_classes)
    loss = ProxyAnchorLoss(num_classes=images.num_classes)
    model.compile(two_rate_adamw(model, 1e-4, 1e-2), loss, jit_compile=False)
    batches = pipelines.training_batches(
        images.paths,
        images.labels,
        batch_size=options.batch_size,
        image_size=size,
        seed=0,
        cache=options.cache,
    )
    fixed = tf.data.Dataset.from_tensors(next(iter(batches))).repeat()
    rates = {"bare step": [], "fit": []}
    for turn in range(options.turns + 1):
        for name, data in (("bare step", fixed), ("fit", batches)):
            progress = Progress(options.steps, options.batch_size)
            # Each call starts its own iterator: filling its buffers is the first epoch's.
            history = model.fit(
                data,
                steps_per_epoch=options.steps,
                epochs=2,
                shuffle=False,
                verbose=0,
                callbacks=[progress, *([StopAtNaN(progress)] if name == "fit" else [])],
            )
            if turn:  # the first turn traces
                rates[name].append(history.history["images_per_second"][1])
    for name, of_side in rates.items():
        print(f"{name:<10} {np.median(of_side):6.1f} images/s   {np.round(of_side, 1)}")
    print(f"ratio of the medians {np.median(rates['fit']) / np.median(rates['bare step']):.3f}")


if __name__ == "__main__":
    main()
