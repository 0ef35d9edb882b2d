"""Proxy-Anchor metric learning for Keras: images in, unit vectors out, the right ones nearest."""

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
    "ContrastiveLoss": "pa_keras.losses",
    "CosFaceLoss": "pa_keras.losses",
    "LiftedStructureLoss": "pa_keras.losses",
    "MultiSimilarityLoss": "pa_keras.losses",
    "NPairLoss": "pa_keras.losses",
    "NormalizedSoftmaxLoss": "pa_keras.losses",
    "Proxies": "pa_keras.layers",
    "ProxyAnchorLoss": "pa_keras.losses",
    "ProxyNCALoss": "pa_keras.losses",
    "RecallAtK": "pa_keras.training",
    "SoftTripleLoss": "pa_keras.losses",
    "SoftTripleRegularizer": "pa_keras.layers",
    "TripletLoss": "pa_keras.losses",
    "embedding_model": "pa_keras.models",
    "nearest_neighbours": "pa_keras.retrieval",
    "proxy_anchor": "pa_keras.losses",
    "retrieval_metrics": "pa_keras.retrieval",
    "with_proxies": "pa_keras.models",
}

# Imported at first use too, so that `pa_keras.losses.TripletLoss` needs no import of its own.
_MODULES = (
    "backbones",
    "comparison",
    "config",
    "datasets",
    "exporters",
    "index",
    "layers",
    "losses",
    "models",
    "pipelines",
    "plots",
    "retrieval",
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


def _check_backend() -> None:
    """Raises where Keras is set to another backend: its tensors would fail far from the cause."""
    keras = sys.modules.get("keras")
    settings = Path(os.environ.get("KERAS_HOME", Path.home() / ".keras")) / "keras.json"
    if keras is not None and hasattr(keras, "config"):
        backend = keras.config.backend()
    elif "KERAS_BACKEND" in os.environ:
        backend = os.environ["KERAS_BACKEND"]
    elif settings.exists():
        backend = json.loads(settings.read_text()).get("backend", "tensorflow")
    else:
        return
    if backend and backend != "tensorflow":
        raise ImportError(
            f"Expected Keras on TensorFlow; its backend is {backend!r}. Set the environment "
            f"variable KERAS_BACKEND=tensorflow, or change {settings}, and import keras anew."
        )


_check_backend()
