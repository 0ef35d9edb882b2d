"""Files and folders that appear complete or not at all, locks, and the installed packages."""

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
    """Turns the error of a full or failing disk into one that says what to do.

    Args:
        path: The file or folder that is written.
        then: What to do once there is space; the end of the message.

    Raises:
        OSError: Something in the block raised an OSError.

    Example:
        >>> with writing(Path("table.csv")):  # doctest: +SKIP
        ...     write_table(...)
    """
    try:
        yield
    except OSError as error:
        reason = " ".join(str(error).split())  # that of HDF5 has several lines
        raise OSError(
            f"Expected to write {path}; {reason}. What was there before is kept. Free some space, "
            f"then {then}."
        ) from error


def save_whole(
    save: Callable[[str], object], path: Path, then: str = "go on with --resume"
) -> None:
    """Calls `save` on a path beside `path`, and renames the result once it is on the disk.

    Args:
        save: Writes the file whose path it is given.
        path: The file. It is replaced by the complete new one, or stays as it is.
        then: What to do once there is space, for the message of an error. Default: for `fit`.

    Raises:
        OSError: It cannot be written; what `path` was before is kept.

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
        except RuntimeError as error:  # h5py raises these, too, where the disk is full
            raise OSError(str(error)) from error
        finally:
            partial.unlink(missing_ok=True)


def save_folder(save: Callable[[Path], object], folder: Path, then: str = START_AGAIN) -> None:
    """Calls `save` on an empty folder beside `folder`, and renames it once it is on the disk.

    Args:
        save: Writes files into the folder it is given.
        folder: The new folder. If it exists, it must be empty.
        then: What to do once there is space, for the message of an error.

    Raises:
        OSError: It cannot be written, or the folder is not empty; it is left as it is.

    Example:
        >>> save_folder(lambda aside: draw_into(aside), Path("pictures"))  # doctest: +SKIP
    """
    folder = folder.resolve()
    # Not `tempfile.mkdtemp`: its mode 0700 would hide a shared folder from other users.
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
    """`np.save`, but a full disk is always an error.

    Raises:
        OSError: It cannot be written completely.
    """
    import numpy as np

    with open(path, "wb") as file:
        # NumPy would write to the file by itself, and ignore errors of the last 4 kB.
        np.save(SimpleNamespace(write=file.write), array, allow_pickle=False)


def expect_space(path: Path, size: int) -> None:
    """Raises an OSError unless `size` bytes fit on the disk in a file at `path`, which is replaced.

    For a writer that does not survive a full disk, such as HDF5.
    """
    with path.open("wb") as file:
        os.posix_fallocate(file.fileno(), 0, size)


def delete(files: Iterable[Path], folder: Path) -> None:
    """Deletes files in a folder, and the folders in it, itself included, that are empty then.

    Everything else in the folder is left alone, and so are the folders that hold it.
    """
    for file in files:
        file.unlink(missing_ok=True)
    folders = [path for path in folder.rglob("*") if path.is_dir() and not path.is_symlink()]
    for path in [*sorted(folders, reverse=True), folder]:
        with suppress(OSError):
            path.rmdir()


def sha256(path: Path) -> str:
    """SHA-256 of a file's bytes, in hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def flush(path: Path) -> None:
    """Waits until a file, or a folder's list of names, is on the disk and not only in memory."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def locked(path: Path, what: str, advice: str) -> Iterator[None]:
    """Holds a lock. Another process that wants it does not wait: it is told who holds it.

    Args:
        path: The lock's file, which is created if needed and never deleted.
        what: What only the holder does, such as "trains in runs/cars".
        advice: The end of the message.

    Raises:
        BlockingIOError: Another process holds the lock; the message says which.
        FileExistsError: The file is not a lock. It is left as it is.

    Example:
        >>> with locked(Path("index/lock"), "writes to index", "Wait."):  # doctest: +SKIP
        ...     write_index(...)
    """
    # Never deleted: a process could lock a file that is deleted, beside one with the new file.
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
    """Whether the file says that it is a lock of `locked`; an empty one does not."""
    return path.is_file() and bool(_head(path)) and bool(_HELD.fullmatch(_head(path)))


def _head(path: Path) -> str:
    """The beginning of a file, longer than any lock."""
    with path.open(errors="replace") as file:
        return file.read(1000)


def versions(packages: Sequence[str]) -> dict[str, str | None]:
    """The installed release of each package, None of one that is not."""
    found: dict[str, str | None] = {}
    for package in packages:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            found[package] = None
    return found
