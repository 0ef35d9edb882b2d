"""The real images that some parts measure on."""

import os
from pathlib import Path

from pa_keras import datasets


def cars() -> datasets.Dataset:
    """Cars-196 in $PA_KERAS_DATA; a FileNotFoundError that says so where it is not."""
    folder = Path(os.environ.get("PA_KERAS_DATA", ""), "cars196")
    if not folder.exists():
        raise FileNotFoundError("not found; set PA_KERAS_DATA to the folder with cars196")
    return datasets.load("manifest", str(folder))
