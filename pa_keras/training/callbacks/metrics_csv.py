"""Appending the metrics of each epoch to a CSV file."""

import csv
import os
from pathlib import Path

import keras


class AppendMetrics(keras.callbacks.Callback):
    """Appends the logs of each epoch, counted from 1, to a CSV file that may exist already.

    Keras' CSVLogger would add an empty `val_` column for each metric.

    Args:
        path: The CSV file; if it exists, its header must match the logs.
    """

    def __init__(self, path: Path):
        super().__init__()
        self.path = path

    def on_epoch_end(self, epoch: int, logs: dict) -> None:
        row = {"epoch": epoch + 1, **logs}
        is_new = not self.path.exists() or not self.path.stat().st_size
        with self.path.open("a", newline="") as file:
            writer = csv.DictWriter(file, row)
            if is_new:
                writer.writeheader()
            writer.writerow(row)
            # The row has to be on the disk before the checkpoint that counts its epoch.
            file.flush()
            os.fsync(file.fileno())
