"""Training a run, until it ends or is stopped."""

import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import tensorflow as tf

from pa_keras.pipelines import fill_cache
from pa_keras.runs.before_training import measure_before_training
from pa_keras.runs.build import Run
from pa_keras.runs.callbacks import make_callbacks
from pa_keras.runs.data import unreadable_images
from pa_keras.runs.finish import finish
from pa_keras.runs.folder import RunFolder
from pa_keras.runs.starting_proxies import start_proxies
from pa_keras.training import distribution, phases
from pa_keras.training.callbacks.preemption import Stopped, StopRequests
from pa_keras.training.checkpoint import Checkpoint

logger = logging.getLogger(__name__)


@contextmanager
def stoppable(max_hours: float | None, started: float) -> Iterator[StopRequests]:
    """Stops the run at a signal or after a time; before the first step there is nothing to save.

    Args:
        max_hours: Hours after which the run saves and stops. None: no limit.
        started: Start of these hours, by `time.monotonic`.

    Raises:
        SystemExit: The run was stopped; the code is that of the stop.
    """
    try:
        with StopRequests(max_hours, started) as requests:
            yield requests
    except Stopped as stop:
        logger.info("%s Nothing was trained in this process, and nothing is lost.", stop)
        sys.exit(stop.code)


def train(
    run: Run, folder: RunFolder, requests: StopRequests, checkpoint: Checkpoint | None = None
) -> None:
    """Trains from a checkpoint to the end, and finishes the run.

    Args:
        run: The parts of the run.
        folder: Folder of the run; only the chief writes into it.
        requests: Requests to stop.
        checkpoint: The newest checkpoint. Default None: training starts at the first step.

    Raises:
        SystemExit: The run was stopped; the finished steps are saved.
        ValueError: An image can no longer be read; the finished steps are saved.
        ConnectionError: Another worker is lost.
    """
    dataset, images = run.data.dataset, run.data.train
    logger.info("%s: %s, test %s.", dataset.name, images, dataset.queries)
    callbacks, saver = make_callbacks(run, folder, requests, checkpoint)
    verbose = (1 if sys.stdout.isatty() else 2) if run.writes else 0
    advice = f"Resume with: python -m pa_keras.fit --run-dir {folder.path} --resume"
    try:
        measure_before_training(run, folder, checkpoint)
        cache = fill_cache(images.paths, run.config.data.cache)  # once, for both phases
        with distribution.naming_lost_workers(run.strategy):
            if checkpoint is None:
                start_proxies(run)
            phases.train(
                run.model,
                lambda epoch, step: run.batches(cache, epoch, step),
                run.setup,
                callbacks,
                saver,
                verbose,
            )
        requests.interruptible = True
        requests.raise_if_wanted()
        if run.writes:
            finish(run, folder)
        with distribution.naming_lost_workers(run.strategy):
            distribution.any_worker(False, run.strategy)  # the other workers wait for the chief
    except Stopped as stop:
        logger.info("%s %s %s", stop, saver.where(), advice)
        sys.exit(stop.code)
    except tf.errors.OpError as error:
        lost = unreadable_images(error, run.data)
        if lost is None:
            raise
        raise ValueError(f"{lost} {saver.where()} {advice}") from error
