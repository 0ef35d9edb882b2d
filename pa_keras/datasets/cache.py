"""The folder where drawn, cropped and downloaded images are written, each set once."""

import errno
import logging
import os
import shutil
import uuid
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TypeVar

logger = logging.getLogger(__name__)

T = TypeVar("T")

# A disk that is full or read-only, and a file where a folder should be.
CANNOT_WRITE = {
    *(errno.EDQUOT, errno.ENOSPC, errno.EACCES, errno.EPERM, errno.EROFS),
    *(errno.EEXIST, errno.ENOTDIR),
}


def cache_folder() -> Path:
    """The environment variable PA_KERAS_HOME, or `~/.cache/pa_keras`; it need not exist yet."""
    return Path(os.environ.get("PA_KERAS_HOME") or "~/.cache/pa_keras").expanduser().absolute()


def write_once(folder: Path, writer: Callable[[Path], None]) -> Path:
    """Let `writer` fill `folder` unless it is there already; never leave half a set.

    The files go to a temporary folder beside it, which is renamed at the end: an interrupted
    write is simply done again, and of two processes that write at once the first one wins.

    Args:
        folder: the finished set. Its name should say all that its content depends on.
        writer: writes every file below the existing, empty folder it is given.

    Returns:
        `folder`, complete.

    Raises:
        OSError: the disk is full, or the folder cannot be made or written to.

    Example:
        >>> write_once(cache_folder() / "set-1", lambda folder: draw(folder))  # doctest: +SKIP
    """
    if folder.is_dir():
        return folder
    # Not `tempfile.mkdtemp`: its 0700 would keep a shared cache from other users.
    partial = folder.with_name(f".{folder.name}-{uuid.uuid4().hex[:8]}")
    logger.info("Writing %s, once.", folder)
    try:
        partial.mkdir(parents=True)
        writer(partial)
        _rename(partial, folder)
    except OSError as error:
        if error.errno not in CANNOT_WRITE or _is_of_a_source(error, folder.parent):
            raise
        raise OSError(
            error.errno,
            f"Expected to write image files to {folder.parent}; received {error}. Free some "
            "space, or set the environment variable PA_KERAS_HOME to a folder of yours with room.",
        ) from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return folder


def progress(items: Iterable[T], total: int, description: str) -> Iterable[T]:
    """`items`, with a progress bar on stderr where that is a terminal."""
    from tqdm import tqdm

    return tqdm(items, total=total, desc=description, unit=" images", disable=None)


def _is_of_a_source(error: OSError, parent: Path) -> bool:
    """Whether it is a file elsewhere that this user may not read."""
    if error.errno not in (errno.EACCES, errno.EPERM) or not isinstance(error.filename, str | Path):
        return False
    named = Path(error.filename).absolute()
    return not (named.is_relative_to(parent) or parent.is_relative_to(named))


def _rename(partial: Path, folder: Path) -> None:
    try:
        partial.rename(folder)
    except OSError as error:
        # Another process finished the same set meanwhile.
        if error.errno not in (errno.EEXIST, errno.ENOTEMPTY):
            raise
