"""The trained runs of comparisons: each found by its settings, and trained by one process alone."""

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
        FileExistsError: what has the run's name in the cache is not a whole run of these settings,
            or what has it in unfinished/ is not a run at all.
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
        kept = cache / name
        if kept.exists():
            _take_back(kept, folder)
        if not _is_whole(folder):
            _fit(config, folder, lock)
        os.rename(folder, kept)
        return kept


def trained(config: FitConfig, cache: Path) -> Path | None:
    """The folder of a whole run with these settings, whatever comparison it was trained for."""
    wanted, own = _of_the_result(config), cache / run_name(config)
    # Runs of an earlier version, whose settings were fewer, have other names.
    for folder in sorted(cache.glob(f"{_kind(config)}-*"), key=lambda path: (path != own, path)):
        if not _is_whole(folder):
            continue
        try:
            kept = cli.config_from(FitConfig, [str(RunFolder(folder).config)], {})
        except ValueError as error:
            logger.warning("%s is left out, as its settings cannot be read: %s", folder, error)
            continue
        if _of_the_result(kept) == wanted:
            return folder
    return None


def expect_same_images(runs: Sequence[tuple[FitConfig, Path]]) -> None:
    """Raises a ValueError unless runs of the same data were trained on the same images.

    Settings alone do not tell: between the first run and the last, images may have changed.
    """
    first: dict[str, tuple[Path, set]] = {}
    for config, folder in runs:
        if config.data.outliers or not RunFolder(folder).images.exists():
            continue  # which images are replaced depends on the seed
        # So do their parts, where classes are held out, and wrong labels.
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
                "gone, and start the same command again: it is trained anew."
            )


def run_name(config: FitConfig) -> str:
    """The name of a run's folder: loss, seed, and a checksum of the settings it depends on."""
    text = json.dumps(_of_the_result(config), sort_keys=True)
    return f"{_kind(config)}-{hashlib.sha256(text.encode()).hexdigest()[:12]}"


def _take_back(kept: Path, folder: Path) -> None:
    """Moves a run that has no result any more to where runs are trained, to be ended anew."""
    if _is_whole(kept) or not RunFolder(kept).config.exists() or folder.exists():
        raise FileExistsError(
            f"Expected a whole run of these settings in {kept}, or nothing; its result.json is "
            "missing, or its config.yaml is, or is another's. Move it away, and start the same "
            "command again."
        )
    logger.info("%s has no result any more, which is made again.", kept)
    os.rename(kept, folder)


def _fit(config: FitConfig, folder: Path, lock: int) -> None:
    settings = folder.with_suffix(".yaml")
    settings.write_text(cli.as_yaml(config))
    # A process of its own: no run inherits another's memory, threads or random state. It holds the
    # lock too, and keeps it if this process is killed and that one goes on.
    command = [sys.executable, "-m", "pa_keras.fit", f"--run-dir={folder}"]
    if RunFolder(folder).config.exists():
        logger.info("It was interrupted, and continues.")
        command.append("--resume")
    else:
        expect_new_run(str(folder))  # now, not after the imports of another process
        command.append(f"--config={settings}")
    code = _ended(subprocess.Popen(command, pass_fds=(lock,)))
    if code:
        raise ChildProcessError(
            f"Expected the run to be trained; fit ended with code {code}, and the "
            "message above. The runs before it are kept: mend it, and start the same command again."
        )
    if not _is_whole(folder):
        raise ChildProcessError(
            f"Expected a whole run; {folder} is unfinished, as its training.max_hours are over. "
            "Start the same command again: it goes on."
        )
    settings.unlink()


def _ended(process: subprocess.Popen) -> int:
    """The exit code of `fit`, which may save what it has first where Ctrl-C stops it.

    Raises:
        KeyboardInterrupt: after its end, if there was one before it.
    """
    interrupt = None
    # Not by `wait`, which would let a quarter of a second pass before it tells of Ctrl-C.
    while (code := process.poll()) is None:
        try:
            time.sleep(0.1)
        except KeyboardInterrupt as error:
            interrupt = error
            # Ctrl-C goes to both, `kill -INT` to one: twice at once is once to fit.
            process.send_signal(signal.SIGINT)
    if interrupt is not None:
        raise interrupt
    return code


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
    with path.open("a") as file:  # nothing is written, and nothing is overwritten
        try:
            fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
            held = file.fileno()
        except BlockingIOError:
            held = None
        yield held
