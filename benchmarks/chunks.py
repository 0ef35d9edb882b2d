"""Memory and time of a training step whose batch goes through the network in chunks.

    python -m benchmarks.chunks
    python -m benchmarks.chunks --backbone efficientnet_lite0 --image-size 128 --chunks 1 2 8

Each measurement runs in a separate process. Peak memory is the increase of resident memory during
some steps, after model and optimizer are built. Compare seconds only as ratios, and only if nothing
else runs, because the speed of the machine changes from minute to minute.
"""

import argparse
import json
import subprocess
import sys
import time

import numpy as np

from benchmarks.memory import forget_peak, memory


def main():
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--backbone", default="resnet50")
    parser.add_argument("--image-size", type=int, default=160)
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--chunks", type=int, nargs="+", default=[1, 4])
    parser.add_argument("--precision", default="float32")
    parser.add_argument("--steps", type=int, default=3, help="measured, after one that traces")
    parser.add_argument("--turns", type=int, default=1)
    parser.add_argument("--in-this-process", type=int, help="chunks of the one to measure")
    options = parser.parse_args()
    if options.in_this_process:
        print(json.dumps(measure(options, options.in_this_process)))
        return
    found = {chunks: [] for chunks in options.chunks}
    for _ in range(options.turns):
        for chunks in options.chunks:
            found[chunks].append(in_a_process(chunks))
    first = None
    print(
        f"{'chunks':>6} {'peak above':>12} {'ratio':>6} {'s a step':>9} {'ratio':>6} {'loss':>10}"
    )
    for chunks, runs in found.items():
        peak = float(np.median([run["peak"] for run in runs]))
        seconds = float(np.median([run["seconds"] for run in runs]))
        first = first or (peak, seconds)
        print(
            f"{chunks:>6} {peak:>8.0f} MiB {peak / first[0]:>6.2f} {seconds:>9.2f} "
            f"{seconds / first[1]:>6.2f} {runs[0]['loss']:>10.5f}"
        )


def in_a_process(chunks):
    """Returns the result of `measure` in a new process with the same options."""
    command = [
        sys.executable,
        "-m",
        "benchmarks.chunks",
        *sys.argv[1:],
        f"--in-this-process={chunks}",
    ]
    done = subprocess.run(command, stdout=subprocess.PIPE, check=True, text=True)
    return json.loads(done.stdout.splitlines()[-1])


def measure(options, chunks):
    """Measures peak MiB above those after building, seconds of the fastest step, first loss."""
    import keras
    import tensorflow as tf

    from pa_keras import ProxyAnchorLoss, embedding_model, with_proxies
    from pa_keras.training import two_rate_adamw
    from pa_keras.training.training_model import TrainingModel

    keras.utils.set_random_seed(0)
    keras.config.set_dtype_policy(options.precision)
    size = (options.image_size, options.image_size)
    embedder = embedding_model(options.backbone, 512, size, weights=None, batch_norm="frozen")
    model = with_proxies(embedder, 98)
    model = TrainingModel(model.input, model.output, chunks=chunks)
    optimizer = two_rate_adamw(model, 1e-4, 1e-2)
    model.compile(optimizer, ProxyAnchorLoss(num_classes=98), jit_compile=False)
    model.optimizer.build(model.trainable_variables)
    rng = np.random.default_rng(0)
    images = rng.uniform(0, 255, (options.batch_size, *size, 3)).astype("float32")
    labels = rng.integers(0, 98, options.batch_size)
    batches = tf.data.Dataset.from_tensors((images, labels)).repeat()
    before = forget_peak()
    losses, seconds = [], []
    started = time.perf_counter()

    def note(batch, logs):
        nonlocal started
        losses.append(logs["loss"])
        seconds.append(time.perf_counter() - started)
        started = time.perf_counter()

    timing = keras.callbacks.LambdaCallback(on_train_batch_end=note)
    model.fit(
        batches, steps_per_epoch=options.steps + 1, shuffle=False, verbose=0, callbacks=[timing]
    )
    return {
        "peak": memory("VmHWM") - before,
        "seconds": min(seconds[1:]),
        "loss": float(losses[0]),
    }


if __name__ == "__main__":
    main()
