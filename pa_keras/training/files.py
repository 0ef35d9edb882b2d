"""Files that are there whole or not at all, whatever ends the process or fills the disk."""

import hashlib
import os
from collections.abc import Callable
from pathlib import Path


def save_whole(save: Callable[[str], object], path: Path) -> None:
    """Calls `save` on a path beside `path`, and renames it once it is on the disk.

    Args:
        save: writes the file whose path it is given.
        path: is replaced as a whole, never half-written.

    Raises:
        OSError: it cannot be written; what `path` was before is kept.

    Example:
        >>> save_whole(lambda path: Path(path).write_text("{}"), Path("a.json"))  # doctest: +SKIP
    """
    partial = path.with_name(f"partial-{path.name}")
    try:
        save(str(partial))
        # The name must not reach the disk before the contents.
        _flush(partial)
        os.replace(partial, path)
        _flush(path.parent)
    except (OSError, RuntimeError) as error:  # h5py raises both where the disk is full
        raise OSError(
            f"Expected to write {path}; {error}. What was there before is kept. Free some space, "
            "then go on with --resume."
        ) from error
    finally:
        partial.unlink(missing_ok=True)


def sha256(path: Path) -> str:
    """SHA-256 of a file's bytes, in hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _flush(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
