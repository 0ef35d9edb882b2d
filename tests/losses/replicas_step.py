"""Compares each loss on several replicas with one device, in a separate process.

    python replicas_step.py 4               # four logical CPUs of this process
    python replicas_step.py multi_worker    # one of the processes that the environment names

Prints as JSON, for each loss, the relative difference of value and gradients from those of one
device on the global batch: for a step by hand on unequal shards and, with logical CPUs, also for a
step of Keras' `fit` on equal shards. Some classes are on one replica only.
"""

import json
import sys

import keras
import numpy as np
import tensorflow as tf

from pa_keras import losses
from pa_keras.layers import Proxies, SoftTripleRegularizer
from pa_keras.training import distribution

PROXY_LOSSES = {
    "proxy_anchor": losses.ProxyAnchorLoss(alpha=4.0),
    "proxy_nca": losses.ProxyNCALoss(3.0),
    "normalized_softmax": losses.NormalizedSoftmaxLoss(0.5),
    "cosface": losses.CosFaceLoss(0.2, 4.0),
    "arcface": losses.ArcFaceLoss(0.2, 4.0),
    "soft_triple": losses.SoftTripleLoss(4.0),
    "sub_center_arcface": losses.SubCenterArcFaceLoss(0.2, 4.0),
}
PAIR_LOSSES = {
    "contrastive": losses.ContrastiveLoss(1.5),
    "triplet": losses.TripletLoss(1.0),
    "triplet, all": losses.TripletLoss(1.0, "all"),
    "n_pair": losses.NPairLoss(),
    "lifted_structure": losses.LiftedStructureLoss(),
    "multi_similarity": losses.MultiSimilarityLoss(epsilon=None),
    "sup_con": losses.SupConLoss(0.5),
    "circle": losses.CircleLoss(scale=4.0),
    "smooth_ap": losses.SmoothAPLoss(0.5),
}
LABELS = np.array([0, 0, 1, 1, 2, 2, 2, 1, 1, 2, 1, 2])  # 0 is only in the first rows


def make_model(name):
    keras.utils.set_random_seed(1)
    inputs = keras.Input((5,))
    outputs = keras.layers.Dense(4)(inputs)
    if name in PROXY_LOSSES:
        centers = {"soft_triple": (2, SoftTripleRegularizer()), "sub_center_arcface": (2,)}
        outputs = Proxies(3, *centers.get(name, ()))(outputs)
    return keras.Model(inputs, outputs)


def on_one_device(name, loss, x, labels):
    """Loss and gradients of the global batch."""
    model = make_model(name)
    with tf.GradientTape() as tape:
        value = loss(labels, model(x)) + sum(model.losses)
    gradients = tape.gradient(value, model.trainable_variables)
    return float(value), [gradient.numpy() for gradient in gradients]


def by_fit(name, loss, x, labels, strategy):
    """The loss that Keras reports, and the step at learning rate 1."""
    with strategy.scope():
        model = make_model(name)
        model.compile(keras.optimizers.SGD(1.0), loss, jit_compile=False)
    before = [weight.numpy() for weight in model.trainable_variables]
    data = tf.data.Dataset.from_tensor_slices((x, labels)).batch(len(x))
    value = model.fit(data, verbose=0).history["loss"][0]
    return value, [a - b.numpy() for a, b in zip(before, model.trainable_variables, strict=True)]


def by_hand(name, loss, x, labels, strategy):
    """Loss and gradients as Keras computes them, with a first shard larger than the others."""
    count = strategy.num_replicas_in_sync
    edges = [0, *range(len(x) - 2 * (count - 1), len(x) + 1, 2)]
    with strategy.scope():
        model = make_model(name)

    def part(array):
        return strategy.experimental_distribute_values_from_function(
            lambda context: tf.constant(
                array[edges[i := context.replica_id_in_sync_group] : edges[i + 1]]
            )
        )

    def step(x, labels):
        with tf.GradientTape() as tape:
            # A Keras loss divides by the number of replicas itself.
            value = loss(labels, model(x)) + sum(model.losses) / count
        gradients = tape.gradient(value, model.trainable_variables)
        context = tf.distribute.get_replica_context()
        return context.all_reduce(tf.distribute.ReduceOp.SUM, [value, *gradients])

    found = tf.function(lambda *shards: strategy.run(step, shards))(part(x), part(labels))
    value, *gradients = [strategy.experimental_local_results(each)[0].numpy() for each in found]
    return float(value), gradients


def difference(found, expected):
    (value, gradients), (expected_value, expected_gradients) = found, expected
    return max(
        abs(value / expected_value - 1),
        *(
            float(np.abs(a - b).max() / np.abs(b).max())
            for a, b in zip(gradients, expected_gradients, strict=True)
        ),
    )


def logical_cpus(count):
    cpu = tf.config.list_physical_devices("CPU")[0]
    devices = [tf.config.LogicalDeviceConfiguration()] * count
    tf.config.set_logical_device_configuration(cpu, devices)
    return distribution.make_strategy("mirrored")


def main(replicas):
    if replicas == "multi_worker":
        # tests/test_fit_distributed.py tests Keras' fit.
        strategy, ways = distribution.make_strategy("multi_worker"), [by_hand]
    else:
        strategy, ways = logical_cpus(int(replicas)), [by_fit, by_hand]
    x = np.random.default_rng(0).normal(size=(len(LABELS), 5)).astype("float32")
    found = {"replicas": strategy.num_replicas_in_sync}
    for name, loss in {**PROXY_LOSSES, **PAIR_LOSSES}.items():
        expected = on_one_device(name, loss, x, LABELS)
        # Pair losses accept any class IDs, even those that float32 and int32 cannot represent.
        ids = LABELS + 2**40 if name in PAIR_LOSSES else LABELS
        found[name] = [difference(way(name, loss, x, ids, strategy), expected) for way in ways]
    # First only the last worker wants to stop; then none does.
    is_last = sys.argv[2:] == ["last"]
    found["any_worker"] = [distribution.any_worker(flag, strategy) for flag in (is_last, False)]
    sys.stdout.write(json.dumps(found) + "\n")


if __name__ == "__main__":
    main(sys.argv[1])
