"""The kept model is that of the best epoch."""

import keras
import numpy as np

from pa_keras.training.callbacks.save_best import SaveBest


def test_best_model_is_that_of_the_first_highest_epoch(tiny_model, fit, scripted, tmp_path):
    model = tiny_model()
    path = tmp_path / "best.keras"
    kept = {}
    remember = keras.callbacks.LambdaCallback(
        on_epoch_end=lambda epoch, logs: kept.setdefault(epoch, model.get_weights())
    )
    fit(
        model,
        [scripted([0.2, 0.7, 0.7, 0.1]), remember, SaveBest(path, model.save)],
        epochs=4,
    )
    for saved, expected in zip(keras.saving.load_model(path).get_weights(), kept[1], strict=True):
        np.testing.assert_array_equal(saved, expected)
    assert [p.name for p in tmp_path.iterdir()] == ["best.keras"]


def test_best_of_an_earlier_part_of_the_run_is_not_replaced(tiny_model, fit, scripted, tmp_path):
    model = tiny_model()
    fit(model, [scripted([0.5]), SaveBest(tmp_path / "best.keras", model.save, best=0.6)])
    assert not list(tmp_path.iterdir())


def test_each_best_model_has_a_file_beside_the_checkpoints(tiny_model, fit, scripted, tmp_path):
    model, path, checkpoints = tiny_model(), tmp_path / "best.keras", tmp_path / "state"
    checkpoints.mkdir()
    best = SaveBest(path, model.save, checkpoints=checkpoints)
    fit(model, [scripted([0.2, 0.1, 0.7]), best], epochs=3)
    names = ["best-epoch-0001.keras", "best-epoch-0003.keras"]
    assert sorted(p.name for p in checkpoints.iterdir()) == names
    assert best.kept == checkpoints / names[1] and best.kept.read_bytes() == path.read_bytes()
