"""The state of a run on the disk: all that it needs to go on to the bit, and how it is checked.

A state is an .npz file of every variable, those of the optimizer too, and a JSON file that names it
with its SHA-256. The JSON is written last: without it, or with a wrong checksum, there is no state.
NumPy writes it, not `save_weights`: on a full disk HDF5 does not fail but crash the process.
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

_OF_A_STATE = re.compile(
    r"(partial-)?(epoch-\d{4,}-step-\d{6,}\.(npz|json)|best-epoch-\d{4,}\.keras)"
)


@dataclass(frozen=True)
class State:
    """What `write_state` has written.

    Attributes:
        epoch: epochs that are done.
        step: steps that are done of the one after them. All of its steps: its evaluation is not.
        seconds: spent on these steps.
        best: file of the best model so far, None: there is none.
        checksums: SHA-256 of each file of the state, by its name.
    """

    epoch: int
    step: int
    seconds: float
    best: str | None
    checksums: dict[str, str]

    @property
    def name(self) -> str:
        """Of its files, but for their endings."""
        return f"epoch-{self.epoch + 1:04d}-step-{self.step:06d}"

    def __str__(self) -> str:
        return f"epoch {self.epoch + 1}, step {self.step}" if self.step else f"epoch {self.epoch}"


def write_state(
    model: keras.Model, folder: Path, epoch: int, step: int, seconds: float, best: Path | None
) -> State:
    """Writes a state, beside those that are there.

    Args:
        model: compiled; its weights, optimizer, seeds of dropout, and metrics are saved.
        folder: of the states.
        epoch: as in `State`.
        step: as in `State`.
        seconds: as in `State`.
        best: the best model so far, a file in the folder.

    Raises:
        OSError: it cannot be written; the states before it are kept.
    """
    state = State(epoch, step, seconds, best.name if best else None, {})
    arrays: dict[str, Any] = {
        f"{part}/{index}": _value(part, variable)
        for part, variables in _variables(model).items()
        for index, variable in enumerate(variables)
    }

    def save(partial: str) -> None:
        with Path(partial).open("wb") as file:
            np.savez(file, **arrays)

    variables = folder / f"{state.name}.npz"
    save_whole(save, variables)
    files = [variables] if best is None else [variables, best]
    state.checksums.update({file.name: sha256(file) for file in files})
    content = dataclasses.asdict(state)
    text = json.dumps({"state": content, "sha256": _checksum(content)})
    save_whole(lambda path: Path(path).write_text(text), folder / f"{state.name}.json")
    return state


def keep_only(folder: Path, states: list[State]) -> None:
    """Deletes other states, such as older ones and those that cannot be read; nothing else."""
    kept = {f"{state.name}.json" for state in states}
    kept |= {name for state in states for name in state.checksums}
    for file in folder.iterdir():
        if file.name not in kept and _OF_A_STATE.fullmatch(file.name):
            file.unlink()


def newest_state(folder: Path) -> State | None:
    """The newest state that can be read; None if none was ever written.

    Each newer one that cannot be read is warned of, with the reason.

    Raises:
        ValueError: there are states, and none can be read.
    """
    files = sorted(
        folder.glob("*.json"), key=lambda file: [*map(int, re.findall(r"\d+", file.name))]
    )
    reasons = []
    for file in reversed(files):
        try:
            state = _read(file)
        except (OSError, ValueError, KeyError, TypeError) as error:
            reasons.append(f"{file}: {error}")
            continue
        for reason in reasons:
            logger.warning("A state cannot be read, and the one before is used: %s", reason)
        return state
    if reasons:
        raise ValueError(
            f"Expected a state to go on from; none of {len(reasons)} can be read:\n  "
            + "\n  ".join(reasons)
            + "\nPut the files back if there is a copy, or start a new run with the config.yaml "
            "of this one."
        )
    return None


def restore_state(model: keras.Model, folder: Path, state: State) -> list[np.ndarray]:
    """Gives a compiled model the weights, the optimizer and the seeds of a state.

    Args:
        model: compiled like the model that was saved, the same variables trainable.
        folder: of the states.
        state: of `newest_state`.

    Returns:
        The values for `set_metrics`, since Keras sets metrics to zero as an epoch begins.

    Raises:
        ValueError: the model has other variables than that of the state.
    """
    if not model.optimizer.built:  # a second time, loss scaling would make its variables anew
        model.optimizer.build(model.trainable_variables)
    metrics = []
    with np.load(folder / f"{state.name}.npz") as arrays:
        variables = _variables(model)
        shapes = {
            f"{part}/{index}": tuple(variable.shape)
            for part, of_part in variables.items()
            for index, variable in enumerate(of_part)
        }
        if shapes != {name: arrays[name].shape for name in arrays.files}:
            raise ValueError(
                f"Expected the model of {folder / state.name}.npz; received one with other "
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
    """Gives a model the running means of the epoch that a state is in the middle of."""
    for variable, value in zip(_variables(model)["metrics"], values, strict=True):
        variable.assign(value)


def restore_best(folder: Path, state: State | None, path: Path) -> None:
    """Makes `path` the best model of the state, none if it has none.

    What is there may be of an epoch after the state, which is trained again.
    """
    best = None if state is None else state.best
    if best is None:
        path.unlink(missing_ok=True)
    else:
        save_whole(lambda partial: shutil.copyfile(folder / best, partial), path)


def _read(file: Path) -> State:
    written = json.loads(file.read_text())
    if written["sha256"] != _checksum(written["state"]):
        raise ValueError("its checksum is wrong")
    state = State(**written["state"])
    for name, checksum in state.checksums.items():
        part = file.with_name(name)
        if not part.exists():
            raise ValueError(f"{name} is missing")
        if sha256(part) != checksum:
            raise ValueError(f"the checksum of {name} is wrong")
    return state


def _checksum(content: dict) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def _value(part: str, variable: keras.Variable) -> np.ndarray:
    """Its value, without asking the other workers: these may not be saving."""
    strategy = getattr(variable.value, "distribute_strategy", tf.distribute.get_strategy())
    own = [each.numpy() for each in strategy.experimental_local_results(variable.value)]
    if part != "metrics":
        return own[0]
    # Those of a metric are added up where it is read. The replicas of others have the same.
    return sum(own) * np.float32(strategy.num_replicas_in_sync / len(own))


def _variables(model: keras.Model) -> dict[str, list[keras.Variable]]:
    metrics = [variable for metric in model.metrics for variable in metric.variables]
    # Among those of the model are the states of dropout, which a weights file leaves out.
    in_model = [v for v in model.variables if not any(v is metric for metric in metrics)]
    return {"model": in_model, "optimizer": model.optimizer.variables, "metrics": metrics}
