"""The loss step: the value of Proxy-Anchor and its gradients for embeddings and proxies."""

from collections.abc import Callable

import numpy as np
import tensorflow as tf

from benchmarks import loss_memory
from benchmarks.peer import Peer
from benchmarks.rows import Part, Row, faster, here, in_turns, missing, no_slower
from pa_keras import Proxies, ProxyAnchorLoss

BATCH, EMBEDDING_SIZE = 180, 512
# Training classes of Cars-196, In-Shop and SOP, and many more.
CLASSES = (98, 3_997, 11_318, 100_000)
AT_MOST = {98: 1.8, 11_318: 1.3}
AT_LEAST = {98: 5.0, 11_318: 4.0}
PEERS = {"pytorch_metric_learning": "PyTorch Metric Learning", "plain": "plain torch"}

INCLUDES = """\
Each side has {batch} embeddings of {size} numbers and the proxies in memory, in float32, and
computes the value and both gradients, without an optimizer. Ours is `Proxies` and
`ProxyAnchorLoss` in one `tf.function`, without XLA. The bare products are only X P', dS P and dS'
X, also in one. PyTorch Metric Learning runs its `ProxyAnchorLoss` and `backward`; plain torch the
authors' formulas with `one_hot` instead of their `label_binarize`. All use the same threads. The
memory is what a step at embedding size 16 adds to the process at its peak, against C up to
1,000,000, in arrays of B x C float32.
"""


def batch(classes: int, size: int = BATCH, embedding_size: int = EMBEDDING_SIZE):
    """Returns embeddings, proxies and labels, as in `benchmarks/peers/serve_torch.py`."""
    rng = np.random.default_rng(0)
    embeddings = tf.constant(rng.normal(size=(size, embedding_size)), tf.float32)
    proxies = rng.normal(size=(classes, embedding_size)).astype(np.float32)
    return embeddings, proxies, tf.constant(rng.integers(0, classes, size))


def our_step(classes: int, embedding_size: int = EMBEDDING_SIZE) -> Callable:
    """Makes the call that returns the value and the gradients."""
    embeddings, proxies, labels = batch(classes, embedding_size=embedding_size)
    layer = Proxies(classes)
    layer.build(embeddings.shape)
    layer.proxies.assign(proxies)
    loss = ProxyAnchorLoss(num_classes=classes)

    @tf.function
    def step(embeddings, labels):
        with tf.GradientTape() as tape:
            tape.watch(embeddings)
            value = loss(labels, layer(embeddings))
        return value, tape.gradient(value, [embeddings, layer.proxies.value])

    return lambda: step(embeddings, labels)


def bare_products(classes: int, embedding_size: int = EMBEDDING_SIZE) -> Callable:
    """Makes the call of the three matrix products that every step needs."""
    embeddings, proxies, _ = batch(classes, embedding_size=embedding_size)
    proxies = tf.Variable(proxies)

    @tf.function
    def products(embeddings):
        cosines = tf.matmul(embeddings, proxies, transpose_b=True)
        return tf.matmul(cosines, proxies), tf.matmul(cosines, embeddings, transpose_a=True)

    return lambda: products(embeddings)


def measure(turns: int) -> Part:
    rows, versions, more = [], {}, ""
    try:
        with Peer("torch") as peer:
            versions = peer.versions
            for classes in CLASSES:
                found, seconds = _of_classes(classes, turns, peer)
                rows += found
                limit = np.median(seconds["pytorch_metric_learning"] / seconds["bare"])
                more += f"The bare products of C = {classes:,} alone would be {limit:.2f} times "
                more += "faster than PyTorch Metric Learning: no step of float32 can be more.\n"
    except FileNotFoundError as problem:
        rows.append(missing("loss step", "PyTorch Metric Learning", str(problem)))
        for classes in CLASSES:
            rows += _of_classes(classes, turns, None)[0]
    rows.append(_memory())
    includes = INCLUDES.format(batch=BATCH, size=EMBEDDING_SIZE)
    return Part(rows, includes, more, versions)


def _of_classes(
    classes: int, turns: int, peer: Peer | None
) -> tuple[list[Row], dict[str, np.ndarray]]:
    """Returns the rows for a number of classes, and the seconds of each side."""
    step = our_step(classes)
    sides = {"ours": here(step), "bare": here(bare_products(classes))}
    sizes = {"size": BATCH, "embedding_size": EMBEDDING_SIZE, "classes": classes}
    for name in PEERS if peer else ():
        sides[name], value = peer.side(name, **sizes)
        if not np.isclose(value, float(step()[0]), rtol=1e-4):
            raise RuntimeError(f"{name} computes {value}, not {float(step()[0])}.")
    # Short steps vary more.
    seconds = in_turns(sides, turns if classes > 50_000 else 3 * turns)
    ours, what = seconds["ours"], f"loss step, C = {classes:,}"
    rows = [no_slower(what, ours, seconds["bare"], "bare products", AT_MOST.get(classes))]
    for name in PEERS if peer else ():
        bar = AT_LEAST.get(classes) if name == "pytorch_metric_learning" else None
        rows.append(faster(what, ours, seconds[name], PEERS[name], bar))
    return rows, seconds


def _memory() -> Row:
    sizes = np.array([250_000, 500_000, 1_000_000])
    added = [loss_memory.added(size) for size in sizes]
    arrays = np.polyfit(sizes, added, 1)[0] / (4 * BATCH)
    return Row(
        "memory a loss step adds", f"{added[-1] / 1e9:.2f} GB at C = 1,000,000", "one B x C array",
        f"{arrays:.2f}", "", "<= 2.5", arrays <= 2.5,
    )  # fmt: skip
