"""The settings that make TensorFlow fast on a CPU, which it reads when it is imported."""

import contextlib
import importlib
import importlib.util
import math
import os
import platform
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

# The environment variables that change how fast TensorFlow is on a CPU, or the last digits of its
# results.
_SETTINGS = (
    "TF_ENABLE_ONEDNN_OPTS",
    "TF_CPU_ALLOCATOR_USE_BFC",
    "TF_NUM_INTRAOP_THREADS",
    "TF_NUM_INTEROP_THREADS",
)
DEFAULTS = "TensorFlow's defaults"
# If this variable is set, the import of TensorFlow shows what it writes.
_SHOWN = "PA_KERAS_SHOW_IMPORT"


def tune_cpu() -> dict[str, str]:
    """Makes TensorFlow fast on this CPU, and quiet at its start; call it before the import.

    It sets environment variables, which TensorFlow reads when it is imported, and changes none that
    is already set. The commands of pa_keras call it. On x86-64 CPUs with AVX2 it switches on oneDNN
    (`TF_ENABLE_ONEDNN_OPTS=1`), which TensorFlow leaves off unless the CPU has AVX-512 VNNI or AMX.
    In a container whose CPU time is limited (cgroup v2) it starts no more threads than that time
    allows (`TF_NUM_INTRAOP_THREADS`, `TF_NUM_INTEROP_THREADS`), where TensorFlow starts one for
    each core of the host. `TF_CPP_MIN_LOG_LEVEL` hides the messages of TensorFlow's start, except
    those that TensorFlow 2.21 writes while it is imported; on a machine without an NVIDIA GPU one
    of them is an error that cuInit failed.

    With oneDNN, results differ from those without it in the last digits.

    Returns:
        The variables that are set now and change the speed, and their values.

    Raises:
        RuntimeError: TensorFlow is imported already, so that the variables would have no effect.

    Example:
        >>> import pa_keras  # doctest: +SKIP
        >>> pa_keras.tune_cpu()  # before keras or tensorflow is imported  # doctest: +SKIP
        {'TF_ENABLE_ONEDNN_OPTS': '1'}
    """
    if "tensorflow" in sys.modules:
        raise RuntimeError(
            "Expected tune_cpu() before TensorFlow is imported, as it reads its settings then. "
            "Call it at the top of the program: import pa_keras; pa_keras.tune_cpu()."
        )
    for name, value in _best_settings().items():
        os.environ.setdefault(name, value)
    return {name: os.environ[name] for name in _SETTINGS if name in os.environ}


def import_tensorflow_quietly() -> None:
    """Imports TensorFlow, and shows what it writes to stderr only if the import raises an error.

    TensorFlow 2.21 writes five lines at its import whatever `TF_CPP_MIN_LOG_LEVEL` is. If a broken
    installation ends the process without a message, set the variable PA_KERAS_SHOW_IMPORT=1.

    Example:
        >>> import_tensorflow_quietly()
    """
    if "tensorflow" in sys.modules or not importlib.util.find_spec("tensorflow"):
        return
    # A process that TensorFlow ends, such as on a CPU that is too old, has to show its reason.
    if instruction_set() == "other" or _SHOWN in os.environ or sys.stderr is None:
        return
    with contextlib.ExitStack() as stack:
        try:
            hidden = stack.enter_context(tempfile.TemporaryFile())
        except OSError:  # no folder is writable
            return
        shown = stack.enter_context(_stderr_into(hidden.fileno()))
        try:
            importlib.import_module("tensorflow")
        except BaseException:
            hidden.seek(0)
            os.write(shown, hidden.read())
            raise


@contextlib.contextmanager
def _stderr_into(file: int) -> Iterator[int]:
    """Sends what C++ and Python write to stderr into a file; yields what stderr was."""
    sys.stderr.flush()
    try:
        shown = os.dup(2)
    except OSError:  # stderr is closed
        yield file
        return
    os.dup2(file, 2)
    try:
        yield shown
    finally:
        os.dup2(shown, 2)
        os.close(shown)


def settings_text() -> str:
    """The variables that change the speed as they are set now, for people to read.

    Example:
        >>> settings_text()  # doctest: +SKIP
        'TF_ENABLE_ONEDNN_OPTS=1'
    """
    found = [f"{name}={os.environ[name]}" for name in _SETTINGS if name in os.environ]
    return " ".join(found) or DEFAULTS


def onednn_is_on() -> bool:
    """Whether the environment switches oneDNN on, as `tune_cpu` does.

    Example:
        >>> onednn_is_on()  # doctest: +SKIP
        True
    """
    return os.environ.get("TF_ENABLE_ONEDNN_OPTS") == "1"


def instruction_set(cpuinfo: str | None = None) -> str:
    """The widest vector instructions of this CPU: "AVX-512 VNNI", "AVX-512", "AVX2" or "other".

    TensorFlow, PyTorch and oneDNN choose their kernels by it.

    Args:
        cpuinfo: Text of /proc/cpuinfo. Default None: that of this machine.

    Example:
        >>> instruction_set("flags : sse4_2 avx avx2 fma")
        'AVX2'
    """
    if cpuinfo is None:
        cpuinfo = _text_of(Path("/proc/cpuinfo"))
    flags = {flag for line in cpuinfo.splitlines() if "flags" in line for flag in line.split()}
    kinds = {"avx512_vnni": "AVX-512 VNNI", "avx512f": "AVX-512", "avx2": "AVX2"}
    return next((name for flag, name in kinds.items() if flag in flags), "other")


def quota(cpu_max: str | None = None) -> int | None:
    """The number of CPUs that the time limit of this container (cgroup v2) amounts to, rounded up.

    Args:
        cpu_max: Text of /sys/fs/cgroup/cpu.max: microseconds of CPU time in each period of so many
            microseconds. Default None: that of this machine.

    Returns:
        The number, or None without a limit.

    Example:
        >>> quota("150000 100000"), quota("max 100000")
        (2, None)
    """
    if cpu_max is None:
        cpu_max = _text_of(Path("/sys/fs/cgroup/cpu.max"))
    limit, _, period = cpu_max.strip().partition(" ")
    if not (limit.isdigit() and period.isdigit() and int(period)):
        return None
    return max(1, math.ceil(int(limit) / int(period)))


def _best_settings() -> dict[str, str]:
    """The settings of `tune_cpu`; `python -m benchmarks.run settings` compares them with others."""
    has_gpu = Path("/dev/nvidiactl").exists()
    # Level 2 hides warnings and 3 errors, too; TensorFlow raises exceptions besides.
    result = {"TF_CPP_MIN_LOG_LEVEL": "2" if has_gpu else "3"}
    if platform.machine() == "x86_64" and instruction_set() != "other":
        result["TF_ENABLE_ONEDNN_OPTS"] = "1"
    limit = quota()
    if limit is not None and limit < len(os.sched_getaffinity(0)):
        result["TF_NUM_INTRAOP_THREADS"] = result["TF_NUM_INTEROP_THREADS"] = str(limit)
    return result


def _text_of(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:  # another platform
        return ""
