"""The training curves of a run."""

from collections.abc import Sequence
from pathlib import Path

from matplotlib.figure import Figure

from pa_keras.plots.thumbnails import save_picture


def curves(rows: Sequence[dict[str, float]], path: Path) -> None:
    """Draws loss and Recall@K against the epoch.

    Args:
        rows: One row per epoch, with `epoch`, `loss` and any `recall_at_K`. A row may lack some, as
            epoch 0 before training lacks the loss; the curves are those of the last row.
        path: Path of the picture; its suffix selects the format.
    """

    def points(name: str, factor: float = 1.0) -> tuple[list[float], list[float]]:
        measured = [row for row in rows if name in row]
        return [row["epoch"] for row in measured], [factor * row[name] for row in measured]

    figure = Figure(figsize=(9, 3.6), layout="constrained")
    loss, recall = figure.subplots(1, 2)
    loss.plot(*points("loss"), "o-", color="black", markersize=3)
    loss.set(xlabel="epoch", ylabel="training loss")
    for name in [name for name in rows[-1] if name.startswith("recall_at_")]:
        label = f"Recall@{name.removeprefix('recall_at_')}"
        recall.plot(*points(name, 100), "o-", markersize=3, label=label)
    recall.set(xlabel="epoch", ylabel="Recall@K of the selection classes, %")
    if recall.lines:
        recall.legend()
    save_picture(figure, path)
