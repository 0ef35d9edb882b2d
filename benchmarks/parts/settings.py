"""Settings for CPUs: training and embedding with oneDNN, allocators and threads."""

import os
import sys
from contextlib import ExitStack

from benchmarks.process import Process, serve, tcmalloc
from benchmarks.rows import Part, Row, Side, faster, here, in_turns, no_slower

# Networks: pixels, images in a batch for training.
CELLS = [
    ("efficientnet_lite0", 112, 90),
    ("efficientnet_lite0", 224, 32),
    ("resnet50", 112, 32),
    ("resnet50", 224, 16),
    ("conv4", 64, 90),
    ("conv4", 112, 90),
]
EMBEDDED = 64  # images in a batch that is embedded
TWICE = str(2 * len(os.sched_getaffinity(0)))
ONEDNN = {"TF_ENABLE_ONEDNN_OPTS": "1"}
DEFAULTS = {"TF_ENABLE_ONEDNN_OPTS": "", "TF_NUM_INTRAOP_THREADS": "", "TF_NUM_INTEROP_THREADS": ""}
BFC = {"TF_CPU_ALLOCATOR_USE_BFC": "true"}
# Beside the settings of `tune_cpu`, for the first network alone, in training.
OTHERS = {
    "BFC alone": {**DEFAULTS, **BFC},
    "oneDNN, BFC": {**ONEDNN, **BFC},
    "oneDNN, one thread an operation": {**ONEDNN, "TF_NUM_INTRAOP_THREADS": "1"},
    "oneDNN, one operation at a time": {**ONEDNN, "TF_NUM_INTEROP_THREADS": "1"},
    "oneDNN, twice the threads": {
        **ONEDNN,
        "TF_NUM_INTRAOP_THREADS": TWICE,
        "TF_NUM_INTEROP_THREADS": TWICE,
    },
}
BAR = {("train", "efficientnet_lite0", 112): 1.35, ("embed", "efficientnet_lite0", 112): 1.3}

INCLUDES = f"""\
Seconds of a training step, as in the section on training, and of embedding {EMBEDDED} images from
memory, as `RecallAtK`, `embed` and `search build` do. Each side is a process with its own
environment variables. Ours has oneDNN on (`TF_ENABLE_ONEDNN_OPTS=1`), as `pa_keras.tune_cpu` sets
it; TensorFlow's defaults have no variable set. BFC is `TF_CPU_ALLOCATOR_USE_BFC=true`; tcmalloc is
Debian's libtcmalloc-minimal4, by `LD_PRELOAD`.
"""


def measure(turns: int) -> Part:
    rows = []
    for cell in CELLS:
        for what in ("train", "embed"):
            rows += _against_defaults(what, cell, turns)
    return Part(rows + _others(turns), INCLUDES)


def _against_defaults(what: str, cell: tuple[str, int, int], turns: int) -> list[Row]:
    seconds = _in_turns(what, cell, {"ours": ONEDNN, "defaults": DEFAULTS}, turns)
    network, pixels, number = cell
    title = f"{what} {network}, {number if what == 'train' else EMBEDDED} images of {pixels} px"
    bar = BAR.get((what, network, pixels))
    return [faster(title, seconds["ours"], seconds["defaults"], "TensorFlow's defaults", bar)]


def _others(turns: int) -> list[Row]:
    others = dict(OTHERS)
    if tcmalloc():
        others["oneDNN, tcmalloc"] = {**ONEDNN, **tcmalloc()}
    seconds = _in_turns("train", CELLS[0], {"ours": ONEDNN, **others}, turns)
    title = f"train {CELLS[0][0]}, {CELLS[0][1]} px, "
    return [no_slower(title + name, seconds[name], seconds["ours"], "ours") for name in others]


def _in_turns(what: str, cell: tuple[str, int, int], sides: dict, turns: int) -> dict:
    arguments = [what, *map(str, cell)]
    with ExitStack() as stack:
        processes = {
            name: stack.enter_context(Process(__name__, arguments, variables))
            for name, variables in sides.items()
        }
        return in_turns({name: each.side for name, each in processes.items()}, turns)


def main() -> None:
    """Measures one cell in this process, on request."""
    what, network, pixels, number = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
    serve(_training(network, pixels, number) if what == "train" else _embedding(network, pixels))


def _training(network: str, pixels: int, number: int) -> Side:
    from benchmarks.parts.step import bare_step, one_batch, trained

    return here(bare_step(trained(network, pixels), one_batch(pixels, number)), seconds=2)


def _embedding(network: str, pixels: int) -> Side:
    from benchmarks.parts.step import one_batch
    from pa_keras import embedding_model
    from pa_keras.evaluation import Embedder

    embedder = Embedder(embedding_model(network, image_size=pixels, weights=None))
    images = one_batch(pixels, EMBEDDED)[0].numpy()
    return here(lambda: embedder([images]), seconds=2)


if __name__ == "__main__":
    main()
