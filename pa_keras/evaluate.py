"""`python -m pa_keras.evaluate`: measures a trained model from disk."""

import json
import sys
from collections.abc import Sequence
from pathlib import Path

from pa_keras import cli, files
from pa_keras.config import EvaluateConfig

PROGRAM = "python -m pa_keras.evaluate"


def main(arguments: Sequence[str] | None = None) -> None:
    """Reads the settings and evaluates."""
    cli.run_from(
        arguments,
        EvaluateConfig,
        PROGRAM,
        "Measures Recall@K, Precision@K, R-precision, MAP@R and the mean rank of the first hit of "
        "a trained model on test classes, each with a 95 % bootstrap interval.",
        _run,
    )


def _run(config: EvaluateConfig) -> None:
    # TensorFlow is imported only here, so that --help does not wait for it.
    from pa_keras.reports import figures, reranking, suspects, tables, thresholds
    from pa_keras.reports.subject import load_subject
    from pa_keras.retrieval.metrics import as_ks

    figures.expect_outputs(config)
    thresholds.expect_thresholds(config)
    suspects.expect_suspects(config)
    methods = reranking.methods_of(config.reranking)
    as_ks(config.ks)
    subject, duplicates = load_subject(config)
    dataset = subject.dataset
    reranking.expect_images_enough(methods, dataset)
    chosen, on_map = figures.to_draw(subject)
    to_choose_on = thresholds.images_to_choose_on(subject)
    found = subject.evaluate()

    copies = "\n".join(duplicates.as_lines(config.duplicates))
    reports = [
        (found.as_json(), found.as_table()),
        ({"duplicates": duplicates.as_json(config.duplicates)}, copies),
    ]
    if methods:
        reports.append(reranking.report(subject, found, methods))
    if config.clustering:
        reports.append(tables.clustering(dataset, found))
    if config.compression:
        reports.append(tables.compression(dataset, found))
    threshold = None
    if config.thresholds:
        threshold = thresholds.measure(subject, found, to_choose_on)
        reports.append(threshold.report())
    if suspects.are_wanted(config):
        reports.append(suspects.report(subject, found))
    sys.stdout.write("".join(f"{text}\n" for _, text in reports if text))

    if config.per_class:
        tables.write_classes(found, dataset.queries.class_names, Path(config.per_class))
    if config.json:
        result = {name: value for entries, _ in reports for name, value in entries.items()}
        content = json.dumps(result, indent=2) + "\n"
        files.save_whole(
            lambda path: Path(path).write_text(content), Path(config.json), files.START_AGAIN
        )
    figures.draw(subject, found, chosen)
    if threshold is not None:
        thresholds.write(subject, threshold)
    figures.draw_map(subject, found, on_map)


if __name__ == "__main__":
    main()
