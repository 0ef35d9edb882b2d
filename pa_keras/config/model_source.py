"""Settings that the commands for trained models share.

On the command line these groups have no name of their own: `--run`, not `--source.run`.
"""

from dataclasses import dataclass
from typing import Literal

FLAT = {"flat": True}


@dataclass
class ModelSource:
    """The trained model, and how its images are prepared."""

    run: str | None = None
    """Folder of a run of fit, for its best model. A search index knows its own model: give this
    only if the model was moved."""

    model: str | None = None
    """Instead of run: a .keras file of an embedding model."""

    crop_fraction: float | None = None
    """Resize the shorter side to the model's size / crop_fraction, then crop the centre. Default:
    that of the index, of the embeddings or of the run, otherwise 0.875."""

    on_bad_image: Literal["error", "skip"] | None = None
    """If an image cannot be decoded: stop, or leave it out and list it. Default: for the data set
    of the run, as in the run; otherwise stop."""


@dataclass
class EvaluationData:
    """The labelled images to measure the model on; its test classes are used."""

    dataset: str | None = None
    """Name of the data set, as in fit. Default: that of the run; required with model."""

    data_dir: str | None = None
    """Folder of the images, or path of the manifest. Default: that of the run."""

    test_fraction: float | None = None
    """Share of the classes used for the test if the data set has no split of its own. Default: that
    of the run, otherwise 0.5."""

    crop_to_boxes: bool | None = None
    """Crop Cars-196 to its official bounding boxes. Default: as in the run, otherwise not."""
