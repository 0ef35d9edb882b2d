"""The runs of a comparison: from its settings to a config and a folder for each."""

import dataclasses
import fcntl
import hashlib
import itertools
import json
import logging
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pa_keras import command_line, hints, loss_choice
from pa_keras.config import CompareConfig, FitConfig

logger = logging.getLogger(__name__)

# A comparison shows the test classes at each epoch, as the papers' curves do, unless its settings
# ask for training.selection=held_out, to tune by.
_MEASURED = {"training.selection": "reference_protocol", "evaluation.map_at_r": True}


@dataclass(frozen=True)
class Run:
    """One training of a comparison.

    Args:
        name: of its line in the table.
        values: of the settings that vary, in their order.
        config: every setting.
    """

    name: str
    values: tuple[Any, ...]
    config: FitConfig

    def __str__(self) -> str:
        return ", ".join([self.name, *map(str, self.values), f"seed {self.config.seed}"])


def plan(config: CompareConfig) -> list[Run]:
    """Every run, seed after seed, so that an interrupted comparison has whole seeds.

    Raises:
        ValueError: no runs, two of one name, one without a name, a setting that `fit` does not
            have, or runs that would be trained on different numbers of batches.
    """
    names = [str(run.get("name", "")) for run in config.runs]
    if not names or "" in names:
        raise ValueError("Expected runs, each with a name; give runs: [{name: ..., loss: ...}].")
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ValueError(
            f"Expected a name of its own for each run; received {twice[0]!r} more than once. "
            "Rename one."
        )
    if len(config.vary) > 2 or not all(config.vary.values()) or not config.seeds:
        raise ValueError(
            "Expected at most two settings in vary, each with values, and a seed or more; received "
            f"{config.vary} and seeds {config.seeds}."
        )
    points = list(itertools.product(*config.vary.values()))
    runs = [
        Run(name, values, _fit_config(config, settings, values, seed))
        for seed in config.seeds
        for values in points
        for name, settings in zip(names, config.runs, strict=True)
    ]
    _expect_equal_budgets(runs)
    return runs


def train(run: Run, cache: Path, wait: bool = True) -> Path | None:
    """The folder of a run's results, trained now by `python -m pa_keras.fit` or earlier.

    Args:
        run: of `plan`.
        cache: folder of the runs. In it a run is under its final name only once it is whole.
        wait: whether to wait while another process trains this run.

    Returns:
        The folder; None if another process trains this run and it was not to be waited for.

    Raises:
        ChildProcessError: `fit` has failed.
    """
    settings = command_line.as_yaml(run.config)
    digest = hashlib.sha256(settings.encode()).hexdigest()[:12]
    work = cache / "unfinished"
    work.mkdir(parents=True, exist_ok=True)
    with _alone(work / f"{digest}.lock", wait) as alone:
        if not alone:
            logger.info("%s: another process trains it.", run)
            return None
        found = trained(run, cache)
        if found is not None:
            logger.info("%s: trained before, %s", run, found)
            return found
        folder = work / digest
        if folder.exists():
            logger.info("%s: was interrupted, and is trained anew.", run)
            shutil.rmtree(folder)
        config_file = work / f"{digest}.yaml"
        config_file.write_text(settings)
        _fit(run, config_file, folder)
        final = _free_name(cache, run)
        os.rename(folder, final)
        return final


def _fit(run: Run, config_file: Path, folder: Path) -> None:
    # A process of its own: no run inherits another's memory, threads or random state.
    command = [sys.executable, "-m", "pa_keras.fit", f"--config={config_file}"]
    done = subprocess.run([*command, f"--run-dir={folder}"], check=False)
    if done.returncode:
        raise ChildProcessError(
            f"Expected {run} to be trained; fit ended with code {done.returncode}, and the message "
            "above. The runs before it are kept: mend it, and start the same command again."
        )
    config_file.unlink()


def trained(run: Run, cache: Path) -> Path | None:
    """The folder of a whole run with these settings, whatever comparison it was trained for."""
    for folder in sorted(cache.glob(f"{_slug(run)}-*")):
        if (folder / "result.json").exists():
            kept = command_line.config_from(FitConfig, [str(folder / "config.yaml")], {})
            if _of_the_result(kept) == _of_the_result(run.config):
                return folder
    return None


def _fit_config(
    config: CompareConfig, settings: dict[str, Any], values: tuple[Any, ...], seed: int
) -> FitConfig:
    own = {name: value for name, value in settings.items() if name != "name"}
    varied = dict(zip(config.vary, values, strict=True))
    data_dir = {} if config.data_dir is None else {"data_dir": config.data_dir}
    merged: dict[str, Any] = {}
    for layer in (_MEASURED, config.settings, own, varied, data_dir, {"seed": seed}):
        merged |= hints.dotted(layer)
    try:
        fit = command_line.config_from(FitConfig, [config.base], merged)
        if fit.training.selection == "last":
            raise ValueError(
                "Expected training.selection that measures each epoch; received last. Take "
                "held_out or reference_protocol."
            )
        return dataclasses.replace(loss_choice.resolved(fit), run_dir=None)
    except ValueError as error:
        raise ValueError(f"run {settings['name']}: {error}") from error


def _of_the_result(config: FitConfig) -> dict[str, Any]:
    """The settings that the result depends on."""
    settings = json.loads(json.dumps(dataclasses.asdict(config)))
    del settings["run_dir"], settings["logging"]
    return settings


def _expect_equal_budgets(runs: list[Run]) -> None:
    for _, group in itertools.groupby(sorted(runs, key=_place), key=_place):
        budgets = {
            run.name: (run.config.batches.batch_size, run.config.training.epochs) for run in group
        }
        if len(set(budgets.values())) > 1:
            each = "; ".join(f"{name}: {size} x {n}" for name, (size, n) in budgets.items())
            raise ValueError(
                "Expected the same batch_size and epochs for all runs, or one would be trained "
                f"longer than another; received {each}. Set both under settings, or vary them."
            )


def _place(run: Run) -> str:
    return str((run.values, run.config.seed))


def _slug(run: Run) -> str:
    return f"{run.config.loss}-seed{run.config.seed}"


def _free_name(cache: Path, run: Run) -> Path:
    taken = [re.search(r"-(\d+)$", path.name) for path in cache.glob(f"{_slug(run)}-*")]
    number = max((int(match[1]) for match in taken if match), default=0) + 1
    return cache / f"{_slug(run)}-{number}"


@contextmanager
def _alone(lock: Path, wait: bool) -> Iterator[bool]:
    """Holds a lock while a run is trained: its unfinished folder is nobody else's to delete."""
    with lock.open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
            alone = True
        except BlockingIOError:
            alone = False
        yield alone
