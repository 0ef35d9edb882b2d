"""`python -m pa_keras.evaluate`: a trained model's metrics again, from disk."""

import json
import sys
from collections.abc import Sequence
from pathlib import Path

from pa_keras import command_line
from pa_keras.config import EvaluateConfig

PROGRAM = "python -m pa_keras.evaluate"


def main(arguments: Sequence[str] | None = None) -> None:
    """Reads the settings and evaluates."""
    command_line.run_from(
        arguments,
        EvaluateConfig,
        PROGRAM,
        "Recall@K, Precision@K, R-precision and MAP@R of a trained model on test classes, each "
        "with a 95 % bootstrap interval.",
        _run,
    )


def _run(config: EvaluateConfig) -> None:
    # TensorFlow is imported from here on, so that --help need not wait.
    from pa_keras import plots
    from pa_keras.training.evaluation import evaluate, expect_ks
    from pa_keras.training.trained import crop_fraction_of, load_data, load_trained

    for path in (config.json, config.picture):
        command_line.expect_new(path)
    expect_ks(config.ks)
    model, settings = load_trained(config.run, config.model)
    dataset = load_data(
        settings,
        dataset=config.dataset,
        data_dir=config.data_dir,
        on_bad_image=config.on_bad_image,
        test_fraction=config.test_fraction,
        crop_to_boxes=config.crop_to_boxes,
    )
    found = evaluate(
        model,
        dataset.queries,
        dataset.gallery,
        crop_fraction=crop_fraction_of(settings, config.crop_fraction),
        batch_size=config.batch_size,
        ks=config.ks,
        method=config.search,
    )
    sys.stdout.write(found.as_table() + "\n")
    if config.json:
        Path(config.json).write_text(json.dumps(found.as_json(), indent=2) + "\n")
    if config.picture:
        plots.retrieved(dataset.queries, dataset.gallery, found.indices, Path(config.picture))


if __name__ == "__main__":
    main()
