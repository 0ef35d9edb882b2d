"""Training stops after the step that diverges."""

import numpy as np
import pytest

from pa_keras.training.callbacks.progress import Progress
from pa_keras.training.callbacks.save_best import SaveBest
from pa_keras.training.callbacks.stop_at_nan import StopAtNaN

RNG = np.random.default_rng(0)


def test_nan_stops_in_its_step(tiny_model, fit):
    model = tiny_model(dropout=0)
    x, y = RNG.normal(size=(8, 3)), np.zeros((8, 2))
    x[5] = np.nan  # in the third batch of two
    progress = Progress(4, 2)
    own = [progress, StopAtNaN(progress)]
    with pytest.raises(FloatingPointError, match="nan in step 3 of epoch 1.*learning_rate"):
        fit(model, own, x, y)


def test_nan_of_the_last_update_stops_before_the_best_is_saved(tiny_model, fit, scripted, tmp_path):
    model = tiny_model(learning_rate=1e30)
    progress = Progress(1, 2)
    own = [progress, StopAtNaN(progress), scripted([1.0])]
    own.append(SaveBest(tmp_path / "best.keras", model.save))
    with pytest.raises(FloatingPointError, match="epoch 1"):
        fit(model, own, 1e30 * RNG.normal(size=(2, 3)), np.zeros((2, 2)))
    assert not list(tmp_path.iterdir())
