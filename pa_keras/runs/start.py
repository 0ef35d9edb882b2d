"""Starting a new run: its folder, with its settings, images and package versions."""

import dataclasses
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pa_keras import cli
from pa_keras.files import save_whole
from pa_keras.runs.build import Run
from pa_keras.runs.fingerprint import fingerprint, write_fingerprint
from pa_keras.runs.folder import RunFolder, new_run_folder


def expect_shared_folder(strategy: str, run_dir: str | None) -> None:
    """Raises a ValueError if several workers would each make a different folder."""
    if strategy == "multi_worker" and run_dir is None:
        raise ValueError(
            "Expected --run-dir for training.strategy=multi_worker; received none. Give a new "
            "folder on a disk that all workers share: to resume, they read the checkpoint there."
        )


@contextmanager
def start(run: Run) -> Iterator[RunFolder]:
    """Makes the folder of a new run, and holds its lock.

    Workers other than the chief get the path of the folder and write nothing.

    Raises:
        FileExistsError: The folder has something in it.
        OSError: The folder cannot be written to, or the disk is too full.
    """
    if not run.writes:
        yield RunFolder(Path(run.config.run_dir or ""))
        return
    images = fingerprint(run.data.parts(), run.data.checksums)
    # Three checkpoints of weights and two moments each, since a new one is written before an old
    # one is deleted, and four best models.
    averages = 12 if run.config.training.weight_averaging else 0
    room = (52 + averages) * run.model.count_params()
    folder = new_run_folder(run.config.run_dir, run.config.dataset, room)
    with folder.locked():
        _describe(run, folder, images)
        yield folder


def _describe(run: Run, folder: RunFolder, images: dict[tuple[str, str], tuple[str, str]]) -> None:
    """Writes the files that describe the run; the last one makes it a run to resume."""
    write_fingerprint(folder.images, images)
    folder.write_versions()
    (folder.path / "skipped_images.txt").write_text(
        "".join(f"{path}: {reason}\n" for path, reason in run.data.skipped.items()),
        errors="backslashreplace",  # a path may hold bytes that are not valid UTF-8
    )
    # Without run_dir, so that --config with this file starts another run.
    text = cli.as_yaml(dataclasses.replace(run.config, run_dir=None))
    save_whole(lambda path: Path(path).write_text(text), folder.config)
