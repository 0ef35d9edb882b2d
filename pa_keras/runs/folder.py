"""The folder of a run: the names of its files, and protection from overwriting them."""

import csv
import json
import logging
import os
import platform
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from pa_keras import cpu, files

logger = logging.getLogger(__name__)

_PACKAGES = (
    "pa_keras", "tensorflow", "keras", "keras-cv", "numpy", "scann", "tensorflow-datasets", "pillow"
)  # fmt: skip


# The files that a run writes before config.yaml, without which it cannot be resumed. The lock in
# state/ is the first.
_BEFORE = ("state", "fit.log", "versions.json", "skipped_images.txt", "images.csv",
           "partial-images.csv", "partial-config.yaml")  # fmt: skip


@dataclass(frozen=True)
class RunFolder:
    """Names of the files of a run.

    Args:
        path: The folder.
    """

    path: Path

    @property
    def config(self) -> Path:
        """Every setting, resolved, as YAML."""
        return self.path / "config.yaml"

    @property
    def images(self) -> Path:
        """The fingerprint of the images."""
        return self.path / "images.csv"

    @property
    def best_model(self) -> Path:
        """The selected embedding model."""
        return self.path / "best.keras"

    @property
    def state(self) -> Path:
        """Folder of the last two checkpoints, to resume from."""
        return self.path / "state"

    @property
    def log(self) -> Path:
        """The log of all processes that trained the run."""
        return self.path / "fit.log"

    @property
    def versions(self) -> Path:
        """Python, the packages, the machine, and the settings of TensorFlow for its CPU."""
        return self.path / "versions.json"

    @property
    def metrics(self) -> Path:
        """Metrics, one row per epoch; epoch 0 is the network before training."""
        return self.path / "metrics.csv"

    @property
    def result(self) -> Path:
        """The last evaluation, on the test classes."""
        return self.path / "result.json"

    @property
    def tensorboard(self) -> Path:
        """TensorBoard logs."""
        return self.path / "tensorboard"

    def read_metrics(self) -> list[dict[str, float]]:
        """The rows of `metrics`, epochs counted from 1; empty if there is no file yet."""
        return [row for row in self._rows() if row["epoch"] > 0]

    def read_before_training(self) -> dict[str, float] | None:
        """The row of epoch 0, the network before training; None if it was not measured."""
        return next((row for row in self._rows() if row["epoch"] == 0), None)

    def _rows(self) -> list[dict[str, float]]:
        """All rows of `metrics`, each without its empty cells."""
        if not self.metrics.exists():
            return []
        with self.metrics.open(newline="") as file:
            return [{k: float(v) for k, v in row.items() if v} for row in csv.DictReader(file)]

    def drop_metrics_after(self, epoch: int) -> None:
        """Removes the rows of epochs after the checkpoint, which are trained again."""
        lines = self.metrics.read_text().splitlines(keepends=True) if self.metrics.exists() else []
        rows = [line for line in lines[1:] if line.endswith("\n")]
        kept = [row for row in rows if int(row.split(",")[0]) <= epoch]
        if kept:
            text = "".join([lines[0], *kept])
            files.save_whole(lambda partial: Path(partial).write_text(text), self.metrics)
        else:
            self.metrics.unlink(missing_ok=True)

    def write_versions(self) -> None:
        """Writes `versions`, with the cores that this process may use."""
        import tensorflow as tf  # here, as a run is read under other backends, too

        found = {
            "python": platform.python_version(),
            "platform": platform.platform(),
            "processor": _processor(),
            "cores": len(os.sched_getaffinity(0)),
            "gpus": len(tf.config.list_physical_devices("GPU")),
            "instruction_set": cpu.instruction_set(),
            "cpu_settings": cpu.settings_text(),
            **files.versions(_PACKAGES),
        }
        text = json.dumps(found, indent=2) + "\n"
        files.save_whole(lambda partial: Path(partial).write_text(text), self.versions)

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Holds the lock of the run, which ends with the process.

        Raises:
            BlockingIOError: Another process trains this run; the message says which.
        """
        self.state.mkdir(exist_ok=True)
        advice = "Wait until it has ended, or stop it: it saves first."
        with files.locked(self.state / "lock", f"trains in {self.path}", advice):
            yield


def _processor() -> str:
    """The name of the processor, which Linux gives only in this file."""
    information = Path("/proc/cpuinfo")
    lines = information.read_text().splitlines() if information.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor()


def expect_new_run(run_dir: str | None) -> None:
    """Raises FileExistsError if `run_dir` is in use, before any work is done.

    A folder of a run that was killed before it wrote its settings counts as free.
    """
    if run_dir is None or not Path(run_dir).exists():
        return
    if not _is_free(Path(run_dir)):
        raise FileExistsError(
            f"Expected a new run folder; {run_dir} has something in it, and nothing is "
            "overwritten. Add --resume to continue that run, or give another --run-dir."
        )


def _is_free(path: Path) -> bool:
    """Whether a folder is empty, or of a run that was killed before it wrote its settings.

    The lock, which a run creates before any file with contents, identifies such a run. Names of
    other files prove nothing: any folder may have an images.csv.
    """
    if not path.is_dir() or any(entry.name not in _BEFORE for entry in path.iterdir()):
        return False
    state = path / "state"
    if state.is_symlink() or any(entry.name != "lock" for entry in state.glob("*")):
        return False
    contents = [entry for entry in path.rglob("*") if not entry.is_dir()]
    return files.is_lock(state / "lock") or all(not file.stat().st_size for file in contents)


def new_run_folder(run_dir: str | None, dataset: str, room: int) -> RunFolder:
    """Makes the folder of a new run.

    Args:
        run_dir: Path of the folder, which must not exist or must be empty. None: the first
            runs/<dataset>-<n> that does not exist.
        dataset: Name of the data set, for the default path.
        room: Number of bytes that the run needs on the disk.

    Raises:
        FileExistsError: The folder has something in it.
        OSError: The folder cannot be written to, or the disk is too full.
    """
    expect_new_run(run_dir)
    path = Path(run_dir or "runs")
    try:
        path = _numbered(path, dataset) if run_dir is None else path
        folder = RunFolder(path)
        folder.state.mkdir(parents=True, exist_ok=True)
        (path / "fit.log").touch()
    except OSError as error:
        raise OSError(
            f"Expected a run folder that can be written to; {path}: {error}. Give another "
            "--run-dir."
        ) from error
    free = shutil.disk_usage(path).free
    if free < room:
        raise OSError(
            f"Expected {room / 1e6:.0f} MB free for the run; the disk of {path} has "
            f"{free / 1e6:.0f} MB. Free some, or give a --run-dir on another disk."
        )
    return folder


def existing_run_folder(run_dir: str | None) -> RunFolder:
    """The folder of an existing run.

    Raises:
        FileNotFoundError: There is no run in the folder.
    """
    folder = RunFolder(Path(run_dir or ""))
    if run_dir is not None and folder.state.is_dir() and not folder.config.exists():
        raise FileNotFoundError(
            f"Expected the folder of a run; the one in {run_dir} was stopped before it began, and "
            "nothing is lost. Start it again, without --resume."
        )
    if run_dir is None or not folder.config.exists():
        there = "which has none" if folder.path.exists() else "which does not exist"
        there = "a file: give a model by --model" if folder.path.is_file() else there
        received = "none" if run_dir is None else f"{run_dir!r}, {there}"
        raise FileNotFoundError(
            f"Expected the folder of a run, with its config.yaml; received {received}. Runs are in "
            "runs/ unless --run-dir was given."
        )
    return folder


def _numbered(runs: Path, dataset: str) -> Path:
    """Makes the first of runs/<dataset>-1, -2, ... that does not exist, without a race."""
    number = 1
    while True:
        path = runs / f"{dataset.replace(':', '-')}-{number}"
        try:
            path.mkdir(parents=True)
        except FileExistsError:
            number += 1
        else:
            return path
