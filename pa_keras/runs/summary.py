"""The report of a dry run of `fit`."""

import math

import tensorflow as tf

from pa_keras import cli
from pa_keras.models import backbone_blocks
from pa_keras.runs.batches import make_batches
from pa_keras.runs.build import Run


def summary(run: Run) -> str:
    """The settings, images and model of a run; it draws one batch, to check the images."""
    dataset, train, selection = run.data.dataset, run.data.train, run.data.selection
    one = (
        tf.distribute.get_strategy()
    )  # with several replicas, each would draw its shard of the batch
    images, _ = next(iter(make_batches(run.config, train, "none", one)))
    lines = [
        cli.as_yaml(run.config),
        f"train      {train}",
        f"selection  {selection.queries if selection else 'the last epoch'}",
        f"test       {dataset.queries}, gallery {dataset.gallery or 'the queries themselves'}",
        f"batch      {tuple(images.shape)}",
        f"model      {run.embedder.input_shape} -> {run.embedder.output_shape}, "
        f"{run.embedder.count_params():,} weights",
        _trained(run),
        "A dry run: nothing was trained or written.",
    ]
    return "\n".join(lines) + "\n"


def _trained(run: Run) -> str:
    """How many weights the last phase trains, and which blocks it does not."""
    trained = sum(math.prod(weight.shape) for weight in run.model.trainable_weights)
    blocks = len(backbone_blocks(run.model.get_layer("embedding_model")))
    frozen = run.config.model.freeze_blocks
    return (
        f"trained    {trained:,} of {run.model.count_params():,} weights, proxies included; "
        f"{frozen} of the backbone's {blocks} blocks are frozen"
    )
