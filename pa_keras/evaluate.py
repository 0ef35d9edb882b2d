"""`python -m pa_keras.evaluate`: a trained model's metrics again, from disk."""

import json
import logging
import sys
from collections.abc import Sequence
from pathlib import Path

from pa_keras import command_line
from pa_keras.config import EvaluateConfig

logger = logging.getLogger(__name__)

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
    from pa_keras.training.evaluation import evaluate
    from pa_keras.training.trained import load_trained

    for path in (config.json, config.picture):
        command_line.expect_new(path)
    model, settings = load_trained(config.run, config.model)
    of_run = settings.get("data", {})
    if not (config.dataset or settings):
        raise ValueError("Expected a dataset to evaluate the model on; add --dataset NAME.")
    dataset, _ = load_checked(
        config.dataset or settings.get("dataset"),
        config.data_dir if config.dataset else config.data_dir or settings.get("data_dir"),
        on_bad_image=config.on_bad_image,
        test_fraction=config.test_fraction or of_run.get("test_fraction", 0.5),
        crop_to_boxes=_first_given(config.crop_to_boxes, of_run.get("crop_to_boxes"), False),
        test_only=True,
    )
    found = evaluate(
        model,
        dataset.queries,
        dataset.gallery,
        crop_fraction=config.crop_fraction or of_run.get("crop_fraction", 0.875),
        batch_size=config.batch_size,
        ks=config.ks,
        method=config.search,
    )
    sys.stdout.write(found.as_table() + "\n")
    if config.json:
        Path(config.json).write_text(json.dumps(found.as_json(), indent=2) + "\n")
    if config.picture:
        plots.retrieved(dataset.queries, dataset.gallery, found.indices, Path(config.picture))


def _first_given(*values: bool | None) -> bool:
    return next(value for value in values if value is not None)


if __name__ == "__main__":
    main()
