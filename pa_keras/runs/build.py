"""Building every part of a run, so that a bad setting fails before a folder exists."""

import logging
import math
from collections.abc import Callable
from dataclasses import dataclass

import keras
import numpy as np
import tensorflow as tf

from pa_keras.arguments.image_size import as_size
from pa_keras.config import FitConfig, TrainingConfig
from pa_keras.datasets import Dataset, Images
from pa_keras.layers import Proxies
from pa_keras.models.trained_classes import TrainedClasses, write_classes
from pa_keras.pipelines import ImageCache, repeats, steps_per_epoch
from pa_keras.pipelines.caching import CacheKind
from pa_keras.pipelines.sampling import expect_counts
from pa_keras.retrieval.metrics import as_ks
from pa_keras.runs.batches import Batches, make_batches, make_evaluation_batches
from pa_keras.runs.data import RunData, load_run_data
from pa_keras.runs.loss import make_loss
from pa_keras.runs.models import make_models
from pa_keras.runs.optimizers import make_optimizers
from pa_keras.training import RecallAtK, distribution, xla
from pa_keras.training.callbacks.save_checkpoint import SavePolicy
from pa_keras.training.gradient_cache import expect_chunks
from pa_keras.training.phases import Setup, phases
from pa_keras.training.profiling import profiled_steps

logger = logging.getLogger("pa_keras.fit")  # the log of the command


@dataclass(frozen=True)
class Run:
    """The parts of one run of `fit`.

    Attributes:
        config: The resolved settings.
        data: The images.
        model: The model to train, created in the scope of its strategy.
        embedder: The embedding model at the image size of the evaluation; a part of `model` if the
            training has the same image size.
        setup: Phases with their optimizers, loss, and how the training step is compiled.
        batches: Makes the endless training batches from a cache, an epoch and a step.
        recall: The callback that measures each epoch. None: the last epoch is kept.
        before_training: The callback that measures the network before its first step, on the
            images of `recall` or, without it, on the test images. None: it is not measured.
        saving: When checkpoints are saved.
        profile: First and last execution to trace, or 0.
    """

    config: FitConfig
    data: RunData
    model: keras.Model
    embedder: keras.Model
    setup: Setup
    batches: Callable[[CacheKind | ImageCache, int, int], Batches]
    recall: RecallAtK | None
    before_training: RecallAtK | None
    saving: SavePolicy
    profile: tuple[int, int] | int

    @property
    def strategy(self) -> tf.distribute.Strategy:
        """The devices that share each batch."""
        return self.model.distribute_strategy

    @property
    def writes(self) -> bool:
        """Whether this process is the one that writes the run folder."""
        return distribution.is_chief(self.strategy)

    @property
    def steps_per_epoch(self) -> int:
        """Training steps in an epoch."""
        return steps_per_epoch(len(self.data.train), self.config.batches.batch_size)

    @property
    def proxies(self) -> Proxies | None:
        """The layer with the proxies; None if the loss has none."""
        return next((layer for layer in self.model.layers if isinstance(layer, Proxies)), None)

    def save(self, path: str) -> None:
        """Saves the embedding model to a `.keras` file, with the training classes and proxies."""
        self.embedder.save(path)
        proxies = None if self.proxies is None else self.proxies.get_weights()[0]
        names = self.data.train.class_names
        write_classes(path, TrainedClasses(names, proxies))


def make_strategy(training: TrainingConfig) -> tf.distribute.Strategy:
    """The devices of a run. Call it before any other call of TensorFlow.

    Workers other than the chief log only warnings.
    """
    strategy = distribution.make_strategy(training.strategy, training.cluster)
    if not distribution.is_chief(strategy):
        logging.getLogger("pa_keras").setLevel(logging.WARNING)
    return strategy


def build(config: FitConfig, strategy: tf.distribute.Strategy) -> Run:
    """Makes every part of a run, and thereby checks its settings; it writes nothing.

    Args:
        config: Settings, as returned by `pa_keras.runs.loss.resolved`.
        strategy: The devices, as returned by `make_strategy`.

    Raises:
        ValueError: A setting is out of its range, or the images do not fit the settings.
        FileNotFoundError: Image files do not exist.
        ImportError: A package that a setting needs is not installed.
    """
    as_ks(config.evaluation.ks)
    if config.training.deterministic:
        _expect_repeatable(config.augmentation.extra)
    if config.logging.wandb_project:
        _expect_wandb()
    data = load_run_data(config)
    train = data.train
    with distribution.naming_lost_workers(strategy), strategy.scope():
        model, embedder = make_models(config, train.num_classes)
        steps = steps_per_epoch(len(train), config.batches.batch_size)
        plan = phases(config.training.epochs, config.training.warmup_epochs)
        optimizer = make_optimizers(config, model, steps)
        recall = None
        if data.selection is not None:
            size, most = as_size(config.data.image_size), config.evaluation.cache_gigabytes
            keep = _keeps_pixels(data.selection, size, most)
            recall = _recall(config, data.selection, embedder, keep)
        before_training = None
        if config.evaluation.before_training:
            before_training = recall or _recall(config, data.dataset, embedder, keep=False)
        setup = Setup(
            [(phase, optimizer(phase.first_epoch)) for phase in plan],
            make_loss(config.loss, config.loss_options, train.num_classes),
            config.model.batch_norm,
            jit_compile(config.training, strategy),
            config.training.steps_per_execution,
            statistics_in_warmup=config.recipe == "reference",
            frozen_blocks=config.model.freeze_blocks,
        )
        setup.set_trainable(model, setup.phases[-1][0])
        run = Run(
            config,
            data,
            model,
            embedder,
            setup,
            lambda cache, epoch, step: make_batches(config, train, cache, strategy, (epoch, step)),
            recall,
            before_training,
            SavePolicy(config.training.save_minutes),
            profiled_steps(config.training.profile, steps, config.training.steps_per_execution),
        )
        run.batches("none", 0, 0)
        make_evaluation_batches(config, data.dataset.queries, strategy)
    return run


def expect_devices(config: FitConfig, strategy: tf.distribute.Strategy) -> None:
    """Rejects settings that the devices cannot train with; a resumed run may have other devices.

    Args:
        config: The resolved settings.
        strategy: The devices. A dry run of several workers has those of one process.

    Raises:
        ValueError: XLA, steps_per_execution or batch_chunks does not fit the devices.
    """
    training = config.training
    expect_counts(steps_per_execution=training.steps_per_execution)
    if training.strategy == "multi_worker" and training.steps_per_execution > 1:
        raise ValueError(
            "Expected steps_per_execution=1 for training.strategy=multi_worker, since Keras takes "
            f"one step at a time there; received {training.steps_per_execution}. Leave it out or, "
            "to resume, choose another strategy."
        )
    jit_compile(training, strategy)
    expect_chunks(training.batch_chunks, config.batches.batch_size, strategy.num_replicas_in_sync)


def jit_compile(training: TrainingConfig, strategy: tf.distribute.Strategy) -> bool:
    """Whether XLA compiles the training step; raises a ValueError if it cannot as asked."""
    return xla.jit_compile(
        training.jit_compile,
        distribution.device_kind(strategy),
        strategy.num_replicas_in_sync,
        training.strategy == "multi_worker",
        training.deterministic,
    )


def _recall(config: FitConfig, measured: Dataset, embedder: keras.Model, keep: bool) -> RecallAtK:
    def labelled(images: Images | None) -> tuple[tf.data.Dataset, np.ndarray] | None:
        if images is None:
            return None
        strategy = embedder.distribute_strategy
        return make_evaluation_batches(config, images, strategy, keep), images.labels

    return RecallAtK(
        labelled(measured.queries),
        labelled(measured.gallery),
        ks=sorted({1, *config.evaluation.ks}),
        every=config.evaluation.every,
        method=config.evaluation.search,
        embedding_model=embedder,
        map_at_r=config.evaluation.map_at_r,
        jit_compile=jit_compile(config.training, embedder.distribute_strategy),
    )


def _keeps_pixels(selection: Dataset, size: tuple[int, int], most_gigabytes: float) -> bool:
    """Whether the pixels of the images that every epoch is measured on may stay in memory."""
    number = len(selection.queries) + len(selection.gallery or ())
    gigabytes = number * math.prod(size) * 3 * 4 / 1e9
    keep = gigabytes <= most_gigabytes
    logger.info(
        "The pixels of the %d images that each epoch is measured on %s in memory: %.1f GB, "
        "with evaluation.cache_gigabytes = %g.",
        number,
        "stay" if keep else "do not stay",
        gigabytes,
        most_gigabytes,
    )
    return keep


def _expect_repeatable(extra: str | None) -> None:
    if extra is not None and not repeats(extra):
        raise ValueError(
            "Expected an augmentation that repeats, for training.deterministic; received "
            f"{extra} of keras_cv, which draws new random numbers in each run. Use a layer of "
            "keras.layers."
        )


def _expect_wandb() -> None:
    try:
        import wandb  # noqa: F401
    except ImportError as error:
        raise ImportError(
            "Expected the package wandb for logging.wandb_project; install it: pip install "
            '"pa_keras[wandb]".'
        ) from error
