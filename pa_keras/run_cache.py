"""The trained runs of comparisons: each found by its settings, and trained by one process alone."""

import dataclasses
import fcntl
import hashlib
import json
import logging
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pa_keras import command_line
from pa_keras.config import FitConfig
from pa_keras.training.run_folder import RunFolder

logger = logging.getLogger(__name__)


def train(config: FitConfig, cache: Path, wait: bool = True) -> Path | None:
    """The folder of a run's results, trained now by `python -m pa_keras.fit` or earlier.

    Args:
        config: every setting of the run.
        cache: folder of the runs. In it a run is under its final name only once it is whole.
        wait: whether to wait while another process trains this run.

    Returns:
        The folder; None if another process trains this run and it was not to be waited for.

    Raises:
        ChildProcessError: `fit` has failed.
    """
    name = run_name(config)
    folder = cache / "unfinished" / name
    folder.parent.mkdir(parents=True, exist_ok=True)
    with _lock(folder.with_suffix(".lock"), wait) as lock:
        if lock is None:
            logger.info("Another process trains it.")
            return None
        found = trained(config, cache)
        if found is not None:
            logger.info("Trained before: %s", found)
            return found
        if not _is_whole(folder):
            if folder.exists() and not RunFolder(folder).config.exists():
                logger.info("It was interrupted before it began, and is trained anew.")
                shutil.rmtree(folder)
            _fit(config, folder, lock)
        os.rename(folder, cache / name)
        return cache / name


def trained(config: FitConfig, cache: Path) -> Path | None:
    """The folder of a whole run with these settings, whatever comparison it was trained for."""
    wanted, own = _of_the_result(config), cache / run_name(config)
    # Runs of an earlier version, whose settings were fewer, have other names.
    for folder in sorted(cache.glob(f"{_kind(config)}-*"), key=lambda path: (path != own, path)):
        if not _is_whole(folder):
            continue
        try:
            kept = command_line.config_from(FitConfig, [str(RunFolder(folder).config)], {})
        except ValueError as error:
            logger.warning("%s is left out, as its settings cannot be read: %s", folder, error)
            continue
        if _of_the_result(kept) == wanted:
            return folder
    return None


def run_name(config: FitConfig) -> str:
    """The name of a run's folder: loss, seed, and a checksum of the settings it depends on."""
    text = json.dumps(_of_the_result(config), sort_keys=True)
    return f"{_kind(config)}-{hashlib.sha256(text.encode()).hexdigest()[:12]}"


def _fit(config: FitConfig, folder: Path, lock: int) -> None:
    settings = folder.with_suffix(".yaml")
    settings.write_text(command_line.as_yaml(config))
    # A process of its own: no run inherits another's memory, threads or random state. It holds the
    # lock too, and keeps it if this process is killed and that one goes on.
    command = [sys.executable, "-m", "pa_keras.fit", f"--run-dir={folder}"]
    if RunFolder(folder).config.exists():
        logger.info("It was interrupted, and goes on.")
        command.append("--resume")
    else:
        command.append(f"--config={settings}")
    done = subprocess.run(command, check=False, pass_fds=(lock,))
    if done.returncode:
        raise ChildProcessError(
            f"Expected the run to be trained; fit ended with code {done.returncode}, and the "
            "message above. The runs before it are kept: mend it, and start the same command again."
        )
    if not _is_whole(folder):
        raise ChildProcessError(
            f"Expected a whole run; {folder} is unfinished, as its training.max_hours are over. "
            "Start the same command again: it goes on."
        )
    settings.unlink()


def _is_whole(folder: Path) -> bool:
    """Whether the run has ended: its result is the last that it writes."""
    return RunFolder(folder).result.exists()


def _kind(config: FitConfig) -> str:
    return f"{config.loss}-seed{config.seed}"


def _of_the_result(config: FitConfig) -> dict[str, Any]:
    """The settings that the result depends on."""
    settings = json.loads(json.dumps(dataclasses.asdict(config)))
    del settings["run_dir"], settings["logging"]
    for name in ("cluster", "max_hours", "profile", "save_minutes", "strategy"):
        del settings["training"][name]
    return settings


@contextmanager
def _lock(path: Path, wait: bool) -> Iterator[int | None]:
    """Holds a lock, by its file descriptor; None if another process does and `wait` is false.

    While a run is trained, its unfinished folder is nobody else's to delete.
    """
    with path.open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
            held = file.fileno()
        except BlockingIOError:
            held = None
        yield held
