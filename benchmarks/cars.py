"""The real images for some parts of the benchmark."""

import os
from pathlib import Path

from pa_keras import datasets


def cars() -> datasets.Dataset:
    """Loads Cars-196 from $PA_KERAS_DATA; raises a FileNotFoundError if it is missing."""
    folder = Path(os.environ.get("PA_KERAS_DATA", ""), "cars196")
    if not folder.exists():
        raise FileNotFoundError("not found; set PA_KERAS_DATA to the folder with cars196")
    return datasets.load("manifest", str(folder))
