"""Queries a TensorFlow Serving server over gRPC; needs `pip install tensorflow-serving-api`.

    python grpc_client.py localhost:8500 NAME IMAGE... [--neighbours] [--version N]

Prints one line of JSON per image: its embedding, or the IDs, labels and similarities of its
neighbours, the nearest first.
"""

import argparse
import json
import sys
from pathlib import Path

import grpc
import numpy as np
import tensorflow as tf
from tensorflow_serving.apis import predict_pb2, prediction_service_pb2_grpc

# The default limit of 4 MB is too small for a batch of photographs.
CHANNEL_OPTIONS = [
    ("grpc.max_send_message_length", -1),
    ("grpc.max_receive_message_length", -1),
]


def predict(
    stub: prediction_service_pb2_grpc.PredictionServiceStub,
    model: str,
    inputs: dict[str, np.ndarray],
    signature: str = "serving_default",
    version: int | None = None,
    timeout: float = 60.0,
) -> dict[str, np.ndarray]:
    """Sends a batch and returns the outputs by name, with the batch as their first dimension.

    Args:
        stub: Stub of a channel to the server; keep it open for many requests.
        model: Name of the model.
        inputs: Inputs of the signature: {"image_bytes": list of bytes}, {"pixels": (B, H, W, 3)} in
            the dtype of the signature, or {"embedding": float32 (B, D)}.
        signature: "serving_default" (default), "pixels_uint8", "pixels_float32",
            "neighbours_of_images" or "neighbours_of_embeddings".
        version: Version of the model. Default None: the newest that is served.
        timeout: Seconds to wait. Default 60.

    Raises:
        ValueError: If the batch is empty.
        grpc.RpcError: If the server rejects the request; `details()` says why.
    """
    if not all(len(values) for values in inputs.values()):
        raise ValueError("Expected a batch of 1 or more; an empty one may crash the server.")
    request = predict_pb2.PredictRequest()
    request.model_spec.name = model
    request.model_spec.signature_name = signature
    if version:
        request.model_spec.version.value = version
    for name, values in inputs.items():
        request.inputs[name].CopyFrom(tf.make_tensor_proto(values))
    answer = stub.Predict(request, timeout=timeout)
    return {name: tf.make_ndarray(tensor) for name, tensor in answer.outputs.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("server", help="address, such as localhost:8500")
    parser.add_argument("model", help="name of the model")
    parser.add_argument("images", nargs="+", type=Path)
    parser.add_argument("--neighbours", action="store_true", help="search instead of embedding")
    parser.add_argument("--version", type=int, help="version of the model; default: the newest")
    parser.add_argument("--timeout", type=float, default=60.0, help="seconds to wait")
    options = parser.parse_args()
    signature = "neighbours_of_images" if options.neighbours else "serving_default"
    try:
        inputs = {"image_bytes": [path.read_bytes() for path in options.images]}
        with grpc.insecure_channel(options.server, CHANNEL_OPTIONS) as channel:
            stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)
            outputs = predict(
                stub, options.model, inputs, signature, options.version, options.timeout
            )
    except OSError as error:
        sys.exit(f"error: {error}")
    except grpc.RpcError as error:
        sys.exit(f"error: the server answered {error.code().name}: {error.details()}")
    for number, path in enumerate(options.images):
        found = {name: _plain(values[number]) for name, values in outputs.items()}
        sys.stdout.write(json.dumps({"image": str(path), **found}) + "\n")


def _plain(values: np.ndarray) -> list:
    """Converts values for JSON, which has no bytes."""
    return [each.decode() if isinstance(each, bytes) else each for each in values.tolist()]


if __name__ == "__main__":
    main()
