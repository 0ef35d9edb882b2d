"""Epochs of the right length when one execution takes several steps."""

import keras

from pa_keras.training.callbacks.progress import Progress


class WholeEpochs(keras.callbacks.Callback):
    """Shortens the last execution of an epoch to the steps that are left.

    With `compile(steps_per_execution=k)`, endless batches and steps_per_epoch = S, Keras takes k
    steps S / k times, rounded up. If k does not divide S, the epoch would have more than S steps.
    The shorter execution is a separate function, traced once.

    As usual in Keras, other callbacks are called only at the end of an execution:
    `on_train_batch_end` of its first step + k - 1, which may lie beyond the end of the epoch.

    Args:
        progress: Callback that counts the steps, earlier in the list of callbacks.

    Example:
        >>> model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)])
        >>> model.compile("sgd", "mse", steps_per_execution=4)
        >>> callbacks = [progress, WholeEpochs(progress)]  # doctest: +SKIP
    """

    def __init__(self, progress: Progress):
        super().__init__()
        self.progress = progress

    def on_train_begin(self, logs: dict | None = None) -> None:
        self._steps = self.model.steps_per_execution
        self._functions = {self._steps: self.model.train_function}

    def on_train_batch_begin(self, batch: int, logs: dict | None = None) -> None:
        self._take(min(self._steps, self.progress.steps_per_epoch - self.progress.step))

    def on_train_end(self, logs: dict | None = None) -> None:
        self._take(self._steps)

    def _take(self, steps: int) -> None:
        # The number of steps is a constant in the traced function, so each number needs its own.
        self.model.steps_per_execution = steps
        if steps not in self._functions:
            self.model.make_train_function(force=True)
            self._functions[steps] = self.model.train_function
        self.model.train_function = self._functions[steps]
