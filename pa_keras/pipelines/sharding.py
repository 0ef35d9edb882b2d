"""Which rows of each batch a worker makes, where several train on one batch."""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Share:
    """Some of the equal parts of each batch, one after another: those of a worker's own replicas.

    Args:
        parts: equal parts of each batch, one for each replica of all the workers.
        first: the first part that this worker makes, from 0.
        number: how many it makes.

    Example:
        >>> Share(parts=3, first=1, number=2).of(np.arange(12).reshape(2, 6)).tolist()
        [[[2, 3], [4, 5]], [[8, 9], [10, 11]]]
    """

    parts: int = 1
    first: int = 0
    number: int = 1

    def of(self, rows: np.ndarray) -> np.ndarray:
        """Of rows (steps, B, ...) the own ones, (steps, number, B / parts, ...)."""
        steps, batch_size, *rest = rows.shape
        parts = rows.reshape(steps, self.parts, batch_size // self.parts, *rest)
        return parts[:, self.first : self.first + self.number]

    def of_all(self, num_rows: int, batch_size: int) -> np.ndarray:
        """The own ones of all rows in order, int (steps, number, rows a part).

        Every part of every step has as many rows, for which the last row is repeated; joined in the
        order of steps and parts, the first `num_rows` are the rows in order.

        Args:
            num_rows: N, at least 1.
            batch_size: of all parts together; a batch may have up to `parts` rows more.
        """
        steps = -(-num_rows // batch_size)
        size = self.parts * -(-num_rows // (steps * self.parts))
        return self.of(np.minimum(np.arange(steps * size), num_rows - 1).reshape(steps, size))

    def part_size(self, batch_size: int) -> int:
        """Rows of a part.

        Raises:
            ValueError: the parts do not divide the batch.
        """
        if batch_size % self.parts:
            below = batch_size - batch_size % self.parts
            raise ValueError(
                f"Expected a batch that {self.parts} replicas divide into equal parts; received "
                f"batches.batch_size={batch_size}. Take {below or self.parts} or "
                f"{below + self.parts}, or another number of workers."
            )
        return batch_size // self.parts


WHOLE = Share()
