"""Resuming a run: its settings, its images and its checkpoint are those that it began with."""

import dataclasses
import logging
import zlib
from typing import Any

import tensorflow as tf

from pa_keras.config import FitConfig
from pa_keras.runs.build import Run
from pa_keras.runs.fingerprint import expect_same, fingerprint, write_fingerprint
from pa_keras.runs.folder import RunFolder
from pa_keras.training import distribution
from pa_keras.training.checkpoint import State, newest_state, restore_best

logger = logging.getLogger("pa_keras.fit")  # the log of the command

# What a resumed run may change, since its result does not depend on it.
_OF_THIS_PROCESS = (
    "training.cluster",
    "training.max_hours",
    "training.profile",
    "training.save_minutes",
    "training.strategy",
)


def resumed_config(stored: FitConfig, asked: FitConfig) -> FitConfig:
    """The settings that a run began with, and those of this process as they are asked for now.

    Args:
        stored: The settings in the run folder.
        asked: The same with the arguments of this command above them.

    Raises:
        ValueError: A setting that the result depends on was changed.
    """
    stored = dataclasses.replace(stored, run_dir=asked.run_dir)
    changed = _differences(dataclasses.asdict(stored), dataclasses.asdict(asked))
    changed = [name for name in changed if name not in _OF_THIS_PROCESS]
    if changed:
        raise ValueError(
            "Expected a resumed run to keep its settings; received others for "
            f"{', '.join(changed)}. Leave them out, or start a new run with another --run-dir."
        )
    return asked


def read_state(folder: RunFolder, strategy: tf.distribute.Strategy) -> State | None:
    """The newest checkpoint, which every worker must see; None if the run has none yet.

    Raises:
        FileNotFoundError: The run has ended, and its checkpoints are gone.
        ValueError: No checkpoint can be read, or another worker sees another one.
        ConnectionError: Another worker went away.
    """
    state = newest_state(folder.state)
    if state is None and folder.result.exists():
        raise FileNotFoundError(
            f"Expected the states of the run in {folder.state}; they are gone, but the run has "
            "ended: there is nothing to go on with."
        )
    checksum = zlib.crc32(repr(sorted(state.checksums.items())).encode()) if state else 0
    with distribution.naming_lost_workers(strategy):
        if not distribution.all_have(checksum, strategy):
            raise ValueError(
                "Expected every worker to go on from the same state; this one found "
                f"{state or 'none'} in {folder.state}, and others another. Let --run-dir be one "
                "folder that all see."
            )
    return state


def rewind(run: Run, folder: RunFolder, state: State | None) -> None:
    """Puts a run folder back to the moment of its checkpoint; the chief does it for all workers.

    Raises:
        ValueError: The images are not those that the run began with.
        ConnectionError: Another worker went away.
    """
    images = fingerprint(run.data.parts())
    if folder.images.exists():
        expect_same(folder.images, images)
    elif run.writes:
        logger.warning("%s is missing: the images of now are taken.", folder.images)
        write_fingerprint(folder.images, images)
    if run.writes:
        folder.drop_metrics_after(state.epoch if state else 0)
        if run.config.training.selection != "last":  # whose model is written at the very end
            restore_best(folder.state, state, folder.best_model)
    with distribution.naming_lost_workers(run.strategy):
        distribution.any_worker(False, run.strategy)  # nobody reads the metrics before


def _differences(kept: dict[str, Any], asked: dict[str, Any], prefix: str = "") -> list[str]:
    names = []
    for name, value in kept.items():
        if isinstance(value, dict):
            names += _differences(value, asked[name], f"{prefix}{name}.")
        elif value != asked[name]:
            names.append(prefix + name)
    return names
