import keras
import numpy as np
import pytest

X, Y = np.random.default_rng(0).normal(size=(8, 3)), np.zeros((8, 2))


class Scripted(keras.callbacks.Callback):
    """Writes given recalls into the logs, one per epoch."""

    def __init__(self, recalls):
        super().__init__()
        self.recalls = recalls

    def on_epoch_end(self, epoch, logs=None):
        logs["recall_at_1"] = self.recalls[epoch]


@pytest.fixture
def scripted():
    return Scripted


@pytest.fixture
def tiny_model():
    def make(learning_rate=0.01, dropout=0.5):
        keras.utils.set_random_seed(0)
        inputs = keras.Input((3,))
        dropped = keras.layers.Dropout(dropout, seed=1)(keras.layers.Dense(6)(inputs))
        model = keras.Model(inputs, keras.layers.Dense(2)(dropped))
        model.compile(keras.optimizers.Adam(learning_rate), "mse", jit_compile=False)
        return model

    return make


@pytest.fixture
def fit():
    """Trains on eight rows, in four batches of two."""

    def train(model, callbacks, x=X, y=Y, **options):
        return model.fit(
            x, y, batch_size=2, shuffle=False, verbose=0, callbacks=callbacks, **options
        )

    return train
