"""Evaluating the averaged weights, while training continues with its own."""

import keras


class AveragedWeights(keras.callbacks.Callback):
    """Copies the averaged weights of a part of the model into another model after each epoch.

    The optimizer keeps the averages (`use_ema=True`). `keras.callbacks.SwapEMAWeights` exchanges
    both by sums and differences, which rounds the weights, so that training would depend on how
    often it is evaluated. Here the weights of the training come back bit for bit.

    Weights that no step has changed, and the statistics of batch normalization, have no averages;
    they are copied as they are.

    Args:
        part: A part of the trained model, such as its embedding model.
        copy: Model with the same weights, which later callbacks evaluate and save.

    Example:
        >>> inputs = keras.Input((2,))
        >>> part = keras.Model(inputs, keras.layers.Dense(3)(inputs))
        >>> copy = keras.models.clone_model(part)
        >>> part.compile(keras.optimizers.AdamW(use_ema=True, ema_momentum=0.9), "mse")
        >>> callbacks = [AveragedWeights(part, copy)]
        >>> _ = part.fit(np.ones((4, 2)), np.ones((4, 3)), callbacks=callbacks, verbose=0)
    """

    def __init__(self, part: keras.Model, copy: keras.Model):
        super().__init__()
        self.part = part
        self.copy = copy

    def on_epoch_end(self, epoch: int, logs: dict | None = None) -> None:
        own = self.model.get_weights()
        # The public way to read the averages: what Keras does at the end of `fit`.
        self.model.optimizer.finalize_variable_values(self.model.trainable_weights)
        self.copy.set_weights(self.part.get_weights())
        self.model.set_weights(own)
