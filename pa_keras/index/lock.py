"""One writer of an index at a time, by a lock that dies with its process."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pa_keras import files


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
    advice = "Wait until it has ended; queries need not wait."
    with files.locked(folder / "lock", f"writes to {folder}", advice):
        yield
