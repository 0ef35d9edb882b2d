"""The image batches of a run, from its settings."""

from typing import TypeAlias

import tensorflow as tf

from pa_keras.arguments.image_size import as_size
from pa_keras.config import AugmentationConfig, DataConfig, FitConfig
from pa_keras.datasets import Images
from pa_keras.pipelines import ImageCache, WorkerShare, evaluation_batches, training_batches
from pa_keras.pipelines.caching import CacheKind
from pa_keras.training.distribution import distributed

Batches: TypeAlias = tf.data.Dataset | tf.distribute.DistributedDataset


def make_batches(
    config: FitConfig,
    images: Images,
    cache: CacheKind | ImageCache,
    strategy: tf.distribute.Strategy,
    start: tuple[int, int] = (0, 0),
) -> Batches:
    """The endless training batches, starting at an epoch and step."""

    def batches(share: WorkerShare) -> tf.data.Dataset:
        return training_batches(
            images.paths,
            images.labels,
            batch_size=config.batches.batch_size,
            image_size=training_size(config.data, config.augmentation),
            seed=config.seed,
            classes_per_batch=config.batches.classes_per_batch,
            images_per_class=config.batches.images_per_class,
            area=config.augmentation.area,
            ratio=config.augmentation.ratio,
            flip=config.augmentation.flip,
            augmentation=config.augmentation.extra,
            cache=cache,
            first_epoch=start[0],
            first_step=start[1],
            endless=True,
            share=share,
        )

    return distributed(batches, strategy)


def make_evaluation_batches(
    config: FitConfig,
    images: Images,
    strategy: tf.distribute.Strategy,
    keep: bool = False,
    size: tuple[int, int] | None = None,
) -> Batches:
    """Evaluation batches, in order, with images of `size` pixels, by default `data.image_size`.

    `keep` keeps the pixels in memory after the first pass.
    """

    def batches(share: WorkerShare) -> tf.data.Dataset:
        return evaluation_batches(
            images.paths,
            batch_size=config.evaluation.batch_size,
            image_size=size or as_size(config.data.image_size),
            crop_fraction=config.data.crop_fraction,
            share=share,
            keep=keep,
        )

    return distributed(batches, strategy)


def training_size(data: DataConfig, augmentation: AugmentationConfig) -> tuple[int, int]:
    """Height and width of the training images, which may be smaller than in the evaluation."""
    return as_size(augmentation.image_size or data.image_size)
