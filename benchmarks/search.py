r"""Compares ScaNN with faiss's flat index and exact search: time, memory, and error.

    pip install faiss-cpu
    python -m pa_keras.fit --config glyphs --model.embedding_size 512 --training.epochs 6 \
        --run_dir runs/search
    python -m benchmarks.search --run runs/search [--parts scann million]

scann: 60,502 embeddings of different drawn letters, made by the model of the run, k = 10.
million: 1,000,000 x 128 clustered vectors, 10,000 queries, k = 10.
"""

import argparse
import time
from collections.abc import Callable
from pathlib import Path

import keras
import numpy as np

from benchmarks.memory import forget_peak, memory
from pa_keras.datasets.glyphs import load_glyphs
from pa_keras.evaluation.evaluate import embed_dataset_images
from pa_keras.retrieval import matches, recall_at_k, search
from pa_keras.retrieval.exact import exact_neighbours

NUMBER = 60_502
# There are 279 characters; this number of images of each is just enough.
IMAGES_PER_CHARACTER = 218


def timed(function: Callable, *arguments: object) -> tuple[float, object]:
    """Calls a function and returns the seconds and the result."""
    started = time.perf_counter()
    result = function(*arguments)
    return time.perf_counter() - started, result


def random_units(rng: np.random.Generator, number: int, size: int) -> np.ndarray:
    vectors = rng.standard_normal((number, size), dtype=np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def flat_index(vectors: np.ndarray):
    import faiss  # the other parts do not need it

    index = faiss.IndexFlatIP(vectors.shape[1])
    index.add(vectors)
    return index


def scann(run: str) -> None:
    images = load_glyphs(seed=1, images_per_character=IMAGES_PER_CHARACTER)
    model = keras.saving.load_model(Path(run, "best.keras"), compile=False)
    parts = [
        embed_dataset_images(model, part, crop_fraction=1.0)
        for part in (images.train, images.queries)
    ]
    vectors = np.concatenate(parts)[:NUMBER]
    labels = np.append(images.train.labels, images.queries.labels + images.train.num_classes)
    labels = labels[:NUMBER]
    own = np.arange(len(vectors))
    index = flat_index(vectors)
    flat, _ = timed(index.search, vectors, 11)
    whole, found = timed(search, vectors, vectors, 10, True, "scann", labels)
    exact_seconds, (truth, _) = timed(exact_neighbours, vectors, vectors, 10, own)
    print(f"{len(vectors):,} x {vectors.shape[1]} trained embeddings, leave-one-out, k = 10")
    print(f"  faiss flat {flat:.1f} s, exact search {exact_seconds:.1f} s")
    print(f"  {found.note}")
    print(f"  {found.report}")
    print(f"  in all {whole:.1f} s, {whole / flat:.2f} x faiss flat")
    if found.method == "scann":
        searching = found.report["search_seconds"]
        before = found.report["build_seconds"] + found.report["tune_seconds"]
        print(f"  searching {searching / flat:.2f} x, building and tuning {before / flat:.2f} x")
    for k in (1, 10):
        recalls = [
            100 * recall_at_k(matches(rows, labels, labels), k).mean()
            for rows in (truth, found.indices)
        ]
        print(f"  Recall@{k} of all queries: exact {recalls[0]:.3f}, found {recalls[1]:.3f}")


def million(clusters: int = 20_000, size: int = 128) -> None:
    """Searches normal clusters whose radius is .8 of the distance from origin to centre."""
    rng = np.random.default_rng(0)
    centres = random_units(rng, clusters, size)

    def drawn(number: int) -> np.ndarray:
        vectors = centres[rng.integers(clusters, size=number)]
        vectors += 0.8 * random_units(rng, number, size)
        return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)

    gallery, queries = drawn(1_000_000), drawn(10_000)
    forget_peak()
    seconds, found = timed(search, queries, gallery, 10, False, "scann")
    print(f"{len(gallery):,} x {size}, {len(queries):,} queries, k = 10")
    print(f"  {found.note}")
    print(f"  {found.report}")
    print(f"  in all {seconds:.1f} s; the process held {memory('VmHWM'):.0f} MB at most")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--run", help="folder of a run of fit on the glyphs, for scann")
    parser.add_argument(
        "--parts", nargs="+", choices=("scann", "million"), default=["scann", "million"]
    )
    options = parser.parse_args()
    if "scann" in options.parts and options.run is None:
        parser.error(
            "scann needs --run, the folder of a run on the glyphs; or take --parts million"
        )
    if "scann" in options.parts:
        scann(options.run)
    if "million" in options.parts:
        million()


if __name__ == "__main__":
    main()
