"""The cases of the torch environment, run on request of `benchmarks/peer.py`, by lines of JSON.

A case is a function of settings that makes a call. The results of the calls are compared.
"""

import itertools
import json
import os
import sys
import time
from collections.abc import Callable
from importlib import metadata

import numpy as np
import torch

THREADS = len(os.sched_getaffinity(0))
VERSIONS = ("torch", "pytorch-metric-learning", "faiss-cpu", "torchvision", "timm")


def pytorch_metric_learning(**sizes) -> Callable[[], float]:
    """Runs its Proxy-Anchor loss forward and backward, for embeddings and proxies."""
    from pytorch_metric_learning.losses import ProxyAnchorLoss

    embeddings, proxies, labels = batch(**sizes)
    loss = ProxyAnchorLoss(len(proxies), proxies.shape[1], margin=0.1, alpha=32)
    loss.proxies.data = proxies
    return step(lambda: loss(embeddings, labels), embeddings, loss.proxies)


def plain(**sizes) -> Callable[[], float]:
    """Runs the loss like the authors' code: masks of B x C, exponentials, masked sums."""
    embeddings, proxies, labels = batch(**sizes)
    proxies = torch.nn.Parameter(proxies)
    number = len(proxies)

    def loss():
        unit = torch.nn.functional.normalize
        cosines = torch.nn.functional.linear(unit(embeddings), unit(proxies))
        positive = torch.nn.functional.one_hot(labels, number)
        pull, push = torch.exp(-32 * (cosines - 0.1)), torch.exp(32 * (cosines + 0.1))
        present = torch.nonzero(positive.sum(dim=0) != 0).squeeze(dim=1)
        pulls = torch.where(positive == 1, pull, torch.zeros_like(pull)).sum(dim=0)
        pushes = torch.where(positive == 0, push, torch.zeros_like(push)).sum(dim=0)
        return torch.log(1 + pulls).sum() / len(present) + torch.log(1 + pushes).sum() / number

    return step(loss, embeddings, proxies)


def faiss_flat(number: int, size: int, queries: int, k: int) -> Callable[[], float]:
    """Searches exactly with `IndexFlatIP`; each call takes the next vectors as queries."""
    import faiss

    faiss.omp_set_num_threads(THREADS)
    vectors = np.random.default_rng(0).standard_normal((number, size), dtype=np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    index = faiss.IndexFlatIP(size)
    index.add(vectors)
    starts = itertools.cycle(range(0, number - queries, queries))

    def call():
        start = next(starts)
        return float(index.search(vectors[start : start + queries], k)[0][:, -1].mean())

    return call


def loader(**settings) -> Callable[[], int]:
    """Loads batches with torchvision's loader."""
    from torch_loader import epoch

    return epoch(**settings)


def training_step(**settings) -> Callable[[], float]:
    """Takes a step with a complete network."""
    from torch_network import step

    return step(**settings)


CASES = {
    each.__name__: each
    for each in (pytorch_metric_learning, plain, faiss_flat, loader, training_step)
}


def batch(size: int, embedding_size: int, classes: int) -> tuple[torch.Tensor, ...]:
    """Returns the batch of `benchmarks.parts.loss.batch`."""
    rng = np.random.default_rng(0)
    embeddings = torch.tensor(rng.normal(size=(size, embedding_size)), dtype=torch.float32)
    proxies = torch.tensor(rng.normal(size=(classes, embedding_size)), dtype=torch.float32)
    labels = torch.tensor(rng.integers(0, classes, size))
    return embeddings.requires_grad_(), proxies, labels


def step(loss: Callable, *parameters: torch.Tensor) -> Callable[[], float]:
    def call():
        for each in parameters:
            each.grad = None
        value = loss()
        value.backward()
        return value.item()

    return call


def seconds_of(call: Callable, times: int) -> float:
    started = time.perf_counter()
    for _ in range(times):
        call()
    return (time.perf_counter() - started) / times


def main() -> None:
    torch.set_num_threads(THREADS)
    answers, sys.stdout = sys.stdout, sys.stderr  # libraries must not print into the responses
    calls = {}
    for line in sys.stdin:
        request = json.loads(line)
        try:
            if "prepare" in request:
                name = request["prepare"]
                calls.pop(name, None)
                call = CASES[name](**request["settings"])
                found = call()
                times = max(1, round(request["seconds"] / seconds_of(call, 1)))
                calls[name] = call, times
            elif "run" in request:
                call, times = calls[request["run"]]
                call()  # the previous side has left its data in the cache
                found = seconds_of(call, times)
            else:
                found = {name: metadata.version(name) for name in VERSIONS}
            answer = {"found": found}
        except Exception as problem:
            answer = {"problem": f"{type(problem).__name__}: {problem}"}
        answers.write(json.dumps(answer) + "\n")
        answers.flush()


if __name__ == "__main__":
    main()
