"""Selects the rows of each batch that a worker makes, when several workers share a batch."""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class WorkerShare:
    """The contiguous shards of each global batch that belong to this worker's replicas.

    Args:
        parts: Number of equal shards of each batch, one for each replica of all workers.
        first: Index of the first shard that this worker makes, from 0.
        number: Number of shards that it makes.

    Example:
        >>> WorkerShare(parts=3, first=1, number=2).of(np.arange(12).reshape(2, 6)).tolist()
        [[[2, 3], [4, 5]], [[8, 9], [10, 11]]]
    """

    parts: int = 1
    first: int = 0
    number: int = 1

    def of(self, rows: np.ndarray) -> np.ndarray:
        """Returns this worker's part, (steps, number, B / parts, ...), of rows (steps, B, ...)."""
        steps, batch_size, *rest = rows.shape
        parts = rows.reshape(steps, self.parts, batch_size // self.parts, *rest)
        return parts[:, self.first : self.first + self.number]

    def of_all(self, num_rows: int, batch_size: int) -> np.ndarray:
        """Returns this worker's part of all rows in order, int (steps, number, rows per shard).

        All shards have the same number of rows, for which the last row is repeated. Joined in the
        order of steps and shards, the first `num_rows` rows are all rows in order.

        Args:
            num_rows: Number of rows, N, at least 1.
            batch_size: Size of the global batch; a batch may have up to `parts` rows more.
        """
        steps = -(-num_rows // batch_size)
        size = self.parts * -(-num_rows // (steps * self.parts))
        return self.of(np.minimum(np.arange(steps * size), num_rows - 1).reshape(steps, size))

    def part_size(self, batch_size: int) -> int:
        """Returns the number of rows in a shard.

        Raises:
            ValueError: The batch cannot be divided into equal shards.
        """
        if batch_size % self.parts:
            below = batch_size - batch_size % self.parts
            raise ValueError(
                f"Expected a batch that {self.parts} replicas divide into equal parts; received "
                f"batches.batch_size={batch_size}. Take {below or self.parts} or "
                f"{below + self.parts}, or another number of workers."
            )
        return batch_size // self.parts


WHOLE = WorkerShare()
