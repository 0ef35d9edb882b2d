"""Prints the largest differences of a folded model on two replicas from the model on one device.

It runs in a separate process, since logical devices must be made before TensorFlow is used, and no
other test may find a strategy in scope.
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
from pa_keras.models.batch_norm_folding import _norms, folded  # noqa: E402


def gradients(call, model, images):
    """The embeddings of the images, and the gradient of a sum of squares by each weight."""
    with tf.GradientTape() as tape:
        outputs = call(images, training=False)
        weights = [v.value for v in model.trainable_variables]
        return outputs, tape.gradient(tf.reduce_sum(outputs[:, :4] ** 2), weights)


def main():
    keras.utils.set_random_seed(0)
    rng = np.random.default_rng(0)
    images = tf.constant(rng.uniform(0, 255, (6, 48, 48, 3)), "float32")
    strategy = tf.distribute.MirroredStrategy(
        ["CPU:0", "CPU:1"], cross_device_ops=tf.distribute.ReductionToOneDevice()
    )
    one = embedding_model("conv4", 16, (48, 48), weights=None)
    with strategy.scope():
        two = embedding_model("conv4", 16, (48, 48), weights=None)
    for weight in one.non_trainable_weights:
        low, high = (-0.2, 0.2) if weight.name == "moving_mean" else (0.5, 2.0)
        weight.assign(rng.uniform(low, high, weight.shape))
    two.set_weights(one.get_weights())

    @tf.function
    def on_replicas(shards):
        return strategy.run(lambda shard: gradients(folded(two), two, shard), (shards,))

    shards = strategy.experimental_distribute_values_from_function(
        lambda context: images[context.replica_id_in_sync_group :: 2]
    )
    outputs, by_weight = on_replicas(shards)
    differences = []
    for replica in range(2):
        found = [strategy.experimental_local_results(x)[replica] for x in (outputs, *by_weight)]
        embeddings, changes = gradients(one, one, images[replica::2])
        for received, expected in zip(found, [embeddings, *changes], strict=True):
            difference = np.abs(received - expected).max() / np.abs(expected).max()
            differences.append(float(difference))
    sys.stdout.write(json.dumps({"folded": len(_norms(two)), "differences": differences}) + "\n")


if __name__ == "__main__":
    main()
