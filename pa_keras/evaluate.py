"""`python -m pa_keras.evaluate`: a trained model's metrics again, from disk."""

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pa_keras import command_line
from pa_keras.config import EvaluateConfig

PROGRAM = "python -m pa_keras.evaluate"


def main(arguments: Sequence[str] | None = None) -> None:
    """Reads the settings and evaluates."""
    parser = command_line.make_parser(
        EvaluateConfig,
        PROGRAM,
        "Recall@K, Precision@K, R-precision and MAP@R of a trained model on test classes, each "
        "with a 95 % bootstrap interval.",
    )
    arguments = sys.argv[1:] if arguments is None else arguments
    config, _ = command_line.parse(parser, EvaluateConfig, arguments)
    command_line.log_to()
    command_line.run_command(lambda: _run(config))


def _run(config: EvaluateConfig) -> None:
    # TensorFlow is imported from here on, so that --help need not wait.
    from pa_keras import plots
    from pa_keras.training.data import load_checked
    from pa_keras.training.evaluation import evaluate, expect_ks
    from pa_keras.training.trained import load_trained

    for path in (config.json, config.picture):
        command_line.expect_new(path)
    expect_ks(config.ks)
    model, settings = load_trained(config.run, config.model)
    of_run = settings.get("data", {})
    # On another data set than the run's, only its preprocessing still holds.
    of_dataset = {} if config.dataset else {**settings, **of_run}
    if not (config.dataset or of_dataset):
        raise ValueError("Expected a dataset to evaluate the model on; add --dataset NAME.")
    dataset, _ = load_checked(
        _first_given(config.dataset, of_dataset.get("dataset")),
        _first_given(config.data_dir, of_dataset.get("data_dir")),
        on_bad_image=_first_given(config.on_bad_image, of_dataset.get("on_bad_image"), "error"),
        test_fraction=_first_given(config.test_fraction, of_dataset.get("test_fraction"), 0.5),
        crop_to_boxes=_first_given(config.crop_to_boxes, of_dataset.get("crop_to_boxes"), False),
        test_only=True,
    )
    found = evaluate(
        model,
        dataset.queries,
        dataset.gallery,
        crop_fraction=_first_given(config.crop_fraction, of_run.get("crop_fraction"), 0.875),
        batch_size=config.batch_size,
        ks=config.ks,
        method=config.search,
    )
    sys.stdout.write(found.as_table() + "\n")
    if config.json:
        Path(config.json).write_text(json.dumps(found.as_json(), indent=2) + "\n")
    if config.picture:
        plots.retrieved(dataset.queries, dataset.gallery, found.indices, Path(config.picture))


def _first_given(*values: Any) -> Any:
    return next((value for value in values if value is not None), None)


if __name__ == "__main__":
    main()
