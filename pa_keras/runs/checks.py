"""Whether a run can be trained as its settings say, found out before its folder is made."""

from pathlib import Path

import keras

from pa_keras.config import FitConfig
from pa_keras.datasets import Dataset
from pa_keras.evaluation.evaluate import expect_ks
from pa_keras.pipelines import repeats, steps_per_epoch
from pa_keras.pipelines.sampling import expect_counts
from pa_keras.runs.build import make_batches, make_evaluation_batches, make_optimizers
from pa_keras.runs.callbacks import make_recall
from pa_keras.runs.loss import make_loss
from pa_keras.training.callbacks.preemption import StopRequests
from pa_keras.training.callbacks.progress import Progress
from pa_keras.training.callbacks.save_checkpoint import SaveState
from pa_keras.training.gradient_cache import expect_chunks
from pa_keras.training.phases import phases
from pa_keras.training.profiling import profiled_steps


def check(
    config: FitConfig, dataset: Dataset, selection: Dataset | None, model: keras.Model
) -> None:
    """Makes each part once, so that a setting out of its range is met before a folder is made."""
    expect_ks(config.evaluation.ks)
    extra = config.augmentation.extra
    if config.training.deterministic and extra is not None and not repeats(extra):
        raise ValueError(
            f"Expected an augmentation that repeats, for training.deterministic; received {extra} "
            "of keras_cv, which draws anew each time. Take a layer of keras.layers."
        )
    check_devices(config, model)
    make_evaluation_batches(config, dataset.queries, model.distribute_strategy)
    make_batches(config, dataset.train, "none", model.distribute_strategy)
    make_loss(config, dataset.train.num_classes)
    steps = steps_per_epoch(len(dataset.train), config.batches.batch_size)
    profiled_steps(config.training.profile, steps, config.training.steps_per_execution)
    optimizer = make_optimizers(config, model, steps)
    for phase in phases(config.training.epochs, config.training.warmup_epochs):
        optimizer(phase.first_epoch)
    SaveState(Path(), Progress(steps, 1), StopRequests(), config.training.save_minutes)
    if selection is not None:
        make_recall(config, selection, model, {})


def check_devices(config: FitConfig, model: keras.Model) -> None:
    """What depends on the devices, which a resumed run may change."""
    training = config.training
    expect_counts(steps_per_execution=training.steps_per_execution)
    if training.strategy == "multi_worker" and training.steps_per_execution > 1:
        raise ValueError(
            "Expected steps_per_execution=1 for training.strategy=multi_worker, as Keras takes one "
            f"step at a time there; received {training.steps_per_execution}. Leave it out, or, "
            "to resume, take another strategy."
        )
    replicas = model.distribute_strategy.num_replicas_in_sync
    expect_chunks(training.batch_chunks, config.batches.batch_size, replicas)
