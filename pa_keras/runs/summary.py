"""The report of a dry run of `fit`."""

import tensorflow as tf

from pa_keras import cli
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
        "A dry run: nothing was trained or written.",
    ]
    return "\n".join(lines) + "\n"
