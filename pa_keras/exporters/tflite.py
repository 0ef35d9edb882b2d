"""Export of an embedding model to TFLite, in float32, float16, dynamic range or int8."""

import contextlib
import io
import tempfile
import warnings
from collections.abc import Iterable
from pathlib import Path
from typing import Literal, get_args

import keras
import numpy as np
import tensorflow as tf
from tensorflow.lite.python.convert_phase import ConverterError

from pa_keras.exporters.pixels import (
    InputDtype,
    expect_packages,
    pixels_to_embedding,
    write_sidecar,
)

Quantization = Literal["none", "float16", "dynamic", "int8"]
_SIGNATURE = "serving_default"


def to_tflite(
    model: keras.Model,
    path: str | Path,
    *,
    quantization: Quantization = "none",
    calibration_images: Iterable[np.ndarray] | None = None,
    input_dtype: InputDtype = "float32",
    batch_size: int | None = None,
    crop_fraction: float = 0.875,
) -> Path:
    """Exports an embedding model: "images" (B, H, W, 3), 0..255, to "embedding" float32 (B, D).

    It uses only builtin operations, so that a plain LiteRT interpreter can run it. With every
    quantization, pixels are not quantized, and the embedding is float32 of unit length: int8 steps
    of 1/128 would be coarse compared with the components of a unit vector.

    Args:
        model: Embedding model with float32 layers.
        path: .tflite file to write; it is replaced. A .json file beside it says how to prepare
            images.
        quantization: "none" (default); "float16": float16 weights; "dynamic": int8 weights,
            activations quantized at run time; "int8": int8 weights and calibrated activations.
        calibration_images: Only for "int8": images (H, W, 3), 0..255, after the evaluation
            preprocessing; some hundreds of the training set.
        input_dtype: Type of the pixels, "float32" (default) or "uint8".
        batch_size: Images in a call, for delegates that need it fixed. Default None: any number.
        crop_fraction: Crop fraction of the evaluation preprocessing, (0, 1], for the .json file.
            Default 0.875.

    Returns:
        The path.

    Raises:
        ImportError: If litert-quantizer is missing for "int8".
        ValueError: If the model is not an embedding model, an argument is out of range, calibration
            images are too few or given without "int8", or TFLite lacks an operation.

    Example:
        >>> to_tflite(model, "cars.tflite", quantization="float16")  # doctest: +SKIP
        PosixPath('cars.tflite')
    """
    path = Path(path)
    if quantization not in get_args(Quantization):
        raise ValueError(
            f"Expected a quantization of {', '.join(get_args(Quantization))}; received "
            f"{quantization!r}."
        )
    if (calibration_images is None) == (quantization == "int8"):
        raise ValueError(
            "Expected calibration_images for int8, and only for int8; received "
            f"{'none' if calibration_images is None else 'some'} for {quantization!r}."
        )
    images = () if calibration_images is None else calibration_images
    rows = [np.rint(image).astype(input_dtype) for image in images]
    if quantization == "int8":
        expect_packages("tflite", "litert_quantizer")
        if len(rows) < (batch_size or 1):
            raise ValueError(
                f"Expected calibration images for a batch of {batch_size or 1}; received "
                f"{len(rows)}. Give some hundreds."
            )
    # For a fixed batch of 1, the converter splits the sum of the two poolings into a layer whose
    # bias is another layer's result, which the quantizer rejects. So the size is fixed afterwards.
    alone = quantization == "int8" and batch_size == 1
    content = _converted(model, None if alone else batch_size, input_dtype, quantization)
    if quantization == "int8":
        content = _calibrated(content, rows, batch_size or 1)
    content = _with_batch_of_one(content) if alone else content
    path.write_bytes(content)
    write_sidecar(
        path, model, crop_fraction=crop_fraction, batch_size=batch_size, input_dtype=input_dtype
    )
    return path


def _converted(
    model: keras.Model, batch_size: int | None, input_dtype: InputDtype, quantization: Quantization
) -> bytes:
    """Converts to a TFLite model; int8 stays float32 here, since it needs calibration."""
    archive = keras.export.ExportArchive()
    embed = pixels_to_embedding(model, batch_size, input_dtype)
    archive.add_endpoint(_SIGNATURE, embed, embed.input_signature)
    with tempfile.TemporaryDirectory() as folder:
        archive.write_out(folder, verbose=False)
        converter = tf.lite.TFLiteConverter.from_saved_model(folder)
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS]
        if quantization in ("float16", "dynamic"):
            converter.optimizations = [tf.lite.Optimize.DEFAULT]
        if quantization == "float16":
            converter.target_spec.supported_types = [tf.float16]
        try:
            return converter.convert()
        except ConverterError as error:
            raise ValueError(
                "Expected a network of TFLite's builtin operations; the converter says: "
                f"{str(error).strip().splitlines()[0]} Export another format."
            ) from error


def _calibrated(content: bytes, images: list[np.ndarray], batch_size: int) -> bytes:
    """Quantizes to int8 with the LiteRT quantizer, which is more accurate than the converter."""
    from litert_quantizer import algorithm_manager, qtyping, quantizer, recipe

    quantize = quantizer.Quantizer(bytearray(content), recipe.static_wi8_ai8())
    names, nothing = qtyping.TFLOperationName, algorithm_manager.AlgorithmName.NO_QUANTIZE
    for name in (names.INPUT, names.OUTPUT):
        quantize.update_quantization_recipe(".*", name, algorithm_key=nothing)
    # The division by the length stays in float32, as does the output of the function.
    for scope in ("unit_length", "StatefulPartitionedCall"):
        quantize.update_quantization_recipe(scope, names.ALL_SUPPORTED, algorithm_key=nothing)
    batches = [
        {"images": np.stack(images[start : start + batch_size])}
        for start in range(0, len(images) - batch_size + 1, batch_size)
    ]
    # Its printed summary is suppressed: the agreement report is better.
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.filterwarnings("ignore", "Warning: Enabling `experimental_preserve_all_tensors`")
        # The bias of a channel with almost zero weights does not fit into 32 bits at their scale.
        warnings.filterwarnings("ignore", "invalid value encountered in cast")
        found = quantize.calibrate({_SIGNATURE: batches})
        return bytes(quantize.quantize(found).quantized_model)


def _with_batch_of_one(content: bytes) -> bytes:
    """Fixes the open batch size to 1: shapes have 1 there, but shape signatures have -1."""
    from tensorflow.lite.tools import flatbuffer_utils

    read = flatbuffer_utils.read_model_from_bytearray(bytearray(content))
    for tensor in (tensor for graph in read.subgraphs for tensor in graph.tensors):
        tensor.shapeSignature = None
    return bytes(flatbuffer_utils.convert_object_to_bytearray(read))
