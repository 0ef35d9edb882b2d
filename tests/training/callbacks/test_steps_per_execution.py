"""Several steps per execution: epochs have the right number of steps, each batch once."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from pa_keras.training.callbacks.progress import Progress
from pa_keras.training.callbacks.steps_per_execution import WholeEpochs


def fit(steps_per_epoch, steps_per_execution, epochs=3, callbacks=()):
    """Trains three epochs: steps, traces, ends of executions, and the sum of the batches seen."""
    traces = []

    class Summing(keras.Model):
        def train_step(self, data):
            traces.append(1)
            return super().train_step(data)

    inputs = keras.Input((1,))
    # The gradient is the mean of the batch, so that the weight sums the batches seen.
    model = Summing(inputs, keras.layers.Dense(1, use_bias=False)(inputs))
    start = model.get_weights()[0]
    model.compile(
        keras.optimizers.SGD(1.0),
        loss=lambda labels, outputs: -outputs,
        steps_per_execution=steps_per_execution,
        jit_compile=False,
    )
    ends = []
    remember = keras.callbacks.LambdaCallback(
        on_train_batch_end=lambda batch, logs: ends.append(batch)
    )
    batches = tf.data.Dataset.counter().map(
        lambda i: (tf.fill((1, 1), tf.cast(i, tf.float32)),) * 2
    )
    endless = tf.data.experimental.assert_cardinality(tf.data.INFINITE_CARDINALITY)
    model.fit(
        batches.apply(endless),
        steps_per_epoch=steps_per_epoch,
        epochs=epochs,
        shuffle=False,
        verbose=0,
        callbacks=[*callbacks, remember],
    )
    seen = float((model.get_weights()[0] - start)[0, 0])
    return int(model.optimizer.iterations), len(traces), ends, seen, model.steps_per_execution


@pytest.mark.parametrize(
    ("steps", "in_one", "traces", "ends"),
    [
        (5, 2, 2, [1, 3, 5]),
        (6, 3, 1, [2, 5]),
        (7, 4, 2, [3, 7]),
        (2, 8, 1, [7]),
        (3, 1, 1, [0, 1, 2]),
    ],
)
def test_an_epoch_has_its_steps(steps, in_one, traces, ends):
    progress = Progress(steps, batch_size=1)
    callbacks = [progress, WholeEpochs(progress)]
    taken, found_traces, found_ends, seen, left = fit(steps, in_one, callbacks=callbacks)
    assert taken == 3 * steps
    assert seen == pytest.approx(np.arange(3 * steps).sum(), rel=1e-5)
    assert found_traces == traces
    assert found_ends == ends * 3
    assert left == in_one  # as compiled


def test_keras_alone_takes_more():
    """If this fails, Keras counts the steps correctly, and `WholeEpochs` can be removed."""
    assert fit(5, 2)[0] == 18
