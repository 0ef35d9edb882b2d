"""Sides that are measured in turns, and the row of the table that comes of it."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Row:
    """One line of the table: the median of the turns' ratios, so that a slow minute is both sides'.

    Args:
        what: that was measured, and what it includes.
        unit: of `ours` and `peer`.
        ours: one value a turn.
        peer: as many.
        bar: what the ratio ours / peer is to be, such as ">= 2.5".
    """

    what: str
    unit: str
    ours: list[float]
    peer: list[float]
    bar: str = ""

    @property
    def ratio(self) -> float:
        return float(np.median(np.divide(self.ours, self.peer)))

    def __str__(self) -> str:
        ours, peer = np.median(self.ours), np.median(self.peer)
        spread = np.divide(self.ours, self.peer)
        return (
            f"{self.what:<78} {ours:9.2f} {peer:9.2f} {self.unit:<9} ratio {self.ratio:6.3f} "
            f"({spread.min():.2f}-{spread.max():.2f}) {self.bar}"
        )


def in_turns(sides: dict[str, Callable[[], float]], turns: int = 5) -> dict[str, list[float]]:
    """Calls the sides one after another, `turns` times, after one round that does not count."""
    values: dict[str, list[float]] = {name: [] for name in sides}
    for turn in range(turns + 1):
        for name, measure in sides.items():
            value = measure()
            if turn:
                values[name].append(value)
    return values
