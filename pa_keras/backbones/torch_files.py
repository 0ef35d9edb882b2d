"""Reads tensors from a PyTorch file, without PyTorch and without running code from the file.

A `.pth` file is a pickle that names the tensors and describes their positions in storages; the
storages follow as raw bytes. The reader accepts these descriptions and rejects any other object.
It reads both layouts: that before PyTorch 1.6 (several pickles in a row) and the zip archive.
"""

import collections
import io
import math
import pickle
import struct
import zipfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np

_LEGACY_MAGIC = 0x1950A86A20F9469CFC6C
_DTYPES = {
    "DoubleStorage": "<f8",
    "FloatStorage": "<f4",
    "HalfStorage": "<f2",
    "LongStorage": "<i8",
    "IntStorage": "<i4",
    "ShortStorage": "<i2",
    "CharStorage": "<i1",
    "ByteStorage": "<u1",
    "BoolStorage": "?",
}


class _Storage(NamedTuple):
    dtype: str
    key: str
    length: int


class _Tensor(NamedTuple):
    storage: _Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


def read_tensors(path: str | Path) -> dict[str, np.ndarray]:
    """Reads the tensors of a saved state dict.

    Args:
        path: A `.pth` file that holds one dict from names to tensors.

    Returns:
        Maps names to arrays, in the axis order of the file (output, input, height, width for a
        convolution).

    Raises:
        ValueError: If the file is not such a file, is truncated, or holds anything but tensors.

    Example:
        >>> tensors = read_tensors("efficientnet-lite0-57934424.pth")  # doctest: +SKIP

    Source: torch/serialization.py of PyTorch.
    """
    try:
        state, storages = (_read_zip if zipfile.is_zipfile(path) else _read_legacy)(path)
        return {name: _array(tensor, storages) for name, tensor in state.items()}
    except OSError:
        raise
    except Exception as error:  # pickle raises almost any exception for a broken file
        raise ValueError(
            f"Expected a PyTorch file of named tensors; received {path}: {error}. "
            "Save it again with torch.save(model.state_dict(), path)."
        ) from error


def _read_zip(path: str | Path) -> tuple[dict[str, _Tensor], dict[str, bytes]]:
    with zipfile.ZipFile(path) as archive:
        # A few compressed bytes could expand to more than fits in memory.
        if any(member.compress_type != zipfile.ZIP_STORED for member in archive.infolist()):
            raise ValueError("it is compressed, which torch.save never does")
        pickled = [name for name in archive.namelist() if name.endswith("data.pkl")][0]
        folder = pickled.removesuffix("data.pkl") + "data/"
        state = _tensors_alone(_Unpickler(io.BytesIO(archive.read(pickled))).load())
        keys = {tensor.storage.key for tensor in state.values()}
        return state, {key: archive.read(folder + key) for key in keys}


def _read_legacy(path: str | Path) -> tuple[dict[str, _Tensor], dict[str, bytes]]:
    with open(path, "rb") as file:
        if _Unpickler(file).load() != _LEGACY_MAGIC:
            raise ValueError("its first bytes are not PyTorch's")
        _Unpickler(file).load()  # protocol version
        _Unpickler(file).load()  # sizes of the writer's integers
        unpickler = _Unpickler(file)
        state = _tensors_alone(unpickler.load())
        order = _Unpickler(file).load()
        sizes = {key: np.dtype(dtype).itemsize for dtype, key, _ in unpickler.storages}
        return state, {key: _read_storage(file, sizes[key]) for key in order}


def _tensors_alone(state: dict) -> dict[str, _Tensor]:
    others = [n for n, v in state.items() if not isinstance(n, str) or not isinstance(v, _Tensor)]
    if others:
        raise ValueError(f"{others[0]!r} in it is not a named tensor; save only its state_dict")
    return state


def _read_storage(file: BinaryIO, itemsize: int) -> bytes:
    (length,) = struct.unpack("<q", file.read(8))
    return file.read(length * itemsize)


def _array(tensor: _Tensor, storages: dict[str, bytes]) -> np.ndarray:
    values = np.frombuffer(storages[tensor.storage.key], tensor.storage.dtype)
    reach = sum((n - 1) * stride for n, stride in zip(tensor.shape, tensor.strides, strict=True))
    # NumPy does not check strides: a wrong one would read memory beyond the storage.
    if min((tensor.offset, *tensor.shape, *tensor.strides)) < 0 or (
        tensor.offset + reach >= values.size and 0 not in tensor.shape
    ):
        raise ValueError(f"a tensor of shape {tensor.shape} reaches beyond its storage")
    if math.prod(tensor.shape) > values.size:  # a stride of 0 makes this possible in a tiny file
        raise ValueError(f"a tensor of shape {tensor.shape} is larger than its storage")
    view = values[tensor.offset :]
    strides = [stride * values.itemsize for stride in tensor.strides]
    return np.lib.stride_tricks.as_strided(view, tensor.shape, strides).copy()


class _Unpickler(pickle.Unpickler):
    """Accepts dicts, numbers, strings and descriptions of tensors; nothing that runs code."""

    def __init__(self, file: BinaryIO):
        super().__init__(file)
        self.storages: set[_Storage] = set()

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) == ("collections", "OrderedDict"):
            return collections.OrderedDict
        # Files from before PyTorch 0.4 use the first.
        if module == "torch._utils" and name in ("_rebuild_tensor", "_rebuild_tensor_v2"):
            return _tensor
        if (module, name) == ("torch._utils", "_rebuild_parameter"):
            return _parameter
        if module == "torch" and name in _DTYPES:
            return _DTYPES[name]
        raise pickle.UnpicklingError(f"it holds {module}.{name}, which is not a tensor")

    def persistent_load(self, pid: tuple) -> _Storage:
        _, dtype, key, _, length = pid[:5]
        storage = _Storage(dtype, key, length)
        self.storages.add(storage)
        return storage


def _tensor(
    storage: _Storage, offset: int, shape: Iterable[int], strides: Iterable[int], *_unused: Any
) -> _Tensor:
    return _Tensor(storage, offset, tuple(shape), tuple(strides))


def _parameter(tensor: _Tensor, *_unused: Any) -> _Tensor:
    return tensor
