"""Atomic writing of files and folders, locks, and the versions of installed packages."""

import fcntl
import hashlib
import os
import re
import shutil
import socket
import uuid
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from importlib import metadata
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np

START_AGAIN = "start the same command again"

_LOCK = "This is a lock of pa_keras.\n"
# Earlier versions wrote the second line alone, and only while the lock was held.
_HELD = re.compile(rf"({re.escape(_LOCK)})?(process \d+ on [^\n]*\n)?")


@contextmanager
def writing(path: Path, then: str = START_AGAIN) -> Iterator[None]:
    """Turns an error of a full or failing disk into one that says what to do.

    Args:
        path: File or folder that is written.
        then: What to do once there is space; the end of the message.

    Raises:
        OSError: If the block raises an OSError.

    Example:
        >>> with writing(Path("table.csv")):  # doctest: +SKIP
        ...     write_table(...)
    """
    try:
        yield
    except OSError as error:
        reason = " ".join(str(error).split())  # HDF5's has several lines
        raise OSError(
            f"Expected to write {path}; {reason}. What was there before is kept. Free some space, "
            f"then {then}."
        ) from error


def save_whole(
    save: Callable[[str], object], path: Path, then: str = "continue with --resume"
) -> None:
    """Calls `save` with a temporary path beside `path`, and renames the result once it is on disk.

    Args:
        save: Function that writes a file at a given path.
        path: The file. It is replaced by the complete new one, or remains unchanged.
        then: What to do once there is space, for the error message. The default is for `fit`.

    Raises:
        OSError: If the file cannot be written; the old file is kept.

    Example:
        >>> save_whole(lambda path: Path(path).write_text("{}"), Path("a.json"))  # doctest: +SKIP
    """
    partial = path.with_name(f"partial-{path.name}")
    with writing(path, then):
        try:
            save(str(partial))
            # The name must not reach the disk before the contents.
            flush(partial)
            os.replace(partial, path)
            flush(path.parent)
        except RuntimeError as error:  # h5py raises these, too, if the disk is full
            raise OSError(str(error)) from error
        finally:
            partial.unlink(missing_ok=True)


def save_folder(save: Callable[[Path], object], folder: Path, then: str = START_AGAIN) -> None:
    """Calls `save` with an empty folder beside `folder`, and renames it once it is on disk.

    Args:
        save: Function that writes files into a given folder.
        folder: The new folder. If it exists, it must be empty.
        then: What to do once there is space, for the error message.

    Raises:
        OSError: If the folder cannot be written or is not empty; it remains unchanged.

    Example:
        >>> save_folder(lambda aside: draw_into(aside), Path("pictures"))  # doctest: +SKIP
    """
    folder = folder.resolve()
    # `tempfile.mkdtemp` would set mode 0700, which hides a shared folder from other users.
    aside = folder.with_name(f".{folder.name}-{uuid.uuid4().hex[:8]}")
    with writing(folder, then):
        try:
            aside.mkdir(parents=True)
            save(aside)
            for path in [*aside.rglob("*"), aside]:
                flush(path)
            os.rename(aside, folder)
            flush(folder.parent)
        finally:
            shutil.rmtree(aside, ignore_errors=True)


def save_array(path: str | Path, array: "np.ndarray") -> None:
    """Saves an array as `np.save` does, but always raises an error if the disk is full.

    Raises:
        OSError: If the file cannot be written completely.
    """
    import numpy as np

    with open(path, "wb") as file:
        # NumPy would bypass the file object and ignore errors in the last 4 kB.
        np.save(SimpleNamespace(write=file.write), array, allow_pickle=False)


def expect_space(path: Path, size: int) -> None:
    """Raises an OSError unless the disk has space for `size` bytes at `path`, which is replaced.

    Call it before a writer that does not survive a full disk, such as HDF5.
    """
    with path.open("wb") as file:
        os.posix_fallocate(file.fileno(), 0, size)


def delete(files: Iterable[Path], folder: Path) -> None:
    """Deletes files in a folder, then its empty subfolders, and the folder itself if it is empty.

    Everything else in the folder is kept, and so are the subfolders that contain it.
    """
    for file in files:
        file.unlink(missing_ok=True)
    folders = [path for path in folder.rglob("*") if path.is_dir() and not path.is_symlink()]
    for path in [*sorted(folders, reverse=True), folder]:
        with suppress(OSError):
            path.rmdir()


def sha256(path: Path) -> str:
    """SHA-256 of a file, in hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def flush(path: Path) -> None:
    """Waits until a file, or the list of names in a folder, is on disk and not only in memory."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def locked(path: Path, what: str, advice: str) -> Iterator[None]:
    """Holds a lock, or raises an error at once if another process holds it.

    Args:
        path: Lock file, which is created if needed and never deleted.
        what: What only the holder does, such as "trains in runs/cars".
        advice: End of the error message.

    Raises:
        BlockingIOError: If another process holds the lock; the message says which.
        FileExistsError: If the file is not a lock; it remains unchanged.

    Example:
        >>> with locked(Path("index/lock"), "writes to index", "Wait."):  # doctest: +SKIP
        ...     write_index(...)
    """
    # A deleted lock file could still be locked by one process, while another locks the new file.
    with path.open("a+", errors="replace") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            holder = _head(path).removeprefix(_LOCK).strip() or "a process that has just begun"
            raise BlockingIOError(
                f"Expected to be the only one that {what}; {holder} does so now. {advice}"
            ) from error
        if not _HELD.fullmatch(_head(path)):
            raise FileExistsError(
                f"Expected {path} to be a lock of pa_keras, or not to exist; it is another file, "
                "and nothing is overwritten. Move it away, or give another folder."
            )
        file.truncate(0)
        file.write(f"{_LOCK}process {os.getpid()} on {socket.gethostname()}\n")
        file.flush()
        yield
        file.truncate(0)
        file.write(_LOCK)


def is_lock(path: Path) -> bool:
    """Whether a file is a lock of `locked`; an empty file is not."""
    return path.is_file() and bool(_head(path)) and bool(_HELD.fullmatch(_head(path)))


def _head(path: Path) -> str:
    """The beginning of a file, which is longer than any lock file."""
    with path.open(errors="replace") as file:
        return file.read(1000)


def versions(packages: Sequence[str]) -> dict[str, str | None]:
    """The installed version of each package, or None if it is not installed."""
    found: dict[str, str | None] = {}
    for package in packages:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            found[package] = None
    return found
