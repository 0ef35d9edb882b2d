"""A trained model for those who do not train: servers, phones, and proof that they agree."""

from pa_keras.exporters.agreement import Agreement, as_table, measure_agreement
from pa_keras.exporters.artefacts import Artefact, keras_artefact, load_artefact
from pa_keras.exporters.serving_files import write_batching_parameters, write_models_config
from pa_keras.exporters.warmup import write_warmup

__all__ = [
    "Agreement",
    "Artefact",
    "as_table",
    "keras_artefact",
    "load_artefact",
    "measure_agreement",
    "write_batching_parameters",
    "write_models_config",
    "write_warmup",
]
