"""Every setting of the commands: what it means, its unit or range, and its default.

One file for each command; `data`, `loss` and `model_source` hold what several of them share. Only
the standard library is imported here, so that `--help` is fast. Only commands, `runs` and
`comparison` see these classes, and unpack them into plain arguments.

The metadata of a field say how it is given on the command line: `short`, one more option name;
`positional`, values without an option; `flat`, a group whose settings have no prefix;
`settings_of`, a dictionary of the settings of another config.
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
from pa_keras.config.model_source import EvaluationData, ModelSource
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
    "ModelConfig",
    "ModelSource",
    "OptimizerConfig",
    "SearchAddConfig",
    "SearchBuildConfig",
    "SearchExportConfig",
    "SearchInfoConfig",
    "SearchQueryConfig",
    "SearchRemoveConfig",
    "TrainingConfig",
]
