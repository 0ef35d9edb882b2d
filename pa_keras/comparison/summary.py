"""Summary of the runs of a comparison over their seeds."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

# The metric that selects the best epoch and measures speed.
MAIN = "recall_at_1"


@dataclass(frozen=True)
class Curve:
    """The metrics of one run, epoch by epoch.

    Args:
        name: Name of its row in the table.
        values: Values of the settings that vary.
        seed: Seed of the run.
        rows: One row for each epoch: `seconds` of training, `recall_at_K` and `map_at_r`.
        cost: Cost of an epoch, such as "O(MC)". Default "": unknown.
        untrained: Recall@1 before training, on the images of the rows. Default None: not measured.
    """

    name: str
    values: tuple[Any, ...]
    seed: int
    rows: Sequence[Mapping[str, float]]
    cost: str = ""
    untrained: float | None = None

    def metric(self, name: str) -> np.ndarray:
        """Returns a metric at each epoch, float (epochs,)."""
        return np.array([row[name] for row in self.rows])


# The curves of each row, one for each seed, by the name of the row and the values that vary.
Lines = dict[tuple[str, tuple[Any, ...]], list[Curve]]


@dataclass(frozen=True)
class Row:
    """One row of the table: the same run with several seeds.

    Args:
        name: Name of the row.
        values: Values of the settings that vary.
        num_seeds: Number of seeds.
        final: Mean and sample standard deviation of each metric after the last epoch; the deviation
            is None for a single seed.
        best: The same at the epoch with the highest Recall@1 of each seed.
        seconds_per_epoch: Mean over epochs and seeds, without evaluation.
        seconds: Time of the complete training, mean over the seeds.
        rival: Name of the best other row with the same values; None if there is no other row.
        epochs_to_rival: First epoch after which the mean Recall@1 is at least the rival's final
            one; None if there is no such epoch.
        seconds_to_rival: Mean training time up to that epoch.
        rival_seconds: Time of the rival's complete training.
        cost: Cost of an epoch.
        untrained: Mean and deviation of Recall@1 before training; None if a seed lacks it.
    """

    name: str
    values: tuple[Any, ...]
    num_seeds: int
    final: Mapping[str, tuple[float, float | None]]
    best: Mapping[str, tuple[float, float | None]]
    seconds_per_epoch: float
    seconds: float
    rival: str | None
    epochs_to_rival: int | None
    seconds_to_rival: float | None
    rival_seconds: float | None
    cost: str
    untrained: tuple[float, float | None] | None = None


def lines(curves: Sequence[Curve]) -> Lines:
    """Groups the curves by row of the table: by name and values, in the given order.

    Raises:
        ValueError: If the seeds of a row have different numbers of epochs.
    """
    found: Lines = {}
    for curve in curves:
        found.setdefault((curve.name, curve.values), []).append(curve)
    for (name, _), group in found.items():
        lengths = {len(curve.rows) for curve in group}
        if len(lengths) > 1:
            raise ValueError(f"Expected seeds of {name} with equal epochs; received {lengths}.")
    return found


def summarize(curves: Sequence[Curve]) -> list[Row]:
    """Summarizes the curves of each row of the table.

    Args:
        curves: Curves of all runs, at least one, with the same metrics.

    Example:
        >>> rows = [{"recall_at_1": r, "seconds": 2.0} for r in (0.3, 0.5)]
        >>> summarize([Curve("a", (), 0, rows)])[0].final["recall_at_1"]
        (0.5, None)
    """
    of_lines = lines(curves)
    return [_row(key, of_lines) for key in of_lines]


def seconds(group: Sequence[Curve]) -> np.ndarray:
    """Returns the training time up to the end of each epoch, float (seeds, epochs)."""
    return np.stack([np.cumsum(curve.metric("seconds")) for curve in group])


def recalls(group: Sequence[Curve]) -> np.ndarray:
    """Returns Recall@1 after each epoch, float (seeds, epochs)."""
    return np.stack([curve.metric(MAIN) for curve in group])


def untrained(group: Sequence[Curve]) -> np.ndarray | None:
    """Returns Recall@1 before training, float (seeds,); None if a run did not measure it."""
    found = [curve.untrained for curve in group]
    return None if None in found else np.array(found, float)


def finals(lines: Lines, name: str, values: tuple[Any, ...]) -> np.ndarray:
    """Returns Recall@1 after the last epoch of one row, float (seeds,); empty if not trained.

    Args:
        lines: Result of `lines`.
        name: Name of the row.
        values: Values of the settings that vary.
    """
    return np.array([curve.metric(MAIN)[-1] for curve in lines.get((name, values), [])])


def _row(key: tuple[str, tuple[Any, ...]], of_lines: Lines) -> Row:
    name, values = key
    group = of_lines[key]
    mean_seconds, mean_recalls = seconds(group).mean(axis=0), recalls(group).mean(axis=0)
    metrics = [m for m in group[0].rows[0] if m.startswith("recall_at_") or m == "map_at_r"]
    ends = [-1] * len(group)
    bests = [int(np.argmax(curve.metric(MAIN))) for curve in group]
    rivals = {
        other: of_lines[other, point]
        for other, point in of_lines
        if point == values and other != name
    }
    last = {other: recalls(curves)[:, -1].mean() for other, curves in rivals.items()}
    rival = max(last, key=lambda other: last[other], default=None)
    reached = None
    if rival is not None:
        epochs = np.flatnonzero(mean_recalls >= last[rival])
        reached = int(epochs[0]) if len(epochs) else None
    return Row(
        name,
        values,
        len(group),
        final={m: _mean_and_deviation(group, m, ends) for m in metrics},
        best={m: _mean_and_deviation(group, m, bests) for m in metrics},
        seconds_per_epoch=float(mean_seconds[-1] / len(mean_seconds)),
        seconds=float(mean_seconds[-1]),
        rival=rival,
        epochs_to_rival=None if reached is None else reached + 1,
        seconds_to_rival=None if reached is None else float(mean_seconds[reached]),
        rival_seconds=None if rival is None else float(seconds(rivals[rival])[:, -1].mean()),
        cost=group[0].cost,
        untrained=None if (start := untrained(group)) is None else _summary(start),
    )


def _mean_and_deviation(
    group: Sequence[Curve], metric: str, epochs: Sequence[int]
) -> tuple[float, float | None]:
    return _summary(
        [curve.metric(metric)[epoch] for curve, epoch in zip(group, epochs, strict=True)]
    )


def _summary(found: Sequence[float] | np.ndarray) -> tuple[float, float | None]:
    """Mean and sample standard deviation, which a single value does not have."""
    return float(np.mean(found)), float(np.std(found, ddof=1)) if len(found) > 1 else None
