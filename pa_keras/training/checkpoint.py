"""Training checkpoints: everything needed to resume bit for bit, verified by checksums.

The files of a checkpoint, in `state/` of the run folder:

- `epoch-EEEE-step-SSSSSS.npz`: every variable by kind and position, `model/0`, `optimizer/0`,
  `metrics/0` and so on; `model` includes the seeds of dropout. EEEE is the epoch in progress.
- `epoch-EEEE-step-SSSSSS.json`: a `Checkpoint` under "state", and its SHA-256. It is written last;
  a checkpoint without it does not count.
- `best-epoch-EEEE.keras`: the best model so far, if an epoch was measured.

NumPy writes the variables, not `save_weights`: on a full disk HDF5 crashes the process.
"""

import dataclasses
import hashlib
import json
import logging
import re
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from pa_keras.files import save_whole, sha256

logger = logging.getLogger(__name__)

_CHECKPOINT_FILE = re.compile(
    r"(partial-)?(epoch-\d{4,}-step-\d{6,}\.(npz|json)|best-epoch-\d{4,}\.keras)"
)


@dataclass(frozen=True)
class Checkpoint:
    """What `write_checkpoint` saved.

    Attributes:
        epoch: Number of finished epochs.
        step: Number of finished steps of the epoch after them. If every step is done, only the
            evaluation of the epoch is left.
        seconds: Seconds spent on these steps.
        best: Name of the file of the best model so far. None: no model yet.
        checksums: SHA-256 of each file of the checkpoint, by file name.
    """

    epoch: int
    step: int
    seconds: float
    best: str | None
    checksums: dict[str, str]

    @property
    def name(self) -> str:
        """Name of its files without their suffixes."""
        return f"epoch-{self.epoch + 1:04d}-step-{self.step:06d}"

    def __str__(self) -> str:
        return f"epoch {self.epoch + 1}, step {self.step}" if self.step else f"epoch {self.epoch}"


def write_checkpoint(
    model: keras.Model, folder: Path, epoch: int, step: int, seconds: float, best: Path | None
) -> Checkpoint:
    """Writes a checkpoint and keeps the earlier ones.

    Args:
        model: Compiled model; its weights, optimizer, dropout seeds and metrics are saved.
        folder: Folder of the checkpoints.
        epoch: Number of finished epochs.
        step: Number of finished steps of the epoch after them.
        seconds: Seconds spent on these steps.
        best: File of the best model so far, in the folder. None: no model yet.

    Raises:
        OSError: The checkpoint cannot be written; the earlier ones are kept.
    """
    checkpoint = Checkpoint(epoch, step, seconds, best.name if best else None, {})
    arrays: dict[str, Any] = {
        f"{part}/{index}": _value(part, variable)
        for part, variables in _variables(model).items()
        for index, variable in enumerate(variables)
    }

    def save(partial: str) -> None:
        with Path(partial).open("wb") as file:
            np.savez(file, **arrays)

    variables = folder / f"{checkpoint.name}.npz"
    save_whole(save, variables)
    files = [variables] if best is None else [variables, best]
    checkpoint.checksums.update({file.name: sha256(file) for file in files})
    content = dataclasses.asdict(checkpoint)
    text = json.dumps({"state": content, "sha256": _checksum(content)})
    save_whole(lambda path: Path(path).write_text(text), folder / f"{checkpoint.name}.json")
    return checkpoint


def keep_only(folder: Path, checkpoints: list[Checkpoint]) -> None:
    """Deletes all other checkpoints, readable or not, and no other file."""
    kept = {f"{checkpoint.name}.json" for checkpoint in checkpoints}
    kept |= {name for checkpoint in checkpoints for name in checkpoint.checksums}
    for file in folder.iterdir():
        if file.name not in kept and _CHECKPOINT_FILE.fullmatch(file.name):
            file.unlink()


def newest_checkpoint(folder: Path) -> Checkpoint | None:
    """The newest checkpoint that can be read; None if none was ever written.

    It logs a warning, with the reason, for each newer checkpoint that cannot be read.

    Raises:
        ValueError: There are checkpoints, but none can be read.
    """
    files = sorted(
        folder.glob("*.json"), key=lambda file: [*map(int, re.findall(r"\d+", file.name))]
    )
    reasons = []
    for file in reversed(files):
        try:
            checkpoint = _read(file)
        except (OSError, ValueError, KeyError, TypeError) as error:
            reasons.append(f"{file}: {error}")
            continue
        for reason in reasons:
            logger.warning("A checkpoint cannot be read; the one before it is used: %s", reason)
        return checkpoint
    if reasons:
        raise ValueError(
            f"Expected a checkpoint to resume from; none of {len(reasons)} can be read:\n  "
            + "\n  ".join(reasons)
            + "\nPut the files back if there is a copy, or start a new run with the config.yaml "
            "of this one."
        )
    return None


def restore_checkpoint(
    model: keras.Model, folder: Path, checkpoint: Checkpoint
) -> list[np.ndarray]:
    """Restores the weights, the optimizer and the seeds of a compiled model.

    Args:
        model: Model compiled like the saved one, with the same trainable variables.
        folder: Folder of the checkpoints.
        checkpoint: Checkpoint to restore, as returned by `newest_checkpoint`.

    Returns:
        The values for `set_metrics`, since Keras resets the metrics at the start of an epoch.

    Raises:
        ValueError: The variables of the model differ from those of the checkpoint.
    """
    if not model.optimizer.built:  # built twice, loss scaling would create its variables again
        model.optimizer.build(model.trainable_variables)
    metrics = []
    with np.load(folder / f"{checkpoint.name}.npz") as arrays:
        variables = _variables(model)
        shapes = {
            f"{part}/{index}": tuple(variable.shape)
            for part, of_part in variables.items()
            for index, variable in enumerate(of_part)
        }
        if shapes != {name: arrays[name].shape for name in arrays.files}:
            raise ValueError(
                f"Expected the model of {folder / checkpoint.name}.npz; received one with other "
                "variables. Resume with the same versions of the packages, and as many classes."
            )
        for part, of_part in variables.items():
            for index, variable in enumerate(of_part):
                value = arrays[f"{part}/{index}"]
                if part == "metrics":
                    metrics.append(value)
                else:
                    variable.assign(value)
    return metrics


def set_metrics(model: keras.Model, values: list[np.ndarray]) -> None:
    """Restores the running means of an epoch that a checkpoint interrupted."""
    for variable, value in zip(_variables(model)["metrics"], values, strict=True):
        variable.assign(value)


def restore_best(folder: Path, checkpoint: Checkpoint | None, path: Path) -> None:
    """Replaces `path` by the best model of the checkpoint, or deletes it if no model is kept.

    The present file may come from an epoch after the checkpoint, which will be trained again.
    """
    best = None if checkpoint is None else checkpoint.best
    if best is None:
        path.unlink(missing_ok=True)
    else:
        save_whole(lambda partial: shutil.copyfile(folder / best, partial), path)


def _read(file: Path) -> Checkpoint:
    written = json.loads(file.read_text())
    if written["sha256"] != _checksum(written["state"]):
        raise ValueError("its checksum is wrong")
    checkpoint = Checkpoint(**written["state"])
    for name, checksum in checkpoint.checksums.items():
        part = file.with_name(name)
        if not part.exists():
            raise ValueError(f"{name} is missing")
        if sha256(part) != checksum:
            raise ValueError(f"the checksum of {name} is wrong")
    return checkpoint


def _checksum(content: dict) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def _value(part: str, variable: keras.Variable) -> np.ndarray:
    """The value, without communication: the other workers may not be saving."""
    strategy = getattr(variable.value, "distribute_strategy", tf.distribute.get_strategy())
    own = [each.numpy() for each in strategy.experimental_local_results(variable.value)]
    if part != "metrics":
        return own[0]
    # Metrics are summed over the replicas when they are read. Other variables are equal on all.
    return sum(own) * np.float32(strategy.num_replicas_in_sync / len(own))


def _variables(model: keras.Model) -> dict[str, list[keras.Variable]]:
    metrics = [variable for metric in model.metrics for variable in metric.variables]
    # The model's variables include the seeds of dropout, which a weights file leaves out.
    in_model = [v for v in model.variables if not any(v is metric for metric in metrics)]
    return {"model": in_model, "optimizer": model.optimizer.variables, "metrics": metrics}
