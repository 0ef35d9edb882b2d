"""Training in two phases: the new layers alone, then everything."""

import logging
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import keras
import tensorflow as tf

from pa_keras.models import set_trainable
from pa_keras.training.callbacks import finished_epochs, restore_state

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


def train(
    model: keras.Model,
    batches: Callable[[int], tf.data.Dataset],
    steps_per_epoch: int,
    plan: list[Phase],
    optimizer: Callable[[Phase], keras.optimizers.Optimizer],
    loss: keras.losses.Loss,
    callbacks: list[keras.callbacks.Callback],
    state: Path,
    batch_norm: str,
    jit_compile: bool,
    steps_per_execution: int = 1,
    statistics_in_warmup: bool = False,
    verbose: int | str = "auto",
) -> None:
    """Fits the phases one after another, from where `state` says that an earlier run ended.

    Args:
        model: of `pa_keras.models.with_proxies`.
        batches: from an epoch to the endless dataset which begins with it.
        steps_per_epoch: batches in an epoch.
        plan: of `phases`.
        optimizer: makes the optimizer of a phase, once the model's weights are set to trainable.
        loss: the loss.
        callbacks: for every phase, in Keras' order; `SaveState(state)` among them.
        state: folder of `SaveState`; it may be empty.
        batch_norm: as given to `embedding_model`.
        jit_compile: whether to compile the step by XLA.
        steps_per_execution: steps from one return to Python to the next; above 1, `WholeEpochs` has
            to be among the callbacks. Default 1.
        statistics_in_warmup: as of `pa_keras.models.set_trainable`.
        verbose: as in `keras.Model.fit`.

    Raises:
        ValueError: a batch that the loss refuses, such as one without pairs for a loss of pairs.
    """
    done = finished_epochs(state)
    for phase in plan:
        if done > phase.end_epoch:
            continue
        set_trainable(model, phase.train_backbone, batch_norm, statistics_in_warmup)
        model.compile(
            optimizer(phase),
            loss,
            jit_compile=jit_compile,
            steps_per_execution=steps_per_execution,
        )
        if phase.first_epoch < done:
            restore_state(model, state)
            logger.info("Going on after epoch %d.", done)
        first_epoch = max(done, phase.first_epoch)
        if first_epoch < phase.end_epoch:
            with _refusals_in_words():
                model.fit(
                    batches(first_epoch),
                    steps_per_epoch=steps_per_epoch,
                    initial_epoch=first_epoch,
                    epochs=phase.end_epoch,
                    callbacks=callbacks,
                    shuffle=False,
                    verbose=verbose,
                )


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
