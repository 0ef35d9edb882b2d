"""The clients of export/tf_serving over real loopback connections, and a real server's if any."""

import importlib.util
import json
import re
import runpy
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path

import grpc
import numpy as np
import pytest
import tensorflow as tf
from tensorflow_serving.apis import prediction_service_pb2_grpc

from pa_keras.exporters import Gallery, to_saved_model
from pa_keras.exporters.formats import write_served
from pa_keras.exporters.publishing import ExportPlace
from pa_keras.models import embedding_model

RECIPE = Path(__file__).parents[2] / "export" / "tf_serving"
DIMENSION = 4
SERVER = shutil.which("tensorflow_model_server")


def module_of(path):
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


service_module = module_of(Path(__file__).with_name("prediction_service.py"))


@pytest.fixture(scope="module")
def base_path(tmp_path_factory):
    path = tmp_path_factory.mktemp("models") / "cars"
    model = embedding_model("conv4", DIMENSION, (20, 24), weights=None, seed=0)
    embeddings = np.eye(DIMENSION, dtype=np.float32)
    gallery = Gallery(embeddings, list("abcd"), np.arange(DIMENSION), ["x", "y", "z", "\u00e9"])
    to_saved_model(model, path / "1", gallery=gallery, k=2)
    return path


@pytest.fixture(scope="module")
def service(base_path):
    return service_module.PredictionService(base_path / "1", "cars")


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    folder = tmp_path_factory.mktemp("images")
    rng = np.random.default_rng(0)
    for number in range(3):
        pixels = rng.integers(0, 256, 3) * np.ones((20, 24, 3))
        contents = tf.io.encode_jpeg(pixels.astype("uint8")).numpy()
        (folder / f"{number}.jpg").write_bytes(contents)
    return sorted(folder.iterdir())


@pytest.fixture(scope="module")
def expected(service, images):
    contents = np.array([each.read_bytes() for each in images], object)
    return {
        name: service.run(name, {"image_bytes": contents})
        for name in ("serving_default", "neighbours_of_images")
    }


def run(script, *arguments):
    command = [sys.executable, RECIPE / script, *arguments]
    return subprocess.run([str(each) for each in command], capture_output=True, text=True)


def check_lines(output, images, expected):
    assert output.returncode == 0, output.stderr
    lines = [json.loads(line) for line in output.stdout.splitlines()]
    assert [line.pop("image") for line in lines] == [str(each) for each in images]
    for number, line in enumerate(lines):
        assert line.keys() == expected.keys()
        for name, values in expected.items():
            if values.dtype == object:
                assert line[name] == [each.decode() for each in values[number]]
            else:
                np.testing.assert_allclose(line[name], values[number], atol=1e-6)


def check_clients(grpc_address, rest_address, images, expected):
    for script, address in (("grpc_client.py", grpc_address), ("rest_client.py", rest_address)):
        check_lines(run(script, address, "cars", *images), images, expected["serving_default"])
        output = run(script, address, "cars", *images, "--neighbours", "--version", 1)
        check_lines(output, images, expected["neighbours_of_images"])


def test_clients_as_a_user_runs_them(service, images, expected):
    with (
        service_module.grpc_server(service) as grpc_address,
        service_module.rest_server(service) as rest_address,
    ):
        check_clients(grpc_address, rest_address, images, expected)
        refused = run("rest_client.py", rest_address, "ships", *images)
    assert refused.returncode == 1
    assert "404" in refused.stderr and "Servable not found" in refused.stderr


@pytest.mark.parametrize("bad", [b"", b"no image", b"\xff\xd8\xff\xe0 cut"])
def test_grpc_survives_bytes_that_are_no_image(service, images, expected, bad):
    client = module_of(RECIPE / "grpc_client.py")
    good = images[0].read_bytes()
    with (
        service_module.grpc_server(service) as address,
        grpc.insecure_channel(address) as channel,
    ):
        stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)
        with pytest.raises(grpc.RpcError) as raised:
            client.predict(stub, "cars", {"image_bytes": [good, bad]})
        assert raised.value.code() == grpc.StatusCode.INVALID_ARGUMENT
        answer = client.predict(stub, "cars", {"image_bytes": [good]})
    embedding = expected["serving_default"]["embedding"][:1]
    np.testing.assert_allclose(answer["embedding"], embedding, atol=1e-6)


def test_rest_survives_bytes_that_are_no_image(service, images, expected):
    predict = runpy.run_path(str(RECIPE / "rest_client.py"))["predict"]
    with service_module.rest_server(service) as address:
        with pytest.raises(RuntimeError, match=r"answered 400: .*error"):
            predict(address, "cars", [b"no image"])
        answer = predict(address, "cars", [images[0].read_bytes()])
    embedding = expected["serving_default"]["embedding"][:1]
    np.testing.assert_allclose(answer, embedding, atol=1e-6)


def test_rest_client_needs_python_alone():
    code = "import runpy, sys; runpy.run_path(sys.argv[1]); print(*sys.modules)"
    command = [sys.executable, "-c", code, str(RECIPE / "rest_client.py")]
    loaded = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
    assert {"tensorflow", "numpy", "keras", "grpc", "pa_keras"}.isdisjoint(loaded)


@pytest.mark.parametrize("recipe", ["README.md", "compose.yaml"])
def test_the_files_that_a_server_is_started_with_are_there(recipe, tmp_path):
    place = ExportPlace(tmp_path, "cars", 1)
    place.files.mkdir()
    model = embedding_model("conv4", DIMENSION, (20, 24), weights=None)
    write_served(place, model, crop_fraction=1.0, batch_sizes=(1, 2))
    text = (RECIPE / recipe).read_text().replace("NAME-1", "cars-1")
    text = re.sub(r"\$\{FILES[^}]*\}", "cars-1", text)
    options = dict(re.findall(r"--(\w+_file)=/models/(\S+)", text))
    assert set(options) == {"model_config_file", "batching_parameters_file"}
    for path in options.values():
        assert (tmp_path / path).is_file()
    base_path = re.search(r'base_path: "/models/(.*)"', (place.files / "models.config").read_text())
    assert (tmp_path / base_path[1] / "1" / "saved_model.pb").is_file()


def free_port():
    with socket.socket() as each:
        each.bind(("127.0.0.1", 0))
        return each.getsockname()[1]


@pytest.mark.skipif(SERVER is None, reason="no tensorflow_model_server on PATH")
def test_clients_against_the_real_server(base_path, images, expected):
    rest, rpc = free_port(), free_port()
    command = [SERVER, f"--port={rpc}", f"--rest_api_port={rest}", "--model_name=cars"]
    process = subprocess.Popen([*command, f"--model_base_path={base_path}"])
    try:
        for _ in range(60):
            with socket.socket() as each:
                if each.connect_ex(("127.0.0.1", rest)) == 0:
                    break
            time.sleep(1)
        check_clients(f"127.0.0.1:{rpc}", f"http://127.0.0.1:{rest}", images, expected)
    finally:
        process.terminate()
        process.wait()
