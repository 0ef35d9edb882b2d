"""Trains with a memory on two replicas and on one device; prints the differences as JSON."""

import json
import sys

import keras
import numpy as np
import tensorflow as tf

from pa_keras.losses import MultiSimilarityLoss
from pa_keras.models import with_memory
from pa_keras.training.distribution import make_strategy

LABELS = np.tile(np.arange(3), 8) + 2**40
IMAGES = np.random.default_rng(0).normal(size=(24, 5)).astype("float32")


def trained(strategy):
    """The weights after two steps of 12 images, with a memory of 22."""
    with strategy.scope():
        keras.utils.set_random_seed(0)
        embedder = keras.Sequential([keras.Input((5,)), keras.layers.Dense(4)])
        model = with_memory(embedder, 22, warm_up_steps=0)
        loss = MultiSimilarityLoss(epsilon=None)
        model.compile(keras.optimizers.SGD(0.1), loss, jit_compile=False)
    data = tf.data.Dataset.from_tensor_slices((IMAGES, LABELS)).batch(12, drop_remainder=True)
    value = model.fit(data, shuffle=False, verbose=0).history["loss"][0]
    memory = model.get_layer("memory")
    return value, [weight.numpy() for weight in model.weights], memory.labels.numpy(), memory


def main():
    cpu = tf.config.list_physical_devices("CPU")[0]
    devices = [tf.config.LogicalDeviceConfiguration()] * 2
    tf.config.set_logical_device_configuration(cpu, devices)
    strategy = make_strategy("mirrored")
    value, weights, labels, memory = trained(strategy)
    expected, expected_weights, expected_labels, _ = trained(make_strategy("none"))
    differences = [abs(value / expected - 1)]
    for found, other in zip(weights, expected_weights, strict=True):
        differences.append(float(np.abs(found - other).max()))
    found = {
        "replicas": strategy.num_replicas_in_sync,
        "labels_equal": bool((np.sort(labels) == np.sort(expected_labels)).all()),
        "slots": [int(memory.next_slot.numpy()), int(memory.filled.numpy())],
        "differences": differences,
    }
    sys.stdout.write(json.dumps(found) + "\n")


if __name__ == "__main__":
    main()
