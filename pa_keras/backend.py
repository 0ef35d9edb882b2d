"""The backend of Keras: which one is set, and what to do if its package is missing."""

import contextlib
import importlib.util
import json
import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

BACKENDS = ("tensorflow", "jax", "torch")


@dataclass(frozen=True)
class KerasSettings:
    """Settings that Keras has, or will have when it is imported.

    Attributes:
        backend: Name of the backend, such as "jax".
        image_data_format: "channels_last" or "channels_first".
        file: The file keras.json that Keras reads.
        source: What sets the backend, for messages: "KERAS_BACKEND", the file, or "Keras' default".
    """

    backend: str
    image_data_format: str
    file: Path
    source: str


def keras_settings() -> KerasSettings:
    """Reads the settings of Keras, and does not import Keras.

    Raises:
        ImportError: The file holds no settings, so that Keras could not be imported either.

    Example:
        >>> keras_settings().image_data_format
        'channels_last'
    """
    file = Path(os.environ.get("KERAS_HOME", "~/.keras"), "keras.json").expanduser()
    settings = {}
    if file.exists():
        with contextlib.suppress(ValueError):  # Keras ignores invalid JSON, too
            settings = json.loads(file.read_text())
    keras = sys.modules.get("keras")
    config = getattr(keras, "config", None)  # None while Keras is being imported, too
    if not isinstance(settings, dict):
        if config is None:
            raise ImportError(
                f"Expected the settings of Keras in {file}; received {settings!r}. Delete the "
                "file: Keras writes it again."
            )
        settings = {}
    of_environment = os.environ.get("KERAS_BACKEND")
    backend = of_environment or settings.get("backend", "tensorflow")
    image_data_format = settings.get("image_data_format", "channels_last")
    if config is not None:
        backend, image_data_format = config.backend(), config.image_data_format()
    of_file = str(file) if "backend" in settings else "Keras' default"
    source = "KERAS_BACKEND" if of_environment else of_file
    return KerasSettings(backend, image_data_format, file, source)


def is_installed(package: str) -> bool:
    """Whether a package can be found, without importing it.

    Example:
        >>> is_installed("numpy"), is_installed("no_such_package")
        (True, False)
    """
    return importlib.util.find_spec(package) is not None


def expect_tensorflow_backend() -> None:
    """Raises an ImportError unless TensorFlow is installed and the backend of Keras.

    Example:
        >>> expect_tensorflow_backend()
    """
    settings = keras_settings()
    if settings.backend != "tensorflow":
        raise ImportError(
            f"The commands of pa_keras need the TensorFlow backend; it is {settings.backend!r} "
            f"({settings.source}). Run the command with KERAS_BACKEND=tensorflow. Models that were "
            f"trained on {settings.backend} and saved as .keras work there unchanged."
        )
    if not is_installed("tensorflow"):
        raise ImportError(
            "The commands of pa_keras need TensorFlow, which is not installed. Install it: pip "
            "install tensorflow."
        )


@contextlib.contextmanager
def explained_imports(name: str) -> Iterator[None]:
    """Replaces the error of a missing backend by one that says what to do.

    Args:
        name: What the imports inside are for, such as "pa_keras.pipelines".

    Raises:
        ImportError: A package of a backend is missing; another missing package is reported as
            usual.

    Example:
        >>> with explained_imports("pa_keras.pipelines"):
        ...     import tensorflow
    """
    try:
        yield
    except ModuleNotFoundError as error:
        missing = (error.name or "").partition(".")[0]
        if missing not in BACKENDS or is_installed(missing):
            raise
        raise ImportError(_what_to_do(name, missing)) from error


def _what_to_do(name: str, missing: str) -> str:
    settings = keras_settings()
    if missing != settings.backend:
        return (
            f"{name} needs {missing}, which is not installed, also on the {settings.backend} "
            f"backend. Install it: pip install {missing}."
        )
    others = [each for each in BACKENDS if is_installed(each)]
    advice = f", or set KERAS_BACKEND to {' or '.join(others)}" if others else ""
    return (
        f"The backend of Keras is {missing!r} ({settings.source}), but {missing} is not installed. "
        f"Install it{advice}."
    )
