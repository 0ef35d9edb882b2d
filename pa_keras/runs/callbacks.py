"""The callbacks of a run, from its settings."""

import dataclasses
import logging
import math
import uuid
from collections.abc import Mapping
from pathlib import Path

import keras
import numpy as np

from pa_keras import files
from pa_keras.config import FitConfig
from pa_keras.datasets import Dataset, Images
from pa_keras.runs.build import both, jit_compile, make_evaluation_batches
from pa_keras.runs.folder import RunFolder
from pa_keras.training import RecallAtK
from pa_keras.training.callbacks.metrics_csv import AppendMetrics
from pa_keras.training.callbacks.neighbour_images import NeighbourPictures
from pa_keras.training.callbacks.preemption import Stopping, StopRequests
from pa_keras.training.callbacks.progress import Progress
from pa_keras.training.callbacks.recall_at_k import Batches
from pa_keras.training.callbacks.save_best import SaveBest
from pa_keras.training.callbacks.save_checkpoint import SaveState
from pa_keras.training.callbacks.steps_per_execution import WholeEpochs
from pa_keras.training.callbacks.stop_at_nan import StopAtNaN
from pa_keras.training.checkpoint import State
from pa_keras.training.distribution import any_worker, is_chief, several_processes
from pa_keras.training.profiling import profiled_steps

# Not by __name__: what is said of a run stands under the name of its command.
logger = logging.getLogger("pa_keras.fit")


def make_callbacks(
    config: FitConfig,
    folder: RunFolder,
    selection: Dataset | None,
    model: keras.Model,
    embedder: keras.Model,
    steps_per_epoch: int,
    requests: StopRequests,
    state: State | None,
) -> tuple[list[keras.callbacks.Callback], SaveState]:
    """In the order in which they need each other's logs, and the last of them.

    Workers other than the chief have those alone that do not write. What is measured all measure
    together: each embeds a part.
    """
    strategy = model.distribute_strategy
    writes = is_chief(strategy)
    several = several_processes(strategy)
    agreed = (lambda flag: any_worker(flag, strategy)) if several else None
    trained = model.get_layer("embedding_model")
    rows = folder.read_metrics()
    progress = Progress(steps_per_epoch, config.batches.batch_size)
    best = None if selection is None else _best(folder, embedder, rows, state)
    saver = SaveState(
        folder.state,
        progress,
        requests,
        config.training.save_minutes,
        best=best,
        last=state,
        writes=writes,
    )
    result = [
        progress,
        StopAtNaN(progress, saver),
        Stopping(requests, progress, agreed),
    ]
    if config.training.steps_per_execution > 1:
        result.append(WholeEpochs(progress))
    if trained is not embedder:
        result.append(
            keras.callbacks.LambdaCallback(
                on_epoch_end=lambda epoch, logs: embedder.set_weights(trained.get_weights())
            )
        )
    if selection is not None:
        keep = _keeps(config, selection)
        recall = make_recall(config, selection, embedder, rows[-1] if rows else {}, keep)
        result.append(recall)
        if writes:
            result.append(best)
        if writes and config.logging.pictures:
            result.append(_pictures(recall, selection, folder))
    if not writes:
        return [*result, saver], saver
    result.append(AppendMetrics(folder.metrics))
    result.append(_tensorboard(config, folder, steps_per_epoch))
    if config.logging.wandb_project:
        result.append(_wandb(config, folder))
    return [*result, saver], saver


def _best(
    folder: RunFolder, embedder: keras.Model, rows: list[dict[str, float]], state: State | None
) -> SaveBest:
    highest = max((row["recall_at_1"] for row in rows), default=-1.0)
    kept = folder.state / state.best if state and state.best else None
    return SaveBest(folder.best_model, embedder, best=highest, states=folder.state, kept=kept)


def make_recall(
    config: FitConfig,
    selection: Dataset,
    embedder: keras.Model,
    last_row: Mapping[str, float],
    keep: bool = False,
) -> RecallAtK:
    """The callback that measures.

    Args:
        config: its settings.
        selection: what is measured on.
        embedder: the embedding model.
        last_row: of the metrics of a run that is resumed.
        keep: whether the pixels stay in memory. Default False.
    """

    def labelled(images: Images | None) -> tuple[Batches, np.ndarray] | None:
        if images is None:
            return None
        batches = make_evaluation_batches(config, images, embedder.distribute_strategy, keep)
        return batches, images.labels

    return RecallAtK(
        labelled(selection.queries),
        labelled(selection.gallery),
        ks=sorted({1, *config.evaluation.ks}),
        every=config.evaluation.every,
        method=config.evaluation.search,
        embedding_model=embedder,
        map_at_r=config.evaluation.map_at_r,
        values={k: v for k, v in last_row.items() if k.startswith(("recall_at_", "map_at_r"))},
        jit_compile=jit_compile(config.training.jit_compile),
    )


def _keeps(config: FitConfig, selection: Dataset) -> bool:
    """Whether the pixels that every epoch is measured on may stay in memory."""
    number = len(selection.queries) + len(selection.gallery or ())
    gigabytes = number * math.prod(both(config.data.image_size)) * 3 * 4 / 1e9
    keep = gigabytes <= config.evaluation.cache_gigabytes
    logger.info(
        "The pixels of %d images that each epoch is measured on %s in memory: %.1f GB, of "
        "evaluation.cache_gigabytes = %g.",
        number,
        "stay" if keep else "do not stay",
        gigabytes,
        config.evaluation.cache_gigabytes,
    )
    return keep


def _pictures(recall: RecallAtK, selection: Dataset, folder: RunFolder) -> NeighbourPictures:
    # In a folder of their own: TensorBoard reads one file of a folder at a time, the last.
    log = folder.tensorboard / "neighbours"
    return NeighbourPictures(recall, selection.queries, selection.gallery, log)


def _tensorboard(
    config: FitConfig, folder: RunFolder, steps_per_epoch: int
) -> keras.callbacks.Callback:
    steps = profiled_steps(
        config.training.profile, steps_per_epoch, config.training.steps_per_execution
    )
    if steps:
        logger.info(
            "A trace of the executions %d to %d of each phase goes to %s; to see it: pip install "
            "tensorboard-plugin-profile, then tensorboard --logdir %s",
            *steps,
            folder.tensorboard / "train" / "plugins" / "profile",
            folder.tensorboard,
        )
    return keras.callbacks.TensorBoard(folder.tensorboard, write_graph=False, profile_batch=steps)


def _wandb(config: FitConfig, folder: RunFolder) -> keras.callbacks.Callback:
    try:
        import wandb
    except ImportError as error:
        raise ImportError(
            "Expected the package wandb for logging.wandb_project; install it: pip install "
            '"pa_keras[wandb]".'
        ) from error
    # The folder's name alone is that of other runs, too, elsewhere.
    kept = folder.path / "wandb_id.txt"
    if not kept.exists():
        files.save_whole(lambda partial: Path(partial).write_text(uuid.uuid4().hex), kept)
    wandb.init(
        project=config.logging.wandb_project,
        id=kept.read_text(),
        name=folder.path.name,
        resume="allow",
        config=dataclasses.asdict(config),
    )
    # wandb's own Keras callback asks the optimizer for one learning rate: ours has two.
    return keras.callbacks.LambdaCallback(
        on_epoch_end=lambda epoch, logs: wandb.log({"epoch": epoch + 1, **logs})
    )
