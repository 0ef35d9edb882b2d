"""Appending the metrics of each epoch to a CSV file."""

import csv
import os
from collections.abc import Mapping
from pathlib import Path

import keras


class AppendMetrics(keras.callbacks.Callback):
    """Appends the logs of each epoch, counted from 1, to a CSV file that may exist already.

    Keras' CSVLogger would add an empty `val_` column for each metric.

    Args:
        path: The CSV file; if it exists, its header must have the names of the logs.
    """

    def __init__(self, path: Path):
        super().__init__()
        self.path = path

    def on_epoch_end(self, epoch: int, logs: dict) -> None:
        append_row(self.path, {"epoch": epoch + 1, **logs})


def append_before_training(path: Path, values: Mapping[str, float]) -> None:
    """Begins the file of `AppendMetrics` with epoch 0, the network before training.

    It has no loss and no speed, whose cells stay empty.

    Args:
        path: The CSV file.
        values: What was measured, by the names in the logs.
    """
    append_row(path, {"epoch": 0, "loss": "", "seconds": 0.0, "images_per_second": "", **values})


def append_row(path: Path, row: Mapping[str, float | str]) -> None:
    """Appends a row, in the columns of the file or, if it is new, in those of the row.

    Raises:
        ValueError: The row has a name that the columns of the file lack.
    """
    with path.open("a+", newline="") as file:
        file.seek(0)
        columns = next(csv.reader(file), None)
        writer = csv.DictWriter(file, columns or row)
        if columns is None:
            writer.writeheader()
        writer.writerow(row)
        # The row has to be on the disk before the checkpoint that counts its epoch.
        file.flush()
        os.fsync(file.fileno())
