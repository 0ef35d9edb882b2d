"""Several steps in one execution, and still epochs of as many steps as were asked for."""

import keras

from pa_keras.training.callbacks.progress import Progress


class WholeEpochs(keras.callbacks.Callback):
    """Lets the last execution of an epoch take only the steps that are left of it.

    With `compile(steps_per_execution=k)`, endless batches and steps_per_epoch = S Keras takes k
    steps S / k times, rounded up: more steps than S, and so other epochs, where k does not divide
    S. The shorter execution is a function of its own, traced once.

    Other callbacks hear of an execution's end alone, as Keras does it: `on_train_batch_end` of the
    step k - 1 after its first, which for the last may lie beyond the epoch's.

    Args:
        progress: stands before it.

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
        # The number of steps is a constant of the traced function, which is why each has its own.
        self.model.steps_per_execution = steps
        if steps not in self._functions:
            self.model.make_train_function(force=True)
            self._functions[steps] = self.model.train_function
        self.model.train_function = self._functions[steps]
