"""Seconds per training step with each loss, relative to Proxy-Anchor, in one process.

    python benchmarks/losses.py

All losses train the same network on the same batch in memory, in turns of one step each, so that a
change in the speed of the machine affects all of them. The medians of the turns are compared.
"""

import argparse
import time

import numpy as np

from pa_keras import embedding_model
from pa_keras.config import BatchConfig, FitConfig
from pa_keras.runs.loss import KINDS, make_loss, make_optimizer, make_training_model, resolved


def main():
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--image-size", type=int, default=64)
    parser.add_argument("--classes", type=int, default=98)
    parser.add_argument("--turns", type=int, default=20)
    parser.add_argument("--losses", nargs="+", default=list(KINDS))
    options = parser.parse_args()
    size = (options.image_size, options.image_size)
    images = np.random.default_rng(0).uniform(0, 255, (90, *size, 3)).astype("float32")
    labels = np.repeat(np.arange(18), 5)
    models = {}
    for name in dict.fromkeys(["proxy_anchor", *options.losses]):
        config = resolved(FitConfig(loss=name, batches=BatchConfig(batch_size=90)))
        embedder = embedding_model(
            "efficientnet_lite0", image_size=size, weights=None, batch_norm="frozen"
        )
        model = make_training_model(name, config.loss_options, embedder, options.classes)
        optimizer = make_optimizer(config, model, 1e-4, 1e-2)
        loss = make_loss(name, config.loss_options, options.classes)
        model.compile(optimizer, loss, jit_compile=False)
        model.train_on_batch(images, labels)  # traces
        models[name] = model
    seconds = {name: [] for name in models}
    for _ in range(options.turns):
        for name, model in models.items():
            started = time.perf_counter()
            model.train_on_batch(images, labels)
            seconds[name].append(time.perf_counter() - started)
    base = np.median(seconds["proxy_anchor"])
    for name, of_loss in seconds.items():
        median = np.median(of_loss)
        low, high = np.quantile(of_loss, [0.25, 0.75])
        print(
            f"{name:<20} {1000 * median:6.0f} ms a step, half of the turns within {1000 * low:.0f} "
            f"to {1000 * high:.0f}; ratio {median / base:.3f}"
        )


if __name__ == "__main__":
    main()
