"""Settings of export."""

from dataclasses import dataclass, field
from typing import Literal

from pa_keras.config.matching import Matching
from pa_keras.config.model_source import FLAT, EvaluationData, ModelSource


@dataclass
class ExportConfig:
    """An export of a trained embedding model, checked for agreement with the Keras model."""

    out: str
    """Folder for all exported files. It may contain other models and versions."""

    source: ModelSource = field(default_factory=ModelSource, metadata=FLAT)
    data: EvaluationData = field(default_factory=EvaluationData, metadata=FLAT)

    formats: tuple[
        Literal[
            "saved_model",
            "tflite",
            "tflite_float16",
            "tflite_dynamic",
            "tflite_int8",
            "onnx",
        ],
        ...,
    ] = ("saved_model",)
    """Formats to write: saved_model tflite tflite_float16 tflite_dynamic tflite_int8 onnx."""

    name: str | None = None
    """Name of the model on a server. Default: the name of the run folder or of the model file."""

    version: int = 1
    """Version, 1 or more. A server serves the highest one. Existing versions are not
    overwritten."""

    force: bool = False
    """Replace this version completely if it exists. A server that has already loaded it keeps the
    old one until it restarts."""

    gallery: str | None = None
    """Gallery to search, which adds neighbour signatures to the SavedModel: a folder, a manifest,
    or an .npz that pa_keras.embed wrote with the same model."""

    gallery_dtype: Literal["float32", "bfloat16", "int8"] = "float32"
    """Type in which the gallery is stored. The model card reports the loss by rounding."""

    k: int = 10
    """Neighbours in each response, fixed in the export: 1 to the size of the gallery."""

    matching: Matching = field(default_factory=Matching, metadata=FLAT)
    tflite_batch_size: int | None = None
    """Images in a TFLite call: a number if a delegate needs a fixed one, null for any number."""

    tflite_input: Literal["float32", "uint8"] = "float32"
    """Type of the input pixels of TFLite, 0..255 in both cases."""

    calibration_images: int = 200
    """Number of training images for the calibration of int8."""

    batch_sizes: tuple[int, ...] = (1, 8, 32)
    """Batch sizes that a server pads to. Each of them is warmed up."""

    report_images: int | None = 2000
    """Test images to measure the agreement on, in complete classes; null: all of them."""

    allow_disagreement: bool = False
    """Export even formats that miss their bound in the report."""
