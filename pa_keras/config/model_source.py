"""Settings shared by the commands for trained models.

On the command line these groups have no prefix: `--run`, not `--source.run`.
"""

from dataclasses import dataclass
from typing import Literal

FLAT = {"flat": True}


@dataclass
class ModelSource:
    """The trained model, and how its images are prepared."""

    run: str | None = None
    """Run folder of fit; its best model is used. A search index records its own model: give this
    only if the model was moved."""

    model: str | None = None
    """A .keras file of an embedding model, instead of run."""

    crop_fraction: float | None = None
    """Resize the shorter side to the model's size / crop_fraction, then crop the centre. Default:
    as in the index, the embeddings or the run, otherwise 0.875."""

    on_bad_image: Literal["error", "skip"] | None = None
    """If an image cannot be decoded: stop, or skip the image and list it. Default: as in the run
    for the data set of the run, otherwise stop."""


@dataclass
class EvaluationData:
    """The data set whose test classes the model is measured on."""

    dataset: str | None = None
    """Name of the data set, as in fit. Default: as in the run; required with model."""

    data_dir: str | None = None
    """Folder of the images, or path of the manifest. Default: as in the run."""

    test_fraction: float | None = None
    """Share of the classes used for the test, (0, 1], if the data set has no split of its own; 1:
    all classes. Default: as in the run, otherwise 0.5."""

    crop_to_boxes: bool | None = None
    """Crop Cars-196 to its official bounding boxes. Default: as in the run, otherwise not."""
