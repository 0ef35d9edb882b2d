"""The subject of an evaluation: a trained model and the images to measure it on."""

import dataclasses
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import keras
import numpy as np

from pa_keras.config import EvaluateConfig
from pa_keras.datasets import Dataset, Images
from pa_keras.evaluation.duplicates import Duplicates, find_duplicates
from pa_keras.evaluation.evaluate import Evaluation, embed_dataset_images, evaluate
from pa_keras.pipelines import check_images
from pa_keras.runs.load import crop_fraction_of, load_trained
from pa_keras.runs.load_data import load_data, on_bad_image_of

# A part of the result: its entries of the JSON file, and its text.
Report = tuple[dict[str, Any], str]


@dataclass(frozen=True, eq=False)
class Subject:
    """A trained model and the images to measure it on.

    Attributes:
        config: Settings of the evaluation.
        settings: Settings of the run that trained the model; empty without a run, or if another
            data set than that of the run is evaluated.
        model: The embedding model.
        crop_fraction: Crop fraction of the evaluation preprocessing.
        dataset: The images. Only the queries and the gallery are known to be readable.
    """

    config: EvaluateConfig
    settings: dict[str, Any]
    model: keras.Model
    crop_fraction: float
    dataset: Dataset

    @property
    def has_images_of_the_run(self) -> bool:
        """Whether the images are those that the run was tested on, by the settings of both."""
        given, of_run = self.config.data, {**self.settings, **self.settings.get("data", {})}
        names = ("data_dir", "test_fraction", "crop_to_boxes")
        same = all(getattr(given, name) in (None, of_run.get(name)) for name in names)
        return bool(self.settings) and given.dataset is None and same

    def evaluate(self) -> Evaluation:
        """Embeds the queries and the gallery, and searches."""
        return evaluate(
            self.model,
            self.dataset.queries,
            self.dataset.gallery,
            crop_fraction=self.crop_fraction,
            batch_size=self.config.batch_size,
            ks=self.config.ks,
            method=self.config.search,
        )

    def embed(self, images: Images) -> np.ndarray:
        """Embeds other images of the data set, such as the training images; float32 (N, D).

        Several reports need the same images, so each image is embedded once.
        """
        known = self._embedded
        new = [i for i, path in enumerate(images.paths) if path not in known]
        if new:
            added = images.take(new)
            vectors = embed_dataset_images(
                self.model, added, self.crop_fraction, self.config.batch_size
            )
            known.update(zip(added.paths, vectors, strict=True))
        return np.stack([known[path] for path in images.paths])

    @cached_property
    def _embedded(self) -> dict[str, np.ndarray]:
        return {}

    def readable(self, images: Images) -> Images:
        """The images without those that cannot be decoded, or an error, as the settings ask."""
        on_bad_image = on_bad_image_of(self.settings, self.config.source.on_bad_image)
        return images.take(check_images(images.paths, on_bad_image).good)


def load_subject(config: EvaluateConfig) -> tuple[Subject, Duplicates]:
    """Loads the model and the images, and finds files with identical bytes.

    Args:
        config: Settings of the evaluation. They say whether copies are left out.

    Raises:
        ValueError: The model or the data set cannot be used.
        FileNotFoundError: Files do not exist.
    """
    model, settings = load_trained(config.source.run, config.source.model)
    dataset = load_data(
        settings,
        dataset=config.data.dataset,
        data_dir=config.data.data_dir,
        on_bad_image=config.source.on_bad_image,
        test_fraction=config.data.test_fraction,
        crop_to_boxes=config.data.crop_to_boxes,
    )
    duplicates = find_duplicates(dataset.queries, dataset.gallery)
    if config.duplicates == "drop":
        queries, gallery = duplicates.drop(dataset.queries, dataset.gallery)
        dataset = dataclasses.replace(dataset, queries=queries, gallery=gallery)
    crop_fraction = crop_fraction_of(settings, config.source.crop_fraction)
    of_run = {} if config.data.dataset else settings
    return Subject(config, of_run, model, crop_fraction, dataset), duplicates
