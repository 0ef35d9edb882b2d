"""Deep metric learning with the Proxy-Anchor loss for Keras: embeddings for image search."""

import contextlib
import importlib
import json
import os
import sys
from pathlib import Path
from typing import Any

__version__ = "0.1.0"

# Imported at first use (PEP 562), so that `import pa_keras` and `--help` do not wait for Keras.
_HOMES = {
    "ArcFaceLoss": "pa_keras.losses",
    "CircleLoss": "pa_keras.losses",
    "ContrastiveLoss": "pa_keras.losses",
    "CosFaceLoss": "pa_keras.losses",
    "CrossBatchMemory": "pa_keras.layers",
    "LiftedStructureLoss": "pa_keras.losses",
    "MultiSimilarityLoss": "pa_keras.losses",
    "NPairLoss": "pa_keras.losses",
    "NormalizedSoftmaxLoss": "pa_keras.losses",
    "Proxies": "pa_keras.layers",
    "ProxyAnchorLoss": "pa_keras.losses",
    "ProxyNCALoss": "pa_keras.losses",
    "RecallAtK": "pa_keras.training",
    "SmoothAPLoss": "pa_keras.losses",
    "SoftTripleLoss": "pa_keras.losses",
    "SoftTripleRegularizer": "pa_keras.layers",
    "SubCenterArcFaceLoss": "pa_keras.losses",
    "SupConLoss": "pa_keras.losses",
    "TripletLoss": "pa_keras.losses",
    "embed_images": "pa_keras.evaluation",
    "embedding_model": "pa_keras.models",
    "load_model": "pa_keras.runs.load",
    "nearest_neighbours": "pa_keras.retrieval",
    "open_index": "pa_keras.index",
    "proxy_anchor": "pa_keras.losses",
    "retrieval_metrics": "pa_keras.retrieval",
    "with_memory": "pa_keras.models",
    "with_proxies": "pa_keras.models",
}

# Imported at first use too, so that `pa_keras.losses.TripletLoss` needs no further import.
_MODULES = (
    "arguments",
    "backbones",
    "cli",
    "comparison",
    "compat",
    "config",
    "datasets",
    "evaluation",
    "exporters",
    "index",
    "kernels",
    "layers",
    "losses",
    "models",
    "pipelines",
    "plots",
    "reports",
    "retrieval",
    "runs",
    "training",
)

__all__ = ["__version__", *_HOMES]


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return importlib.import_module(f"pa_keras.{name}")
    if name not in _HOMES:
        raise AttributeError(f"module 'pa_keras' has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted([*__all__, *_MODULES])


def _keras_settings() -> tuple[str, str, Path]:
    """Reads the backend and image data format of Keras, and their file, without importing Keras.

    Raises:
        ImportError: If the file holds no settings, so that Keras could not be imported either.
    """
    file = Path(os.environ.get("KERAS_HOME", "~/.keras"), "keras.json").expanduser()
    keras = sys.modules.get("keras")
    if keras is not None and hasattr(keras, "config"):
        return keras.config.backend(), keras.config.image_data_format(), file
    settings = {}
    if file.exists():
        with contextlib.suppress(ValueError):  # Keras ignores invalid JSON, too
            settings = json.loads(file.read_text())
    if not isinstance(settings, dict):
        raise ImportError(
            f"Expected the settings of Keras in {file}; received {settings!r}. Delete the file: "
            "Keras writes it again."
        )
    backend = os.environ.get("KERAS_BACKEND") or settings.get("backend", "tensorflow")
    return backend, settings.get("image_data_format", "channels_last"), file


def _check_keras() -> None:
    """Raises an ImportError if the settings of Keras would cause errors far from their cause."""
    _, data_format, file = _keras_settings()
    if data_format != "channels_last":
        raise ImportError(
            f"Expected Keras' image_data_format to be 'channels_last', as images here are (height, "
            f"width, 3); it is {data_format!r}. Change {file}, or call "
            "keras.config.set_image_data_format('channels_last') before you import pa_keras."
        )


_check_keras()
