"""Training in two phases: the new layers alone, then everything."""

import logging
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import keras
import tensorflow as tf

from pa_keras.models import set_trainable
from pa_keras.training.callbacks.preemption import Stopped
from pa_keras.training.callbacks.save_checkpoint import SaveState
from pa_keras.training.checkpoint import restore_state
from pa_keras.training.distribution import any_worker

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Phase:
    """Epochs [first_epoch, end_epoch) with one optimizer.

    Args:
        first_epoch: counted from 0.
        end_epoch: the epoch after the last.
        train_backbone: whether the backbone's weights move.
    """

    first_epoch: int
    end_epoch: int
    train_backbone: bool


def phases(epochs: int, warmup_epochs: int) -> list[Phase]:
    """Warm-up of embedding layer and proxies on a backbone that stands still, then the rest.

    Two phases need two compiled steps: Keras builds the trained variables into the step, so that
    switching `trainable` during `fit` would change nothing.

    Args:
        epochs: epochs in all, at least 1.
        warmup_epochs: of these the first, from 0 to epochs.

    Raises:
        ValueError: epochs out of range.

    Example:
        >>> [p.end_epoch for p in phases(10, 1)]
        [1, 10]
    """
    if epochs < 1 or not 0 <= warmup_epochs <= epochs:
        raise ValueError(
            f"Expected epochs of 1 or more and warmup_epochs from 0 to epochs; received {epochs} "
            f"and {warmup_epochs}."
        )
    both = [Phase(0, warmup_epochs, False), Phase(warmup_epochs, epochs, True)]
    return [phase for phase in both if phase.end_epoch > phase.first_epoch]


@dataclass(frozen=True, eq=False)
class Setup:
    """How the model is compiled in each phase.

    Args:
        phases: Each phase with its optimizer.
        loss: The loss.
        batch_norm: As given to `embedding_model`.
        jit_compile: Whether to compile the step by XLA.
        steps_per_execution: Steps from one return to Python to the next; above 1, `WholeEpochs`
            has to be among the callbacks. Default 1.
        statistics_in_warmup: As of `pa_keras.models.set_trainable`. Default False.
    """

    phases: Sequence[tuple[Phase, keras.optimizers.Optimizer]]
    loss: keras.losses.Loss
    batch_norm: str
    jit_compile: bool
    steps_per_execution: int = 1
    statistics_in_warmup: bool = False

    def compile(
        self, model: keras.Model, phase: Phase, optimizer: keras.optimizers.Optimizer
    ) -> None:
        """Sets which weights are trained in a phase, and compiles the model for it."""
        set_trainable(model, phase.train_backbone, self.batch_norm, self.statistics_in_warmup)
        with model.distribute_strategy.scope():  # where an optimizer's variables are made
            model.compile(
                optimizer,
                self.loss,
                jit_compile=self.jit_compile,
                steps_per_execution=self.steps_per_execution,
            )
            # A step that makes variables is traced twice.
            if not model.optimizer.built:
                model.optimizer.build(model.trainable_variables)


def train(
    model: keras.Model,
    batches: Callable[[int, int], tf.data.Dataset],
    setup: Setup,
    callbacks: list[keras.callbacks.Callback],
    saver: SaveState,
    verbose: int | str = "auto",
) -> None:
    """Fits the phases one after another, from the state that an earlier run ended with.

    Args:
        model: Of `pa_keras.models.with_proxies`.
        batches: From an epoch and a step of it to the endless dataset which begins there.
        setup: How the model is compiled in each phase.
        callbacks: For every phase, in Keras' order; `saver.progress` first and `saver` last.
        saver: Its `last` state is where training begins.
        verbose: As in `keras.Model.fit`.

    Raises:
        ValueError: A batch that the loss refuses, such as one without pairs for a loss of pairs.
        Stopped: It was asked to stop; what was trained is saved.
        tf.errors.OpError: An image cannot be read any more; what was trained before is saved.
    """
    state = saver.last
    at = (0, 0) if state is None else (state.epoch, state.step)
    for phase, optimizer in setup.phases:
        begin, end = (phase.first_epoch, 0), (phase.end_epoch, 0)
        if at > end:
            continue
        setup.compile(model, phase, optimizer)
        if state is not None and begin < at:
            saver.progress.go_on_from(state, restore_state(model, saver.folder, state))
            logger.info("Going on after %s.", state)
        if at < end:
            with _what_was_trained_is_saved(saver), _refusals_in_words():
                _fit(model, batches, max(at, begin), phase.end_epoch, callbacks, saver, verbose)


def _fit(
    model: keras.Model,
    batches: Callable[[int, int], tf.data.Dataset],
    at: tuple[int, int],
    end_epoch: int,
    callbacks: list[keras.callbacks.Callback],
    saver: SaveState,
    verbose: int | str,
) -> None:
    epoch, step = at
    steps_per_epoch = saver.progress.steps_per_epoch
    if step >= steps_per_epoch:
        _end_epoch(model, epoch, end_epoch, callbacks)
        epoch, step = epoch + 1, 0
    if epoch < end_epoch:
        model.fit(
            batches(epoch, step),
            steps_per_epoch=steps_per_epoch,
            initial_epoch=epoch,
            epochs=end_epoch,
            callbacks=callbacks,
            shuffle=False,
            verbose=verbose,
        )


def _end_epoch(
    model: keras.Model, epoch: int, end_epoch: int, callbacks: list[keras.callbacks.Callback]
) -> None:
    """What `fit` does after the steps of an epoch, for one that was stopped between the two."""
    every = keras.callbacks.CallbackList(callbacks, model=model, epochs=end_epoch)
    every.on_train_begin()
    every.on_epoch_begin(epoch)
    logs = {name: float(value) for name, value in model.get_metrics_result().items()}
    every.on_epoch_end(epoch, logs)
    every.on_train_end(logs)


@contextmanager
def _what_was_trained_is_saved(saver: SaveState) -> Iterator[None]:
    """Saves the steps before a stop, or before images that cannot be read any more."""
    try:
        yield
    except (Stopped, tf.errors.OpError) as error:
        if saver.model is None:  # `fit` had not begun
            raise
        # Of several steps in one execution some were taken before the one without images.
        # Where another worker went away, nobody knows which weights were updated.
        alone = saver.model.distribute_strategy.num_replicas_in_sync == 1
        whole = alone and saver.model.steps_per_execution == 1
        if isinstance(error, Stopped) or (whole and "IteratorGetNext" in str(error)):
            agreed, saver.requests.interruptible = not saver.requests.interruptible, False
            saver.save()
            if agreed:  # no worker leaves before the chief has written
                any_worker(False, saver.model.distribute_strategy)
        raise


@contextmanager
def _refusals_in_words() -> Iterator[None]:
    """What a loss refuses inside the compiled step, as the ValueError that it is eagerly."""
    try:
        yield
    except tf.errors.InvalidArgumentError as error:
        refused = re.search(r"assertion failed: \[(Expected .*?)\]", error.message)
        if refused is None:
            raise
        raise ValueError(f"{refused[1]}.") from error
