"""Epoch 0: the network before training, and what training gained from there."""

from collections.abc import Mapping
from dataclasses import dataclass

from pa_keras.runs.build import Run
from pa_keras.runs.folder import RunFolder
from pa_keras.training import distribution
from pa_keras.training.callbacks.metrics_csv import append_before_training
from pa_keras.training.checkpoint import Checkpoint


def measure_before_training(run: Run, folder: RunFolder, checkpoint: Checkpoint | None) -> None:
    """Measures the network before its first step, and writes epoch 0 into metrics.csv.

    It does nothing if the run leaves this out, has trained already, or was interrupted after this
    measurement. All workers measure together.
    """
    if run.before_training is None or checkpoint is not None or folder.read_before_training():
        return
    with distribution.naming_lost_workers(run.strategy):
        values = run.before_training.measure_before_training()
    if run.writes:
        append_before_training(folder.metrics, values)


@dataclass(frozen=True)
class Gain:
    """The metrics before training and those of the selected epoch, on the same images.

    Args:
        classes: Whose images: "held-out", "validation" or "test" classes.
        before: Metrics before training, in [0, 1], by name.
        after: The same metrics of the selected epoch.
    """

    classes: str
    before: dict[str, float]
    after: dict[str, float]

    def as_json(self) -> dict:
        """The part of result.json."""
        return {
            "classes": self.classes,
            "before_training": self.before,
            "after_training": self.after,
        }

    def __str__(self) -> str:
        name = next(iter(self.before))
        metric = name.replace("recall_at_", "Recall@")
        before, after = (f"{100 * values[name]:.1f}" for values in (self.before, self.after))
        on = f"{metric} on the {self.classes} classes"
        if before == after:
            return f"Training left {on} at {after}."
        raised = self.after[name] > self.before[name]
        return f"Training {'raised' if raised else 'lowered'} {on} from {before} to {after}."


def gain(
    classes: str, before: Mapping[str, float] | None, after: Mapping[str, float]
) -> Gain | None:
    """What training gained, from the row of epoch 0; None if it was not measured.

    Args:
        classes: Whose images both were measured on: "held-out", "validation" or "test" classes.
        before: The row of epoch 0.
        after: Metrics of the selected epoch.

    Example:
        >>> print(gain("test", {"epoch": 0.0, "recall_at_1": 0.6}, {"recall_at_1": 0.9}))
        Training raised Recall@1 on the test classes from 60.0 to 90.0.
    """
    if before is None:
        return None
    names = [name for name in before if name.startswith(("recall_at_", "map_at_r"))]
    names = [name for name in names if name in after]
    if not names:
        return None
    return Gain(
        classes,
        {name: before[name] for name in names},
        {name: after[name] for name in names},
    )
