"""The callbacks of a run, from its settings."""

import dataclasses
import logging
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import tensorflow as tf

from pa_keras import files
from pa_keras.datasets import Dataset
from pa_keras.runs.build import Run
from pa_keras.runs.folder import RunFolder
from pa_keras.training import RecallAtK
from pa_keras.training.callbacks.averaged_weights import AveragedWeights
from pa_keras.training.callbacks.metrics_csv import AppendMetrics
from pa_keras.training.callbacks.neighbour_images import NeighbourPictures
from pa_keras.training.callbacks.preemption import Stopping, StopRequests
from pa_keras.training.callbacks.progress import Progress
from pa_keras.training.callbacks.save_best import SaveBest
from pa_keras.training.callbacks.save_checkpoint import SaveCheckpoint
from pa_keras.training.callbacks.steps_per_execution import WholeEpochs
from pa_keras.training.callbacks.stop_at_nan import StopAtNaN
from pa_keras.training.callbacks.time_estimate import TimeEstimate
from pa_keras.training.checkpoint import Checkpoint
from pa_keras.training.distribution import any_worker, device_kind, several_processes

# The log of the command, not of this module.
logger = logging.getLogger("pa_keras.fit")


def make_callbacks(
    run: Run, folder: RunFolder, requests: StopRequests, checkpoint: Checkpoint | None
) -> tuple[list[keras.callbacks.Callback], SaveCheckpoint]:
    """The callbacks, in the order in which they need each other's logs, and the last of them.

    Workers other than the chief get only those that write nothing. All workers measure together:
    each embeds its shard of the images.
    """
    rows = folder.read_metrics()
    progress = Progress(run.steps_per_epoch, run.config.batches.batch_size)
    best = None if run.recall is None else _best(run, folder, rows, checkpoint)
    saver = SaveCheckpoint(
        folder.state, progress, requests, run.saving, best, checkpoint, run.writes
    )
    result = [
        progress,
        StopAtNaN(progress, saver),
        Stopping(requests, progress, _agreement(run.strategy)),
    ]
    if run.config.training.steps_per_execution > 1:
        result.append(WholeEpochs(progress))
    trained = run.model.get_layer("embedding_model")
    if trained is not run.embedder:
        result.append(_copying(run, trained))
    if run.recall is not None:
        if rows:
            run.recall.resume_from(rows[-1])
        result.append(run.recall)
    if run.writes:
        result += [_time_estimate(run, progress, checkpoint), *_writers(run, folder, best)]
    return [*result, saver], saver


def _time_estimate(run: Run, progress: Progress, checkpoint: Checkpoint | None) -> TimeEstimate:
    """The callback that logs how long the training will take."""
    recall = run.recall
    first_epoch = 0 if checkpoint is None else checkpoint.epoch
    before = int(checkpoint is None and recall is run.before_training)

    def evaluation_seconds() -> float:
        measured = progress.epoch - first_epoch + before
        return 0.0 if recall is None or not measured else recall.seconds / measured

    size = run.model.input_shape[1:3] if device_kind(run.strategy) == "CPU" else None
    return TimeEstimate(progress, evaluation_seconds, size)


def _copying(run: Run, trained: keras.Model) -> keras.callbacks.Callback:
    """The callback that copies the weights to evaluate."""
    if run.config.training.weight_averaging:
        return AveragedWeights(trained, run.embedder)
    return keras.callbacks.LambdaCallback(
        on_epoch_end=lambda epoch, logs: run.embedder.set_weights(trained.get_weights())
    )


def _agreement(strategy: tf.distribute.Strategy) -> Callable[[bool], bool] | None:
    """The function that tells whether any worker has to stop; None with a single process."""
    return (lambda flag: any_worker(flag, strategy)) if several_processes(strategy) else None


def _writers(run: Run, folder: RunFolder, best: SaveBest | None) -> list[keras.callbacks.Callback]:
    """The callbacks that write into the run folder, or to a service."""
    result = []
    selection = run.data.selection
    if best is not None:
        result.append(best)
        if run.config.logging.pictures and run.recall is not None and selection is not None:
            result.append(_pictures(run.recall, selection, folder))
    result.append(AppendMetrics(folder.metrics))
    result.append(_tensorboard(run.profile, folder))
    if run.config.logging.wandb_project:
        result.append(_wandb(dataclasses.asdict(run.config), folder))
    return result


def _best(
    run: Run,
    folder: RunFolder,
    rows: list[dict[str, float]],
    checkpoint: Checkpoint | None,
) -> SaveBest:
    highest = max((row["recall_at_1"] for row in rows), default=-1.0)
    kept = folder.state / checkpoint.best if checkpoint and checkpoint.best else None
    return SaveBest(folder.best_model, run.save, best=highest, checkpoints=folder.state, kept=kept)


def _pictures(recall: RecallAtK, selection: Dataset, folder: RunFolder) -> NeighbourPictures:
    # In a separate folder, since TensorBoard reads only the last file of a folder.
    log = folder.tensorboard / "neighbours"
    return NeighbourPictures(recall, selection.queries, selection.gallery, log)


def _tensorboard(profile: tuple[int, int] | int, folder: RunFolder) -> keras.callbacks.Callback:
    if isinstance(profile, tuple):
        logger.info(
            "Executions %d to %d of each phase are traced to %s; to see the trace: pip install "
            "tensorboard-plugin-profile, then tensorboard --logdir %s",
            *profile,
            folder.tensorboard / "train" / "plugins" / "profile",
            folder.tensorboard,
        )
    return keras.callbacks.TensorBoard(folder.tensorboard, write_graph=False, profile_batch=profile)


def _wandb(settings: dict[str, Any], folder: RunFolder) -> keras.callbacks.Callback:
    import wandb

    # The name of the folder is not unique: runs elsewhere may have the same.
    kept = folder.path / "wandb_id.txt"
    if not kept.exists():
        files.save_whole(lambda partial: Path(partial).write_text(uuid.uuid4().hex), kept)
    wandb.init(
        project=settings["logging"]["wandb_project"],
        id=kept.read_text(),
        name=folder.path.name,
        resume="allow",
        config=settings,
    )
    # wandb's own Keras callback reads one learning rate from the optimizer; ours has two.
    return keras.callbacks.LambdaCallback(
        on_epoch_end=lambda epoch, logs: wandb.log({"epoch": epoch + 1, **logs})
    )
