"""The cost of an exported SavedModel: its signatures, and its search in a million vectors.

    python -m benchmarks.export [--turns 7] [--vectors 1000000]

The network is EfficientNet-Lite0 at 160 px with random weights; the batch is 32 synthetic
photographs of 500 x 400. Times are medians of interleaved turns in one process, without the
server's own work (HTTP, gRPC, batching).
"""

import argparse
import gc
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import tensorflow as tf

from benchmarks.memory import memory
from pa_keras.exporters import Gallery, to_saved_model
from pa_keras.models import embedding_model
from pa_keras.pipelines import decode_image, evaluation_image

SIZE, BATCH, DIMENSION = (160, 160), 32, 128


def photographs() -> tf.Tensor:
    """Makes JPEG files of smooth noise with some grain, about as large as photographs."""
    rng = np.random.default_rng(0)
    contents = []
    for _ in range(BATCH):
        coarse = tf.image.resize(rng.integers(0, 256, (12, 15, 3)), (400, 500), "bicubic")
        grain = rng.normal(0, 8, (400, 500, 3))
        pixels = np.clip(coarse.numpy() + grain, 0, 255).astype("uint8")
        contents.append(tf.io.encode_jpeg(pixels, quality=90).numpy())
    return tf.constant(contents)


@tf.function(input_signature=[tf.TensorSpec((None,), tf.string)])
def read(contents: tf.Tensor) -> tf.Tensor:
    """Only decodes and preprocesses, as in the export."""
    return tf.map_fn(
        lambda each: evaluation_image(decode_image(each), SIZE),
        contents,
        fn_output_signature=tf.TensorSpec((*SIZE, 3)),
    )


def medians(calls: dict, turns: int) -> dict[str, float]:
    """Returns median milliseconds of each call. The calls take turns, after a warm-up of each."""
    times = {name: [] for name in calls}
    for turn in range(turns + 1):
        for name, call in calls.items():
            start = time.perf_counter()
            call()
            if turn:
                times[name].append(1000 * (time.perf_counter() - start))
    return {name: float(np.median(each)) for name, each in times.items()}


def signature_calls() -> dict[str, Callable[[], object]]:
    """Returns calls for one batch: Keras, each signature, and decoding and preprocessing alone."""
    model = embedding_model("efficientnet_lite0", 512, SIZE, weights=None)
    model.compile(jit_compile=False)  # on a CPU, XLA would slow `predict` down
    contents = photographs()
    with tempfile.TemporaryDirectory() as folder:
        saved = tf.saved_model.load(to_saved_model(model, Path(folder) / "1"))
    run = saved.signatures
    pixels = read(contents)
    array, whole = pixels.numpy(), tf.cast(tf.round(pixels), tf.uint8)
    return {
        "model.predict": lambda: model.predict(array, batch_size=BATCH, verbose=0),
        "pixels_float32": lambda: run["pixels_float32"](pixels=pixels),
        "pixels_uint8": lambda: run["pixels_uint8"](pixels=whole),
        "decoding and preprocessing": lambda: read(contents),
        # A signature does not hold a reference to its model.
        "serving_default": lambda: saved.signatures["serving_default"](image_bytes=contents),
    }


def signatures(turns: int) -> None:
    found = medians(signature_calls(), turns)
    for name, value in found.items():
        print(f"{name:<28} {value:8.1f} ms a batch of {BATCH}")
    print(f"pixels_float32 is {found['model.predict'] / found['pixels_float32']:.2f} x as fast as "
          f"model.predict (bar 1.0), pixels_uint8 "
          f"{found['model.predict'] / found['pixels_uint8']:.2f} x")  # fmt: skip
    parts = found["decoding and preprocessing"] + found["pixels_float32"]
    print(f"serving_default takes {found['serving_default'] / parts:.2f} x its parts (bar 1.05)")


def make_gallery(path: Path, vectors: int, dtype: str) -> None:
    rng = np.random.default_rng(0)
    embeddings = rng.normal(size=(vectors, DIMENSION)).astype(np.float32)
    embeddings /= np.linalg.norm(embeddings, axis=1, keepdims=True)
    ids = [f"shop/{i // 1000:04d}/{i:07d}.jpg" for i in range(vectors)]
    names = [f"class {i}" for i in range(vectors // 5)]
    model = embedding_model("conv4", DIMENSION, (64, 64), weights=None)
    labels = np.arange(vectors) // 5 % len(names)
    to_saved_model(model, path, gallery=Gallery(embeddings, ids, labels, names, dtype), k=10)


def search(path: Path, turns: int) -> None:
    """Measures a search; runs in a separate process, to measure the memory of the model alone."""
    tf.constant(0.0)
    before = memory("VmRSS")
    saved = tf.saved_model.load(path)
    gc.collect()
    after = memory("VmRSS")
    query = tf.math.l2_normalize(tf.random.stateless_normal((1, DIMENSION), (0, 1)), axis=1)
    run = saved.signatures["neighbours_of_embeddings"]
    found = medians({"one query": lambda: run(embedding=query)}, turns)
    print(f"one query {found['one query']:.0f} ms (bar 100), memory {after - before:.0f} MB after "
          f"loading, {memory('VmRSS') - before:.0f} MB after searching (bar 400), at its peak "
          f"{memory('VmHWM') - before:.0f} MB")  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--turns", type=int, default=7)
    parser.add_argument("--vectors", type=int, default=1_000_000)
    parser.add_argument("--search", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.search:
        search(options.search, options.turns)
        return
    signatures(options.turns)
    for dtype in ("int8", "bfloat16", "float32"):
        with tempfile.TemporaryDirectory() as folder:
            make_gallery(Path(folder) / "1", options.vectors, dtype)
            print(f"neighbours over {options.vectors:,} x {DIMENSION} {dtype}:", flush=True)
            command = [sys.executable, "-m", "benchmarks.export", "--search", f"{folder}/1"]
            subprocess.run([*command, "--turns", str(options.turns)], check=True)


if __name__ == "__main__":
    main()
