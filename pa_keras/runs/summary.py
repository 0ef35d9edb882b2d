"""What a dry run of `fit` reports."""

import tensorflow as tf

from pa_keras import cli
from pa_keras.runs.batches import make_batches
from pa_keras.runs.build import Run


def summary(run: Run) -> str:
    """The settings, the images and the model of a run, after one batch was drawn."""
    dataset, selection = run.data.dataset, run.data.selection
    one = tf.distribute.get_strategy()  # each of several replicas would draw a part of the batch
    images, _ = next(iter(make_batches(run.config, dataset.train, "none", one)))
    lines = [
        cli.as_yaml(run.config),
        f"train      {dataset.train}",
        f"selection  {selection.queries if selection else 'the last epoch'}",
        f"test       {dataset.queries}, gallery {dataset.gallery or 'the queries themselves'}",
        f"batch      {tuple(images.shape)}",
        f"model      {run.embedder.input_shape} -> {run.embedder.output_shape}, "
        f"{run.embedder.count_params():,} weights",
        "A dry run: nothing was trained or written.",
    ]
    return "\n".join(lines) + "\n"
