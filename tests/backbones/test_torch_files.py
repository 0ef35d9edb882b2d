"""Reads PyTorch files written here by hand, valid and hostile, in both layouts."""

import io
import os
import pickle
import struct
import sys
import types
import zipfile
from collections import OrderedDict

import numpy as np
import pytest

from pa_keras.backbones.torch_files import read_tensors

TENSORS = OrderedDict(
    weight=np.arange(24, dtype="float32").reshape(2, 3, 4).transpose(2, 0, 1),
    steps=np.array(7, dtype="int64"),
    empty=np.zeros((0, 3), dtype="float32"),
)


class Stored:
    def __init__(self, array):
        self.array = array


class Repeated:
    """One number that claims to be a long vector."""

    def __init__(self, times):
        self.times = times


@pytest.fixture(autouse=True)
def torch_names(monkeypatch):
    """The names in `torch` that a pickle refers to; only the writer needs them."""
    torch, utils = types.ModuleType("torch"), types.ModuleType("torch._utils")
    for name in ("FloatStorage", "LongStorage"):
        setattr(torch, name, type(name, (), {"__module__": "torch"}))

    def _rebuild_tensor_v2():
        raise NotImplementedError

    _rebuild_tensor_v2.__module__ = "torch._utils"
    _rebuild_tensor_v2.__qualname__ = "_rebuild_tensor_v2"
    utils.__dict__["_rebuild_tensor_v2"] = _rebuild_tensor_v2
    monkeypatch.setitem(sys.modules, "torch", torch)
    monkeypatch.setitem(sys.modules, "torch._utils", utils)


class Writer(pickle.Pickler):
    """Writes the tensors of a state dict as torch.save does, each in a separate storage."""

    def __init__(self, file, reach=0):
        super().__init__(file, protocol=2)
        self.storages = {}
        self.reach = reach

    def persistent_id(self, obj):
        if not isinstance(obj, Stored):
            return None
        key = str(len(self.storages))
        self.storages[key] = obj.array.ravel(order="K")
        kind = "FloatStorage" if obj.array.dtype == "float32" else "LongStorage"
        return ("storage", getattr(sys.modules["torch"], kind), key, "cpu", obj.array.size)

    def reducer_override(self, obj):
        if isinstance(obj, Repeated):
            stored = Stored(np.zeros(1, "float32"))
            description: tuple = (stored, 0, (obj.times,), (0,), False, OrderedDict())
        elif isinstance(obj, np.ndarray):
            strides = tuple(stride // obj.itemsize for stride in obj.strides)
            description = (Stored(obj), self.reach, obj.shape, strides, False, OrderedDict())
        else:
            return NotImplemented
        return sys.modules["torch._utils"]._rebuild_tensor_v2, description


def write_legacy(path, state, **options):
    with open(path, "wb") as file:
        for head in (0x1950A86A20F9469CFC6C, 1001, {"little_endian": True}):
            pickle.dump(head, file, protocol=2)
        writer = Writer(file, **options)
        writer.dump(state)
        pickle.dump(list(writer.storages), file, protocol=2)
        for values in writer.storages.values():
            file.write(struct.pack("<q", values.size) + values.tobytes())


def write_zip(path, state, compression=zipfile.ZIP_STORED, **options):
    pickled = io.BytesIO()
    writer = Writer(pickled, **options)
    writer.dump(state)
    with zipfile.ZipFile(path, "w", compression) as archive:
        archive.writestr("archive/data.pkl", pickled.getvalue())
        for key, values in writer.storages.items():
            archive.writestr(f"archive/data/{key}", values.tobytes())


@pytest.fixture(params=[write_legacy, write_zip], ids=["legacy", "zip"])
def write(request):
    return request.param


def test_tensors_come_back_with_names_shapes_and_values(write, tmp_path):
    write(tmp_path / "model.pth", TENSORS)
    tensors = read_tensors(tmp_path / "model.pth")
    assert list(tensors) == list(TENSORS)
    for name, tensor in TENSORS.items():
        assert tensors[name].dtype == tensor.dtype
        np.testing.assert_array_equal(tensors[name], tensor)


def test_a_tensor_beyond_its_storage_is_refused(write, tmp_path):
    write(tmp_path / "model.pth", TENSORS, reach=1)
    with pytest.raises(ValueError, match="reaches beyond its storage"):
        read_tensors(tmp_path / "model.pth")


def test_a_tensor_larger_than_its_storage_is_refused(write, tmp_path):
    write(tmp_path / "model.pth", OrderedDict(bomb=Repeated(2**33)))
    with pytest.raises(ValueError, match=r"shape \(8589934592,\) is larger than its storage"):
        read_tensors(tmp_path / "model.pth")


def test_a_compressed_archive_is_refused(tmp_path):
    write_zip(tmp_path / "model.pth", TENSORS, compression=zipfile.ZIP_DEFLATED)
    with pytest.raises(ValueError, match="it is compressed"):
        read_tensors(tmp_path / "model.pth")


def test_a_checkpoint_of_more_than_tensors_is_refused(write, tmp_path):
    write(tmp_path / "model.pth", {"state_dict": TENSORS})
    with pytest.raises(ValueError, match="'state_dict' in it is not a named tensor; save only its"):
        read_tensors(tmp_path / "model.pth")


def test_a_tensor_without_a_name_is_refused(write, tmp_path):
    write(tmp_path / "model.pth", {0: TENSORS["weight"]})
    with pytest.raises(ValueError, match="0 in it is not a named tensor"):
        read_tensors(tmp_path / "model.pth")


def test_a_file_that_would_run_something_is_refused(tmp_path):
    class Command:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "broken_into"),)

    pickled = io.BytesIO()
    pickle.dump({"weight": Command()}, pickled, protocol=2)
    with zipfile.ZipFile(tmp_path / "model.pth", "w") as archive:
        archive.writestr("archive/data.pkl", pickled.getvalue())
    (tmp_path / "bare.pth").write_bytes(pickled.getvalue())
    for name in ("model.pth", "bare.pth"):
        with pytest.raises(ValueError, match="mkdir, which is not a tensor"):
            read_tensors(tmp_path / name)
    assert not (tmp_path / "broken_into").exists()


@pytest.mark.parametrize("kept", [0, 10, 40, 200, -8])
def test_a_file_cut_short_is_refused(kept, tmp_path):
    write_legacy(tmp_path / "model.pth", OrderedDict(weight=TENSORS["weight"]))
    content = (tmp_path / "model.pth").read_bytes()
    (tmp_path / "model.pth").write_bytes(content[:kept])
    with pytest.raises(
        ValueError, match="Expected a PyTorch file of named tensors; received .*pth"
    ):
        read_tensors(tmp_path / "model.pth")


@pytest.mark.parametrize("content", [b"not a pickle", pickle.dumps(3), pickle.dumps([1, 2])])
def test_another_file_is_refused(content, tmp_path):
    (tmp_path / "model.pth").write_bytes(content)
    with pytest.raises(ValueError, match="Save it again with torch.save"):
        read_tensors(tmp_path / "model.pth")


def test_a_missing_file_stays_a_missing_file(tmp_path):
    with pytest.raises(FileNotFoundError):
        read_tensors(tmp_path / "model.pth")
