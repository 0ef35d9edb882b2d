"""The exported SavedModel, compared with Keras."""

from benchmarks.export import BATCH, SIZE, signature_calls
from benchmarks.rows import Part, faster, here, in_turns, no_slower

INCLUDES = f"""\
EfficientNet-Lite0 at {SIZE[0]} px with random weights, {BATCH} photographs of 500 x 400. The parts
of `serving_default` are separate decoding and preprocessing, then `pixels_float32`. The server's
own work is not included. `python -m benchmarks.export` measures search in an exported million.
"""


def measure(turns: int) -> Part:
    seconds = in_turns({name: here(call) for name, call in signature_calls().items()}, turns)
    predict, pixels = seconds["model.predict"], seconds["pixels_float32"]
    parts = seconds["decoding and preprocessing"] + pixels
    whole = seconds["serving_default"]
    rows = [
        faster("pixels_float32", pixels, predict, "model.predict", 1.0),
        faster("pixels_uint8", seconds["pixels_uint8"], predict, "model.predict"),
        no_slower("serving_default", whole, parts, "its parts", 1.05),
    ]
    return Part(rows, INCLUDES)
