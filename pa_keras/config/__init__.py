"""Every setting of the commands: what it means, its unit or range, and its default.

Each command has its own file; `data`, `loss`, `matching`, `model_source` and `reranking` hold the
settings that several commands share. This package imports only the standard library, so that
`--help` is fast. Only the commands, `runs`, `reports` and `comparison` use these classes; they
unpack them into plain arguments.

The metadata of a field says how to give it on the command line: `short` is a second option name;
`positional` allows values without an option; `flat` marks a group whose settings have no prefix;
`settings_of` marks a dictionary of the settings of another config.
"""

from pa_keras.config.compare import CompareConfig
from pa_keras.config.data import AugmentationConfig, BatchConfig, DataConfig
from pa_keras.config.embed import EmbedConfig
from pa_keras.config.evaluate import EvaluateConfig
from pa_keras.config.export import ExportConfig
from pa_keras.config.fit import (
    EvaluationConfig,
    FitConfig,
    LoggingConfig,
    ModelConfig,
    OptimizerConfig,
    TrainingConfig,
)
from pa_keras.config.loss import LossName, LossOptions
from pa_keras.config.matching import Matching
from pa_keras.config.model_source import EvaluationData, ModelSource
from pa_keras.config.reranking import Reranking
from pa_keras.config.search import (
    SearchAddConfig,
    SearchBuildConfig,
    SearchExportConfig,
    SearchInfoConfig,
    SearchQueryConfig,
    SearchRemoveConfig,
)

__all__ = [
    "AugmentationConfig",
    "BatchConfig",
    "CompareConfig",
    "DataConfig",
    "EmbedConfig",
    "EvaluateConfig",
    "EvaluationConfig",
    "EvaluationData",
    "ExportConfig",
    "FitConfig",
    "LoggingConfig",
    "LossName",
    "LossOptions",
    "Matching",
    "ModelConfig",
    "ModelSource",
    "OptimizerConfig",
    "Reranking",
    "SearchAddConfig",
    "SearchBuildConfig",
    "SearchExportConfig",
    "SearchInfoConfig",
    "SearchQueryConfig",
    "SearchRemoveConfig",
    "TrainingConfig",
]
