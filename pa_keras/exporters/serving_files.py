"""The configuration files of a TensorFlow Serving server: its models and its batching."""

import posixpath
import re
from collections.abc import Sequence
from pathlib import Path


def write_batching_parameters(
    path: str | Path,
    batch_sizes: Sequence[int],
    *,
    batch_timeout_micros: int = 2000,
    max_enqueued_batches: int = 100,
    num_batch_threads: int | None = None,
) -> Path:
    """Writes the file for `tensorflow_model_server --batching_parameters_file`.

    The server collects requests into a batch and pads it to the next allowed size.

    Args:
        path: File to write; it is replaced.
        batch_sizes: Allowed batch sizes, each 1 or more, increasing. The last one is the size of
            the largest request that the server accepts.
        batch_timeout_micros: Microseconds that a request waits for others, 0 or more. Default 2000.
        max_enqueued_batches: Batches that may wait; further requests are rejected. Default 100.
        num_batch_threads: Batches computed at once. Default None: the server's default, one per
            CPU.

    Returns:
        The path.

    Raises:
        ValueError: If an argument is out of range.

    Example:
        >>> write_batching_parameters("batching_parameters.txt", (1, 8, 32))  # doctest: +SKIP
        PosixPath('batching_parameters.txt')
    """
    expect_batch_sizes(batch_sizes)
    wrapped = {
        "max_batch_size": batch_sizes[-1],
        "batch_timeout_micros": batch_timeout_micros,
        "max_enqueued_batches": max_enqueued_batches,
        "num_batch_threads": num_batch_threads,
    }
    for name, value in wrapped.items():
        least = 0 if name == "batch_timeout_micros" else 1
        if value is not None and value < least:
            raise ValueError(f"Expected {name} of {least} or more; received {value}.")
    # The Python package lacks the message BatchingParameters, so its text is written by hand.
    lines = [f"{name} {{ value: {value} }}" for name, value in wrapped.items() if value is not None]
    lines += [f"allowed_batch_sizes: {size}" for size in batch_sizes]
    return _write(path, "\n".join(lines) + "\n")


def write_models_config(
    path: str | Path, name: str, base_path: str, *, versions: Sequence[int] = ()
) -> Path:
    """Writes the file for `tensorflow_model_server --model_config_file`, for one model.

    Args:
        path: File to write; it is replaced.
        name: Name of the model for clients.
        base_path: Folder of the numbered versions as the server sees it: absolute, or a URI.
        versions: Versions to serve, each 1 or more. Default (): always the highest in the folder.

    Returns:
        The path.

    Raises:
        ValueError: If the name has characters other than letters, digits, _ and -, the folder is
            relative, or a version is below 1.

    Example:
        >>> write_models_config("models.config", "cars", "/models/cars")  # doctest: +SKIP
        PosixPath('models.config')
    """
    from google.protobuf import text_format
    from tensorflow_serving.config import model_server_config_pb2

    expect_name(name)
    if not posixpath.isabs(base_path) and "://" not in base_path:
        raise ValueError(
            f"Expected base_path as the server sees it, absolute or a URI; received {base_path!r}. "
            "In a container, give the path of the mount, such as /models/cars."
        )
    if any(version < 1 for version in versions):
        raise ValueError(
            f"Expected versions of 1 or more; received {tuple(versions)}. "
            "Give the numbers of folders of the model."
        )
    config = model_server_config_pb2.ModelServerConfig()
    model = config.model_config_list.config.add(
        name=name, base_path=base_path, model_platform="tensorflow"
    )
    if versions:
        model.model_version_policy.specific.versions.extend(versions)
    return _write(path, text_format.MessageToString(config))


def expect_name(name: str) -> None:
    """Raises a ValueError unless a model's name has only letters, digits, _ and -."""
    if not re.fullmatch(r"[A-Za-z0-9_-]+", name):
        raise ValueError(
            f"Expected a model name of letters, digits, _ and -, since it is part of the "
            f"server's URLs; received {name!r}. Give another --name."
        )


def expect_batch_sizes(batch_sizes: Sequence[int]) -> None:
    """Raises a ValueError unless there are batch sizes, each 1 or more, increasing."""
    sizes = list(batch_sizes)
    if not sizes or sizes[0] < 1 or sizes != sorted(set(sizes)):
        raise ValueError(
            f"Expected batch_sizes of 1 or more, increasing, such as (1, 8, 32); received "
            f"{tuple(sizes)}."
        )


def _write(path: str | Path, text: str) -> Path:
    path = Path(path)
    path.write_text(text, encoding="utf-8")
    return path
