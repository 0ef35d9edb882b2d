"""Turns and rows: how a part of the benchmark measures and reports."""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace

import numpy as np

# Runs one turn and returns the seconds of one call.
Side = Callable[[], float]


@dataclass(frozen=True)
class Row:
    """A row of the table as text, and whether its bar was met (None without a bar)."""

    what: str
    ours: str
    peer: str
    ratio: str = ""
    spread: str = ""
    bar: str = ""
    met: bool | None = None

    @property
    def is_missing(self) -> bool:
        """Whether nothing could be measured."""
        return not self.ours


@dataclass(frozen=True)
class Part:
    """What one part measured.

    Args:
        rows: Rows of its table.
        includes: Description of what each figure includes.
        more: Markdown below the table. Default "".
        versions: Versions of the peers' packages. Default {}.
    """

    rows: list[Row]
    includes: str
    more: str = ""
    versions: dict[str, str] = field(default_factory=dict)


def here(call: Callable[[], object], seconds: float = 0.1) -> Side:
    """Makes a side in this process. A turn repeats the call for about `seconds`."""
    call()
    times = max(1, math.ceil(seconds / _taken(call, 1)))

    def side() -> float:
        call()  # the previous side has left its data in the cache
        return _taken(call, times)

    return side


def in_turns(sides: dict[str, Side], turns: int) -> dict[str, np.ndarray]:
    """Returns seconds (turns,) of each side. The sides take turns, in random order."""
    names, rng = list(sides), np.random.default_rng(0)
    found = {name: np.zeros(turns) for name in names}
    for turn in range(turns):
        for name in rng.permutation(names):
            found[name][turn] = sides[name]()
    return found


def no_slower(
    what: str, ours: np.ndarray, peer: np.ndarray, name: str, at_most: float | None = None
) -> Row:
    """Returns a row with our time relative to the peer's: the median of the turns' ratios."""
    row = _row(what, ours, peer, name, ours / peer, "its time")
    if at_most is None:
        return row
    return replace(row, bar=f"<= {at_most:.4g}", met=np.median(ours / peer) <= at_most)


def faster(
    what: str, ours: np.ndarray, peer: np.ndarray, name: str, at_least: float | None = None
) -> Row:
    """Returns a row with our speed relative to the peer's: the median of the turns' ratios."""
    row = _row(what, ours, peer, name, peer / ours, "as fast")
    if at_least is None:
        return row
    return replace(row, bar=f">= {at_least:.4g}", met=np.median(peer / ours) >= at_least)


def missing(what: str, peer: str, why: str) -> Row:
    """Returns the row for a missing peer."""
    return Row(what, "", f"{peer}: {why}")


def duration(seconds: float) -> str:
    """Formats seconds with three digits, in s or ms."""
    if seconds < 1:
        return f"{1e3 * seconds:.3g} ms"
    return f"{seconds:.3g} s"


def exponent(sizes: np.ndarray, costs: np.ndarray) -> float:
    """Returns b of cost = a size^b, fitted to the logarithms."""
    return float(np.polyfit(np.log(sizes), np.log(costs), 1)[0])


def _row(what, ours, peer, name, ratios, of_what) -> Row:
    low, high = np.quantile(ratios, [0.25, 0.75])
    return Row(
        what,
        duration(float(np.median(ours))),
        f"{name} {duration(float(np.median(peer)))}",
        f"{np.median(ratios):.2f} x {of_what}",
        f"{low:.2f} to {high:.2f}",
    )


def _taken(call: Callable[[], object], times: int) -> float:
    started = time.perf_counter()
    for _ in range(times):
        call()
    return (time.perf_counter() - started) / times
