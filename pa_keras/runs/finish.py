"""The end of a run: evaluating the saved model on the test classes, and drawing pictures."""

import contextlib
import json
import sys
from pathlib import Path
from typing import Any

import keras

from pa_keras import plots
from pa_keras.evaluation.calibration import KEY
from pa_keras.evaluation.evaluate import evaluate
from pa_keras.files import save_whole
from pa_keras.models import checksum
from pa_keras.runs.before_training import gain
from pa_keras.runs.build import Run
from pa_keras.runs.folder import RunFolder


def finish(run: Run, folder: RunFolder) -> None:
    """Saves the last model if none was selected, evaluates the saved one, and draws pictures."""
    config, dataset = run.config, run.data.dataset
    rows, before = folder.read_metrics(), folder.read_before_training()
    selected = rows[-1]
    if config.training.selection == "last":
        run.embedder.set_weights(run.model.get_layer("embedding_model").get_weights())
        save_whole(run.save, folder.best_model)
    else:
        # Epoch 0 is not selected: a run is to return a trained model, and its line says the gain.
        selected = max(rows, key=lambda row: row["recall_at_1"])
    saved = keras.saving.load_model(folder.best_model, compile=False)
    found = evaluate(
        saved,
        dataset.queries,
        dataset.gallery,
        crop_fraction=config.data.crop_fraction,
        batch_size=config.evaluation.batch_size,
        ks=config.evaluation.ks,
        method=config.evaluation.search,
    )
    epoch, seconds = int(selected["epoch"]), sum(row["seconds"] for row in rows)
    result = {"epoch": epoch, "training_seconds": seconds, **found.as_json()}
    match config.training.selection:
        case "held_out":
            classes = "held-out" if dataset.validation is None else "validation"
            gained = gain(classes, before, selected)
        case "reference_protocol":
            gained = gain("test", before, selected)
        case "last":  # no epoch is measured
            gained = gain("test", before, found.metrics)
    if gained is not None:
        result["gain"] = gained.as_json()
    result |= _calibration(folder.result, saved)
    plots.curves(rows if before is None else [before, *rows], folder.path / "curves.png")
    plots.retrieved(dataset.queries, dataset.gallery, found.indices, folder.path / "neighbours.png")
    # The result is written last and atomically: a run with a result is complete.
    text = json.dumps(result, indent=2) + "\n"
    save_whole(lambda path: Path(path).write_text(text), folder.result)
    recalls = ", ".join(f"Recall@{k} {100 * found.metrics[f'recall_at_{k}']:.1f}"
                        for k in config.evaluation.ks)  # fmt: skip
    gained_text = "" if gained is None else f"{gained} "
    sys.stdout.write(
        f"{folder.best_model}: epoch {epoch}, {recalls} on {found.num_classes} unseen classes. "
        f"{gained_text}Next: python -m pa_keras.evaluate --run {folder.path}\n"
    )


def _calibration(result: Path, model: keras.Model) -> dict[str, Any]:
    """The calibrated threshold in an earlier result of the same model; {} without one."""
    with contextlib.suppress(OSError, ValueError, TypeError, KeyError):
        kept = json.loads(result.read_text())[KEY]
        if kept["model"] == checksum(model):
            return {KEY: kept}
    return {}
