"""What the runs of a comparison came to, over their seeds."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

# The metric by which the best epoch is chosen and speed is measured.
MAIN = "recall_at_1"


@dataclass(frozen=True)
class Curve:
    """The course of one training.

    Args:
        name: of its line.
        values: of the settings that vary.
        seed: of the run.
        rows: one an epoch, with `seconds` of training in it, `recall_at_K` and `map_at_r`.
        cost: of an epoch, such as "O(MC)". Default: not known.
    """

    name: str
    values: tuple[Any, ...]
    seed: int
    rows: Sequence[Mapping[str, float]]
    cost: str = ""

    def metric(self, name: str) -> np.ndarray:
        """Float (epochs,)."""
        return np.array([row[name] for row in self.rows])


# The curves of each line, one a seed, by its name and the values that vary.
Lines = dict[tuple[str, tuple[Any, ...]], list[Curve]]


@dataclass(frozen=True)
class Row:
    """One line of the table: the same run with several seeds.

    Args:
        name: of the line.
        values: of the settings that vary.
        num_seeds: how many.
        final: by metric, mean and sample standard deviation after the last epoch; the deviation of
            a single seed is None.
        best: the same at the epoch whose Recall@1 is highest, each seed's own.
        seconds_per_epoch: mean over epochs and seeds, evaluation excluded.
        seconds: of the whole training, mean over the seeds.
        rival: the name of the best other line at the same values, None without any.
        epochs_to_rival: first epoch at whose end the mean Recall@1 is that of the rival's last
            epoch or more; None if it never is.
        seconds_to_rival: mean training time until then.
        rival_seconds: of the rival's whole training.
        cost: of an epoch.
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


def lines(curves: Sequence[Curve]) -> Lines:
    """The curves of each line, by its name and values, in the order in which they come.

    Raises:
        ValueError: seeds of one line with different numbers of epochs.
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
    """One row a line.

    Args:
        curves: of all runs, at least one; all with the same metrics.

    Example:
        >>> rows = [{"recall_at_1": r, "seconds": 2.0} for r in (0.3, 0.5)]
        >>> summarize([Curve("a", (), 0, rows)])[0].final["recall_at_1"]
        (0.5, None)
    """
    of_lines = lines(curves)
    return [_row(key, of_lines) for key in of_lines]


def seconds(group: Sequence[Curve]) -> np.ndarray:
    """Training time until each epoch's end, float (seeds, epochs)."""
    return np.stack([np.cumsum(curve.metric("seconds")) for curve in group])


def recalls(group: Sequence[Curve]) -> np.ndarray:
    """Recall@1 after each epoch, float (seeds, epochs)."""
    return np.stack([curve.metric(MAIN) for curve in group])


def finals(lines: Lines, name: str, values: tuple[Any, ...]) -> np.ndarray:
    """Recall@1 after the last epoch, float (seeds,), of one line; none if it is not trained.

    Args:
        lines: of `lines`.
        name: of the line.
        values: of the settings that vary.
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
    )


def _mean_and_deviation(
    group: Sequence[Curve], metric: str, epochs: Sequence[int]
) -> tuple[float, float | None]:
    found = [curve.metric(metric)[epoch] for curve, epoch in zip(group, epochs, strict=True)]
    deviation = float(np.std(found, ddof=1)) if len(found) > 1 else None
    return float(np.mean(found)), deviation
