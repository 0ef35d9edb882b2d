"""Training in two phases: first the new layers only, then the complete model."""

import logging
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import keras
import tensorflow as tf

from pa_keras.models import set_trainable
from pa_keras.training.callbacks.preemption import Stopped
from pa_keras.training.callbacks.save_checkpoint import SaveCheckpoint
from pa_keras.training.checkpoint import restore_checkpoint
from pa_keras.training.distribution import any_worker

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Phase:
    """Epochs [first_epoch, end_epoch) with one optimizer.

    Args:
        first_epoch: First epoch, counted from 0.
        end_epoch: The epoch after the last.
        train_backbone: Whether the backbone is trained.
    """

    first_epoch: int
    end_epoch: int
    train_backbone: bool


def phases(epochs: int, warmup_epochs: int) -> list[Phase]:
    """The warm-up of embedding layer and proxies with a frozen backbone, then the other epochs.

    Two phases need two compiled steps: Keras builds the trained variables into the step, so that
    switching `trainable` during `fit` would change nothing.

    Args:
        epochs: Number of all epochs, at least 1.
        warmup_epochs: Number of epochs of the warm-up, from 0 to epochs.

    Raises:
        ValueError: epochs or warmup_epochs is out of its range.

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
        batch_norm: Which batch normalization trains, as in `embedding_model`.
        jit_compile: Whether to compile the step by XLA.
        steps_per_execution: Number of steps per execution; above 1, `WholeEpochs` has to be among
            the callbacks. Default 1.
        statistics_in_warmup: As in `pa_keras.models.set_trainable`. Default False.
        frozen_blocks: As in `pa_keras.models.set_trainable`. Default 0.
    """

    phases: Sequence[tuple[Phase, keras.optimizers.Optimizer]]
    loss: keras.losses.Loss
    batch_norm: str
    jit_compile: bool
    steps_per_execution: int = 1
    statistics_in_warmup: bool = False
    frozen_blocks: int = 0

    def set_trainable(self, model: keras.Model, phase: Phase) -> None:
        """Sets which weights are trained in a phase."""
        set_trainable(
            model,
            phase.train_backbone,
            self.batch_norm,
            self.statistics_in_warmup,
            self.frozen_blocks,
        )

    def compile(
        self, model: keras.Model, phase: Phase, optimizer: keras.optimizers.Optimizer
    ) -> None:
        """Sets which weights are trained in a phase, and compiles the model for it."""
        self.set_trainable(model, phase)
        with model.distribute_strategy.scope():  # the optimizer's variables are created here
            model.compile(
                optimizer,
                self.loss,
                jit_compile=self.jit_compile,
                steps_per_execution=self.steps_per_execution,
            )
            # A step that creates variables would be traced twice.
            if not model.optimizer.built:
                model.optimizer.build(model.trainable_variables)


def train(
    model: keras.Model,
    batches: Callable[[int, int], tf.data.Dataset],
    setup: Setup,
    callbacks: list[keras.callbacks.Callback],
    saver: SaveCheckpoint,
    verbose: int | str = "auto",
) -> None:
    """Trains the phases one after another, starting from the last checkpoint if there is one.

    If the optimizer averages the weights, a phase ends with the averages.

    Args:
        model: Training model, as returned by `pa_keras.models.with_proxies`.
        batches: Function from an epoch and a step to the endless data set that begins there.
        setup: How the model is compiled in each phase.
        callbacks: Callbacks of every phase; `saver.progress` is the first and `saver` the last.
        saver: Callback that saves checkpoints; training begins at its `last` one.
        verbose: As in `keras.Model.fit`. Default "auto".

    Raises:
        ValueError: The loss rejects a batch, such as one without pairs for a pair loss.
        Stopped: A stop was requested; the finished steps are saved.
        tf.errors.OpError: An image can no longer be read; the finished steps are saved.
    """
    checkpoint = saver.last
    at = (0, 0) if checkpoint is None else (checkpoint.epoch, checkpoint.step)
    for phase, optimizer in setup.phases:
        begin, end = (phase.first_epoch, 0), (phase.end_epoch, 0)
        if at > end:
            continue
        setup.compile(model, phase, optimizer)
        if checkpoint is not None and begin < at:
            saver.progress.resume_from(
                checkpoint, restore_checkpoint(model, saver.folder, checkpoint)
            )
            logger.info("Resuming after %s.", checkpoint)
        if at < end:
            with _what_was_trained_is_saved(saver), _refusals_in_words():
                _fit(model, batches, max(at, begin), phase.end_epoch, callbacks, saver, verbose)
        # `fit` does the same, but it is not called if a checkpoint is of the end of the phase.
        model.optimizer.finalize_variable_values(model.trainable_weights)


def _fit(
    model: keras.Model,
    batches: Callable[[int, int], tf.data.Dataset],
    at: tuple[int, int],
    end_epoch: int,
    callbacks: list[keras.callbacks.Callback],
    saver: SaveCheckpoint,
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
    """Does what `fit` does after the steps of an epoch, if a run was stopped before that."""
    every = keras.callbacks.CallbackList(callbacks, model=model, epochs=end_epoch)
    every.on_train_begin()
    every.on_epoch_begin(epoch)
    logs = {name: float(value) for name, value in model.get_metrics_result().items()}
    every.on_epoch_end(epoch, logs)
    every.on_train_end(logs)


@contextmanager
def _what_was_trained_is_saved(saver: SaveCheckpoint) -> Iterator[None]:
    """Saves the finished steps when the run is stopped or an image can no longer be read."""
    try:
        yield
    except (Stopped, tf.errors.OpError) as error:
        if saver.model is None:  # `fit` had not begun
            raise
        # With several steps per execution, some ran before the one that failed to read an image.
        # If another worker is lost, it is unknown which weights were updated.
        alone = saver.model.distribute_strategy.num_replicas_in_sync == 1
        whole = alone and saver.model.steps_per_execution == 1
        if isinstance(error, Stopped) or (whole and "IteratorGetNext" in str(error)):
            agreed, saver.requests.interruptible = not saver.requests.interruptible, False
            saver.save()
            if agreed:  # no worker may leave before the chief has written
                any_worker(False, saver.model.distribute_strategy)
        raise


@contextmanager
def _refusals_in_words() -> Iterator[None]:
    """Turns a failed assertion of a loss in the compiled step into the ValueError of eager mode."""
    try:
        yield
    except tf.errors.InvalidArgumentError as error:
        refused = re.search(r"assertion failed: \[(Expected .*?)\]", error.message)
        if refused is None or "IteratorGetNext" in str(error):  # an image, not a loss
            raise
        raise ValueError(f"{refused[1]}.") from error
