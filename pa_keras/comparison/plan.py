"""The plan of a comparison: the settings of each of its runs."""

import dataclasses
import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from pa_keras import cli
from pa_keras.cli.settings import dotted
from pa_keras.config import CompareConfig, FitConfig
from pa_keras.runs.loss import LossOptions, resolved

# A comparison measures on the test classes at each epoch, like the curves in the papers, unless its
# settings have training.selection=held_out, which is meant for tuning.
_MEASURED = {"training.selection": "reference_protocol", "evaluation.map_at_r": True}

# Settings that a base chose for its own loss are reset to their defaults for another loss.
_OF_THE_LOSS = {
    "batches.sampling": "auto",
    "batches.classes_per_batch": None,
    "batches.images_per_class": None,
} | {f"loss_options.{field.name}": None for field in dataclasses.fields(LossOptions)}

# If these differ, runs would be trained for different times or measured on different classes.
_EQUAL = (
    "batches.batch_size",
    "training.epochs",
    "training.selection",
    "training.held_out_fraction",
    "dataset",
    "data_dir",
    "data.test_fraction",
)


@dataclass(frozen=True)
class Run:
    """One training of a comparison.

    Args:
        name: Name of its row in the table.
        values: Values of the settings that vary, in the order of these settings.
        config: All settings of the run.
    """

    name: str
    values: tuple[Any, ...]
    config: FitConfig

    def __str__(self) -> str:
        return ", ".join([self.name, *map(str, self.values), f"seed {self.config.seed}"])


def plan(config: CompareConfig) -> list[Run]:
    """Lists all runs, seed by seed, so that an interrupted comparison has complete seeds.

    Raises:
        ValueError: If there are no runs, a name is missing, a name, seed or value is repeated,
            `fit` does not have a setting, or the runs cannot be compared, because they are trained
            on different numbers of batches or measured on different classes.
    """
    names = [str(run.get("name", "")) for run in config.runs]
    if not names or "" in names:
        raise ValueError("Expected runs, each with a name; give runs: [{name: ..., loss: ...}].")
    _expect_different("different names of runs", names)
    _expect_different("different seeds", config.seeds)
    if len(config.vary) > 2 or not all(config.vary.values()) or not config.seeds:
        raise ValueError(
            "Expected at most two settings in vary, each with values, and one seed or more; "
            f"received {config.vary} and seeds {config.seeds}."
        )
    for setting, values in config.vary.items():
        # 0 and 0.0 are the same value.
        _expect_different(f"different values of {setting}", values)
    data_dir = {} if config.data_dir is None else {"data_dir": config.data_dir}
    common = [_MEASURED, config.settings, data_dir]
    points = itertools.product(*(map(_frozen, values) for values in config.vary.values()))
    runs = []
    for seed, values in itertools.product(config.seeds, list(points)):
        varied = dict(zip(config.vary, values, strict=True))
        for name, settings in zip(names, config.runs, strict=True):
            own = {key: value for key, value in settings.items() if key != "name"}
            try:
                fit = _fit_config(config.base, [*common, own, varied], seed)
            except ValueError as error:
                raise ValueError(f"run {settings['name']}: {error}") from error
            runs.append(Run(name, values, fit))
    _expect_comparable(runs)
    return runs


def _fit_config(base: str, layers: Sequence[dict[str, Any]], seed: int) -> FitConfig:
    """The settings of a run: those of the base, overridden by each layer in turn."""
    merged: dict[str, Any] = {}
    for layer in layers:
        merged |= dotted(layer)
    if "seed" in merged:
        raise ValueError("Expected the seeds in seeds; received a seed among other settings.")
    loss = cli.config_from(FitConfig, [base], {}).loss
    if merged.get("loss", loss) != loss:
        merged = {**_OF_THE_LOSS, **merged}
    fit = cli.config_from(FitConfig, [base], {**merged, "seed": seed})
    if fit.training.selection == "last":
        raise ValueError(
            "Expected a training.selection that measures each epoch; received last. Use "
            "held_out or reference_protocol."
        )
    return dataclasses.replace(resolved(fit), run_dir=None)


def _expect_comparable(runs: list[Run]) -> None:
    def place(run: Run) -> str:
        return str((run.values, run.config.seed))

    for _, group in itertools.groupby(sorted(runs, key=place), key=place):
        settings = {run.name: dotted(dataclasses.asdict(run.config)) for run in group}
        for setting in _EQUAL:
            values = {name: each[setting] for name, each in settings.items()}
            if len(set(map(str, values.values()))) > 1:
                each = "; ".join(f"{name}: {value}" for name, value in values.items())
                raise ValueError(
                    f"Expected the same {setting} for all runs, to make them comparable; "
                    f"received {each}. Set it under settings, or vary it."
                )


def _expect_different(what: str, values: Sequence[Any]) -> None:
    for index, value in enumerate(values):
        if value in values[:index]:
            raise ValueError(f"Expected {what}; received {value!r} more than once. Change one.")


def _frozen(value: Any) -> Any:
    """Returns a list as a tuple, which is hashable."""
    return tuple(map(_frozen, value)) if isinstance(value, list) else value
