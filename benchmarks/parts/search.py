"""Exact search, compared with faiss's flat index and the bare product."""

import itertools

import numpy as np

from benchmarks.memory import forget_peak, memory
from benchmarks.peer import Peer
from benchmarks.rows import Part, faster, in_turns, missing, no_slower
from benchmarks.search import random_units, timed
from pa_keras.retrieval.exact import exact_neighbours

# The number of test images of SOP, and the neighbours that its Recall@1000 needs.
NUMBER, SIZE, K = 60_502, 512, 1_000
QUERIES = 8_192

INCLUDES = f"""\
Leave-one-out search of {NUMBER:,} random unit vectors of {SIZE} numbers, {QUERIES:,} queries per
turn, all in memory, for the sorted {K:,} nearest and their similarities. The bare product is all
similarities in blocks of 1,024 queries, without selecting any. faiss is `IndexFlatIP` with
{K + 1:,} nearest, since it cannot exclude the query. `python -m benchmarks.search --run RUN`
measures trained embeddings, ScaNN and a million vectors. On 2 idle cores of an AMD EPYC the ratio
to faiss was about 1, on busy ones 1.2 to 1.8. Beyond the bare product, blocks of 346 queries,
which keep a search and all its results within 600 MB, cost a tenth of it; the rest is the
selection of 1,000 of 60,502, on all threads.
"""


def measure(turns: int) -> Part:
    vectors = random_units(np.random.default_rng(0), NUMBER, SIZE)
    buffer = np.empty((1_024, NUMBER), np.float32)
    starts = itertools.cycle(range(0, NUMBER - QUERIES, QUERIES))
    working, versions = [], {}

    def ours() -> float:
        own = np.arange(start := next(starts), start + QUERIES)
        before = forget_peak()
        seconds, found = timed(exact_neighbours, vectors[own], vectors, K, own)
        working.append(memory("VmHWM") - before - sum(each.nbytes for each in found) / 2**20)
        return seconds

    def product() -> float:
        start = next(starts)
        return timed(_all_similarities, vectors[start : start + QUERIES], vectors, buffer)[0]

    sides = {"ours": ours, "product": product}
    what = f"exact search, {NUMBER:,} x {SIZE}, k = {K:,}"
    for side in sides.values():
        side()  # BLAS allocates its memory at the first call
    try:
        with Peer("torch") as peer:
            versions = peer.versions
            sizes = {"number": NUMBER, "size": SIZE, "queries": QUERIES, "k": K + 1}
            sides["faiss"], _ = peer.side("faiss_flat", **sizes)
            seconds = in_turns(sides, turns)
        rows = [faster(what, seconds["ours"], seconds["faiss"], "faiss flat", 1.0)]
    except FileNotFoundError as problem:
        seconds = in_turns(sides, turns)
        rows = [missing(what, "faiss flat", str(problem))]
    rows.append(no_slower(what, seconds["ours"], seconds["product"], "bare product"))
    more = f"Exact search worked in {np.median(working):.0f} MiB beside its results."
    return Part(rows, INCLUDES, more, versions)


def _all_similarities(queries: np.ndarray, vectors: np.ndarray, buffer: np.ndarray) -> None:
    for start in range(0, len(queries), len(buffer)):
        block = queries[start : start + len(buffer)]
        np.matmul(block, vectors.T, out=buffer[: len(block)])
