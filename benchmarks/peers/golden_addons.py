"""Values and gradients of TensorFlow Addons' losses: python golden_addons.py OUT.json."""

import json
import sys
from pathlib import Path

import numpy as np
import tensorflow as tf
import tensorflow_addons as tfa

LABELS = np.array([0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 0, 1, 2, 3, 4, 0])


def measured(loss, embeddings: np.ndarray, labels: np.ndarray = LABELS) -> dict:
    x = tf.constant(embeddings, tf.float32)
    with tf.GradientTape() as tape:
        tape.watch(x)
        value = loss(tf.constant(labels), x)
    gradient = tf.convert_to_tensor(tape.gradient(value, x))
    return {"value": float(value), "embeddings": gradient.numpy().tolist()}


def n_pair(labels: tf.Tensor, x: tf.Tensor) -> tf.Tensor:
    """Takes the first and second embedding of each class as anchors and positives."""
    order = [np.flatnonzero(labels.numpy() == c)[:2] for c in np.unique(labels)]
    anchors, positives = (tf.gather(x, [pair[i] for pair in order]) for i in (0, 1))
    return tfa.losses.npairs_loss(
        tf.range(len(order)), tf.matmul(anchors, positives, transpose_b=True)
    )


def main(path: str) -> None:
    rng = np.random.default_rng(1)
    embeddings = 0.7 * rng.normal(size=(5, 8))[LABELS] + rng.normal(size=(16, 8))
    unit = embeddings / np.linalg.norm(embeddings, axis=1, keepdims=True)
    found = {
        "triplet, semi_hard_nearest": measured(
            lambda y, x: tfa.losses.triplet_semihard_loss(y, tf.math.l2_normalize(x, 1), 0.3),
            embeddings,
        ),
        "triplet, hard": measured(
            lambda y, x: tfa.losses.triplet_hard_loss(y, tf.math.l2_normalize(x, 1), 0.3),
            embeddings,
        ),
        "lifted_structure, as they are": measured(
            lambda y, x: tfa.losses.lifted_struct_loss(y, x, 1.0), embeddings
        ),
        "n_pair": measured(n_pair, unit),
    }
    content = {
        "source": f"TensorFlow Addons {tfa.__version__}, TensorFlow {tf.__version__}, float32",
        "inputs": {
            "labels": LABELS.tolist(),
            "embeddings": embeddings.tolist(),
            "unit": unit.tolist(),
        },
        "losses": found,
    }
    Path(path).write_text(json.dumps(content, indent=1) + "\n")


if __name__ == "__main__":
    main(sys.argv[1])
