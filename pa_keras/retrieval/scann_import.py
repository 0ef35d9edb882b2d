"""Imports ScaNN without its TensorFlow operations, so that it runs beside any TensorFlow."""

import importlib
import importlib.util
import sys
import threading
from types import ModuleType

_PYBIND = "scann.scann_ops.py.scann_ops_pybind"
_lock = threading.Lock()


class ScannUnusableError(RuntimeError):
    """ScaNN is missing, does not load, or is not exact enough; the message gives the reason."""


def load_scann() -> ModuleType:
    """Imports the module of ScaNN that builds and opens searchers, which needs no TensorFlow.

    `import scann` also loads ScaNN's TensorFlow operations, which are built for a single release:
    beside another one, the import fails. This function skips the file that loads them,
    `scann/__init__.py`. A later `import scann` elsewhere runs as if this function had not been
    called.

    Returns:
        The module `scann.scann_ops.py.scann_ops_pybind`.

    Raises:
        ScannUnusableError: ScaNN is not installed or does not load; the message says what to do.

    Example:
        >>> load_scann().builder  # doctest: +SKIP
        <function builder at 0x...>
    """
    with _lock:
        try:
            return _pybind()
        except ImportError as error:
            raise ScannUnusableError(
                f"ScaNN is not installed or not for this platform ({error}); on Linux x86-64, "
                "`pip install scann`"
            ) from error
        except Exception as error:  # a broken library, or a protobuf that refuses its messages
            raise ScannUnusableError(
                f"the installed ScaNN does not load ({type(error).__name__}: {error}); `pip check` "
                "shows conflicts, `pip install --force-reinstall --no-deps scann` repairs its files"
            ) from error


def _pybind() -> ModuleType:
    """Imports the module as one of an empty package `scann`, which is removed again."""
    if "scann" in sys.modules or _PYBIND in sys.modules:
        return importlib.import_module(_PYBIND)
    spec = importlib.util.find_spec("scann")
    if spec is None:
        raise ModuleNotFoundError("No module named 'scann'", name="scann")
    # Hiding TensorFlow in sys.modules instead would also hide it from other threads.
    sys.modules["scann"] = importlib.util.module_from_spec(spec)
    try:
        return importlib.import_module(_PYBIND)
    finally:
        del sys.modules["scann"]
