"""Runs signatures of a SavedModel through TensorFlow's C API, like the C++ loader of a server.

    python c_api.py LIBTENSORFLOW_CC SAVED_MODEL JOBS.json RESULTS.json

A job is {"feeds": {tensor: file.npy, or [files whose bytes are the rows]}, "fetches": {name:
tensor}}; its result is {name: values}, or {"error": message}. No TensorFlow or Keras for Python is
imported. The functions are declared in tensorflow/c/c_api.h and tf_tensor.h.
"""

import ctypes
import json
import sys
from pathlib import Path

import numpy as np

STRING, TSTRING_BYTES = 7, 24  # TF_STRING, and sizeof(TF_TString)
DTYPES = {1: np.float32, 3: np.int32, 4: np.uint8}  # TF_DataType


class Output(ctypes.Structure):
    """TF_Output: one output of an operation."""

    _fields_ = [("operation", ctypes.c_void_p), ("index", ctypes.c_int)]


class Library:
    """Loads the C functions and declares those that return pointers."""

    def __init__(self, path):
        self.library = ctypes.CDLL(path, mode=ctypes.RTLD_GLOBAL)

    def __call__(self, name, *arguments, result=None):
        function = getattr(self.library, name)
        function.restype = result
        return function(*arguments)

    def pointer(self, name, *arguments):
        return ctypes.c_void_p(self(name, *arguments, result=ctypes.c_void_p))


class Session:
    """A loaded SavedModel."""

    def __init__(self, library, path):
        self.c = library
        self.status = library.pointer("TF_NewStatus")
        self.graph = library.pointer("TF_NewGraph")
        options = library.pointer("TF_NewSessionOptions")
        tags = (ctypes.c_char_p * 1)(b"serve")
        self.session = library.pointer(
            "TF_LoadSessionFromSavedModel", options, None, path.encode(), tags, 1, self.graph,
            None, self.status,
        )  # fmt: skip
        self.check()

    def check(self):
        if self.c("TF_GetCode", self.status, result=ctypes.c_int):
            message = self.c("TF_Message", self.status, result=ctypes.c_char_p)
            raise RuntimeError(message.decode())

    def output(self, name):
        operation, _, index = name.partition(":")
        found = self.c.pointer("TF_GraphOperationByName", self.graph, operation.encode())
        if not found:
            raise RuntimeError(f"no operation {operation}")
        return Output(found, int(index))

    def run(self, feeds, fetches):
        inputs = (Output * len(feeds))(*map(self.output, feeds))
        values = (ctypes.c_void_p * len(feeds))(*(self.tensor(v).value for v in feeds.values()))
        outputs = (Output * len(fetches))(*map(self.output, fetches.values()))
        found = (ctypes.c_void_p * len(fetches))()
        self.c(
            "TF_SessionRun", self.session, None, inputs, values, len(feeds), outputs, found,
            len(fetches), None, 0, None, self.status,
        )  # fmt: skip
        self.check()
        return {
            name: self.array(ctypes.c_void_p(each))
            for name, each in zip(fetches, found, strict=True)
        }

    def tensor(self, values):
        is_bytes = isinstance(values, list)
        shape = (len(values),) if is_bytes else values.shape
        code = STRING
        if not is_bytes:
            code = next(c for c, dtype in DTYPES.items() if dtype == values.dtype)
        size = len(values) * TSTRING_BYTES if is_bytes else values.nbytes
        dims = (ctypes.c_int64 * len(shape))(*shape)
        tensor = self.c.pointer("TF_AllocateTensor", code, dims, len(shape), ctypes.c_size_t(size))
        data = self.c("TF_TensorData", tensor, result=ctypes.c_void_p)
        if not is_bytes:
            ctypes.memmove(data, np.ascontiguousarray(values).ctypes.data, size)
            return tensor
        for number, row in enumerate(values):
            place = ctypes.c_void_p(data + number * TSTRING_BYTES)
            self.c("TF_StringInit", place)
            self.c("TF_StringCopy", place, row, ctypes.c_size_t(len(row)))
        return tensor

    def array(self, tensor):
        code = self.c("TF_TensorType", tensor, result=ctypes.c_int)
        rank = self.c("TF_NumDims", tensor, result=ctypes.c_int)
        shape = [self.c("TF_Dim", tensor, i, result=ctypes.c_int64) for i in range(rank)]
        data = self.c("TF_TensorData", tensor, result=ctypes.c_void_p)
        count = int(np.prod(shape))
        if code != STRING:
            values = ctypes.string_at(data, count * np.dtype(DTYPES[code]).itemsize)
            return np.frombuffer(values, DTYPES[code]).reshape(shape)
        rows = [self.text(ctypes.c_void_p(data + i * TSTRING_BYTES)) for i in range(count)]
        return np.array(rows, object).reshape(shape)

    def text(self, place):
        size = self.c("TF_StringGetSize", place, result=ctypes.c_size_t)
        start = self.c("TF_StringGetDataPointer", place, result=ctypes.c_void_p)
        return ctypes.string_at(start, size).decode()


def read(feed):
    """Reads rows of bytes, or an array."""
    if isinstance(feed, list):
        return [Path(each).read_bytes() for each in feed]
    return np.load(feed)


def main(library, saved_model, jobs, results):
    session = Session(Library(library), saved_model)
    answers = []
    for job in json.loads(Path(jobs).read_text()):
        try:
            found = session.run({k: read(v) for k, v in job["feeds"].items()}, job["fetches"])
            answers.append({name: values.tolist() for name, values in found.items()})
        except RuntimeError as error:
            answers.append({"error": str(error)})
    assert not {"tensorflow", "keras", "pa_keras"} & set(sys.modules)
    Path(results).write_text(json.dumps(answers))


if __name__ == "__main__":
    main(*sys.argv[1:])
