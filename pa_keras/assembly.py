"""From the settings of a run to its parts: here alone the config becomes plain arguments."""

import dataclasses
import logging
import math
from collections.abc import Callable, Mapping
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf
from keras.optimizers import schedules

from pa_keras import datasets, loss_choice
from pa_keras.config import FitConfig
from pa_keras.datasets import Dataset, Images
from pa_keras.models import embedding_model
from pa_keras.pipelines import (
    ImageCache,
    Share,
    check_images,
    evaluation_batches,
    repeats,
    steps_per_epoch,
    training_batches,
)
from pa_keras.pipelines.sampling import expect_counts
from pa_keras.training import RecallAtK, decayed, reference_optimizers
from pa_keras.training import callbacks as run_callbacks
from pa_keras.training.chunks import expect_chunks
from pa_keras.training.data import load_checked
from pa_keras.training.evaluation import expect_ks
from pa_keras.training.executions import WholeEpochs
from pa_keras.training.neighbour_pictures import NeighbourPictures
from pa_keras.training.phases import phases
from pa_keras.training.profiling import profiled_steps
from pa_keras.training.progress import Progress
from pa_keras.training.recall_at_k import Batches
from pa_keras.training.run_folder import RunFolder
from pa_keras.training.saving import SaveState
from pa_keras.training.state import State
from pa_keras.training.step import TrainingModel
from pa_keras.training.stopping import Stopping, StopRequests
from pa_keras.training.strategies import any_worker, distributed, is_chief, share_batch_statistics

# Not by __name__: what is said of a run stands under the name of its command.
logger = logging.getLogger("pa_keras.fit")


def load_data(config: FitConfig) -> tuple[Dataset, Dataset | None, dict[str, str]]:
    """The data set, the one to select the best epoch by, and the files that are left out."""
    dataset, skipped = load_checked(
        config.dataset,
        config.data_dir,
        on_bad_image=config.data.on_bad_image,
        test_fraction=config.data.test_fraction,
        crop_to_boxes=config.data.crop_to_boxes,
    )
    selection = dataset if config.training.selection == "reference_protocol" else None
    train = dataset.train
    if config.training.selection == "held_out":
        train, held_out = datasets.hold_out_classes(
            train, config.training.held_out_fraction, seed=config.seed
        )
        selection = datasets.Dataset("held out", train, held_out)
    train = _corrupted(config, train)
    loss_choice.check_pairs(config, train.labels)
    return dataclasses.replace(dataset, train=train), selection, skipped


def _corrupted(config: FitConfig, train: Images) -> Images:
    """The training images with the noise that was asked for; what is measured on stays clean."""
    data = config.data
    if data.outliers:
        if data.outliers_dir is None:
            raise ValueError(
                "Expected a folder of foreign images for data.outliers; add "
                "--data.outliers_dir DIR."
            )
        foreign = datasets.images_at(data.outliers_dir)
        foreign = foreign.take(check_images(foreign.paths, data.on_bad_image).good).paths
        train = datasets.replace_by_outliers(train, foreign, data.outliers, config.seed)
    return datasets.flip_labels(train, data.label_noise, config.seed)


def make_models(config: FitConfig, num_classes: int) -> tuple[keras.Model, keras.Model]:
    """The model to train, and the embedding model at the size of the evaluation.

    Where both sizes are the same, the second is a part of the first. Both are for the strategy in
    scope.
    """
    keras.utils.set_random_seed(config.seed)
    if config.training.deterministic:
        tf.config.experimental.enable_op_determinism()
    keras.config.set_dtype_policy(config.training.precision)
    settings = config.model
    evaluation_size = _both(config.data.image_size)
    training_size = _training_size(config)

    def embedder(size: tuple[int, int], weights: str | None) -> keras.Model:
        return embedding_model(
            settings.backbone, settings.embedding_size, size, weights, settings.batch_norm
        )

    trained = embedder(training_size, settings.weights)
    model = loss_choice.make_training_model(config, trained, num_classes)
    share_batch_statistics(model)
    chunks = config.training.batch_chunks
    if chunks != 1 or config.training.strategy == "multi_worker":
        model = TrainingModel(model.input, model.output, name=model.name, chunks=chunks)
    if training_size == evaluation_size:
        return model, trained
    # Built from the same weights: some networks scale pixels otherwise without them.
    evaluated = embedder(evaluation_size, settings.weights)
    evaluated.set_weights(trained.get_weights())
    return model, evaluated


def make_batches(
    config: FitConfig,
    images: Images,
    cache: str | ImageCache,
    strategy: tf.distribute.Strategy,
    first_epoch: int = 0,
    first_step: int = 0,
) -> Batches:
    """The endless training batches from that step of that epoch on."""

    def batches(share: Share) -> tf.data.Dataset:
        return training_batches(
            images.paths,
            images.labels,
            batch_size=config.batches.batch_size,
            image_size=_training_size(config),
            seed=config.seed,
            classes_per_batch=config.batches.classes_per_batch,
            images_per_class=config.batches.images_per_class,
            area=config.augmentation.area,
            ratio=config.augmentation.ratio,
            flip=config.augmentation.flip,
            augmentation=config.augmentation.extra,
            cache=cache,
            first_epoch=first_epoch,
            first_step=first_step,
            share=share,
        )

    return distributed(batches, strategy)


def make_optimizers(
    config: FitConfig, model: keras.Model, steps_per_epoch: int
) -> Callable[[int], keras.optimizers.Optimizer]:
    """The optimizers of the phases, each by its first epoch."""
    settings = config.optimizer
    reference = config.recipe == "reference"

    def rate(peak: float, first_epoch: int) -> float | schedules.LearningRateSchedule:
        warming_up = first_epoch < config.training.warmup_epochs
        return decayed(
            peak,
            "constant" if warming_up and not reference else settings.decay,
            steps_per_epoch,
            config.training.epochs,
            first_epoch,
            settings.decay_epochs,
            settings.decay_factor,
        )

    def own_rate(first_epoch: int) -> float | schedules.LearningRateSchedule:
        return rate(settings.learning_rate, first_epoch)

    def proxies_rate(first_epoch: int) -> float | schedules.LearningRateSchedule:
        return rate(settings.learning_rate * settings.proxies_multiplier, first_epoch)

    if reference:
        return reference_optimizers(
            model, own_rate, proxies_rate, settings.weight_decay, settings.clip_value
        )
    return lambda first_epoch: loss_choice.make_optimizer(
        config, model, own_rate(first_epoch), proxies_rate(first_epoch)
    )


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
    several = isinstance(strategy, tf.distribute.MultiWorkerMirroredStrategy)
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
        run_callbacks.StopAtNaN(progress, saver),
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
        recall = make_recall(config, selection, embedder, rows[-1] if rows else {})
        result.append(recall)
        if writes:
            result.append(best)
        if writes and config.logging.pictures:
            result.append(_pictures(recall, selection, folder))
    if not writes:
        return [*result, saver], saver
    result.append(run_callbacks.AppendMetrics(folder.metrics))
    result.append(_tensorboard(config, folder, steps_per_epoch))
    if config.logging.wandb_project:
        result.append(_wandb(config, folder))
    return [*result, saver], saver


def _best(
    folder: RunFolder, embedder: keras.Model, rows: list[dict[str, float]], state: State | None
) -> run_callbacks.SaveBest:
    highest = max((row["recall_at_1"] for row in rows), default=-1.0)
    kept = folder.state / state.best if state and state.best else None
    return run_callbacks.SaveBest(
        folder.best_model, embedder, best=highest, states=folder.state, kept=kept
    )


def _tensorboard(
    config: FitConfig, folder: RunFolder, steps_per_epoch: int
) -> keras.callbacks.Callback:
    steps = profiled_steps(config.training.profile, steps_per_epoch)
    if steps:
        logger.info(
            "A trace of the steps %d to %d of each phase goes to %s; to see it: pip install "
            "tensorboard-plugin-profile, then tensorboard --logdir %s",
            *steps,
            folder.tensorboard / "train" / "plugins" / "profile",
            folder.tensorboard,
        )
    return keras.callbacks.TensorBoard(folder.tensorboard, write_graph=False, profile_batch=steps)


def _pictures(recall: RecallAtK, selection: Dataset, folder: RunFolder) -> NeighbourPictures:
    # In a folder of their own: TensorBoard reads one file of a folder at a time, the last.
    log = folder.tensorboard / "neighbours"
    return NeighbourPictures(recall, selection.queries, selection.gallery, log)


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
    expect_counts(steps_per_execution=config.training.steps_per_execution)
    replicas = model.distribute_strategy.num_replicas_in_sync
    expect_chunks(config.training.batch_chunks, config.batches.batch_size, replicas)
    make_evaluation_batches(config, dataset.queries, model.distribute_strategy)
    make_batches(config, dataset.train, "none", model.distribute_strategy)
    loss_choice.make_loss(config, dataset.train.num_classes)
    steps = steps_per_epoch(len(dataset.train), config.batches.batch_size)
    profiled_steps(config.training.profile, steps)
    optimizer = make_optimizers(config, model, steps)
    for phase in phases(config.training.epochs, config.training.warmup_epochs):
        optimizer(phase.first_epoch)
    SaveState(Path(), Progress(steps, 1), StopRequests(), config.training.save_minutes)
    if selection is not None:
        make_recall(config, selection, model, {})


def make_evaluation_batches(
    config: FitConfig, images: Images, strategy: tf.distribute.Strategy, keep: bool = False
) -> Batches:
    """The images as the evaluation sees them, in order; kept in memory by the first pass or not."""

    def batches(share: Share) -> tf.data.Dataset:
        return evaluation_batches(
            images.paths,
            batch_size=config.evaluation.batch_size,
            image_size=_both(config.data.image_size),
            crop_fraction=config.data.crop_fraction,
            share=share,
            keep=keep,
        )

    return distributed(batches, strategy)


def _keeps(config: FitConfig, selection: Dataset) -> bool:
    """Whether the pixels that every epoch is measured on may stay in memory."""
    number = len(selection.queries) + len(selection.gallery or ())
    gigabytes = number * math.prod(_both(config.data.image_size)) * 3 * 4 / 1e9
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


def make_recall(
    config: FitConfig, selection: Dataset, embedder: keras.Model, last_row: Mapping[str, float]
) -> RecallAtK:
    """The callback that measures; `last_row` of the metrics of a run that is resumed."""
    keep = _keeps(config, selection)

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


def _wandb(config: FitConfig, folder: RunFolder) -> keras.callbacks.Callback:
    try:
        import wandb
    except ImportError as error:
        raise ImportError(
            "Expected the package wandb for logging.wandb_project; install it: pip install "
            '"pa_keras[wandb]".'
        ) from error
    project, name = config.logging.wandb_project, folder.path.name
    wandb.init(project=project, id=name, resume="allow", config=dataclasses.asdict(config))
    # wandb's own Keras callback asks the optimizer for one learning rate: ours has two.
    return keras.callbacks.LambdaCallback(
        on_epoch_end=lambda epoch, logs: wandb.log({"epoch": epoch + 1, **logs})
    )


def jit_compile(choice: str | bool) -> bool:
    """Whether to compile the step by XLA: as asked, or with "auto" if there is a GPU."""
    return bool(tf.config.list_physical_devices("GPU")) if choice == "auto" else choice


def _training_size(config: FitConfig) -> tuple[int, int]:
    return _both(config.augmentation.image_size or config.data.image_size)


def _both(size: int | tuple[int, int]) -> tuple[int, int]:
    return (size, size) if isinstance(size, int) else tuple(size)
