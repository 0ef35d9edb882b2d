"""Whether XLA compiles the training step."""

from typing import Literal


def jit_compile(
    choice: Literal["auto"] | bool,
    device: str,
    replicas: int = 1,
    several_processes: bool = False,
    deterministic: bool = False,
) -> bool:
    """The `jit_compile` to give to `keras.Model.compile`.

    "auto" decides as Keras 3.15 does: XLA compiles the step of one replica in one process on a GPU,
    unless operations have to be deterministic. On a CPU it slows convolutions down. A TPU strategy
    compiles by XLA in any case, and Keras must not be asked to do it again.

    Args:
        choice: "auto", or the choice of the user.
        device: Kind of device that trains: "CPU", "GPU" or "TPU".
        replicas: Number of replicas that share a batch. Default 1.
        several_processes: Whether other processes train on the same batches. Default False.
        deterministic: Whether TensorFlow's operations have to be deterministic. Default False.

    Raises:
        ValueError: The choice cannot work with these devices; the message says why.

    Example:
        >>> jit_compile("auto", "GPU"), jit_compile("auto", "GPU", replicas=2)
        (True, False)
    """
    if device == "TPU":
        if choice is False:
            raise ValueError(
                "Expected training.jit_compile to be auto or true on a TPU, which only runs what "
                "XLA compiles; received false."
            )
        return False
    obstacle = _obstacle(replicas, several_processes, deterministic)
    if choice == "auto":
        return device == "GPU" and obstacle is None
    if choice and obstacle is not None:
        raise ValueError(
            f"Expected training.jit_compile to be auto or false {obstacle}; received true."
        )
    return choice


def _obstacle(replicas: int, several_processes: bool, deterministic: bool) -> str | None:
    """The reason why XLA cannot compile the step, or None."""
    if several_processes:
        return (
            "for training.strategy=multi_worker, since XLA cannot compile the operations by which "
            "processes exchange gradients"
        )
    if replicas > 1:
        return (
            f"for {replicas} replicas, since a step that XLA compiles cannot read the variables of "
            "another device"
        )
    if deterministic:
        return "with training.deterministic, since not every operation of XLA is deterministic"
    return None
