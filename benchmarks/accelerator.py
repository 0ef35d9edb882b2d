"""Whether the loss step is right on this device, and how fast it and a training step are.

    KERAS_BACKEND=jax python benchmarks/accelerator.py > table.md

It measures on the default device of the backend that is set, a GPU if there is one. Only Keras,
NumPy and that backend must be installed; PyTorch Metric Learning is measured too where it is.
Three tables in Markdown say:

- by how much the value and the gradients of Proxy-Anchor differ from NumPy's in float64;
- how long the loss step takes, next to its three matrix products and to PyTorch Metric Learning;
- how long a training step of ResNet-50 takes in float32, TF32 and mixed bfloat16.

The exit status is 1 if a difference exceeds its bound.
"""

import argparse
import datetime
import os
import sys
from collections.abc import Callable
from importlib import metadata
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))  # the package need not be installed

import keras
import numpy as np
from keras import ops

from benchmarks import devices
from benchmarks.rows import Row, Side, faster, here, in_turns, missing, no_slower
from pa_keras import Proxies, ProxyAnchorLoss, embedding_model, with_proxies
from pa_keras.training import two_rate_adamw

BATCH, EMBEDDING_SIZE = 180, 512
MARGIN, ALPHA = 0.1, 32.0
# TF32 keeps 10 bits of each factor of a cosine, and alpha multiplies the error of its exponent.
BOUNDS = {"float32": (1e-5, 1e-4, 1e-4), "TF32": (6e-2, 6e-2, 6e-2)}
PARTS = ("loss", "training")
PEER = "PyTorch Metric Learning"
NO = "**no**"
PACKAGES = ("keras", "numpy", "tensorflow", "jax", "torch", "pytorch-metric-learning")


def main(arguments: list[str] | None = None) -> int:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--classes", type=int, nargs="+", default=[98, 11_318])
    parser.add_argument("--modes", nargs="+", choices=devices.MODES, default=devices.MODES)
    parser.add_argument("--turns", type=int, default=15, help="default 15; a third for training")
    parser.add_argument("--batch", type=int, help="of training; default 32, or 8 on a CPU")
    parser.add_argument("--pixels", type=int, help="of training; default 224, or 64 on a CPU")
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=PARTS)
    options = parser.parse_args(arguments)
    is_right = True
    devices.set_tf32(False)
    print(f"{conditions()}\n", flush=True)
    if "loss" in options.parts:
        is_right = show_losses(options.classes, options.modes, options.turns)
    if "training" in options.parts:
        batch, pixels = (32, 224) if devices.is_accelerator() else (8, 64)
        batch, pixels = options.batch or batch, options.pixels or pixels
        show_times(training_times(batch, pixels, max(1, options.turns // 3)))
    return 0 if is_right else 1


def show_losses(classes: list[int], modes: list[str], turns: int) -> bool:
    """Prints the tables of the loss step; returns whether all errors are within their bounds."""
    errors, times = [], []
    for number in classes:
        steps = {mode: loss_step(number, mode) for mode in modes}
        errors += [error_row(number, mode, step, "float32") for mode, step in steps.items()]
        times += loss_times(number, steps, turns)
        if devices.has_tf32():
            devices.set_tf32(True)
            errors += [error_row(number, m, loss_step(number, m), "TF32") for m in modes]
            devices.set_tf32(False)
    show(("loss step", "value", "by embeddings", "by proxies", "bounds", "within"), errors)
    show_times(times)
    return all(row[-1] != NO for row in errors)


def conditions() -> str:
    """The device, the backend, the versions, the date and the load."""
    versions = []
    for package in PACKAGES:
        try:
            versions.append(f"{package} {metadata.version(package)}")
        except metadata.PackageNotFoundError:
            continue
    return (
        f"{devices.BACKEND} on {devices.name()}, {datetime.date.today()}, load "
        f"{os.getloadavg()[1]:.1f} in the last five minutes; {', '.join(versions)}."
    )


def inputs(classes: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Random embeddings (B, D), proxies (C, D), and labels (B,)."""
    rng = np.random.default_rng(0)
    embeddings = rng.normal(size=(BATCH, EMBEDDING_SIZE)).astype("float32")
    proxies = rng.normal(size=(classes, EMBEDDING_SIZE)).astype("float32")
    return embeddings, proxies, rng.integers(0, classes, BATCH).astype("int32")


def in_float64(embeddings: np.ndarray, proxies: np.ndarray, labels: np.ndarray) -> list[np.ndarray]:
    """Proxy-Anchor and its gradients by the embeddings and the proxies, eq. (4) in NumPy."""
    x, p = embeddings.astype("float64"), proxies.astype("float64")
    x_lengths, p_lengths = (np.linalg.norm(each, axis=1, keepdims=True) for each in (x, p))
    x, p = x / x_lengths, p / p_lengths
    cosines = x @ p.T
    own = labels[:, None] == np.arange(len(p))
    pulls = np.where(own, np.exp(-ALPHA * (cosines - MARGIN)), 0)
    pushes = np.where(own, 0, np.exp(ALPHA * (cosines + MARGIN)))
    pulled, pushed, present = 1 + pulls.sum(axis=0), 1 + pushes.sum(axis=0), own.any(axis=0).sum()
    value = np.log(pulled).sum() / present + np.log(pushed).mean()
    by_cosines = ALPHA * (pushes / pushed / len(p) - pulls / pulled / present)
    by_x, by_p = by_cosines @ p, by_cosines.T @ x
    by_x -= x * (by_x * x).sum(axis=1, keepdims=True)  # through x / |x|
    by_p -= p * (by_p * p).sum(axis=1, keepdims=True)
    return [value, by_x / x_lengths, by_p / p_lengths]


def loss_step(classes: int, mode: str) -> Callable[[], tuple]:
    """Makes the call that computes the loss and its two gradients with `pa_keras`."""
    embeddings, proxies, labels = inputs(classes)
    layer, loss = Proxies(classes), ProxyAnchorLoss(MARGIN, ALPHA, classes)
    layer.build(embeddings.shape)
    layer.proxies.assign(proxies)

    def value(embeddings, proxies, labels):
        if devices.BACKEND == "jax":
            return loss(labels, layer.stateless_call([proxies], [], embeddings)[0])
        return loss(labels, layer(embeddings))

    step = devices.value_and_gradients(value, mode)
    x, y, p = ops.convert_to_tensor(embeddings), ops.convert_to_tensor(labels), layer.proxies.value
    return lambda: devices.finished(step(x, p, y))


def bare_products(classes: int, mode: str) -> Callable[[], tuple]:
    """Makes the call of the three matrix products that every loss step needs."""

    def products(x, p):
        cosines = ops.matmul(x, ops.transpose(p))
        return ops.matmul(cosines, p), ops.matmul(ops.transpose(cosines), x)

    x, p = map(ops.convert_to_tensor, inputs(classes)[:2])
    run = devices.compiled(products, mode)
    return lambda: devices.finished(run(x, p))


def peer_step(classes: int) -> Callable[[], object]:
    """Makes the call of PyTorch Metric Learning, on the same device.

    Raises:
        ImportError: It is not installed, or PyTorch cannot use the device.
    """
    import torch
    from pytorch_metric_learning import losses

    embeddings, proxies, labels = inputs(classes)
    device = devices.torch_device()
    loss = losses.ProxyAnchorLoss(classes, EMBEDDING_SIZE, margin=MARGIN, alpha=ALPHA).to(device)
    loss.proxies.data = torch.tensor(proxies, device=device)
    x = torch.tensor(embeddings, device=device, requires_grad=True)
    y = torch.tensor(labels, dtype=torch.int64, device=device)

    def step():
        value = loss(x, y)
        gradients = torch.autograd.grad(value, [x, loss.proxies])
        if device == "cuda":
            torch.cuda.synchronize()
        return value, gradients

    return step


def error_row(classes: int, mode: str, step: Callable, precision: str) -> tuple[str, ...]:
    """The errors of a step relative to the largest number of each result in float64."""
    what, bounds = f"C = {classes:,}, {mode}, {precision}", BOUNDS[precision]
    try:
        value, gradients = step()
    except Exception as problem:  # compilers fail by errors of their own
        return (what, failure(problem), "", "", "", "not run")
    errors = [
        np.abs(ops.convert_to_numpy(found) - expected).max() / np.abs(expected).max()
        for found, expected in zip((value, *gradients), in_float64(*inputs(classes)), strict=True)
    ]
    # A NaN is not within its bound.
    is_within = all(error <= bound for error, bound in zip(errors, bounds, strict=True))
    shown = [f"{number:.1e}" for number in errors]
    limits = ", ".join(f"{bound:.0e}" for bound in bounds)
    return (what, *shown, limits, "yes" if is_within else NO)


def loss_times(classes: int, steps: dict[str, Callable], turns: int) -> list[Row]:
    """Rows with the time of the loss step in each mode, in float32."""
    rows, peers = [], {}
    try:
        peers = {PEER: here(peer_step(classes))}
    except ImportError as problem:
        rows.append(missing(f"loss step, C = {classes:,}", PEER, str(problem)))
    for mode, step in steps.items():
        what = f"loss step, C = {classes:,}, {mode}"
        try:
            sides = {"ours": here(step), "bare": here(bare_products(classes, mode)), **peers}
        except Exception as problem:
            rows.append(Row(what, failure(problem), ""))
            continue
        seconds = in_turns(sides, turns)
        ours = seconds.pop("ours")
        rows.append(no_slower(what, ours, seconds.pop("bare"), "bare products"))
        rows += [faster(what, ours, of_peer, name) for name, of_peer in seconds.items()]
    return rows


def training_times(batch: int, pixels: int, turns: int) -> list[Row]:
    """Rows with the time of a training step of ResNet-50 in each precision."""
    names = ["float32", *["TF32"] * devices.has_tf32(), "mixed_bfloat16"]
    seconds = in_turns({name: training_side(name, batch, pixels) for name in names}, turns)
    devices.set_tf32(False)
    what, base = f"ResNet-50, {batch} images of {pixels} px", seconds.pop("float32")
    return [faster(f"{what}, {name}", taken, base, "float32") for name, taken in seconds.items()]


def training_side(precision: str, batch: int, pixels: int) -> Side:
    """Makes a side that takes a training step: forward, backward and AdamW, on one batch."""
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy("float32" if precision == "TF32" else precision)
    embedder = embedding_model("resnet50", EMBEDDING_SIZE, pixels, weights=None, seed=0)
    model = with_proxies(embedder, 98, seed=0)
    keras.config.set_dtype_policy(before)
    model.compile(two_rate_adamw(model, 1e-4, 1e-2), ProxyAnchorLoss(MARGIN, ALPHA, 98))
    rng = np.random.default_rng(0)
    images = ops.convert_to_tensor(rng.uniform(0, 255, (batch, pixels, pixels, 3)), "float32")
    labels = ops.convert_to_tensor(rng.integers(0, 98, batch), "int32")

    def step():
        devices.set_tf32(precision == "TF32")
        return devices.finished(float(model.train_on_batch(images, labels)))

    return here(step)


def show(columns: tuple[str, ...], rows: list[tuple[str, ...]]) -> None:
    """Prints a table in Markdown."""
    lines = [columns, ("---",) * len(columns), *rows]
    print("".join(f"| {' | '.join(line)} |\n" for line in lines), flush=True)


def show_times(rows: list[Row]) -> None:
    """Prints a table of times."""
    lines = [(row.what, row.ours, row.peer, row.ratio, row.spread) for row in rows]
    show(("what", "ours", "peer", "ratio", "spread"), lines)


def failure(problem: Exception) -> str:
    """The first line of an error, which fits into a table."""
    return f"failed: {type(problem).__name__}: {str(problem).splitlines()[0]:.80}"


if __name__ == "__main__":
    sys.exit(main())
