"""The cache folder, to which drawn, cropped and downloaded images are written once."""

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

# The disk is full or read-only, or a file exists in place of a folder.
CANNOT_WRITE = {
    *(errno.EDQUOT, errno.ENOSPC, errno.EACCES, errno.EPERM, errno.EROFS),
    *(errno.EEXIST, errno.ENOTDIR),
}


def cache_folder() -> Path:
    """Returns the folder in PA_KERAS_HOME, or `~/.cache/pa_keras`; it need not exist yet."""
    return Path(os.environ.get("PA_KERAS_HOME") or "~/.cache/pa_keras").expanduser().absolute()


def write_once(folder: Path, writer: Callable[[Path], None]) -> Path:
    """Let `writer` fill `folder` unless it exists already; never leave a partial set.

    The files are written to a temporary folder beside it, which is renamed at the end. So an
    interrupted write is repeated, and the first of two simultaneous processes to finish wins.

    Args:
        folder: Folder of the finished set. Its name should encode everything its content
            depends on.
        writer: Function that writes all files into the empty folder that it is given.

    Returns:
        `folder`, complete.

    Raises:
        OSError: The disk is full, or the folder cannot be created or written to.

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
            "space, or set the environment variable PA_KERAS_HOME to another folder.",
        ) from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return folder


def progress(items: Iterable[T], total: int, description: str) -> Iterable[T]:
    """Yields `items` and shows a progress bar on stderr if that is a terminal."""
    from tqdm import tqdm

    return tqdm(items, total=total, desc=description, unit=" images", disable=None)


def _is_of_a_source(error: OSError, parent: Path) -> bool:
    """Whether the error concerns a file outside the cache that this user may not read."""
    if error.errno not in (errno.EACCES, errno.EPERM) or not isinstance(error.filename, str | Path):
        return False
    named = Path(error.filename).absolute()
    return not (named.is_relative_to(parent) or parent.is_relative_to(named))


def _rename(partial: Path, folder: Path) -> None:
    try:
        partial.rename(folder)
    except OSError as error:
        # Another process may have finished the same set in the meantime.
        if error.errno not in (errno.EEXIST, errno.ENOTEMPTY):
            raise
