"""Settings of export."""

from dataclasses import dataclass, field
from typing import Literal

from pa_keras.config.model_source import FLAT, EvaluationData, ModelSource


@dataclass
class ExportConfig:
    """An export of a trained embedding model, with proof that it agrees."""

    out: str
    """Folder for everything that is exported; other models and versions may be in it."""

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
    """What to make: saved_model tflite tflite_float16 tflite_dynamic tflite_int8 onnx."""

    name: str | None = None
    """The model's name to a server. Default: that of the run's folder, or of the model's file."""

    version: int = 1
    """Version, 1 or more; a server takes the highest. One that is there is not overwritten."""

    force: bool = False
    """Replace everything of this version if it is there already; a server that has it loaded
    keeps the old one until it starts anew."""

    gallery: str | None = None
    """Add neighbour signatures to the SavedModel: what to search, as a folder, a manifest, or an
    .npz of pa_keras.embed by the same model."""

    gallery_dtype: Literal["float32", "bfloat16", "int8"] = "float32"
    """How the gallery is kept; the model card says what rounding loses."""

    k: int = 10
    """Neighbours in each answer, fixed in the export, 1 to the gallery's size."""

    tflite_batch_size: int | None = None
    """Images a TFLite call takes: a number for delegates that need one, null for any."""

    tflite_input: Literal["float32", "uint8"] = "float32"
    """Type of the pixels that TFLite takes, 0..255 in both."""

    calibration_images: int = 200
    """Training images of the data set that int8 is calibrated on."""

    batch_sizes: tuple[int, ...] = (1, 8, 32)
    """Batch sizes that a server pads to, each of them warmed up."""

    report_images: int | None = 2000
    """Test images that the agreement is measured on, whole classes; null: all of them."""

    allow_disagreement: bool = False
    """Export even what misses its bound in the report."""
