"""Training images a second on one batch in memory: `fit`, the bare step, and PyTorch.

    PA_KERAS_PEERS=... python -m benchmarks.training_step [--steps 3]

Both sides: random weights, frozen batch norm, 98 proxies of 512, Proxy-Anchor, clipping and AdamW.
"""

import argparse
import time

import keras
import numpy as np
import tensorflow as tf

from benchmarks.peers.process import Peer
from benchmarks.turns import Row, in_turns
from pa_keras import ProxyAnchorLoss, embedding_model, with_proxies
from pa_keras.training import two_rate_adamw

CLASSES = 98
# Ours, timm's, pixels, images in a batch.
NETWORKS = (
    ("efficientnet_lite0", "efficientnet_lite0", 128, 90),
    ("resnet50", "resnet50", 160, 32),
)


def step(network, size, batch_size, steps):
    """The function that measures images a second of the compiled step."""
    keras.utils.set_random_seed(0)
    embedder = embedding_model(network, image_size=(size, size), weights=None, batch_norm="frozen")
    model = with_proxies(embedder, CLASSES)
    optimizer = two_rate_adamw(model, 1e-4, 1e-2)
    model.compile(optimizer, ProxyAnchorLoss(num_classes=CLASSES), jit_compile=False)
    images = np.random.default_rng(0).uniform(0, 255, (batch_size, size, size, 3))
    batch = tf.constant(images, tf.float32), tf.range(batch_size) % CLASSES
    iterator = iter(tf.data.Dataset.from_tensors(batch).repeat())
    model.make_train_function()

    def measure():
        started = time.perf_counter()
        for _ in range(steps):
            logs = model.train_function(iterator)
        float(logs["loss"])
        return steps * batch_size / (time.perf_counter() - started)

    return measure


def rows(steps=3, turns=5):
    """Of each network."""
    for ours, theirs, size, batch_size in NETWORKS:
        try:
            peer = Peer("torch_step.py", theirs, size, batch_size, CLASSES, steps)
        except (FileNotFoundError, RuntimeError) as error:
            print(error)
            continue
        values = in_turns({"ours": step(ours, size, batch_size, steps), "peer": peer}, turns)
        peer.close()
        what = f"training {ours}, {batch_size} of {size} px, against PyTorch eager, channels_last"
        yield Row(what, "images/s", values["ours"], values["peer"], ">= 1.3")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=3)
    parser.add_argument("--turns", type=int, default=5)
    options = parser.parse_args()
    for row in rows(options.steps, options.turns):
        print(row, flush=True)
