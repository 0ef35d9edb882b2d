"""Compares two quantizers for TFLite, of the converter and of LiteRT, on real test images.

    python benchmarks/quantizers.py --run runs/cars [--images 2000]

Both are calibrated on the same 200 training images. The report is that of `pa_keras.export`.
"""

import argparse
import tempfile
from dataclasses import replace
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf
from litert_quantizer import quantizer, recipe

from pa_keras.datasets import sample_classes
from pa_keras.exporters import (
    as_table,
    keras_artefact,
    load_artefact,
    measure_agreement,
    to_tflite,
)
from pa_keras.exporters.formats import calibration_images
from pa_keras.exporters.pixels import pixels_to_embedding
from pa_keras.runs.load import crop_fraction_of, load_trained
from pa_keras.runs.load_data import load_data


def by_converter(model: keras.Model, calibration: list[np.ndarray] | None) -> bytes:
    """Quantizes with TensorFlow's converter: dynamic range or, with calibration images, int8."""
    archive = keras.export.ExportArchive()
    embed = pixels_to_embedding(model)
    archive.add_endpoint("serving_default", embed, embed.input_signature)
    with tempfile.TemporaryDirectory() as folder:
        archive.write_out(folder, verbose=False)
        converter = tf.lite.TFLiteConverter.from_saved_model(folder)
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
        if calibration is not None:
            converter.representative_dataset = lambda: ([image[None]] for image in calibration)
            converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
        return converter.convert()


def dynamic_by_litert(float_file: Path) -> bytes:
    """Quantizes to dynamic range with the LiteRT quantizer."""
    quantize = quantizer.Quantizer(bytearray(float_file.read_bytes()), recipe.dynamic_wi8_afp32())
    return bytes(quantize.quantize().quantized_model)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--run", required=True)
    parser.add_argument("--images", type=int, default=2000)
    options = parser.parse_args()
    model, settings = load_trained(options.run, None)
    data = load_data(settings)
    size = {
        "image_size": model.input_shape[1:3],
        "crop_fraction": crop_fraction_of(settings, None),
    }
    calibration = calibration_images(data.train, 200, **size)
    some = sample_classes(data, options.images)
    with tempfile.TemporaryDirectory() as folder:
        path = to_tflite(model, Path(folder, "float.tflite"))
        int8 = to_tflite(
            model,
            Path(folder, "int8.tflite"),
            quantization="int8",
            calibration_images=calibration,
        )
        files = {
            "dynamic, converter": by_converter(model, None),
            "dynamic, LiteRT": dynamic_by_litert(path),
            "int8, converter": by_converter(model, calibration),
            "int8, LiteRT": int8.read_bytes(),
        }
        artefacts = []
        for name, content in files.items():
            path = Path(folder, f"{name}.tflite")  # one each: LiteRT maps it into memory
            path.write_bytes(content)
            artefacts.append(replace(load_artefact(path, "tflite"), kind=name))
        found = measure_agreement(
            keras_artefact(model), artefacts, some.queries, some.gallery, **size
        )
    print(as_table(found))


if __name__ == "__main__":
    main()
