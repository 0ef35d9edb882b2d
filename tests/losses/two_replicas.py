"""One SGD step of each loss on two replicas, in a process of its own: it needs two logical CPUs.

Prints, as JSON, for each loss the greatest difference from the step on the mean of the two halves'
losses, relative to the step, and for losses of single
embeddings also from the step on the whole batch.
"""

import json
import sys

import keras
import numpy as np
import tensorflow as tf

from pa_keras import losses
from pa_keras.layers import Proxies, SoftTripleRegularizer

PROXY_LOSSES = {
    "proxy_anchor": losses.ProxyAnchorLoss(alpha=4.0),
    "proxy_nca": losses.ProxyNCALoss(3.0),
    "normalized_softmax": losses.NormalizedSoftmaxLoss(0.5),
    "cosface": losses.CosFaceLoss(0.2, 4.0),
    "arcface": losses.ArcFaceLoss(0.2, 4.0),
    "soft_triple": losses.SoftTripleLoss(4.0),
}
PAIR_LOSSES = {
    "contrastive": losses.ContrastiveLoss(1.5),
    "triplet": losses.TripletLoss(1.0),
    "triplet, all": losses.TripletLoss(1.0, "all"),
    "n_pair": losses.NPairLoss(),
    "lifted_structure": losses.LiftedStructureLoss(),
    "multi_similarity": losses.MultiSimilarityLoss(epsilon=None),
}
LABELS = np.array([0, 0, 1, 1, 2, 2, 2, 1, 1, 0, 0, 2])


def make_model(name):
    keras.utils.set_random_seed(1)
    inputs = keras.Input((5,))
    outputs = keras.layers.Dense(4)(inputs)
    if name in PROXY_LOSSES:
        centers = (2, SoftTripleRegularizer()) if name == "soft_triple" else ()
        outputs = Proxies(3, *centers)(outputs)
    return keras.Model(inputs, outputs)


def gradient(name, loss, x, labels):
    model = make_model(name)
    with tf.GradientTape() as tape:
        value = loss(labels, model(x)) + sum(model.losses)
    return [g.numpy() for g in tape.gradient(value, model.trainable_variables)]


def difference(found, expected):
    return max(
        float(np.abs(a - b).max() / np.abs(b).max()) for a, b in zip(found, expected, strict=True)
    )


def main():
    cpu = tf.config.list_physical_devices("CPU")[0]
    tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
    # Collectives of several models in one process mix their keys up.
    strategy = tf.distribute.MirroredStrategy(
        ["CPU:0", "CPU:1"], cross_device_ops=tf.distribute.ReductionToOneDevice()
    )
    x = np.random.default_rng(0).normal(size=(12, 5)).astype("float32")
    found = {}
    for name, loss in {**PROXY_LOSSES, **PAIR_LOSSES}.items():
        with strategy.scope():
            model = make_model(name)
            model.compile(keras.optimizers.SGD(1.0), loss, jit_compile=False)
        before = [weight.numpy() for weight in model.trainable_variables]
        model.fit(tf.data.Dataset.from_tensor_slices((x, LABELS)).batch(12), verbose=0)
        steps = [a - b.numpy() for a, b in zip(before, model.trainable_variables, strict=True)]
        halves = [gradient(name, loss, x[i : i + 6], LABELS[i : i + 6]) for i in (0, 6)]
        found[name] = [difference(steps, [(a + b) / 2 for a, b in zip(*halves, strict=True)])]
        if (
            name in PROXY_LOSSES and name != "proxy_anchor"
        ):  # which sums over the batch in a logarithm
            found[name].append(difference(steps, gradient(name, loss, x, LABELS)))
    sys.stdout.write(json.dumps(found) + "\n")


if __name__ == "__main__":
    main()
