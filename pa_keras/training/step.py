"""The one model with a step of its own."""

import keras
import tensorflow as tf


class TrainingModel(keras.Model):
    """A functional model that `fit` can also train on several workers.

    Keras' own `fit` fails under `MultiWorkerMirroredStrategy` in two places (keras issue 20585).

    Args:
        inputs, outputs, name: of a functional model, whose layers this one shares.
    """

    def _maybe_symbolic_build(self, iterator=None, data_batch=None):
        # Keras would reduce the first batch over the replicas, with all its labels.
        if iterator is not None:
            for _, _, batches in iterator:
                data_batch = keras.tree.map_structure(self._of_first_replica, next(batches))
                break
        super()._maybe_symbolic_build(data_batch=data_batch)

    def _make_function(self, step_function):
        # Keras takes the mean of the logs of several workers over their first axis.
        several = isinstance(self.distribute_strategy, tf.distribute.MultiWorkerMirroredStrategy)

        def step(data):
            return {name: keras.ops.reshape(v, (1,)) for name, v in step_function(data).items()}

        return super()._make_function(step if several else step_function)

    def _of_first_replica(self, values):
        return self.distribute_strategy.experimental_local_results(values)[0]
