"""Shared parts of TFLite and ONNX exports: pixels to embeddings, and a .json file beside them."""

import importlib.util
import json
from pathlib import Path
from typing import Literal

import keras
import tensorflow as tf

from pa_keras.models import expect_embedding_model

InputDtype = Literal["float32", "uint8"]


def expect_packages(extra: str, *modules: str) -> None:
    """Raises an ImportError that names the extra to install if a module is missing."""
    missing = [name for name in modules if importlib.util.find_spec(name) is None]
    if missing:
        raise ImportError(
            f"Expected {', '.join(missing)} for this format; install it: "
            f'pip install "pa_keras[{extra}]".'
        )


def pixels_to_embedding(
    model: keras.Model, batch_size: int | None = None, input_dtype: InputDtype = "float32"
) -> tf.types.experimental.PolymorphicFunction:
    """Returns the function to convert, from "images" (B, H, W, 3) to {"embedding": (B, D)}.

    Args:
        model: Embedding model.
        batch_size: B, 1 or more. Default None: any number.
        input_dtype: "float32" (default) or "uint8"; 0..255 in both cases.

    Raises:
        ValueError: If the model is not an embedding model, or an argument is out of range.
    """
    expect_embedding_model(model)
    if batch_size is not None and batch_size < 1:
        raise ValueError(f"Expected a batch_size of 1 or more, or None; received {batch_size}.")
    if input_dtype not in ("float32", "uint8"):
        raise ValueError(f"Expected input_dtype float32 or uint8; received {input_dtype!r}.")
    spec = tf.TensorSpec((batch_size, *model.input_shape[1:]), input_dtype, "images")

    def embed(images: tf.Tensor) -> dict[str, tf.Tensor]:
        return {"embedding": model(tf.cast(images, tf.float32), training=False)}

    return tf.function(embed, input_signature=[spec])


def write_sidecar(
    path: Path,
    model: keras.Model,
    *,
    crop_fraction: float,
    batch_size: int | None = None,
    input_dtype: InputDtype = "float32",
) -> None:
    """Writes <path>.json, with everything that is needed to prepare an image.

    Args:
        path: Path of the exported file.
        model: Exported model.
        crop_fraction: Crop fraction of the evaluation preprocessing.
        batch_size: Images in a call. Default None: any number.
        input_dtype: Type of the pixels. Default "float32".
    """
    height, width = model.input_shape[1:3]
    sidecar = {
        "file": path.name,
        "input": {
            "name": "images",
            "shape": [batch_size, height, width, 3],
            "dtype": input_dtype,
            "channels": "RGB",
            "range": [0, 255],
            "crop_fraction": crop_fraction,
            "preprocessing": "resize, bilinear and antialiased, so that the image covers "
            "height / crop_fraction x width / crop_fraction; crop the centre",
        },
        "output": {
            "name": "embedding",
            "shape": [batch_size, model.output_shape[1]],
            "dtype": "float32",
            "length": 1.0,
        },
    }
    path.with_name(path.name + ".json").write_text(json.dumps(sidecar, indent=2) + "\n")
