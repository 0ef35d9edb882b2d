"""What TFLite and ONNX files share: pixels in, embeddings out, and a sidecar that says which."""

import importlib.util
import json
from pathlib import Path
from typing import Literal

import keras
import tensorflow as tf

from pa_keras.models import expect_embedding_model

InputDtype = Literal["float32", "uint8"]


def expect_packages(extra: str, *modules: str) -> None:
    """Raises an ImportError that names the extra to install, unless the modules are there."""
    missing = [name for name in modules if importlib.util.find_spec(name) is None]
    if missing:
        raise ImportError(
            f"Expected {', '.join(missing)} for this format; install it: "
            f'pip install "pa_keras[{extra}]".'
        )


def pixels_to_embedding(
    model: keras.Model, batch_size: int | None = None, input_dtype: InputDtype = "float32"
) -> tf.types.experimental.PolymorphicFunction:
    """The function {"embedding": (B, D)} of "images" (B, H, W, 3), to be converted.

    Args:
        model: embedding model.
        batch_size: B, 1 or more. Default None: any.
        input_dtype: "float32" (default) or "uint8"; 0..255 in both.

    Raises:
        ValueError: not an embedding model, or an argument out of its range.
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
    """Writes <path>.json: all that is needed to prepare an image.

    Args:
        path: of the exported file.
        model: what was exported.
        crop_fraction: of the evaluation preprocessing.
        batch_size: images in a call; None is any.
        input_dtype: of the pixels.
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
