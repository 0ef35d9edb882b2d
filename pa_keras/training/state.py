"""The state of a run on the disk: all that it needs to go on to the bit, and how it is checked.

A state is a weights file, with the optimizer in it, and a JSON file that names it with its SHA-256.
The JSON is written last: without it, or with a wrong checksum, there is no state.
"""

import dataclasses
import hashlib
import json
import logging
import re
import shutil
from dataclasses import dataclass
from pathlib import Path

import keras

from pa_keras.training.files import save_whole, sha256

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class State:
    """What `write_state` has written.

    Attributes:
        epoch: epochs that are done.
        step: steps that are done of the one after them. All of its steps: its evaluation is not.
        seconds: spent on these steps.
        seeds: of dropout and the like, which Keras leaves out of a weights file.
        metrics: the running means of the epoch in progress.
        best: file of the best model so far, None: there is none.
        checksums: SHA-256 of each file of the state, by its name.
    """

    epoch: int
    step: int
    seconds: float
    seeds: list[list[int]]
    metrics: list[float]
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
        model: compiled; its weights, optimizer, seeds and metrics are saved.
        folder: of the states.
        epoch: as in `State`.
        step: as in `State`.
        seconds: as in `State`.
        best: the best model so far, a file in the folder.

    Raises:
        OSError: it cannot be written; the states before it are kept.
    """
    seeds = [seed.numpy().tolist() for seed in _seeds(model)]
    metrics = [float(value.numpy()) for value in _metrics(model)]
    state = State(epoch, step, seconds, seeds, metrics, best and best.name, {})
    weights = folder / f"{state.name}.weights.h5"
    save_whole(model.save_weights, weights)
    files = [weights] if best is None else [weights, best]
    state.checksums.update({file.name: sha256(file) for file in files})
    content = dataclasses.asdict(state)
    text = json.dumps({"state": content, "sha256": _checksum(content)})
    save_whole(lambda path: Path(path).write_text(text), folder / f"{state.name}.json")
    return state


def keep_only(folder: Path, states: list[State]) -> None:
    """Deletes what is not of these states, such as older ones and those that cannot be read."""
    kept = {"lock"} | {f"{state.name}.json" for state in states}
    kept |= {name for state in states for name in state.checksums}
    for file in folder.iterdir():
        if file.name not in kept:
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


def restore_state(model: keras.Model, folder: Path, state: State) -> None:
    """Gives a compiled model the weights, the optimizer and the seeds of a state.

    The metrics are not put back: Keras sets them to zero as an epoch begins.

    Args:
        model: compiled like the model that was saved, the same variables trainable.
        folder: of the states.
        state: of `newest_state`.
    """
    model.optimizer.build(model.trainable_variables)
    model.load_weights(folder / f"{state.name}.weights.h5")
    for seed, value in zip(_seeds(model), state.seeds, strict=True):
        seed.assign(value)


def restore_metrics(model: keras.Model, state: State) -> None:
    """Gives a model the running means of the epoch that the state is in the middle of."""
    for variable, value in zip(_metrics(model), state.metrics, strict=True):
        variable.assign(value)


def restore_best(folder: Path, state: State | None, path: Path) -> None:
    """Makes `path` the best model of the state, none if it has none.

    What is there may be of an epoch after the state, which is trained again.
    """
    if state is None or state.best is None:
        path.unlink(missing_ok=True)
    else:
        save_whole(lambda partial: shutil.copyfile(folder / state.best, partial), path)


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


def _seeds(model: keras.Model) -> list[keras.Variable]:
    return [v for v in model.variables if v.path.endswith("seed_generator_state")]


def _metrics(model: keras.Model) -> list[keras.Variable]:
    return [variable for metric in model.metrics for variable in metric.variables]
