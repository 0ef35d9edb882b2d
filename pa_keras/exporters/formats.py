"""The formats of `python -m pa_keras.export` by name, and the paths of their files."""

from collections.abc import Iterable
from pathlib import Path
from typing import Literal

import keras
import numpy as np

from pa_keras.datasets import Images
from pa_keras.exporters.gallery import Gallery
from pa_keras.exporters.onnx import to_onnx
from pa_keras.exporters.pixels import InputDtype, expect_packages
from pa_keras.exporters.publishing import ExportPlace
from pa_keras.exporters.saved_model import to_saved_model
from pa_keras.exporters.serving_files import write_batching_parameters, write_models_config
from pa_keras.exporters.tflite import Quantization, to_tflite
from pa_keras.exporters.warmup import placeholder_image, write_warmup
from pa_keras.pipelines import check_images, evaluation_batches

_QUANTIZATIONS: dict[str, Quantization] = {
    "tflite": "none",
    "tflite_float16": "float16",
    "tflite_dynamic": "dynamic",
    "tflite_int8": "int8",
}


def expect_installed(kinds: Iterable[str]) -> None:
    """Raises an ImportError, before any work, if packages for the formats are missing.

    Args:
        kinds: Formats, as in `path_of`.
    """
    for kind in kinds:
        if kind == "onnx":
            expect_packages("onnx", "onnx", "tf2onnx", "onnxruntime")
        elif kind.startswith("tflite"):
            expect_packages("tflite", "ai_edge_litert", "litert_quantizer")


def calibration_images(
    train: Images,
    number: int,
    *,
    image_size: tuple[int, int],
    crop_fraction: float = 0.875,
    on_bad_image: Literal["error", "skip"] = "error",
) -> list[np.ndarray]:
    """Draws random training images for the calibration of int8, preprocessed as in evaluation.

    Args:
        train: Images to draw from.
        number: Number of images, 1 or more; all images if there are fewer.
        image_size: (height, width) in pixels.
        crop_fraction: Crop fraction of the evaluation preprocessing. Default 0.875.
        on_bad_image: "error" (default) raises if an image cannot be decoded; "skip" omits it.

    Returns:
        Images float32 (height, width, 3), 0..255.
    """
    # In random order, because the quantizer uses moving averages: the last images count most.
    drawn = train.take(np.random.default_rng(0).permutation(len(train))[:number])
    good = drawn.take(check_images(drawn.paths, on_bad_image).good)
    batches = evaluation_batches(
        good.paths, batch_size=1, image_size=image_size, crop_fraction=crop_fraction
    )
    return [batch[0].numpy() for batch in batches]


def path_of(place: ExportPlace, kind: str) -> Path:
    """Returns the path of a format.

    Args:
        place: Place of the export.
        kind: Format: "saved_model", "tflite", "tflite_float16", "tflite_dynamic", "tflite_int8" or
            "onnx".
    """
    if kind == "saved_model":
        return place.saved_model
    name = "model.onnx" if kind == "onnx" else f"{kind.replace('tflite', 'model')}.tflite"
    return place.files / name


def write_served(
    place: ExportPlace,
    model: keras.Model,
    *,
    crop_fraction: float,
    batch_sizes: Iterable[int],
    gallery: Gallery | None = None,
    k: int = 10,
    min_similarity: float | None = None,
) -> None:
    """Writes the SavedModel, its warm-up records, and the configuration files of a server.

    Args:
        place: Place of the export; its name is the name of the model on the server.
        model: Embedding model.
        crop_fraction: As in `to_saved_model`.
        batch_sizes: Batch sizes that the server pads to, each 1 or more, increasing.
        gallery: As in `to_saved_model`.
        k: As in `to_saved_model`.
        min_similarity: As in `to_saved_model`.
    """
    sizes = tuple(batch_sizes)
    write_batching_parameters(place.files / "batching_parameters.txt", sizes)
    write_models_config(place.files / "models.config", place.name, f"/models/{place.name}")
    path = place.saved_model
    to_saved_model(
        model,
        path,
        crop_fraction=crop_fraction,
        gallery=gallery,
        k=k,
        min_similarity=min_similarity,
    )
    size = model.input_shape[1:3]
    write_warmup(path, place.name, [placeholder_image(size)], sizes, image_size=size)


def write_file(
    place: ExportPlace,
    model: keras.Model,
    kind: str,
    *,
    crop_fraction: float,
    calibration_images: Iterable[np.ndarray] | None = None,
    input_dtype: InputDtype = "float32",
    batch_size: int | None = None,
) -> None:
    """Writes a TFLite or ONNX file.

    Args:
        place: Place of the export.
        model: Embedding model.
        kind: As in `path_of`, except "saved_model".
        crop_fraction: Crop fraction of the evaluation preprocessing.
        calibration_images: Images for "tflite_int8", as in `to_tflite`.
        input_dtype: Type of the pixels for TFLite. Default "float32".
        batch_size: Images in a TFLite call. Default None: any number.
    """
    path = path_of(place, kind)
    if kind == "onnx":
        to_onnx(model, path, crop_fraction=crop_fraction)
        return
    to_tflite(
        model,
        path,
        quantization=_QUANTIZATIONS[kind],
        calibration_images=calibration_images if kind == "tflite_int8" else None,
        input_dtype=input_dtype,
        batch_size=batch_size,
        crop_fraction=crop_fraction,
    )
