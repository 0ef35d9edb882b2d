"""Seconds that a picture in TensorBoard adds to an epoch, compared with the evaluation.

python benchmarks/neighbour_pictures.py [images] [epochs]
"""

import statistics
import sys
import tempfile
import time
from pathlib import Path

import keras
import numpy as np

from pa_keras import datasets
from pa_keras.models import embedding_model
from pa_keras.pipelines import evaluation_batches
from pa_keras.training import RecallAtK
from pa_keras.training.callbacks.neighbour_images import NeighbourPictures


def main(images=3000, epochs=5):
    """Evaluates and draws in turns, on drawn letters with a network of random weights."""
    keras.utils.set_random_seed(0)
    queries = datasets.load("glyphs").queries
    queries = queries.take(np.arange(min(images, len(queries))))
    model = embedding_model("conv4", 128, (64, 64), weights=None)
    batches = evaluation_batches(
        queries.paths, batch_size=256, image_size=(64, 64), crop_fraction=1.0
    )
    recall = RecallAtK((batches, queries.labels))
    recall.set_model(model)
    recall.set_params({"epochs": epochs + 1})
    recall.on_train_begin()
    taken = {"measurement": [], "picture": []}
    with tempfile.TemporaryDirectory() as folder:
        pictures = NeighbourPictures(recall, queries, None, Path(folder))
        for epoch in range(epochs):
            for name, callback in (("measurement", recall), ("picture", pictures)):
                started = time.perf_counter()
                callback.on_epoch_end(epoch)
                taken[name].append(time.perf_counter() - started)
        pictures.on_train_end()
        size = sum(path.stat().st_size for path in Path(folder).iterdir()) / epochs
    measurement, picture = (statistics.median(times) for times in taken.values())
    print(f"measuring {len(queries):,} images  {measurement:6.2f} s")
    print(f"the picture           {picture:6.2f} s   {picture / measurement:.2f} of it")
    print(f"in the log            {size / 1e3:6.0f} kB")


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
