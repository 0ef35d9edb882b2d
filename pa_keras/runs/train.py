"""The training of a run, on its devices and with its callbacks, until it ends or is stopped."""

import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from pa_keras import cli
from pa_keras.config import FitConfig

if TYPE_CHECKING:
    import keras
    import tensorflow as tf

    from pa_keras.datasets import Dataset
    from pa_keras.runs.folder import RunFolder
    from pa_keras.training.callbacks.preemption import StopRequests
    from pa_keras.training.callbacks.save_checkpoint import SaveState
    from pa_keras.training.checkpoint import State

logger = logging.getLogger(__name__)


def make_strategy(config: FitConfig) -> "tf.distribute.Strategy":
    """The devices of a run; make it before TensorFlow does anything. The chief alone speaks."""
    from pa_keras.training import distribution

    strategy = distribution.make_strategy(config.training.strategy, config.training.cluster)
    if not distribution.is_chief(strategy):
        logging.getLogger("pa_keras").setLevel(logging.WARNING)
    return strategy


@contextmanager
def stoppable(config: FitConfig, started: float) -> Iterator["StopRequests"]:
    """Listens to signals and to the clock; before the first step, a stop has nothing to save.

    Args:
        config: with max_hours.
        started: when those begin, by `time.monotonic`.

    Raises:
        SystemExit: with the code of the stop.
    """
    from pa_keras.training.callbacks.preemption import Stopped, StopRequests

    try:
        with StopRequests(config.training.max_hours, started) as requests:
            yield requests
    except Stopped as stop:
        logger.info("%s Nothing was trained in this process, and nothing is lost.", stop)
        sys.exit(stop.code)


def train(
    config: FitConfig,
    folder: "RunFolder",
    dataset: "Dataset",
    selection: "Dataset | None",
    model: "keras.Model",
    embedder: "keras.Model",
    requests: "StopRequests",
    state: "State | None",
) -> None:
    """Trains from `state` on, and finishes the run.

    Args:
        config: its settings, resolved.
        folder: of the run; only the chief writes into it.
        dataset: with what is trained on, and what is measured on at the end.
        selection: what is measured on at each epoch.
        model: to train, made in the scope of the strategy.
        embedder: the embedding model at the size of the evaluation.
        requests: to stop.
        state: what an earlier part of the run has left.

    Raises:
        SystemExit: it was stopped; what was trained is saved.
        ValueError: an image cannot be read any more; what was trained before is saved.
        ConnectionError: another worker went away.
    """
    import tensorflow as tf

    from pa_keras.pipelines import steps_per_epoch
    from pa_keras.runs.callbacks import make_callbacks
    from pa_keras.runs.finish import finish
    from pa_keras.runs.images import unreadable_images
    from pa_keras.training import distribution
    from pa_keras.training.callbacks.preemption import Stopped

    strategy = model.distribute_strategy
    writes = distribution.is_chief(strategy)
    if writes:
        cli.log_to(folder.path / "fit.log")
    logger.info("%s: %s, test %s.", dataset.name, dataset.train, dataset.queries)
    steps = steps_per_epoch(len(dataset.train), config.batches.batch_size)
    callbacks, saver = make_callbacks(
        config, folder, selection, model, embedder, steps, requests, state
    )
    go_on = f"Go on with: python -m pa_keras.fit --run-dir {folder.path} --resume"
    try:
        with distribution.naming_lost_workers(strategy):
            _fit(config, dataset, model, callbacks, saver, steps)
        requests.interruptible = True
        requests.raise_if_wanted()
        if writes:
            finish(config, folder, dataset, model, embedder)
        with distribution.naming_lost_workers(strategy):
            distribution.any_worker(False, strategy)  # the others end with the chief
    except Stopped as stop:
        logger.info("%s %s %s", stop, saver.where(), go_on)
        sys.exit(stop.code)
    except tf.errors.OpError as error:
        lost = unreadable_images(error, dataset, selection)
        if lost is None:
            raise
        raise ValueError(f"{lost} {saver.where()} {go_on}") from error


def _fit(
    config: FitConfig,
    dataset: "Dataset",
    model: "keras.Model",
    callbacks: list["keras.callbacks.Callback"],
    saver: "SaveState",
    steps: int,
) -> None:
    from pa_keras.pipelines import fill_cache
    from pa_keras.runs.build import jit_compile, make_batches, make_optimizers
    from pa_keras.runs.loss import make_loss
    from pa_keras.training import phases

    strategy = model.distribute_strategy
    cache = fill_cache(dataset.train.paths, config.data.cache)  # once, for both phases
    optimizer = make_optimizers(config, model, steps)
    verbose = 1 if sys.stdout.isatty() else 2
    phases.train(
        model,
        lambda *at: make_batches(config, dataset.train, cache, strategy, *at),
        phases.phases(config.training.epochs, config.training.warmup_epochs),
        lambda phase: optimizer(phase.first_epoch),
        make_loss(config, dataset.train.num_classes),
        callbacks,
        saver,
        config.model.batch_norm,
        jit_compile(config.training.jit_compile),
        config.training.steps_per_execution,
        statistics_in_warmup=config.recipe == "reference",
        verbose=verbose if saver.writes else 0,
    )
