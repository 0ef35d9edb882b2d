"""Milliseconds of the loss step on the backend of Keras, and of PyTorch Metric Learning.

    KERAS_BACKEND=jax python benchmarks/loss_step_any_backend.py
    KERAS_BACKEND=torch python benchmarks/loss_step_any_backend.py

The step is the value of Proxy-Anchor and its gradients for embeddings and proxies, in float32:
under `jit` on JAX, eager on torch, and in a `tf.function` without XLA on TensorFlow. PyTorch Metric
Learning runs its `ProxyAnchorLoss` and `backward`. Both are in one process and take turns; the
ratio is the median of the ratios of the turns. Only Keras, NumPy, the backend, torch and
pytorch-metric-learning must be installed; without the last two, ours is measured alone.
"""

import argparse
import time
from collections.abc import Callable

import keras
import numpy as np
from keras import ops

from pa_keras import Proxies, ProxyAnchorLoss

BATCH, EMBEDDING_SIZE = 180, 512


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--classes", type=int, nargs="+", default=[98, 11_318])
    parser.add_argument("--turns", type=int, default=30)
    options = parser.parse_args()
    for classes in options.classes:
        rng = np.random.default_rng(0)
        embeddings = rng.normal(size=(BATCH, EMBEDDING_SIZE)).astype("float32")
        proxies = rng.normal(size=(classes, EMBEDDING_SIZE)).astype("float32")
        labels = rng.integers(0, classes, BATCH).astype("int32")
        sides = {"pa_keras": our_step(embeddings, proxies, labels)}
        try:
            sides["pytorch_metric_learning"] = peer_step(embeddings, proxies, labels)
        except ImportError as problem:
            print(f"without a peer: {problem}")
        values = [step() for step in sides.values()]
        if not np.allclose(values, values[0], rtol=1e-4):
            raise RuntimeError(f"The values are not equal: {values}.")
        seconds = {name: [] for name in sides}
        for _ in range(options.turns):
            for name, step in sides.items():
                started = time.perf_counter()
                step()
                seconds[name].append(time.perf_counter() - started)
        shown = ", ".join(f"{n} {1000 * np.median(each):.2f} ms" for n, each in seconds.items())
        ratios = np.divide(list(seconds.values())[-1], seconds["pa_keras"])
        low, high = np.quantile(ratios, [0.25, 0.75])
        print(
            f"{keras.backend.backend()}, C = {classes:,}: {shown}; ratio {np.median(ratios):.2f}, "
            f"half of the turns within {low:.2f} to {high:.2f}",
            flush=True,
        )


def our_step(embeddings: np.ndarray, proxies: np.ndarray, labels: np.ndarray) -> Callable:
    """Makes the call that computes the gradients and returns the value."""
    layer = Proxies(len(proxies))
    layer.build(embeddings.shape)
    layer.proxies.assign(proxies)
    loss = ProxyAnchorLoss(num_classes=len(proxies))
    x, y = ops.convert_to_tensor(embeddings), ops.convert_to_tensor(labels)
    if keras.backend.backend() == "jax":
        import jax

        def value(x, p):
            cosines, _ = layer.stateless_call([p], [], x)
            return loss(y, cosines)

        step, p = jax.jit(jax.value_and_grad(value, argnums=(0, 1))), layer.proxies.value
        return lambda: float(jax.block_until_ready(step(x, p))[0])
    if keras.backend.backend() == "torch":
        x.requires_grad_()

        def step():
            x.grad = layer.proxies.value.grad = None
            value = loss(y, layer(x))
            value.backward()
            return value.item()

        return step
    import tensorflow as tf

    @tf.function
    def step(x, y):
        with tf.GradientTape() as tape:
            tape.watch(x)
            value = loss(y, layer(x))
        return value, tape.gradient(value, [x, layer.proxies.value])

    return lambda: float(step(x, y)[0])


def peer_step(embeddings: np.ndarray, proxies: np.ndarray, labels: np.ndarray) -> Callable:
    """Makes the same call of PyTorch Metric Learning."""
    import torch
    from pytorch_metric_learning import losses

    loss = losses.ProxyAnchorLoss(len(proxies), proxies.shape[1], margin=0.1, alpha=32)
    loss.proxies.data = torch.tensor(proxies)
    x, y = torch.tensor(embeddings, requires_grad=True), torch.tensor(labels, dtype=torch.int64)

    def step():
        x.grad = loss.proxies.grad = None
        value = loss(x, y)
        value.backward()
        return value.item()

    return step


if __name__ == "__main__":
    main()
