"""Bytes that each worker sends in a step: counted for two workers, by formula up to 1,024.

    python benchmarks/collectives.py

Two processes of this script trace a step on loopback and count the input bytes of every collective
in the graph. With R replicas, a ring sends 2 (R - 1) / R n bytes per replica to add up n bytes, and
(R - 1) n to gather them, where n is the part of one replica.
"""

import argparse
import json
import os
import socket
import subprocess
import sys

RESNET50 = 23_534_592  # trained parameters of the network without its classifier


def sent(kind, size, replicas):
    """Returns the bytes that a replica sends in a ring for a collective of `size` bytes."""
    rest = replicas - 1
    return rest * size if kind == "gather" else 2 * rest * size / replicas


def gradients(parameters, replicas):
    """Returns the bytes to add up all gradients, float32."""
    return sent("reduce", 4 * parameters, replicas)


def proxy_anchor(classes, replicas):
    """Returns the bytes for two log-sums per proxy, and for the gradients of all log-sums."""
    shapes = (3 + 2) * 4
    gathered = sent("gather", 2 * 4 * classes + shapes, replicas)
    return gathered + sent("reduce", 2 * 4 * replicas * classes, replicas)


def of_pairs(batch, size, replicas):
    """Returns the bytes for embeddings, int64 labels, and the gradients of all embeddings."""
    shapes = (2 + 1 + 2) * 4
    gathered = sent("gather", (4 * size + 8) * batch / replicas + shapes, replicas)
    return gathered + sent("reduce", 4 * batch * size, replicas)


def count(loss_name, classes, size, batch):
    """Counts parameters and (kind, bytes) of every collective of a step, in one process of two."""
    from pa_keras.training import distribution

    strategy = distribution.make_strategy("multi_worker")
    import keras
    import numpy as np
    import tensorflow as tf

    from pa_keras import losses
    from pa_keras.layers import Proxies

    kinds = {"CollectiveReduceV2": "reduce", "CollectiveGatherV2": "gather"}
    with strategy.scope():
        inputs = keras.Input((5,))
        outputs = keras.layers.Dense(size)(inputs)
        loss = losses.MultiSimilarityLoss(epsilon=None)
        if loss_name == "proxy_anchor":
            outputs, loss = Proxies(classes)(outputs), losses.ProxyAnchorLoss()
        model = keras.Model(inputs, outputs)
        model.compile(keras.optimizers.AdamW(1e-3), loss, jit_compile=False)
        model.optimizer.build(model.trainable_variables)
    own = batch // strategy.num_replicas_in_sync
    x = np.random.default_rng(0).normal(size=(own, 5)).astype("float32")
    labels = np.arange(own, dtype="int32") // 2
    found = []

    def step(x, labels):
        model.train_step((x, labels))

    @tf.function
    def traced(x, labels):
        strategy.run(step, (x, labels))
        graph = tf.compat.v1.get_default_graph()
        parts = [op for op in graph.get_operations() if op.type.startswith("Collective")]
        found[:] = [kinds[op.type] for op in parts]
        return [tf.size(op.inputs[0]) * op.inputs[0].dtype.size for op in parts]

    def local(array):
        return strategy.experimental_distribute_values_from_function(lambda _: tf.constant(array))

    sizes = [int(each) for each in traced(local(x), local(labels))]
    parameters = sum(int(np.prod(v.shape)) for v in model.trainable_variables)
    return {"collectives": list(zip(found, sizes, strict=True)), "parameters": parameters}


def counted(loss_name, classes, size, batch):
    """Runs the count in two processes, which must agree."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(2)]
    addresses = [f"127.0.0.1:{each.getsockname()[1]}" for each in sockets]
    for each in sockets:
        each.close()
    processes = []
    for index in range(2):
        cluster = {"cluster": {"worker": addresses}, "task": {"type": "worker", "index": index}}
        arguments = [loss_name, str(classes), str(size), str(batch)]
        processes.append(
            subprocess.Popen(
                [sys.executable, __file__, "--worker", *arguments],
                env={**os.environ, "TF_CONFIG": json.dumps(cluster), "TF_CPP_MIN_LOG_LEVEL": "3"},
                stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
            )
        )  # fmt: skip
    ended = [process.communicate() for process in processes]
    if any(process.returncode for process in processes):
        sys.exit(ended[0][1][-3000:])
    first, second = (json.loads(out.splitlines()[-1]) for out, _ in ended)
    if first != second:
        sys.exit(f"Expected both workers to send the same; received {first} and {second}.")
    return first


def main():
    """Counts, compares with the formula, and prints the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--worker", nargs=4, help="a process of the count: loss C D B")
    parser.add_argument("--images", type=int, default=90, help="images of a replica, in the table")
    parser.add_argument("--size", type=int, default=512, help="embedding size, in the table")
    options = parser.parse_args()
    if options.worker:
        print(json.dumps(count(options.worker[0], *map(int, options.worker[1:]))))
        return
    classes, size, batch = 50, 16, 24
    for name in ("proxy_anchor", "multi_similarity"):
        found = counted(name, classes, size, batch)
        total = sum(sent(kind, each, 2) for kind, each in found["collectives"])
        of_loss = proxy_anchor(classes, 2) if name == "proxy_anchor" else of_pairs(batch, size, 2)
        formula = gradients(found["parameters"], 2) + of_loss
        print(f"{name}: counted {total:.0f} bytes, formula {formula:.0f} bytes")
    images, size = options.images, options.size
    print(f"\nMB a step and replica, ResNet-50, D = {size}, {images} images a replica\n")
    print("| replicas | gradients | Proxy-Anchor, C = 98 | C = 11,318 | losses of pairs |")
    print("|---:|---:|---:|---:|---:|")
    for power in range(11):
        replicas = 2**power
        parts = [
            gradients(RESNET50 + 2048 * size + size, replicas),
            proxy_anchor(98, replicas),
            proxy_anchor(11_318, replicas),
            of_pairs(images * replicas, size, replicas),
        ]
        print(f"| {replicas:,} | " + " | ".join(f"{each / 1e6:.3f}" for each in parts) + " |")


if __name__ == "__main__":
    main()
