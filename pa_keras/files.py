"""Files that are whole or not there, locks that die with their process, and what was installed."""

import fcntl
import hashlib
import os
import socket
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from importlib import metadata
from pathlib import Path


def save_whole(
    save: Callable[[str], object], path: Path, then: str = "go on with --resume"
) -> None:
    """Calls `save` on a path beside `path`, and renames it once it is on the disk.

    Args:
        save: writes the file whose path it is given.
        path: is replaced as a whole, never half-written.
        then: what the message of an error asks for, once there is space. Default: as of `fit`.

    Raises:
        OSError: it cannot be written; what `path` was before is kept.

    Example:
        >>> save_whole(lambda path: Path(path).write_text("{}"), Path("a.json"))  # doctest: +SKIP
    """
    partial = path.with_name(f"partial-{path.name}")
    try:
        save(str(partial))
        # The name must not reach the disk before the contents.
        flush(partial)
        os.replace(partial, path)
        flush(path.parent)
    except (OSError, RuntimeError) as error:  # h5py raises both where the disk is full
        raise OSError(
            f"Expected to write {path}; {error}. What was there before is kept. Free some space, "
            f"then {then}."
        ) from error
    finally:
        partial.unlink(missing_ok=True)


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
    """Holds a lock, for which no other process waits: it is told who has it.

    Args:
        path: of the lock's file, made if it is not there.
        what: is locked, such as "trains in runs/cars".
        advice: the end of the message.

    Raises:
        BlockingIOError: another process has it; the message says which.

    Example:
        >>> with locked(Path("index/lock"), "writes to index", "Wait."):  # doctest: +SKIP
        ...     write_index(...)
    """
    # Never deleted: a process could lock a file that is deleted, beside one with the new file.
    with path.open("a+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            file.seek(0)
            holder = file.read().strip() or "a process that has just begun"
            raise BlockingIOError(
                f"Expected to be the only one that {what}; {holder} does so now. {advice}"
            ) from error
        file.truncate(0)
        file.write(f"process {os.getpid()} on {socket.gethostname()}\n")
        file.flush()
        yield
        file.truncate(0)


def versions(packages: Sequence[str]) -> dict[str, str | None]:
    """The installed release of each package, None of one that is not."""
    found: dict[str, str | None] = {}
    for package in packages:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            found[package] = None
    return found
