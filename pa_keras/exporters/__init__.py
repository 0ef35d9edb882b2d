"""Exports of a trained model to servers and phones, checked for agreement with the Keras model."""

from pa_keras.exporters.agreement import Agreement, as_table, expect_agreement
from pa_keras.exporters.comparison import measure_agreement
from pa_keras.exporters.gallery import Gallery, read_gallery
from pa_keras.exporters.match_agreement import MatchAgreement, expect_matches, measure_matches
from pa_keras.exporters.model_card import (
    Identity,
    Matches,
    Report,
    model_card,
    write_model_card,
)
from pa_keras.exporters.onnx import to_onnx
from pa_keras.exporters.runners import Artefact, keras_artefact, load_artefact
from pa_keras.exporters.saved_model import to_saved_model
from pa_keras.exporters.search_graph import GalleryIndex, measure_gallery
from pa_keras.exporters.serving_files import write_batching_parameters, write_models_config
from pa_keras.exporters.tflite import to_tflite
from pa_keras.exporters.warmup import write_warmup

__all__ = [
    "Agreement",
    "Artefact",
    "Gallery",
    "GalleryIndex",
    "Identity",
    "MatchAgreement",
    "Matches",
    "Report",
    "as_table",
    "expect_agreement",
    "expect_matches",
    "keras_artefact",
    "load_artefact",
    "measure_agreement",
    "measure_gallery",
    "measure_matches",
    "model_card",
    "read_gallery",
    "to_onnx",
    "to_saved_model",
    "to_tflite",
    "write_batching_parameters",
    "write_model_card",
    "write_models_config",
    "write_warmup",
]
