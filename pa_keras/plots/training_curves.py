"""The training curves of a run."""

from collections.abc import Sequence
from pathlib import Path

from matplotlib.figure import Figure

from pa_keras.plots.thumbnails import save_picture


def curves(rows: Sequence[dict[str, float]], path: Path) -> None:
    """Draws loss and Recall@K against the epoch.

    Args:
        rows: One row per epoch, with `epoch`, `loss` and any `recall_at_K`.
        path: Path of the picture; its suffix selects the format.
    """
    epochs = [row["epoch"] for row in rows]
    figure = Figure(figsize=(9, 3.6), layout="constrained")
    loss, recall = figure.subplots(1, 2)
    loss.plot(epochs, [row["loss"] for row in rows], "o-", color="black", markersize=3)
    loss.set(xlabel="epoch", ylabel="training loss")
    for name in [name for name in rows[0] if name.startswith("recall_at_")]:
        label = f"Recall@{name.removeprefix('recall_at_')}"
        recall.plot(epochs, [100 * row[name] for row in rows], "o-", markersize=3, label=label)
    recall.set(xlabel="epoch", ylabel="Recall@K of the selection classes, %")
    if recall.lines:
        recall.legend()
    save_picture(figure, path)
