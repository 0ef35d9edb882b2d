"""Resuming a run from its checkpoint, with the settings and images that it began with."""

import dataclasses
import json
import logging
import zlib
from pathlib import Path
from typing import Any

import tensorflow as tf

from pa_keras import cli, cpu
from pa_keras.config import FitConfig
from pa_keras.files import save_whole
from pa_keras.runs.build import Run
from pa_keras.runs.fingerprint import expect_same, fingerprint, write_fingerprint
from pa_keras.runs.folder import RunFolder
from pa_keras.training import distribution
from pa_keras.training.checkpoint import Checkpoint, newest_checkpoint, restore_best

logger = logging.getLogger("pa_keras.fit")  # the log of the command

# The settings that may change when a run is resumed, since its result does not depend on them.
_OF_THIS_PROCESS = (
    "training.cluster",
    "training.max_hours",
    "training.profile",
    "training.save_minutes",
    "training.strategy",
)


def resumed_config(stored: FitConfig, asked: FitConfig) -> FitConfig:
    """The settings of a run, with those changed that may change when it is resumed.

    More epochs extend the run.

    Args:
        stored: The settings in the run folder.
        asked: The stored settings, overridden by the arguments of this command.

    Raises:
        ValueError: A setting that the result depends on was changed, or the epochs are fewer.
    """
    before, epochs = stored.training.epochs, asked.training.epochs
    if epochs < before:
        raise ValueError(
            f"Expected training.epochs of {before} or more, as the run has {before}; received "
            f"{epochs}. Leave it out to continue the run as it is, or start a new run with another "
            "--run-dir."
        )
    stored = dataclasses.replace(stored, run_dir=asked.run_dir)
    changed = _differences(dataclasses.asdict(stored), dataclasses.asdict(asked))
    changed = [name for name in changed if name not in (*_OF_THIS_PROCESS, "training.epochs")]
    if changed:
        raise ValueError(
            "Expected a resumed run to keep its settings; received other values of "
            f"{', '.join(changed)}. Leave them out, or start a new run with another --run-dir."
        )
    return asked


def read_checkpoint(folder: RunFolder, strategy: tf.distribute.Strategy) -> Checkpoint | None:
    """The newest checkpoint, which all workers have to find; None if the run has none yet.

    Raises:
        FileNotFoundError: The run has ended, and its checkpoints are gone.
        ValueError: No checkpoint can be read, or another worker found another one.
        ConnectionError: Another worker is lost.
    """
    checkpoint = newest_checkpoint(folder.state)
    if checkpoint is None and folder.result.exists():
        raise FileNotFoundError(
            f"There are no checkpoints in {folder.state}; the run has ended, so that there is "
            "nothing to resume."
        )
    checksum = zlib.crc32(repr(sorted(checkpoint.checksums.items())).encode()) if checkpoint else 0
    with distribution.naming_lost_workers(strategy):
        if not distribution.all_have(checksum, strategy):
            raise ValueError(
                "Expected every worker to resume from the same checkpoint; this one found "
                f"{checkpoint or 'none'} in {folder.state}, and others found another. Set "
                "--run-dir to a folder that all workers share."
            )
    return checkpoint


def warn_of_other_cpu_settings(folder: RunFolder) -> None:
    """Warns if TensorFlow computes with other settings than when the run began.

    The result of the run is then not that of an uninterrupted run in its last digits.
    """
    try:
        versions = json.loads(folder.versions.read_text())
        began = versions["cpu_settings"]
    except (OSError, ValueError, KeyError, TypeError):
        return  # damaged, or of an earlier version, which did not record them
    now = cpu.settings_text()
    if now != began:
        logger.warning(
            "The run began with %s and continues with %s, so that its numbers can differ in their "
            "last digits from those of an uninterrupted run. To continue as it began, set these "
            "environment variables, TF_ENABLE_ONEDNN_OPTS to 0 if it began without.",
            began,
            now,
        )


def record_epochs(folder: RunFolder, stored: FitConfig, epochs: int) -> None:
    """Records that a run is extended, so that the next `--resume` trains as many epochs.

    The result of the shorter run is deleted, since a run with a result counts as complete.

    Args:
        folder: Folder of the run, whose lock is held.
        stored: The settings in the run folder.
        epochs: Number of epochs from now on; nothing is done if it is that of the run.
    """
    if epochs == stored.training.epochs:
        return
    logger.info(
        "The run is extended from %d to %d epochs; its learning rates follow the schedule of a run "
        "of %d epochs from here on.",
        stored.training.epochs,
        epochs,
        epochs,
    )
    longer = dataclasses.replace(stored.training, epochs=epochs)
    text = cli.as_yaml(dataclasses.replace(stored, training=longer, run_dir=None))
    # In this order: a run with a result counts as a complete run of its config.yaml.
    folder.result.unlink(missing_ok=True)
    save_whole(lambda path: Path(path).write_text(text), folder.config)


def rewind(run: Run, folder: RunFolder, checkpoint: Checkpoint | None) -> None:
    """Rewinds a run folder to its checkpoint; the chief does it for all workers.

    Raises:
        ValueError: The images differ from those that the run began with.
        ConnectionError: Another worker is lost.
    """
    images = fingerprint(run.data.parts(), run.data.checksums)
    if folder.images.exists():
        expect_same(folder.images, images)
    elif run.writes:
        logger.warning(
            "%s is missing: the run continues with the images as they are now.", folder.images
        )
        write_fingerprint(folder.images, images)
    if run.writes:
        folder.drop_metrics_after(checkpoint.epoch if checkpoint else 0)
        if run.config.training.selection != "last":  # the last model is written only at the end
            restore_best(folder.state, checkpoint, folder.best_model)
    with distribution.naming_lost_workers(run.strategy):
        distribution.any_worker(False, run.strategy)  # no worker may read the metrics before this


def _differences(kept: dict[str, Any], asked: dict[str, Any], prefix: str = "") -> list[str]:
    names = []
    for name, value in kept.items():
        if isinstance(value, dict):
            names += _differences(value, asked[name], f"{prefix}{name}.")
        elif value != asked[name]:
            names.append(prefix + name)
    return names
