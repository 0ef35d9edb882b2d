"""Pictures of a comparison: convergence, and the effects of one setting and of two settings."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from pa_keras.plots.thumbnails import save_picture

# Markers distinguish lines in prints without colour and for colour-blind readers.
_MARKERS = "os^Dvp*XPh<>"


def convergence(
    seconds: Mapping[str, np.ndarray],
    recalls: Mapping[str, np.ndarray],
    path: Path,
    untrained: Mapping[str, np.ndarray] | None = None,
) -> None:
    """Draws Recall@1 against training time and against epochs, one line per run.

    A line is the mean over the seeds, and the band around it is one standard deviation wide on
    each side.

    Args:
        seconds: Training time until the end of each epoch by name of the run, (seeds, epochs).
        recalls: Recall@1 after each epoch by the same names, float (seeds, epochs) in [0, 1].
        path: Path of the picture; its suffix selects the format.
        untrained: Recall@1 before training by name, float (seeds,), drawn at time and epoch 0.
            A name may be missing. Default None: no run has it.

    Source: Kim et al., Proxy Anchor Loss for Deep Metric Learning, CVPR 2020, figure 2.
    """
    figure = Figure(figsize=(11, 4.4), layout="constrained")
    by_time, by_epoch = figure.subplots(1, 2, sharey=True)
    for marker, (name, values) in zip(_marks(recalls), recalls.items(), strict=True):
        minutes = seconds[name].mean(axis=0) / 60
        epochs = np.arange(1, values.shape[1] + 1)
        if untrained is not None and name in untrained:
            minutes, epochs = np.append(0, minutes), np.append(0, epochs)
            values = np.column_stack([untrained[name], values])
        for axes, x in ((by_time, minutes), (by_epoch, epochs)):
            _line(axes, x, values.T, name, marker)
    by_time.set(xlabel="training time, minutes (evaluation excluded)", ylabel="Recall@1, %")
    by_epoch.set(xlabel="epoch")
    by_epoch.legend(loc="best")
    save_picture(figure, path)


def study(
    setting: str,
    values: Sequence[Any],
    recalls: Mapping[str, Sequence[np.ndarray]],
    path: Path,
) -> None:
    """Draws the final Recall@1 against the values of a setting, one line per run.

    Args:
        setting: Name of the setting.
        values: Values of the setting. Numbers are drawn to scale, other values at equal distances.
        recalls: Recall@1 for each value by name of the run, float (seeds,) in [0, 1], empty if not
            trained.
        path: Path of the picture; its suffix selects the format.
    """
    figure = Figure(figsize=(6.4, 4.4), layout="constrained")
    axes = figure.subplots()
    is_number = all(isinstance(value, int | float) for value in values)
    x = np.asarray(values if is_number else range(len(values)), float)
    for marker, (name, of_values) in zip(_marks(recalls), recalls.items(), strict=True):
        _line(axes, x, of_values, name, marker)
    axes.set(xlabel=setting, ylabel="Recall@1 after the last epoch, %")
    axes.set_xticks(x, [str(value) for value in values])
    axes.legend()
    save_picture(figure, path)


def heat_maps(
    settings: tuple[str, str],
    values: tuple[Sequence[Any], Sequence[Any]],
    recalls: Mapping[str, Sequence[Sequence[np.ndarray]]],
    path: Path,
) -> None:
    """Draws the final Recall@1 for all pairs of values of two settings, one map per run.

    Args:
        settings: Names of the setting of the rows and of that of the columns.
        values: R values for the rows and C values for the columns.
        recalls: R rows of C arrays by name of the run, each float (seeds,) in [0, 1]. The mean of
            each is drawn, or nothing if it is empty.
        path: Path of the picture; its suffix selects the format.

    Source: Kim et al., CVPR 2020, figure 5 (alpha and margin).
    """
    size = (1.0 * len(values[1]) + 2, 0.8 * len(values[0]) + 1.2)
    figure = Figure(figsize=(size[0] * len(recalls), size[1]), layout="constrained")
    tables = {name: np.array([list(map(_mean, row)) for row in r]) for name, r in recalls.items()}
    lowest, highest = np.nanmin(list(tables.values())), np.nanmax(list(tables.values()))
    panels = figure.subplots(1, len(tables), squeeze=False)[0]
    for axes, (name, table) in zip(panels, tables.items(), strict=True):
        axes.imshow(table, cmap="viridis", vmin=lowest, vmax=highest, aspect="auto")
        for (row, column), value in np.ndenumerate(table):
            color = "white" if value < (lowest + highest) / 2 else "black"
            text = "" if np.isnan(value) else f"{100 * value:.1f}"
            axes.text(column, row, text, ha="center", va="center", color=color)
        axes.set(xlabel=settings[1], ylabel=settings[0], title=name)
        axes.set_xticks(range(len(values[1])), map(str, values[1]))
        axes.set_yticks(range(len(values[0])), map(str, values[0]))
    save_picture(figure, path)


def _line(axes: Axes, x: np.ndarray, values: Iterable[np.ndarray], name: str, marker: str) -> None:
    """Draws the mean over the seeds at each place, in percent, and a band if there are several."""
    found = [100 * np.asarray(each) for each in values]
    means = np.array([_mean(each) for each in found])
    (line,) = axes.plot(x, means, marker=marker, markersize=4, label=name)
    if any(len(each) > 1 for each in found):
        deviations = np.array([each.std(ddof=1) if len(each) > 1 else 0.0 for each in found])
        axes.fill_between(
            x, means - deviations, means + deviations, color=line.get_color(), alpha=0.2,
            linewidth=0,
        )  # fmt: skip


def _mean(values: np.ndarray) -> float:
    return float(np.mean(values)) if len(values) else float("nan")


def _marks(lines: Mapping[str, Any]) -> list[str]:
    return [_MARKERS[i % len(_MARKERS)] for i in range(len(lines))]
