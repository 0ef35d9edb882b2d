"""Settings of a comparison."""

from dataclasses import dataclass, field
from typing import Any

from pa_keras.config.fit import FitConfig


@dataclass
class CompareConfig:
    """A comparison: some runs of fit that differ in a few settings, each with several seeds."""

    out: str
    """Folder for the table and the pictures; a call with the same settings replaces them."""

    runs: list[dict[str, Any]]
    """The lines of the table. Each has a name, and the settings of fit in which it differs."""

    base: str = "glyphs"
    """Settings that all runs share: an experiment of fit by its name, or a YAML file."""

    settings: dict[str, Any] = field(default_factory=dict, metadata={"settings_of": FitConfig})
    """Settings of fit for all runs, which override those of base; also --settings.NAME VALUE."""

    vary: dict[str, list[Any]] = field(default_factory=dict)
    """A study: one or two settings of fit by their dotted names, and the values of each."""

    seeds: tuple[int, ...] = (0, 1, 2)
    """Seeds; every run is trained with each."""

    data_dir: str | None = None
    """Folder of the images, or the manifest's path. Default: that of base."""

    train: bool = True
    """false: report what is trained already, and leave the rest."""

    cache: str = "runs/compared"
    """Folder of the trained runs. Comparisons share it: a run of the same settings is trained
    once."""
