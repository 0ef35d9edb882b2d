"""Shows where the time of a training step goes: kinds of operations, system time, page faults.

    python -m benchmarks.step_profile --network efficientnet_lite0 --pixels 112 --batch-size 90

It traces a few steps with TensorFlow's profiler, and adds up the time of each kind of operation
over all threads. A step of `fit` has the same operations.
"""

import argparse
import os
import resource
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from pa_keras import cpu, tune_cpu

STEPS = 5
SHOWN = 12  # kinds of operations


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--network", default="efficientnet_lite0")
    parser.add_argument("--pixels", type=int, default=112)
    parser.add_argument("--batch-size", type=int, default=90)
    options = parser.parse_args()
    tune_cpu()
    # Imported after the settings, which TensorFlow reads once.
    from benchmarks.parts.step import bare_step, one_batch, trained

    network, pixels, number = options.network, options.pixels, options.batch_size
    call = bare_step(trained(network, pixels), one_batch(pixels, number))
    for _ in range(3):
        call()
    print(f"{network}, {number} images of {pixels} px, {cpu.instruction_set()}")
    print(f"settings: {cpu.settings_text()}")
    print(process_costs(call))
    times = traced(call)
    total = sum(times.values())
    print(f"\n{'operation':44} share  ms a step, all threads")
    for name, seconds in times.most_common(SHOWN):
        print(f"{name:44} {seconds / total:5.1%}  {1000 * seconds / STEPS:.0f}")


def process_costs(call: Callable[[], object]) -> str:
    """Describes what the process spends on a step, without the profiler."""
    before, started = resource.getrusage(resource.RUSAGE_SELF), time.perf_counter()
    for _ in range(STEPS):
        call()
    taken, after = time.perf_counter() - started, resource.getrusage(resource.RUSAGE_SELF)
    user, system = after.ru_utime - before.ru_utime, after.ru_stime - before.ru_stime
    faults = after.ru_minflt - before.ru_minflt
    cores = len(os.sched_getaffinity(0))
    return (
        f"a step: {1000 * taken / STEPS:.0f} ms on {cores} cores, {user / STEPS:.2f} s of user "
        f"time, {system / STEPS:.2f} s of system time, {faults / STEPS:,.0f} page faults"
    )


def traced(call: Callable[[], object]) -> Counter[str]:
    """Traces the steps; returns the seconds of each kind of operation, over all threads."""
    import tensorflow as tf

    with tempfile.TemporaryDirectory() as folder:
        tf.profiler.experimental.start(folder)
        for _ in range(STEPS):
            call()
        tf.profiler.experimental.stop()
        (file,) = Path(folder).rglob("*.xplane.pb")
        return operation_times(file.read_bytes())


def operation_times(content: bytes) -> Counter[str]:
    """Adds up the durations of the operations in a trace, by kind."""
    # The only reader of this format without another package.
    from tensorflow.tsl.profiler.protobuf import xplane_pb2

    space = xplane_pb2.XSpace.FromString(content)
    times: Counter[str] = Counter()
    for plane in space.planes:
        for line in plane.lines:
            for event in line.events:
                # Operations are named "NODE:KIND", functions of TensorFlow's runtime "CLASS::NAME".
                name = plane.event_metadata[event.metadata_id].name
                node, _, kind = name.rpartition(":")
                if node and not node.endswith(":") and kind.isidentifier():
                    times[kind] += event.duration_ps / 1e12
    return times


if __name__ == "__main__":
    main()
