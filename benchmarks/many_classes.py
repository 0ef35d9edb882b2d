"""Time, memory and optimizer state of a training step by number of classes, without a network.

    python -m benchmarks.many_classes
    python -m benchmarks.many_classes --loss arcface --classes 10000 100000

The embeddings are given. The step consists of cosines to the proxies, loss, gradients and AdamW.
Each number of classes runs in a separate process. The exponent is that of the power of C by which
time or memory grew since the line above: 1 is linear.
"""

import argparse
import json
import math
import subprocess
import sys
import time

import numpy as np

from benchmarks.memory import memory

# Cars-196, Stanford Online Products, and more.
CLASSES = (98, 11_318, 100_000, 1_000_000)


def main():
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--classes", type=int, nargs="+", default=CLASSES)
    parser.add_argument("--loss", default="proxy_anchor")
    parser.add_argument("--batch-size", type=int, default=180)
    parser.add_argument("--embedding-size", type=int, default=128)
    parser.add_argument("--steps", type=int, default=5, help="measured, after one that traces")
    parser.add_argument("--in-this-process", type=int, help="classes of the one to measure")
    options = parser.parse_args()
    if options.in_this_process:
        print(json.dumps(measure(options, options.in_this_process)))
        return
    print(f"{'C':>9} {'ms a step':>10} {'exponent':>8} {'peak MiB':>9} {'exponent':>8}"
          f" {'proxies MiB':>11} {'optimizer MiB':>13}")  # fmt: skip
    before = None
    for classes in options.classes:
        command = [sys.executable, "-m", "benchmarks.many_classes", *sys.argv[1:]]
        command.append(f"--in-this-process={classes}")
        done = subprocess.run(command, stdout=subprocess.PIPE, check=True, text=True)
        found = json.loads(done.stdout.splitlines()[-1])
        grown = {
            name: math.log(found[name] / before[1][name]) / math.log(classes / before[0])
            if before
            else math.nan
            for name in ("seconds", "peak")
        }
        print(
            f"{classes:>9,} {1000 * found['seconds']:>10.1f} {grown['seconds']:>8.2f}"
            f" {found['peak']:>9.0f} {grown['peak']:>8.2f}"
            f" {found['proxies']:>11.1f} {found['optimizer']:>13.1f}",
            flush=True,
        )
        before = classes, found


def measure(options, classes):
    """Measures seconds of the fastest step; added peak MiB, MiB of proxies and of optimizer."""
    import keras
    import tensorflow as tf

    from pa_keras.config import FitConfig
    from pa_keras.runs.loss import make_loss, make_optimizer, make_training_model, resolved

    keras.utils.set_random_seed(0)
    config = resolved(FitConfig(loss=options.loss))
    rng = np.random.default_rng(0)
    embeddings = rng.normal(size=(options.batch_size, options.embedding_size)).astype("float32")
    labels = rng.integers(0, classes, options.batch_size)
    before = memory("VmRSS")
    inputs = keras.Input((options.embedding_size,))
    given = keras.Model(inputs, inputs, name="embedding_model")
    model = make_training_model(config.loss, config.loss_options, given, classes)
    optimizer = make_optimizer(config, model, 1e-4, 1e-2)
    loss = make_loss(config.loss, config.loss_options, classes)
    model.compile(optimizer, loss, jit_compile=False)
    batches = tf.data.Dataset.from_tensors((embeddings, labels)).repeat()
    seconds = []
    started = time.perf_counter()

    def note(batch, logs):
        nonlocal started
        seconds.append(time.perf_counter() - started)
        started = time.perf_counter()

    timing = keras.callbacks.LambdaCallback(on_train_batch_end=note)
    model.fit(
        batches, steps_per_epoch=options.steps + 1, shuffle=False, verbose=0, callbacks=[timing]
    )
    return {
        "seconds": min(seconds[1:]),
        "peak": memory("VmHWM") - before,
        "proxies": size(model.trainable_variables),
        "optimizer": size(model.optimizer.variables),
    }


def size(variables):
    """Returns the total MiB of variables."""
    return sum(variable.numpy().nbytes for variable in variables) / 2**20


if __name__ == "__main__":
    main()
