"""Tables of an evaluation beside the metrics: clusters, compressed embeddings, single classes."""

import csv
import dataclasses
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from pa_keras import files
from pa_keras.datasets import Dataset
from pa_keras.evaluation.evaluate import Evaluation
from pa_keras.reports.subject import Report
from pa_keras.retrieval import clustering_metrics, per_class_metrics
from pa_keras.retrieval.compression import as_table, compression_table


def clustering(dataset: Dataset, found: Evaluation) -> Report:
    """NMI and AMI over all images of the queries and the gallery."""
    embeddings, labels = found.query_embeddings, dataset.queries.labels
    if dataset.gallery is not None:
        embeddings = np.concatenate([embeddings, found.gallery_embeddings])
        labels = np.concatenate([labels, dataset.gallery.labels])
    values = clustering_metrics(embeddings, labels)
    line = f"k-means into {len(np.unique(labels))} clusters, %: NMI {100 * values['nmi']:.2f}, "
    return {"clustering": values}, line + f"AMI {100 * values['ami']:.2f}"


def compression(dataset: Dataset, found: Evaluation) -> Report:
    """Recall@1 after PCA to smaller sizes, and with int8 and binary codes."""
    gallery = dataset.gallery
    searched = () if gallery is None else (found.gallery_embeddings, gallery.labels)
    rows = compression_table(found.query_embeddings, dataset.queries.labels, *searched)
    title = "Recall@1, %, by exact search in compressed embeddings (docs/evaluation.md)"
    return {"compression": [dataclasses.asdict(row) for row in rows]}, f"{title}\n{as_table(rows)}"


def write_classes(found: Evaluation, class_names: Sequence[str], path: Path) -> None:
    """Writes a row for each class, sorted by Recall@K, the worst class first."""
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
