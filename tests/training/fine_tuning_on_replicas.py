"""Layer decay, a frozen block and averages on two replicas against one device, as JSON.

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

from pa_keras import embedding_model, with_proxies  # noqa: E402
from pa_keras.losses import ProxyAnchorLoss  # noqa: E402
from pa_keras.models import set_trainable  # noqa: E402
from pa_keras.training import layer_decay_factors, two_rate_adamw  # noqa: E402
from pa_keras.training.callbacks.averaged_weights import AveragedWeights  # noqa: E402
from pa_keras.training.training_model import TrainingModel  # noqa: E402

LABELS = np.repeat(range(3), 4)


def weights(strategy, images):
    """The averages, and the weights of the training, after two epochs of two steps."""
    keras.utils.set_random_seed(0)
    with strategy.scope():
        embedder, copy = (
            embedding_model("conv4", 8, (16, 16), weights=None, batch_norm="frozen")
            for _ in range(2)
        )
        model = with_proxies(embedder, 3)
        model = TrainingModel(model.input, model.output, name=model.name)
        set_trainable(model, True, "frozen", frozen_blocks=1)
        optimizer = two_rate_adamw(
            model, 1e-3, 1e-2, 0.1, None, layer_decay_factors(model, 0.5), 0.9
        )
        model.compile(optimizer, ProxyAnchorLoss(num_classes=3), jit_compile=False)
        model.optimizer.build(model.trainable_variables)
    before = model.get_weights()
    own = []
    batches = tf.data.Dataset.from_tensors((images, LABELS)).unbatch()
    batches = batches.batch(len(LABELS), drop_remainder=True).repeat()
    keep = keras.callbacks.LambdaCallback(
        on_epoch_end=lambda epoch, logs: own.extend(model.get_weights() if epoch else [])
    )
    model.fit(batches, steps_per_epoch=2, epochs=2, verbose=0,
              callbacks=[AveragedWeights(embedder, copy), keep])  # fmt: skip
    return before, copy.get_weights(), own


def main():
    images = np.random.default_rng(4).uniform(0, 255, (12, 16, 16, 3)).astype("float32")
    one = tf.distribute.get_strategy()
    two = tf.distribute.MirroredStrategy(
        ["CPU:0", "CPU:1"], cross_device_ops=tf.distribute.ReductionToOneDevice()
    )
    before, averages, own = weights(one, images)
    _, averages_of_two, own_of_two = weights(two, images)

    def largest(ours, theirs):
        return max(float(np.abs(a - b).max()) for a, b in zip(ours, theirs, strict=True))

    sys.stdout.write(
        json.dumps(
            {
                "change": largest(before, own),
                "averages": largest(averages, averages_of_two),
                "own": largest(own, own_of_two),
                "frozen": largest(before[:5], own_of_two[:5]),
            }
        )
        + "\n"
    )


if __name__ == "__main__":
    main()
