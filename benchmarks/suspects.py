r"""Precision and recall of the suspects when a tenth of the labels is wrong, beside cleanlab.

    pip install cleanlab
    python -m pa_keras.fit --dataset glyphs --data.label_noise 0.1 --run-dir runs/flipped
    python -m benchmarks.suspects --run runs/flipped [--k 20] [--save embeddings.npz]
    python -m benchmarks.suspects --embeddings embeddings.npz

Which labels are wrong follows from the seed of the run. The model learnt the training images with
their wrong labels; a tenth of the test labels is changed only for this measurement. cleanlab gets
the shares of the labels among the k nearest other images as probabilities.
"""

import argparse

import numpy as np

from pa_keras.datasets import Images, flip_labels
from pa_keras.retrieval import find_suspects, nearest_neighbours

SHARE = 0.1


def main() -> None:
    """Prints a table for the training images and one for the test images."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--run")
    parser.add_argument("--k", type=int, default=20)
    parser.add_argument("--save")
    parser.add_argument("--embeddings")
    options = parser.parse_args()
    arrays = np.load(options.embeddings) if options.embeddings else embedded(options.run)
    if options.save:
        np.savez(options.save, **arrays)
    print("images   method                                    reported   precision   recall")
    for part in ("train", "test"):
        vectors, labels = arrays[f"{part}_embeddings"], arrays[f"{part}_labels"]
        wrong = labels != arrays[f"{part}_true_labels"]
        for name, order in orders(vectors, labels, options.k).items():
            for what, chosen in (
                ("all", order),
                ("first 10 %", order[: round(SHARE * len(wrong))]),
            ):
                hits = wrong[chosen].sum()
                print(
                    f"{part:<8} {name + ', ' + what:<41} {len(chosen):>8} "
                    f"{hits / max(1, len(chosen)):>11.3f} {hits / wrong.sum():>8.3f}"
                )


def orders(vectors: np.ndarray, labels: np.ndarray, k: int) -> dict[str, np.ndarray]:
    """Returns the images that each method reports, the most suspicious first."""
    found = find_suspects(vectors, labels, k, method="exact").of_kind("label")
    result = {"pa_keras": np.array([row.image for row in found], int)}
    try:
        from cleanlab.filter import find_label_issues
        from cleanlab.rank import get_label_quality_scores
    except ImportError:
        print("cleanlab: not installed")
        return result
    indices, _ = nearest_neighbours(vectors, vectors, k, exclude_self=True, method="exact")
    probabilities = np.zeros((len(labels), labels.max() + 1))
    np.add.at(probabilities, (np.arange(len(labels))[:, None], labels[indices]), 1 / k)
    for score in ("self_confidence", "normalized_margin"):
        result[f"cleanlab, {score}"] = find_label_issues(
            labels, probabilities, return_indices_ranked_by=score, n_jobs=1
        )
    # Without the filter of find_label_issues, every image is ranked.
    result["cleanlab, quality scores"] = np.argsort(
        get_label_quality_scores(labels, probabilities), kind="stable"
    )
    return result


def embedded(run: str) -> dict[str, np.ndarray]:
    """Returns embeddings, labels and true labels of the training and the test images of a run."""
    from pa_keras.evaluation.evaluate import embed_dataset_images
    from pa_keras.runs.load import crop_fraction_of, load_trained
    from pa_keras.runs.load_data import load_data, trained_classes

    model, settings = load_trained(run, None)
    data = load_data(settings)
    if settings["data"]["label_noise"] != SHARE:
        raise ValueError(f"Expected a run with data.label_noise {SHARE}; received {run}.")
    parts: dict[str, Images] = {
        "train": trained_classes(settings, data.train),
        "test": data.queries,
    }
    result = {}
    for part, images in parts.items():
        flipped = flip_labels(images, SHARE, settings["seed"])
        result[f"{part}_embeddings"] = embed_dataset_images(
            model, images, crop_fraction_of(settings, None)
        )
        result[f"{part}_labels"] = flipped.labels
        result[f"{part}_true_labels"] = images.labels
    return result


if __name__ == "__main__":
    main()
