"""The callbacks of a run, each in a real `fit`."""

import csv

import keras
import numpy as np
import pytest

from pa_keras.training.callbacks import metrics_csv
from pa_keras.training.callbacks.progress import Progress


def tiny_model(learning_rate=0.01, dropout=0.5):
    keras.utils.set_random_seed(0)
    inputs = keras.Input((3,))
    dropped = keras.layers.Dropout(dropout, seed=1)(keras.layers.Dense(6)(inputs))
    model = keras.Model(inputs, keras.layers.Dense(2)(dropped))
    model.compile(keras.optimizers.Adam(learning_rate), "mse", jit_compile=False)
    return model


X, Y = np.random.default_rng(0).normal(size=(8, 3)), np.zeros((8, 2))


def fit(model, own, **options):
    return model.fit(X, Y, batch_size=2, shuffle=False, verbose=0, callbacks=own, **options)


class Scripted(keras.callbacks.Callback):
    """Writes given recalls into the logs, an epoch each."""

    def __init__(self, recalls):
        super().__init__()
        self.recalls = recalls

    def on_epoch_end(self, epoch, logs=None):
        logs["recall_at_1"] = self.recalls[epoch]


def test_best_model_is_that_of_the_first_highest_epoch(tmp_path):
    model = tiny_model()
    path = tmp_path / "best.keras"
    kept = {}
    remember = keras.callbacks.LambdaCallback(
        on_epoch_end=lambda epoch, logs: kept.setdefault(epoch, model.get_weights())
    )
    fit(
        model,
        [Scripted([0.2, 0.7, 0.7, 0.1]), remember, metrics_csv.SaveBest(path, model)],
        epochs=4,
    )
    for saved, expected in zip(keras.saving.load_model(path).get_weights(), kept[1], strict=True):
        np.testing.assert_array_equal(saved, expected)
    assert [p.name for p in tmp_path.iterdir()] == ["best.keras"]


def test_best_of_an_earlier_part_of_the_run_is_not_replaced(tmp_path):
    model = tiny_model()
    fit(model, [Scripted([0.5]), metrics_csv.SaveBest(tmp_path / "best.keras", model, best=0.6)])
    assert not list(tmp_path.iterdir())


def test_each_best_has_a_file_of_its_own_beside_the_states(tmp_path):
    model, path, states = tiny_model(), tmp_path / "best.keras", tmp_path / "state"
    states.mkdir()
    best = metrics_csv.SaveBest(path, model, states=states)
    fit(model, [Scripted([0.2, 0.1, 0.7]), best], epochs=3)
    names = ["best-epoch-0001.keras", "best-epoch-0003.keras"]
    assert sorted(p.name for p in states.iterdir()) == names
    assert best.kept == states / names[1] and best.kept.read_bytes() == path.read_bytes()


def test_nan_stops_in_its_step():
    model = tiny_model(dropout=0)
    x = X.copy()
    x[5] = np.nan  # in the third batch of two
    progress = Progress(4, 2)
    own = [progress, metrics_csv.StopAtNaN(progress)]
    with pytest.raises(FloatingPointError, match="nan in step 3 of epoch 1.*learning_rate"):
        model.fit(x, Y, batch_size=2, shuffle=False, verbose=0, callbacks=own)


def test_nan_of_the_last_update_stops_before_the_best_is_saved(tmp_path):
    model = tiny_model(learning_rate=1e30)
    progress = Progress(1, 2)
    own = [progress, metrics_csv.StopAtNaN(progress), Scripted([1.0])]
    own.append(metrics_csv.SaveBest(tmp_path / "best.keras", model))
    with pytest.raises(FloatingPointError, match="epoch 1"):
        model.fit(1e30 * X[:2], Y[:2], batch_size=2, verbose=0, callbacks=own)
    assert not list(tmp_path.iterdir())


def test_metrics_file_continues(tmp_path):
    path = tmp_path / "metrics.csv"
    model = tiny_model()
    for first in (0, 2):
        own = [Progress(4, 2), Scripted([0.1] * 4), metrics_csv.AppendMetrics(path)]
        fit(model, own, initial_epoch=first, epochs=first + 2)
    rows = list(csv.DictReader(path.read_text().splitlines()))
    assert [row["epoch"] for row in rows] == ["1", "2", "3", "4"]
    assert list(rows[0]) == ["epoch", "loss", "seconds", "images_per_second", "recall_at_1"]
    assert all(
        float(r["images_per_second"]) * float(r["seconds"]) == pytest.approx(8) for r in rows
    )
