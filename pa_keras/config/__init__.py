"""Every setting of the commands: what it means, its unit or range, and its default.

The standard library alone is imported here, so that `--help` is instant. Only the commands see
these classes: they unpack them into plain arguments.
"""

from pa_keras.config.compare import CompareConfig
from pa_keras.config.fit import (
    EvaluationConfig,
    FitConfig,
    LoggingConfig,
    ModelConfig,
    OptimizerConfig,
    TrainingConfig,
)
from pa_keras.config.images import AugmentationConfig, BatchConfig, DataConfig
from pa_keras.config.loss import LossName, LossOptions
from pa_keras.config.search import (
    SearchAddConfig,
    SearchBuildConfig,
    SearchExportConfig,
    SearchInfoConfig,
    SearchQueryConfig,
    SearchRemoveConfig,
)
from pa_keras.config.trained import EmbedConfig, EvaluateConfig, ExportConfig

__all__ = [
    "AugmentationConfig",
    "BatchConfig",
    "CompareConfig",
    "DataConfig",
    "EmbedConfig",
    "EvaluateConfig",
    "EvaluationConfig",
    "ExportConfig",
    "FitConfig",
    "LoggingConfig",
    "LossName",
    "LossOptions",
    "ModelConfig",
    "OptimizerConfig",
    "SearchAddConfig",
    "SearchBuildConfig",
    "SearchExportConfig",
    "SearchInfoConfig",
    "SearchQueryConfig",
    "SearchRemoveConfig",
    "TrainingConfig",
]
