"""The lock that allows only one writer of an index at a time; it ends with its process."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pa_keras import files


@contextmanager
def writer_lock(folder: Path) -> Iterator[None]:
    """Holds the lock for writing an index. Readers need no lock.

    Args:
        folder: Folder of the index; it is created if necessary.

    Raises:
        BlockingIOError: If another process is writing to the index; the message names it.

    Example:
        >>> with writer_lock(Path("cars.index")):  # doctest: +SKIP
        ...     write_index(...)
    """
    folder.mkdir(parents=True, exist_ok=True)
    advice = "Wait until it has ended; queries need not wait."
    with files.locked(folder / "lock", f"writes to {folder}", advice):
        yield
