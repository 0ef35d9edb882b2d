"""Gradients of a batch in chunks on two replicas, against one device: the largest differences.

In a process of its own, since logical devices have to be made before TensorFlow is used.
"""

import json
import sys

import keras
import numpy as np
import tensorflow as tf

tf.config.set_logical_device_configuration(
    tf.config.list_physical_devices("CPU")[0], [tf.config.LogicalDeviceConfiguration()] * 2
)

from pa_keras import embedding_model  # noqa: E402
from pa_keras.config import FitConfig  # noqa: E402
from pa_keras.runs.loss import make_loss, make_training_model, resolved  # noqa: E402
from pa_keras.training.training_model import TrainingModel  # noqa: E402

LABELS = np.tile(np.repeat(range(4), 2), 3)


def change(strategy, name, chunks, images, start):
    """The change of the weights in one step of plain gradient descent."""
    config = resolved(FitConfig(loss=name))
    with strategy.scope():
        embedder = embedding_model("conv4", 8, (16, 16), weights=None, batch_norm="frozen")
        model = make_training_model(config.loss, config.loss_options, embedder, 4)
        model = TrainingModel(model.input, model.output, name=model.name, chunks=chunks)
        model.set_weights(start or model.get_weights())
        start = model.get_weights()
        loss = make_loss(config.loss, config.loss_options, 4)
        # A large step, since the rounding of the weights would hide a small one.
        model.compile(keras.optimizers.SGD(100.0), loss, jit_compile=False)
    batches = tf.data.Dataset.from_tensors((images, LABELS)).unbatch()
    batches = batches.batch(len(LABELS), drop_remainder=True).repeat()
    model.fit(batches, steps_per_epoch=1, verbose=0)
    return start, [after - w for after, w in zip(model.get_weights(), start, strict=True)]


def main():
    # Seed 0 would hit a kink of ReLU or maximum, where rounding, or a relative change of the images
    # by 1e-7, changes the gradient of Proxy-Anchor by 6e-3.
    keras.utils.set_random_seed(4)
    images = np.random.default_rng(4).uniform(0, 255, (24, 16, 16, 3)).astype("float32")
    one = tf.distribute.get_strategy()
    two = tf.distribute.MirroredStrategy(
        ["CPU:0", "CPU:1"], cross_device_ops=tf.distribute.ReductionToOneDevice()
    )
    differences = []
    for name in ("proxy_anchor", "soft_triple", "multi_similarity"):
        start, expected = change(one, name, 1, images, None)
        largest = max(np.abs(whole).max() for whole in expected)
        for chunks in (1, 3):
            _, received = change(two, name, chunks, images, start)
            pairs = zip(expected, received, strict=True)
            found = max(np.abs(parts - whole).max() for whole, parts in pairs)
            differences.append(float(found / largest))
    sys.stdout.write(json.dumps(differences) + "\n")


if __name__ == "__main__":
    main()
