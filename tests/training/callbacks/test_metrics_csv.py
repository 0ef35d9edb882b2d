"""The CSV file of metrics, over several calls of `fit`."""

import csv

import pytest

from pa_keras.training.callbacks.metrics_csv import AppendMetrics
from pa_keras.training.callbacks.progress import Progress


def test_metrics_file_continues(tiny_model, fit, scripted, tmp_path):
    path = tmp_path / "metrics.csv"
    model = tiny_model()
    for first in (0, 2):
        own = [Progress(4, 2), scripted([0.1] * 4), AppendMetrics(path)]
        fit(model, own, initial_epoch=first, epochs=first + 2)
    rows = list(csv.DictReader(path.read_text().splitlines()))
    assert [row["epoch"] for row in rows] == ["1", "2", "3", "4"]
    assert list(rows[0]) == ["epoch", "loss", "seconds", "images_per_second", "recall_at_1"]
    assert all(
        float(r["images_per_second"]) * float(r["seconds"]) == pytest.approx(8) for r in rows
    )
