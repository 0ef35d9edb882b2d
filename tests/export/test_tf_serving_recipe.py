"""The clients of export/tf_serving over loopback connections, and to a real server if any."""

import importlib.util
import io
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
from PIL import Image
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


def expected_answers(service, images):
    contents = np.array([each.read_bytes() for each in images], object)
    return {
        name: service.run(name, {"image_bytes": contents})
        for name in ("serving_default", "neighbours_of_images")
    }


@pytest.fixture(scope="module")
def expected(service, images):
    return expected_answers(service, images)


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
                np.testing.assert_allclose(line[name], values[number], atol=1e-5)


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


def predict_over_grpc(service, *requests):
    """Sends requests to one server, one after another, and returns responses or errors."""
    client, answers = module_of(RECIPE / "grpc_client.py"), []
    with (
        service_module.grpc_server(service) as address,
        grpc.insecure_channel(address) as channel,
    ):
        stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)
        for signature, inputs in requests:
            try:
                answers.append(client.predict(stub, "cars", inputs, signature))
            except grpc.RpcError as error:
                answers.append(error)
    return answers


def test_grpc_survives_bad_requests(service, images, expected):
    good = images[0].read_bytes()
    bad = [
        ("serving_default", {"image_bytes": [good, b""]}),
        ("serving_default", {"image_bytes": [b"no image"]}),
        ("serving_default", {"image_bytes": [good[: len(good) // 2]]}),
        ("neighbours_of_images", {"image_bytes": [b"\xff\xd8\xff\xe0 cut"]}),
        ("neighbours_of_embeddings", {"embedding": np.ones((1, DIMENSION + 1), "float32")}),
        ("neighbours_of_embeddings", {"embedding": np.full((1, DIMENSION), np.nan, "float32")}),
        ("pixels_uint8", {"pixels": np.zeros((1, 20, 24, 4), "uint8")}),
    ]
    *refused, answer = predict_over_grpc(
        service, *bad, ("serving_default", {"image_bytes": [good]})
    )
    for error in refused:
        assert error.code() == grpc.StatusCode.INVALID_ARGUMENT
        assert error.details()
    np.testing.assert_allclose(
        answer["embedding"], expected["serving_default"]["embedding"][:1], atol=1e-5
    )


def test_grpc_takes_every_kind_of_image(service):
    rng = np.random.default_rng(1)
    image = Image.fromarray(rng.integers(0, 256, (30, 40, 3), "uint8"))
    narrow = Image.fromarray(rng.integers(0, 256, (20, 20_000, 3), "uint8"))
    contents = []
    for each, kind, options in (
        (image.convert("CMYK"), "JPEG", {}),
        (image, "GIF", {"save_all": True, "append_images": [image.rotate(180)]}),
        (image.resize((1, 1)), "PNG", {}),
        (narrow, "JPEG", {}),
    ):
        stream = io.BytesIO()
        each.save(stream, kind, **options)
        contents.append(stream.getvalue())
    (answer,) = predict_over_grpc(service, ("serving_default", {"image_bytes": contents}))
    np.testing.assert_allclose(np.linalg.norm(answer["embedding"], axis=1), 1, atol=1e-5)


def test_clients_do_not_send_an_empty_batch(service):
    with pytest.raises(ValueError, match="batch of 1 or more"):
        predict_over_grpc(service, ("serving_default", {"image_bytes": []}))
    predict = runpy.run_path(str(RECIPE / "rest_client.py"))["predict"]
    with pytest.raises(ValueError, match="one image or more"):
        predict("http://127.0.0.1:1", "cars", [])


def test_rest_survives_bytes_that_are_no_image(service, images, expected):
    predict = runpy.run_path(str(RECIPE / "rest_client.py"))["predict"]
    with service_module.rest_server(service) as address:
        with pytest.raises(RuntimeError, match=r"answered 400: .*error"):
            predict(address, "cars", [b"no image"])
        without_scheme = address.removeprefix("http://")
        answer = predict(without_scheme, "cars", [images[0].read_bytes()])
    embedding = expected["serving_default"]["embedding"][:1]
    np.testing.assert_allclose(answer, embedding, atol=1e-5)


def test_rest_client_needs_python_alone():
    code = "import runpy, sys; runpy.run_path(sys.argv[1]); print(*sys.modules)"
    command = [sys.executable, "-c", code, str(RECIPE / "rest_client.py")]
    loaded = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
    assert {"tensorflow", "numpy", "keras", "grpc", "pa_keras"}.isdisjoint(loaded)


@pytest.mark.parametrize("recipe", ["README.md", "compose.yaml"])
def test_the_files_that_a_server_is_started_with_are_there(recipe, tmp_path):
    place = ExportPlace(tmp_path, "cars", 1)
    place.files.mkdir(parents=True)
    model = embedding_model("conv4", DIMENSION, (20, 24), weights=None)
    write_served(place, model, crop_fraction=1.0, batch_sizes=(1, 2))
    text = (RECIPE / recipe).read_text().replace("NAME.files", "cars.files")
    text = re.sub(r"\$\{FILES[^}]*\}", "cars.files/1", text)
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
def test_clients_against_the_real_server(tmp_path, images):
    """The server starts from the files of the export, including those for batching."""
    place = ExportPlace(tmp_path, "cars", 1)
    place.files.mkdir(parents=True)
    model = embedding_model("conv4", DIMENSION, (20, 24), weights=None, seed=0)
    gallery = Gallery(np.eye(DIMENSION, dtype="float32"), list("abcd"), np.zeros(4, int), ["x"])
    write_served(place, model, crop_fraction=1.0, batch_sizes=(1, 4), gallery=gallery, k=2)
    config = place.files / "models.config"
    config.write_text(config.read_text().replace("/models/cars", str(place.saved_model.parent)))
    expected = expected_answers(service_module.PredictionService(place.saved_model, "cars"), images)
    rest, rpc = free_port(), free_port()
    command = [
        SERVER, f"--port={rpc}", f"--rest_api_port={rest}", f"--model_config_file={config}",
        "--enable_batching", f"--batching_parameters_file={place.files}/batching_parameters.txt",
    ]  # fmt: skip
    process = subprocess.Popen(command)
    try:
        for _ in range(60):
            with socket.socket() as each:
                if each.connect_ex(("127.0.0.1", rest)) == 0:
                    break
            time.sleep(1)
        check_clients(f"127.0.0.1:{rpc}", f"http://127.0.0.1:{rest}", images, expected)
        bad = tmp_path / "bad.jpg"
        bad.write_bytes(b"no image")
        assert run("grpc_client.py", f"127.0.0.1:{rpc}", "cars", bad).returncode == 1
        check_clients(f"127.0.0.1:{rpc}", f"http://127.0.0.1:{rest}", images, expected)
    finally:
        process.terminate()
        process.wait()
