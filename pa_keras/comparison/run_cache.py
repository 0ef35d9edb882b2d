"""The trained runs of comparisons: each is found by its settings and trained by one process."""

import dataclasses
import fcntl
import hashlib
import json
import logging
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pa_keras import cli
from pa_keras.config import FitConfig
from pa_keras.runs.fingerprint import read_fingerprint
from pa_keras.runs.folder import RunFolder, expect_new_run
from pa_keras.runs.loss import resolved

logger = logging.getLogger(__name__)


def train(config: FitConfig, cache: Path, wait: bool = True) -> Path | None:
    """Returns the folder of a trained run; trains it with `python -m pa_keras.fit` if necessary.

    Args:
        config: All settings of the run.
        cache: Folder of the runs. A run has its final name there only when it is complete.
        wait: Whether to wait while another process trains this run. Default True.

    Returns:
        The folder; None if another process trains this run and `wait` is False.

    Raises:
        ChildProcessError: If `fit` failed.
        FileExistsError: If the folder with the name of the run is not a complete run of these
            settings, or the one in unfinished/ is not a run at all.
    """
    name = run_name(config)
    folder = cache / "unfinished" / name
    folder.parent.mkdir(parents=True, exist_ok=True)
    with _lock(folder.with_suffix(".lock"), wait) as lock:
        if lock is None:
            logger.info("Another process is training it.")
            return None
        found = trained(config, cache)
        if found is not None:
            logger.info("Trained before: %s", found)
            return found
        kept = cache / name
        if kept.exists():
            _take_back(kept, folder)
        if not _is_whole(folder):
            _fit(config, folder, lock)
        os.rename(folder, kept)
        return kept


def trained(config: FitConfig, cache: Path) -> Path | None:
    """Returns the folder of a complete run with these settings, from any comparison."""
    wanted, own = _of_the_result(config), cache / run_name(config)
    kind = own.name.rpartition("-")[0]
    # Runs of an earlier version, which had fewer settings, have other names.
    for folder in sorted(cache.glob(f"{kind}-*"), key=lambda path: (path != own, path)):
        if not _is_whole(folder):
            continue
        try:
            kept = resolved(cli.config_from(FitConfig, [str(RunFolder(folder).config)], {}))
        except ValueError as error:
            logger.warning("%s is ignored, because its settings cannot be read: %s", folder, error)
            continue
        if _of_the_result(kept) == wanted:
            return folder
    return None


def expect_same_images(runs: Sequence[tuple[FitConfig, Path]]) -> None:
    """Raises a ValueError unless runs of the same data were trained on the same images.

    Equal settings are not enough: images may have changed between the first run and the last.
    """
    first: dict[str, tuple[Path, set]] = {}
    for config, folder in runs:
        if config.data.outliers or not RunFolder(folder).images.exists():
            continue  # the seed determines which images are replaced
        # The seed also determines the split into held-out classes, and wrong labels.
        images = read_fingerprint(RunFolder(folder).images)
        noisy = config.data.label_noise > 0
        found = {(name, checksum, "" if noisy else label)
                 for (_, name), (label, checksum) in images.items()}  # fmt: skip
        data = f"{config.dataset} {config.data_dir} {config.data}"
        other, expected = first.setdefault(data, (folder, found))
        if found != expected:
            names = sorted({name for name, *_ in found ^ expected})
            raise ValueError(
                f"Expected runs on the same images; those of {other} and {folder} differ in "
                f"{len(names)}, such as {names[0]}. Delete the folder of the run whose images are "
                "gone, and start the same command again, which trains it again."
            )


def run_name(config: FitConfig) -> str:
    """Returns the name of a run folder: loss, seed, and a checksum of its settings."""
    text = json.dumps(_of_the_result(config), sort_keys=True)
    checksum = hashlib.sha256(text.encode()).hexdigest()[:12]
    return f"{config.loss}-seed{config.seed}-{checksum}"


def _take_back(kept: Path, folder: Path) -> None:
    """Moves a run that lost its result back to the unfinished runs, to complete it again."""
    if _is_whole(kept) or not RunFolder(kept).config.exists() or folder.exists():
        raise FileExistsError(
            f"Expected a complete run of these settings in {kept}, or nothing; its result.json or "
            "its config.yaml is missing, or has other settings. Move it away, and start the same "
            "command again."
        )
    logger.info("%s has lost its result, which is made again.", kept)
    os.rename(kept, folder)


def _fit(config: FitConfig, folder: Path, lock: int) -> None:
    settings = folder.with_suffix(".yaml")
    settings.write_text(cli.as_yaml(config))
    # In a separate process, so that no run inherits another's memory, threads or random state. That
    # process holds the lock too, and keeps it if it outlives this one.
    command = [sys.executable, "-m", "pa_keras.fit", f"--run-dir={folder}"]
    if RunFolder(folder).config.exists():
        logger.info("The run was interrupted and continues.")
        command.append("--resume")
    else:
        expect_new_run(str(folder))  # now, not after another process has imported everything
        command.append(f"--config={settings}")
    code = _ended(subprocess.Popen(command, pass_fds=(lock,)))
    if code:
        raise ChildProcessError(
            f"Expected the run to be trained; fit ended with code {code} and the message "
            "above. Earlier runs are kept. Fix the cause, and start the same command again."
        )
    if not _is_whole(folder):
        raise ChildProcessError(
            f"Expected a complete run; {folder} is unfinished, because its training.max_hours are "
            "over. Start the same command again to continue it."
        )
    settings.unlink()


def _ended(process: subprocess.Popen) -> int:
    """Waits for `fit` and returns its exit code; after Ctrl-C, `fit` may save its state first.

    Raises:
        KeyboardInterrupt: After `fit` has ended, if Ctrl-C was pressed before.
    """
    interrupt = None
    # Not with `wait`, which reports Ctrl-C only after a quarter of a second.
    while (code := process.poll()) is None:
        try:
            time.sleep(0.1)
        except KeyboardInterrupt as error:
            interrupt = error
            # Ctrl-C reaches both processes, `kill -INT` only one; fit counts two at once as one.
            process.send_signal(signal.SIGINT)
    if interrupt is not None:
        raise interrupt
    return code


def _is_whole(folder: Path) -> bool:
    """Returns whether the run is complete: its result is the last file that it writes."""
    return RunFolder(folder).result.exists()


def _of_the_result(config: FitConfig) -> dict[str, Any]:
    """Returns the settings that the result depends on."""
    settings = json.loads(json.dumps(dataclasses.asdict(config)))
    del settings["run_dir"], settings["logging"]
    for name in ("cluster", "max_hours", "profile", "save_minutes", "strategy"):
        del settings["training"][name]
    return settings


@contextmanager
def _lock(path: Path, wait: bool) -> Iterator[int | None]:
    """Holds a lock and yields its file descriptor; None if another process has it and no `wait`.

    While a run is trained, no other process may delete its unfinished folder.
    """
    with path.open("a") as file:  # nothing is written, and nothing is overwritten
        try:
            fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
            held = file.fileno()
        except BlockingIOError:
            held = None
        yield held
