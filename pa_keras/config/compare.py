"""Settings of a comparison."""

from dataclasses import dataclass, field
from typing import Any

from pa_keras.config.fit import FitConfig


@dataclass
class CompareConfig:
    """A comparison: runs of fit that differ in a few settings, each with several seeds."""

    out: str
    """Folder for the table and the plots. A call with the same settings replaces them."""

    runs: list[dict[str, Any]]
    """The rows of the table. Each has a name and the settings of fit in which it differs."""

    base: str = "glyphs"
    """Settings that all runs share: the name of a shipped experiment of fit, or a YAML file."""

    settings: dict[str, Any] = field(default_factory=dict, metadata={"settings_of": FitConfig})
    """Settings of fit for all runs; they override those of base. Also --settings.NAME VALUE."""

    vary: dict[str, list[Any]] = field(default_factory=dict)
    """Settings to vary: one or two dotted names of settings of fit, each with a list of values."""

    seeds: tuple[int, ...] = (0, 1, 2)
    """Seeds. Every run is trained with each of them."""

    data_dir: str | None = None
    """Folder of the images, or path of the manifest. Default: the one in base."""

    train: bool = True
    """Train the missing runs. false: report only the runs that are already trained."""

    cache: str = "runs/compared"
    """Folder of the trained runs. Comparisons share it, so each combination of settings is trained
    only once."""
