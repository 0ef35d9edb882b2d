"""Deep metric learning with the Proxy-Anchor loss for Keras: embeddings for image search."""

import importlib
from typing import Any

from pa_keras.backend import explained_imports, is_installed, keras_settings

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
    "embed_images": "pa_keras.evaluation.image_embeddings",
    "embedding_model": "pa_keras.models",
    "load_model": "pa_keras.runs.load",
    "nearest_neighbours": "pa_keras.retrieval",
    "open_index": "pa_keras.index",
    "proxy_anchor": "pa_keras.losses",
    "retrieval_metrics": "pa_keras.retrieval",
    "tune_cpu": "pa_keras.cpu",
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

# `import *` takes what needs TensorFlow only where it is installed.
_OF_TENSORFLOW = () if is_installed("tensorflow") else ("embed_images", "open_index")

__all__ = ["__version__", *(name for name in _HOMES if name not in _OF_TENSORFLOW)]


def __getattr__(name: str) -> Any:
    if name not in _MODULES and name not in _HOMES:
        raise AttributeError(f"module 'pa_keras' has no attribute {name!r}")
    with explained_imports(f"pa_keras.{name}"):
        if name in _MODULES:
            return importlib.import_module(f"pa_keras.{name}")
        return getattr(importlib.import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted(["__version__", *_HOMES, *_MODULES])


def _check_keras() -> None:
    """Raises an ImportError if the settings of Keras would cause errors far from their cause."""
    settings = keras_settings()
    if settings.image_data_format != "channels_last":
        raise ImportError(
            f"Expected Keras' image_data_format to be 'channels_last', as images here are (height, "
            f"width, 3); it is {settings.image_data_format!r}. Change {settings.file}, or call "
            "keras.config.set_image_data_format('channels_last') before you import pa_keras."
        )


_check_keras()
