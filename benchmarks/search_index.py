"""Opens and searches an index of 100,000 x 512, compared with reading and searching embeddings.

    python benchmarks/search_index.py [--items 100000] [--size 512]

The index is built first, from vectors around 3,000 random centres; the build is timed too. Each
opening runs in a separate process; the file system has the files in memory.
"""

import argparse
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from pa_keras.index import Items, ModelRecord, write_index

ROUNDS = 5
OPENED = """
import sys, time
import numpy as np
from pa_keras.index import open_index
queries = np.load(sys.argv[2])
import tensorflow, scann
start = time.perf_counter()
index = open_index(sys.argv[1])
opened = time.perf_counter()
rows, _ = index.search(queries, 10)
print(opened - start, time.perf_counter() - start)
"""
READ = """
import json, sys, time
from pathlib import Path
import numpy as np
from pa_keras.retrieval import search
queries = np.load(sys.argv[2])
data = next(Path(sys.argv[1]).glob("data-*"))
start = time.perf_counter()
embeddings = np.load(data / "embeddings.npy")
items = json.loads((data / "items.json").read_text())
opened = time.perf_counter()
search(queries, embeddings, 10, method="exact")
print(opened - start, time.perf_counter() - start)
"""


def gallery(number: int, size: int) -> Items:
    """Makes items around random centres, with paths as long as those of photos."""
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 3000, number).astype(np.int32)
    vectors = rng.standard_normal((3000, size), np.float32)[labels]
    vectors += 0.8 * rng.standard_normal((number, size), np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    ids = [f"class {label}/photo of the class, number {i}.jpg" for i, label in enumerate(labels)]
    paths = [f"/a/folder/of/photos/{name}" for name in ids]
    return Items(vectors, ids, paths, labels, [f"class {number}" for number in range(3000)])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--items", type=int, default=100_000)
    parser.add_argument("--size", type=int, default=512)
    options = parser.parse_args()
    items = gallery(options.items, options.size)
    with tempfile.TemporaryDirectory() as folder:
        index, queries = Path(folder, "index"), Path(folder, "queries.npy")
        np.save(queries, items.embeddings[:1])
        start = time.perf_counter()
        record = write_index(index, items, ModelRecord("0" * 64, 0.875))
        print(f"built in {time.perf_counter() - start:.1f} s; search: {record['search']}")
        size = sum(file["bytes"] for file in record["files"].values())
        print(f"{size / 1e6:.0f} MB on disk, {items.embeddings.nbytes / 1e6:.0f} MB of embeddings")
        times = {"index": [], "read": []}
        for _ in range(ROUNDS):
            for name, code in (("index", OPENED), ("read", READ)):
                command = [sys.executable, "-c", code, str(index), str(queries)]
                out = subprocess.run(command, check=True, capture_output=True, text=True).stdout
                times[name].append([float(each) for each in out.split()[-2:]])
    medians = {name: np.median(each, axis=0) for name, each in times.items()}
    for name, (opened, answered) in medians.items():
        print(f"{name:<6} opened in {opened:.3f} s, first answer after {answered:.3f} s")
    ratio = medians["index"][1] / medians["read"][1]
    print(f"index / read, to the first answer: {ratio:.2f}")


if __name__ == "__main__":
    main()
