"""Serves a SavedModel by the two interfaces of TensorFlow Serving, over loopback, for tests.

gRPC is the PredictionService of the official API. REST is the predict request of TensorFlow
Serving's RESTful API in row format, written from its documentation.
"""

import base64
import contextlib
import http.server
import json
import re
import threading
from concurrent import futures

import grpc
import numpy as np
import tensorflow as tf
from tensorflow_serving.apis import predict_pb2, prediction_service_pb2_grpc


class PredictionService(prediction_service_pb2_grpc.PredictionServiceServicer):
    """Runs the signatures of one SavedModel, as version 1 of a model with this name."""

    def __init__(self, saved_model, name):
        self._model = tf.saved_model.load(str(saved_model))  # keeps the variables alive
        self.name = name
        self.requests = []

    def Predict(self, request, context):  # noqa: N802 - the name in the API
        self.requests.append(request)
        spec = request.model_spec
        if spec.name != self.name or spec.version.value not in (0, 1):
            context.abort(grpc.StatusCode.NOT_FOUND, f"Servable not found: {spec.name}")
        try:
            outputs = self.run(
                spec.signature_name,
                {name: tf.make_ndarray(value) for name, value in request.inputs.items()},
            )
        except (tf.errors.InvalidArgumentError, KeyError, ValueError) as error:
            context.abort(grpc.StatusCode.INVALID_ARGUMENT, str(error))
        answer = predict_pb2.PredictResponse()
        answer.model_spec.CopyFrom(spec)
        for name, value in outputs.items():
            answer.outputs[name].CopyFrom(tf.make_tensor_proto(value))
        return answer

    def signature(self, name):
        return self._model.signatures[name or "serving_default"]

    def run(self, signature, inputs):
        """Runs a signature on arrays by input name, and returns arrays by output name."""
        function = self.signature(signature)
        expected = function.structured_input_signature[1]
        if inputs.keys() != expected.keys():
            raise ValueError(f"inputs {sorted(inputs)} are not {sorted(expected)}")
        # Rows of bytes are a NumPy array of objects. TensorFlow cannot infer its dtype if it is
        # empty.
        tensors = {name: tf.constant(inputs[name], spec.dtype) for name, spec in expected.items()}
        return {name: value.numpy() for name, value in function(**tensors).items()}


@contextlib.contextmanager
def grpc_server(service):
    """Serves on a free port of 127.0.0.1 and yields "127.0.0.1:PORT"."""
    unlimited = [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)]
    server = grpc.server(futures.ThreadPoolExecutor(2), options=unlimited)
    prediction_service_pb2_grpc.add_PredictionServiceServicer_to_server(service, server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        yield f"127.0.0.1:{port}"
    finally:
        server.stop(None).wait()


@contextlib.contextmanager
def rest_server(service):
    """Serves on a free port of 127.0.0.1 and yields "http://127.0.0.1:PORT"."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self):  # noqa: N802 - the name in http.server
            body = self.rfile.read(int(self.headers["Content-Length"]))
            status, answer = _rest_predict(service, self.path, body)
            payload = json.dumps(answer).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(payload)))
            self.end_headers()
            self.wfile.write(payload)

        def log_message(self, *arguments):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def _rest_predict(service, path, body):
    """Returns the status and JSON of the response to a request."""
    match = re.fullmatch(r"/v1/models/([^/:]+)(?:/versions/(\d+))?:predict", path)
    if not match:
        return 404, {"error": f"Malformed request: POST {path}"}
    if match[1] != service.name or match[2] not in (None, "1"):
        return 404, {"error": f"Servable not found for request: {path}"}
    try:
        request = json.loads(body)
        signature = request.get("signature_name", "serving_default")
        specs = service.signature(signature).structured_input_signature[1]
        outputs = service.run(signature, _inputs(request["instances"], specs))
    except (tf.errors.InvalidArgumentError, KeyError, TypeError, ValueError) as error:
        return 400, {"error": str(error)}
    rows = {name: _json_rows(value) for name, value in outputs.items()}
    if len(rows) == 1:  # "if the output of the model contains only one named tensor, we omit
        return 200, {"predictions": next(iter(rows.values()))}  # the name"
    size = len(next(iter(rows.values())))
    return 200, {"predictions": [{name: rows[name][i] for name in rows} for i in range(size)]}


def _inputs(instances, specs):
    """Converts named instances, or plain ones for a single input, to a batch of each input."""
    if not instances:
        raise ValueError("instances is an empty list")
    named = [each if _is_named(each) else None for each in instances]
    if all(each is None for each in named):
        (only,) = specs
        named = [{only: each} for each in instances]
    if any(each is None or each.keys() != specs.keys() for each in named):
        raise ValueError("Each instance must have one value of each named input")
    return {
        name: np.array([_decoded(each[name]) for each in named], spec.dtype.as_numpy_dtype)
        for name, spec in specs.items()
    }


def _is_named(instance):
    return isinstance(instance, dict) and instance.keys() != {"b64"}


def _decoded(value):
    if isinstance(value, dict):
        return base64.b64decode(value["b64"], validate=True)
    return value.encode() if isinstance(value, str) else value


def _json_rows(values):
    if values.dtype == object:
        values = np.vectorize(bytes.decode, otypes=[object])(values)
    return values.tolist()
