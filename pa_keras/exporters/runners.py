"""Exported files as functions to embeddings, each run by the runtime that its users have."""

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import keras
import numpy as np
import tensorflow as tf

from pa_keras.exporters.pixels import expect_packages


@dataclass(frozen=True)
class Artefact:
    """An exported model, ready to embed.

    Args:
        kind: Format: "keras", "saved_model", "tflite", "tflite_float16", "tflite_dynamic",
            "tflite_int8" or "onnx".
        size: Bytes on disk.
        takes: "image_bytes", an array of bytes (B,); or "pixels", float32 (B, H, W, 3), 0..255,
            after the evaluation preprocessing.
        embed: Function from a batch of these to embeddings float32 (B, D).
        find: Function from a batch of image files to the outputs of `neighbours_of_images`. None:
            the file has no gallery.
    """

    kind: str
    size: int
    takes: Literal["image_bytes", "pixels"]
    embed: Callable[[np.ndarray], np.ndarray]
    find: Callable[[np.ndarray], dict[str, np.ndarray]] | None = None


def keras_artefact(model: keras.Model, size: int = 0) -> Artefact:
    """Wraps the Keras model itself, the reference of the comparison.

    Args:
        model: Embedding model.
        size: Bytes of its file. Default 0: no file.
    """
    # Without XLA, which makes backbones several times slower on a CPU.
    step = tf.function(
        lambda pixels: model(pixels, training=False),
        input_signature=[tf.TensorSpec((None, *model.input_shape[1:]), tf.float32)],
    )
    return Artefact("keras", size, "pixels", lambda pixels: step(pixels).numpy())


def load_artefact(path: Path, kind: str) -> Artefact:
    """Opens an exported file.

    Args:
        path: Folder of a SavedModel, or a .tflite or .onnx file.
        kind: As in `Artefact`.

    Raises:
        ImportError: If the interpreter of the format is not installed.
    """
    if kind == "saved_model":
        files = [file for file in path.rglob("*") if file.is_file()]
        # Without the warm-up records, which a server reads only once.
        size = sum(file.stat().st_size for file in files if file.parent.name != "assets.extra")
        loaded = tf.saved_model.load(path)
        find = _finding(loaded) if "neighbours_of_images" in loaded.signatures else None
        return Artefact(kind, size, "image_bytes", _embedding(loaded), find)
    embed = _onnx(path) if kind == "onnx" else _tflite(path)
    return Artefact(kind, path.stat().st_size, "pixels", embed)


def _embedding(loaded: Any) -> Callable[[np.ndarray], np.ndarray]:
    def embed(image_bytes: np.ndarray) -> np.ndarray:
        # `loaded` keeps the variables alive; a signature alone would not.
        signature = loaded.signatures["serving_default"]
        return signature(image_bytes=tf.constant(image_bytes))["embedding"].numpy()

    return embed


def _finding(loaded: Any) -> Callable[[np.ndarray], dict[str, np.ndarray]]:
    def find(image_bytes: np.ndarray) -> dict[str, np.ndarray]:
        signature = loaded.signatures["neighbours_of_images"]
        found = signature(image_bytes=tf.constant(image_bytes))
        return {name: values.numpy() for name, values in found.items()}

    return find


def _tflite(path: Path) -> Callable[[np.ndarray], np.ndarray]:
    expect_packages("tflite", "ai_edge_litert")
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(str(path), num_threads=os.cpu_count())
    (entry,) = interpreter.get_input_details()
    is_fixed = entry["shape_signature"][0] > 0
    dtype = entry["dtype"]

    def embed_batch(pixels: np.ndarray) -> np.ndarray:
        if not is_fixed:
            interpreter.resize_tensor_input(entry["index"], pixels.shape)
        interpreter.allocate_tensors()
        interpreter.set_tensor(entry["index"], pixels)
        interpreter.invoke()
        return interpreter.get_tensor(interpreter.get_output_details()[0]["index"])

    def embed(pixels: np.ndarray) -> np.ndarray:
        pixels = np.rint(pixels).astype(dtype) if dtype == np.uint8 else pixels
        if not is_fixed:
            return embed_batch(pixels)
        size = int(entry["shape_signature"][0])
        missing = -len(pixels) % size
        padded = np.concatenate([pixels, np.repeat(pixels[-1:], missing, axis=0)])
        batches = np.split(padded, len(padded) // size)
        return np.concatenate([embed_batch(batch) for batch in batches])[: len(pixels)]

    return embed


def _onnx(path: Path) -> Callable[[np.ndarray], np.ndarray]:
    expect_packages("onnx", "onnxruntime")
    import onnxruntime

    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    return lambda pixels: session.run(["embedding"], {name: pixels})[0]
