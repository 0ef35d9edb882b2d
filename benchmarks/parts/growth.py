"""Growth of cost: the loss step by number of classes, search by size of the gallery."""

from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np

from benchmarks import loss_memory
from benchmarks.memory import forget_peak, memory
from benchmarks.parts.loss import BATCH, our_step
from benchmarks.rows import Part, Row, duration, exponent, here, in_turns
from benchmarks.search import random_units, timed
from pa_keras.retrieval import search

CLASSES = (100, 1_000, 10_000, 100_000, 1_000_000)
GALLERIES = (1_000, 10_000, 100_000, 1_000_000)
# The step with a million proxies fits into 8 GB.
SIZE = 128
QUERIES, PER_CLUSTER = 1_000, 50
PICTURE = Path(__file__).parents[2] / "docs" / "images" / "growth.png"

INCLUDES = f"""\
The loss step is as above, at embedding size {SIZE}; its memory is at 16, as above. Search has
{QUERIES:,} queries, the 10 nearest, {SIZE} numbers, clusters of {PER_CLUSTER}; ScaNN without
building and tuning, which has its own row, and brute force below 20,000 vectors. The memory of a
search is what it adds to the process at its peak, for ScaNN with building; less than 1 MiB is
drawn as 1. The exponent b of cost = a n^b is fitted to sizes of 10,000 and more.
"""


def measure(turns: int) -> Part:
    steps = []
    for classes in CLASSES:
        side = here(our_step(classes, SIZE))
        steps.append(float(np.median(in_turns({"step": side}, turns)["step"])))
    held = np.array([loss_memory.added(classes) for classes in CLASSES]) / 2**20
    curves = {"loss step": (CLASSES, steps, held)}
    tuned = []
    for method in ("exact", "scann"):
        found = [_search(method, number, turns) for number in GALLERIES]
        seconds, mebibytes, reports = zip(*found, strict=True)
        curves[f"{method} search"] = (GALLERIES, seconds, mebibytes)
        tuned = [each.get("build_seconds", 0) + each.get("tune_seconds", 0) for each in reports]
    _draw(curves)
    rows = [row for name, curve in curves.items() for row in _rows(name, *curve)]
    rows.append(Row(f"building and tuning ScaNN, n = {GALLERIES[-1]:,}", duration(tuned[-1]), ""))
    more = f"![Seconds and memory against the number of classes and vectors](images/{PICTURE.name})"
    return Part(rows, INCLUDES, more)


def _search(method: str, number: int, turns: int) -> tuple[float, float, dict]:
    """Returns seconds of searching, added peak MiB, and the report."""
    rng = np.random.default_rng(0)
    centres = random_units(rng, number // PER_CLUSTER, SIZE)
    vectors = centres[rng.integers(len(centres), size=number + QUERIES)]
    vectors += 0.8 * random_units(rng, len(vectors), SIZE)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    gallery, queries = vectors[:number], vectors[number:]
    taken, held = [], []
    # ScaNN builds its index again at each search, for minutes.
    for _ in range(turns if method == "exact" else 1):
        before = forget_peak()
        seconds, found = timed(search, queries, gallery, 10, False, method)
        held.append(memory("VmHWM") - before)
        taken.append(found.report.get("search_seconds", seconds))
    return float(np.median(taken)), float(np.median(held)), found.report


def _rows(name: str, sizes: tuple, seconds: np.ndarray, mebibytes: np.ndarray) -> list[Row]:
    sizes = np.array(sizes)
    large = sizes >= 10_000
    rows = []
    for what, costs, text in (
        ("time", np.array(seconds), duration(seconds[-1])),
        ("memory", np.array(mebibytes), f"{mebibytes[-1]:,.0f} MiB"),
    ):
        b = exponent(sizes[large], np.maximum(costs[large], 1e-6))
        rows.append(Row(f"{name}, {what}", f"{text} at n = {sizes[-1]:,}", "", f"n^{b:.2f}"))
    return rows


def _draw(curves: dict) -> None:
    figure, panels = plt.subplots(1, 2, figsize=(9, 3.6), layout="constrained")
    for panel, which, label in zip(panels, (1, 2), ("seconds", "MiB"), strict=True):
        for name, curve in curves.items():
            drawn = np.maximum(curve[which], 1) if label == "MiB" else curve[which]
            panel.loglog(curve[0], drawn, "o-", label=name)
        panel.set(xlabel="classes, or vectors in the gallery", ylabel=label)
        panel.grid(alpha=0.3)
    panels[0].legend(title=f"batch {BATCH}, {QUERIES:,} queries")
    figure.savefig(PICTURE, dpi=110)
    plt.close(figure)
