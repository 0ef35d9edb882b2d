"""Metrics after re-ranking and query expansion, beside those of the plain search."""

import dataclasses
from collections.abc import Mapping

from pa_keras.config import Reranking
from pa_keras.datasets import Dataset
from pa_keras.evaluation.evaluate import Evaluation
from pa_keras.reports.subject import Report, Subject
from pa_keras.retrieval import (
    KReciprocal,
    QueryExpansion,
    bootstrap_interval,
    per_query_metrics,
    rerank,
    search_expanded,
)

# The methods that are asked for, by their names in the result.
Methods = Mapping[str, KReciprocal | QueryExpansion]


def methods_of(settings: Reranking) -> Methods:
    """Returns the methods that the settings ask for; raises a ValueError if one is out of range.

    Example:
        >>> methods_of(Reranking(query_expansion=5))
        {'query_expansion': QueryExpansion(neighbours=5, alpha=3.0)}
    """
    found: dict[str, KReciprocal | QueryExpansion] = {}
    if settings.rerank:
        found["k_reciprocal"] = KReciprocal(
            settings.rerank_k1, settings.rerank_k2, settings.rerank_weight
        )
    if settings.query_expansion:
        found["query_expansion"] = QueryExpansion(
            settings.query_expansion, settings.query_expansion_alpha
        )
    return found


def expect_images_enough(methods: Methods, dataset: Dataset) -> None:
    """Raises a ValueError if there are too few test images for a method."""
    queries, gallery = dataset.queries, dataset.gallery
    for method in methods.values():
        if isinstance(method, KReciprocal):
            method.expect_fewer_than(len(queries) + (0 if gallery is None else len(gallery)))
        else:
            method.expect_at_most(len(queries) - 1 if gallery is None else len(gallery))


def report(subject: Subject, found: Evaluation, methods: Methods) -> Report:
    """Searches the test images again by each method, and measures as before."""
    config, dataset = subject.config, subject.dataset
    gallery = None if dataset.gallery is None else found.gallery_embeddings
    labels = dataset.queries.labels, None if dataset.gallery is None else dataset.gallery.labels
    results = {}
    for key, method in methods.items():
        vectors = found.query_embeddings, gallery
        if isinstance(method, KReciprocal):
            indices, _ = rerank(found.indices, *vectors, method, config.search)
        else:
            indices, _ = search_expanded(found.indices, *vectors, method, config.search)
        values = per_query_metrics(indices, *labels, config.ks)
        del values["first_hit_rank"]  # not a share
        results[key] = {
            "settings": dataclasses.asdict(method),
            "metrics": {name: float(each.mean()) for name, each in values.items()},
            "intervals": {
                metric: list(bootstrap_interval(each)) for metric, each in values.items()
            },
        }
    return {"reranking": results}, as_table(found.metrics, results)


def as_table(plain: Mapping[str, float], results: Mapping[str, dict]) -> str:
    """Returns a table in percent: the plain metrics, and those of each method beside them."""
    lines = [
        "test images only, without labels: "
        + "; ".join(
            f"{name} ({', '.join(f'{key} {value:g}' for key, value in each['settings'].items())})"
            for name, each in results.items()
        ),
        f"{'metric, %':<17}  {'plain':>6}  " + "  ".join(f"{name:>15}" for name in results),
    ]
    for metric, value in plain.items():
        others = [each["metrics"].get(metric) for each in results.values()]
        if None not in others:
            after = "  ".join(f"{100 * other:15.2f}" for other in others)
            lines.append(f"{metric:<17}  {100 * value:6.2f}  {after}")
    return "\n".join(lines)
