"""`python -m pa_keras.evaluate`: measures a trained model from disk."""

import csv
import dataclasses
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from pa_keras import cli, files
from pa_keras.config import EvaluateConfig
from pa_keras.runs import figures, thresholds

if TYPE_CHECKING:
    import keras

    from pa_keras.datasets import Dataset, Images
    from pa_keras.evaluation.evaluate import Evaluation

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
    from pa_keras.evaluation.duplicates import find_duplicates
    from pa_keras.evaluation.evaluate import embed_dataset_images, evaluate
    from pa_keras.retrieval.metrics import as_ks
    from pa_keras.retrieval.suspects import check_similarity
    from pa_keras.runs.load import crop_fraction_of, load_data, load_trained

    for path in (config.json, config.per_class, config.suspects):
        cli.expect_new(path)
    figures.expect_pictures(config)
    thresholds.expect_thresholds(config)
    suspected = bool(config.suspects or config.suspects_picture)
    if suspected and config.duplicates == "drop":
        raise ValueError(
            "Expected duplicates to be kept for suspects, since copies with two labels are among "
            "them; received duplicates=drop. Leave it out, or evaluate twice."
        )
    as_ks(config.ks)
    check_similarity(config.suspects_similarity)
    model, settings = load_trained(config.source.run, config.source.model)
    dataset = load_data(
        settings,
        dataset=config.data.dataset,
        data_dir=config.data.data_dir,
        on_bad_image=config.source.on_bad_image,
        test_fraction=config.data.test_fraction,
        crop_to_boxes=config.data.crop_to_boxes,
        test_only=not suspected,
    )
    queries, gallery = dataset.queries, dataset.gallery
    duplicates = find_duplicates(queries, gallery)
    if config.duplicates == "drop":
        queries, gallery = duplicates.drop(queries, gallery)
        dataset = dataclasses.replace(dataset, queries=queries, gallery=gallery)
    chosen, trained = figures.to_draw(config, settings, dataset)
    held_out = thresholds.images_to_choose_on(config, settings, dataset)
    crop_fraction = crop_fraction_of(settings, config.source.crop_fraction)
    found = evaluate(
        model,
        queries,
        gallery,
        crop_fraction=crop_fraction,
        batch_size=config.batch_size,
        ks=config.ks,
        method=config.search,
    )
    result = {**found.as_json(), "duplicates": duplicates.as_json(config.duplicates)}
    text = [found.as_table(), *duplicates.as_lines(config.duplicates)]
    for asked, measure in ((config.clustering, _clustering), (config.compression, _compression)):
        if asked:
            more, lines = measure(found, queries, gallery)
            result |= more
            text.append(lines)
    threshold = None
    if config.thresholds:
        threshold = thresholds.measure(config, model, dataset, found, held_out, crop_fraction)
        result |= threshold.as_json()
        text.append(threshold.rates.as_table())
    if suspected:
        more, lines = _suspects(config, found, model, dataset, crop_fraction)
        result |= more
        text.append(lines)
    sys.stdout.write("\n".join(text) + "\n")
    if config.per_class:
        _write_classes(found, queries.class_names, Path(config.per_class))
    if config.json:
        content = json.dumps(result, indent=2) + "\n"
        files.save_whole(
            lambda path: Path(path).write_text(content), Path(config.json), files.START_AGAIN
        )
    figures.draw(config, dataset, found, chosen)
    if threshold is not None:
        thresholds.write(config, threshold)
    vectors = None
    if trained is not None:
        vectors = embed_dataset_images(model, trained, crop_fraction, config.batch_size)
    figures.draw_map(config, dataset, found, trained, vectors)


def _clustering(
    found: "Evaluation", queries: "Images", gallery: "Images | None"
) -> tuple[dict, str]:
    """Computes NMI and AMI over all images of the queries and the gallery."""
    import numpy as np

    from pa_keras.retrieval import clustering_metrics

    embeddings, labels = found.query_embeddings, queries.labels
    if gallery is not None:
        embeddings = np.concatenate([embeddings, found.gallery_embeddings])
        labels = np.concatenate([labels, gallery.labels])
    values = clustering_metrics(embeddings, labels)
    line = f"k-means into {len(np.unique(labels))} clusters, %: NMI {100 * values['nmi']:.2f}, "
    return {"clustering": values}, line + f"AMI {100 * values['ami']:.2f}"


def _compression(
    found: "Evaluation", queries: "Images", gallery: "Images | None"
) -> tuple[dict, str]:
    from pa_keras.retrieval.compression import as_table, compression_table

    searched = () if gallery is None else (found.gallery_embeddings, gallery.labels)
    rows = compression_table(found.query_embeddings, queries.labels, *searched)
    title = "Recall@1, %, by exact search in compressed embeddings (docs/evaluation.md)"
    return {"compression": [dataclasses.asdict(row) for row in rows]}, f"{title}\n{as_table(rows)}"


def _suspects(
    config: EvaluateConfig,
    found: "Evaluation",
    model: "keras.Model",
    dataset: "Dataset",
    crop_fraction: float,
) -> tuple[dict, str]:
    """Searches the training and test images together for errors, and writes what is asked for."""
    import numpy as np

    from pa_keras import plots
    from pa_keras.evaluation.duplicates import first_of_same_bytes
    from pa_keras.evaluation.evaluate import embed_dataset_images
    from pa_keras.evaluation.suspects import all_images, as_line, write_suspects
    from pa_keras.retrieval import find_suspects

    images = all_images(dataset)
    vectors = [
        embed_dataset_images(model, dataset.train, crop_fraction, config.batch_size),
        found.query_embeddings,
        *([] if dataset.gallery is None else [found.gallery_embeddings]),
    ]
    suspects = find_suspects(
        np.concatenate(vectors),
        images.labels,
        config.suspects_neighbours,
        config.suspects_similarity,
        first_of_same_bytes(images.paths),
        config.search,
    )
    if config.suspects:
        write_suspects(suspects, images, Path(config.suspects))
    if config.suspects_picture:
        plots.suspects(
            suspects, images, Path(config.suspects_picture), config.num_queries, config.columns
        )
    kinds = ("label", "duplicate", "classes")
    counts = {kind: len(suspects.of_kind(kind)) for kind in kinds}
    counts |= {"images": len(images), "alone_in_class": suspects.num_alone}
    return {"suspects": counts}, as_line(suspects, images)


def _write_classes(found: "Evaluation", class_names: Sequence[str], path: Path) -> None:
    """Writes a row for each class, sorted by Recall@K, the worst class first."""
    from pa_keras.retrieval import per_class_metrics

    columns = per_class_metrics(found.per_query, found.labels)
    names = [class_names[label] for label in columns.pop("label")]
    lines = zip(names, *(column.tolist() for column in columns.values()), strict=True)
    rows = sorted(lines, key=lambda row: (row[2:], row[0]))

    def write(partial: str) -> None:
        with Path(partial).open("w", newline="", encoding="utf-8") as file:
            table = csv.writer(file)
            table.writerow(("class_name", *columns))
            table.writerows(rows)

    files.save_whole(write, path, files.START_AGAIN)


if __name__ == "__main__":
    main()
