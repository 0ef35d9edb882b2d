"""The formats by their names in `python -m pa_keras.export`, and where each file of one stands."""

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
    """Raises an ImportError, before any work, unless formats can be written and checked here.

    Args:
        kinds: as of `path_of`.
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
    """Random training images as the evaluation sees them, for int8.

    Args:
        train: images to draw from.
        number: how many, 1 or more; fewer where there are fewer.
        image_size: (height, width) in pixels.
        crop_fraction: of the evaluation preprocessing.
        on_bad_image: "error" raises for one that does not decode; "skip" leaves it out.

    Returns:
        float32 (height, width, 3) each, 0..255.
    """
    # In random order: the quantizer averages ranges as it goes, so that the last images count most.
    drawn = train.take(np.random.default_rng(0).permutation(len(train))[:number])
    good = drawn.take(check_images(drawn.paths, on_bad_image).good)
    batches = evaluation_batches(
        good.paths, batch_size=1, image_size=image_size, crop_fraction=crop_fraction
    )
    return [batch[0].numpy() for batch in batches]


def path_of(place: ExportPlace, kind: str) -> Path:
    """Where a format stands.

    Args:
        place: of the export.
        kind: "saved_model", "tflite", "tflite_float16", "tflite_dynamic", "tflite_int8" or "onnx".
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
) -> None:
    """Writes the SavedModel, its warm-up records, and the files that a server starts from.

    Args:
        place: where to; its name is the model's name to the server.
        model: embedding model.
        crop_fraction: as of `to_saved_model`, as are gallery and k.
        batch_sizes: that the server pads to, 1 or more each, increasing.
        gallery: what to search.
        k: neighbours in each answer.
    """
    sizes = tuple(batch_sizes)
    write_batching_parameters(place.files / "batching_parameters.txt", sizes)
    write_models_config(place.files / "models.config", place.name, f"/models/{place.name}")
    path = place.saved_model
    to_saved_model(model, path, crop_fraction=crop_fraction, gallery=gallery, k=k)
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
        place: where to.
        model: embedding model.
        kind: as of `path_of`, but for "saved_model".
        crop_fraction: of the evaluation preprocessing.
        calibration_images: for "tflite_int8", as of `to_tflite`.
        input_dtype: of TFLite's pixels.
        batch_size: images in a TFLite call. Default None: any number.
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
