"""The picture of neighbours that `fit` puts into TensorBoard at each evaluated epoch."""

import pytest
from tensorboard.backend.event_processing import event_accumulator

from pa_keras import fit

pytestmark = pytest.mark.usefixtures("float32_policy")


@pytest.fixture
def run(photos, tmp_path):
    config = tmp_path / "small.yaml"
    config.write_text(
        "model: {backbone: conv4, weights: null, batch_norm: train, embedding_size: 8}\n"
        "data: {image_size: 16, crop_fraction: 1.0}\nbatches: {batch_size: 6}\n"
        "training: {epochs: 3}\nevaluation: {every: 2}\n"
    )
    folder = tmp_path / "run"
    arguments = ["--config", config, "--dataset", "folder", "--data-dir", photos]

    def of(*more):
        fit.main([*map(str, arguments), "--run-dir", str(folder), *more])
        return folder / "tensorboard" / "neighbours"

    return of


def test_a_picture_each_evaluated_epoch_through_both_phases(run):
    events = event_accumulator.EventAccumulator(str(run()), {"tensors": 0})
    events.Reload()
    assert [event.step for event in events.Tensors("neighbours")] == [0, 1, 2]


@pytest.mark.parametrize("setting", ["--logging.pictures=false", "--training.selection=last"])
def test_no_picture_where_none_is_wanted_or_nothing_was_found(run, setting):
    assert not run(setting).exists()
