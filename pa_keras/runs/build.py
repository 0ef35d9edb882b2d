"""From the settings of a run to its parts: here alone the config becomes plain arguments."""

import dataclasses
import logging
from collections.abc import Callable

import keras
import tensorflow as tf
from keras.optimizers import schedules

from pa_keras import datasets
from pa_keras.config import FitConfig
from pa_keras.datasets import Dataset, Images
from pa_keras.models import embedding_model
from pa_keras.pipelines import (
    ImageCache,
    Share,
    check_images,
    evaluation_batches,
    training_batches,
)
from pa_keras.runs.data import load_checked
from pa_keras.runs.loss import check_pairs, make_optimizer, make_training_model
from pa_keras.training import decayed, reference_optimizers
from pa_keras.training.callbacks.recall_at_k import Batches
from pa_keras.training.distribution import distributed, share_batch_statistics
from pa_keras.training.training_model import TrainingModel

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
    check_pairs(config, train.labels)
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
    evaluation_size = both(config.data.image_size)
    training_size = _training_size(config)

    def embedder(size: tuple[int, int], weights: str | None) -> keras.Model:
        return embedding_model(
            settings.backbone, settings.embedding_size, size, weights, settings.batch_norm
        )

    trained = embedder(training_size, settings.weights)
    model = make_training_model(config, trained, num_classes)
    share_batch_statistics(model)
    chunks = config.training.batch_chunks
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
    return lambda first_epoch: make_optimizer(
        config, model, own_rate(first_epoch), proxies_rate(first_epoch)
    )


def make_evaluation_batches(
    config: FitConfig, images: Images, strategy: tf.distribute.Strategy, keep: bool = False
) -> Batches:
    """The images as the evaluation sees them, in order; kept in memory by the first pass or not."""

    def batches(share: Share) -> tf.data.Dataset:
        return evaluation_batches(
            images.paths,
            batch_size=config.evaluation.batch_size,
            image_size=both(config.data.image_size),
            crop_fraction=config.data.crop_fraction,
            share=share,
            keep=keep,
        )

    return distributed(batches, strategy)


def jit_compile(choice: str | bool) -> bool:
    """Whether to compile the step by XLA: as asked, or with "auto" if there is a GPU."""
    return bool(tf.config.list_physical_devices("GPU")) if choice == "auto" else choice


def _training_size(config: FitConfig) -> tuple[int, int]:
    return both(config.augmentation.image_size or config.data.image_size)


def both(size: int | tuple[int, int]) -> tuple[int, int]:
    """A size in pixels as (height, width)."""
    return (size, size) if isinstance(size, int) else tuple(size)
