"""The metrics of each epoch, appended to a CSV file."""

import csv
import os
from pathlib import Path

import keras


class AppendMetrics(keras.callbacks.Callback):
    """Appends an epoch's logs to a CSV file, epochs counted from 1; it can go on with a file.

    Keras' CSVLogger would add an empty `val_` column for each of them.

    Args:
        path: of the file; its header, if it is there already, must be that of this run.
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
            # On the disk before the state that counts on it.
            file.flush()
            os.fsync(file.fileno())
