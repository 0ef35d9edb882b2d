"""One writer of an index at a time, by a lock that dies with its process."""

import fcntl
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def writer_lock(folder: Path) -> Iterator[None]:
    """Holds the index's lock for writing; readers need none.

    Args:
        folder: of the index, made if it is not there.

    Raises:
        BlockingIOError: another process writes to the index; the message says which.

    Example:
        >>> with writer_lock(Path("cars.index")):  # doctest: +SKIP
        ...     write_index(...)
    """
    folder.mkdir(parents=True, exist_ok=True)
    # Never deleted: a process that waits for a deleted file's lock would wait beside another's.
    with (folder / "lock").open("a+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            file.seek(0)
            holder = file.read().strip() or "a process that has just begun"
            raise BlockingIOError(
                f"Expected to be the only one that writes to {folder}; {holder} does so now. Wait "
                "until it has ended; queries need not wait."
            ) from error
        file.truncate(0)
        file.write(f"process {os.getpid()} on {socket.gethostname()}\n")
        file.flush()
        yield
        file.truncate(0)
