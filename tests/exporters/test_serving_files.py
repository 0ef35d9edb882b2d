"""The files of a server: TensorFlow Serving's protos read them, the SavedModel replays them."""

import numpy as np
import pytest
import tensorflow as tf
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory, text_format
from google.protobuf import wrappers_pb2 as wrappers
from tensorflow_serving.apis import prediction_log_pb2
from tensorflow_serving.config import model_server_config_pb2

from pa_keras.exporters.serving_files import write_batching_parameters, write_models_config
from pa_keras.exporters.warmup import read_signatures, write_warmup

SIZE = (8, 12)
DIMENSION = 4
WRAPPED = ["max_batch_size", "batch_timeout_micros", "max_enqueued_batches", "num_batch_threads"]


@pytest.fixture(scope="module")
def image_bytes():
    rng = np.random.default_rng(0)
    return [
        tf.io.encode_png(rng.integers(0, 256, (*shape, 3), "uint8")).numpy()
        for shape in [(20, 24), (8, 12)]
    ]


class Embedder(tf.Module):
    """A SavedModel with the signatures of `to_saved_model`, made with plain TensorFlow."""

    def __init__(self):
        self.kernel = tf.Variable(tf.random.stateless_normal((3, DIMENSION), (0, 1)))

    def embedding(self, pixels):
        return {"embedding": tf.math.l2_normalize(tf.reduce_mean(pixels, [1, 2]) @ self.kernel, -1)}

    @tf.function(input_signature=[tf.TensorSpec((None,), tf.string, "image_bytes")])
    def of_bytes(self, image_bytes):
        def decode(each):
            image = tf.io.decode_image(each, 3, expand_animations=False)
            return tf.image.resize(image, SIZE)

        return self.embedding(tf.map_fn(decode, image_bytes, fn_output_signature=tf.float32))

    @tf.function(input_signature=[tf.TensorSpec((None, None, None, 3), tf.uint8, "pixels")])
    def of_uint8(self, pixels):
        return self.embedding(tf.cast(pixels, tf.float32))

    @tf.function(input_signature=[tf.TensorSpec((None, None, None, 3), tf.float32, "pixels")])
    def of_float32(self, pixels):
        return self.embedding(pixels)

    @tf.function(input_signature=[tf.TensorSpec((None, DIMENSION), tf.float32, "embedding")])
    def neighbours(self, embedding):
        return {"embedding": tf.identity(embedding)}


@pytest.fixture(scope="module")
def saved_model(tmp_path_factory):
    path = tmp_path_factory.mktemp("model") / "1"
    module = Embedder()
    signatures = {
        "serving_default": module.of_bytes,
        "pixels_uint8": module.of_uint8,
        "pixels_float32": module.of_float32,
        "neighbours_of_embeddings": module.neighbours,
    }
    tf.saved_model.save(module, str(path), signatures)
    return path


def records(path):
    return [
        prediction_log_pb2.PredictionLog.FromString(each.numpy()).predict_log.request
        for each in tf.data.TFRecordDataset(str(path))
    ]


def test_every_signature_and_batch_size_replays(saved_model, image_bytes):
    path = write_warmup(saved_model, "cars", image_bytes, (1, 3), image_size=SIZE)
    assert path == saved_model / "assets.extra" / "tf_serving_warmup_requests"
    requests = records(path)
    signatures = tf.saved_model.load(str(saved_model)).signatures
    played = set()
    for request in requests:
        name = request.model_spec.signature_name
        inputs = {key: tf.constant(tf.make_ndarray(each)) for key, each in request.inputs.items()}
        embedding = signatures[name](**inputs)["embedding"].numpy()
        assert request.model_spec.name == "cars"
        np.testing.assert_allclose(np.linalg.norm(embedding, axis=1), 1, atol=1e-5)
        played.add((name, len(embedding)))
    assert played == {(name, size) for name in signatures for size in (1, 3)}
    assert len(requests) == len(played)


def test_values_of_the_inputs(saved_model, image_bytes):
    requests = records(write_warmup(saved_model, "cars", image_bytes, (3,), image_size=SIZE))
    inputs = {each.model_spec.signature_name: each.inputs for each in requests}
    contents = tf.make_ndarray(inputs["serving_default"]["image_bytes"])
    assert contents.tolist() == [image_bytes[0], image_bytes[1], image_bytes[0]]
    pixels = tf.make_ndarray(inputs["pixels_uint8"]["pixels"])
    assert (pixels.dtype, pixels.shape) == (np.uint8, (3, *SIZE, 3))
    np.testing.assert_array_equal(pixels[0], pixels[2])
    assert (pixels[0] != pixels[1]).any()
    floats = tf.make_ndarray(inputs["pixels_float32"]["pixels"])
    assert floats.dtype == np.float32
    np.testing.assert_array_equal(floats, pixels)


def test_size_is_read_from_a_signature_that_has_one(tmp_path, image_bytes):
    module = Embedder()
    spec = tf.TensorSpec((None, *SIZE, 3), tf.uint8, "pixels")
    fixed = tf.function(lambda pixels: module.of_uint8(pixels), input_signature=[spec])
    tf.saved_model.save(module, str(tmp_path), {"pixels_uint8": fixed})
    (request,) = records(write_warmup(tmp_path, "cars", image_bytes, (1,)))
    assert tf.make_ndarray(request.inputs["pixels"]).shape == (1, *SIZE, 3)


def test_signatures_are_those_that_tensorflow_loads(saved_model):
    assert set(read_signatures(saved_model)) == set(
        tf.saved_model.load(str(saved_model)).signatures
    )


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"image_size": None}, "Expected image_size"),
        ({"batch_sizes": range(1, 252)}, "1000 warm-up records at most; .* = 1004"),
        ({"batch_sizes": (2, 1)}, "increasing"),
        ({"image_bytes": []}, "one or more image files"),
    ],
)
def test_refused(saved_model, image_bytes, options, message):
    path = write_warmup(saved_model, "cars", image_bytes, (1,), image_size=SIZE)
    before = path.read_bytes()
    settings = {"image_bytes": image_bytes, "batch_sizes": (1,), "image_size": SIZE} | options
    with pytest.raises(ValueError, match=message):
        write_warmup(saved_model, "cars", **settings)
    assert path.read_bytes() == before


def test_unknown_input(tmp_path, image_bytes):
    @tf.function(input_signature=[tf.TensorSpec((None,), tf.float32, "x")])
    def double(x):
        return {"y": 2 * x}

    module = tf.Module()
    module.double = double
    tf.saved_model.save(module, str(tmp_path), {"serving_default": double})
    with pytest.raises(ValueError, match="received serving_default: x"):
        write_warmup(tmp_path, "cars", image_bytes, (1,))


def test_no_saved_model(tmp_path, image_bytes):
    with pytest.raises(FileNotFoundError, match=r"without saved_model.pb"):
        write_warmup(tmp_path, "cars", image_bytes, (1,))


def batching_parameters():
    """TensorFlow Serving's BatchingParameters, declared from session_bundle_config.proto.

    The Python package lacks this message.
    """
    field = descriptor_pb2.FieldDescriptorProto
    file = descriptor_pb2.FileDescriptorProto(
        name="batching.proto", package="tensorflow.serving", syntax="proto3"
    )
    file.dependency.append(wrappers.DESCRIPTOR.name)
    message = file.message_type.add(name="BatchingParameters")
    for number, name in enumerate(WRAPPED, 1):
        message.field.add(
            name=name,
            number=number,
            type=field.TYPE_MESSAGE,
            type_name=".google.protobuf.Int64Value",
            label=field.LABEL_OPTIONAL,
        )
    message.field.add(
        name="allowed_batch_sizes", number=6, type=field.TYPE_INT64, label=field.LABEL_REPEATED
    )
    pool = descriptor_pool.DescriptorPool()
    pool.AddSerializedFile(wrappers.DESCRIPTOR.serialized_pb)
    pool.Add(file)
    name = "tensorflow.serving.BatchingParameters"
    return message_factory.GetMessageClass(pool.FindMessageTypeByName(name))()


def test_batching_parameters(tmp_path):
    path = write_batching_parameters(
        tmp_path / "batching", (1, 8, 32), max_enqueued_batches=7, num_batch_threads=2
    )
    read = text_format.Parse(path.read_text(), batching_parameters())
    assert [getattr(read, name).value for name in WRAPPED] == [32, 2000, 7, 2]
    # Serving rejects the file unless the last allowed size is the largest batch.
    assert list(read.allowed_batch_sizes) == [1, 8, 32]


def test_threads_are_left_to_the_server(tmp_path):
    path = write_batching_parameters(tmp_path / "batching", (4,))
    read = text_format.Parse(path.read_text(), batching_parameters())
    assert not read.HasField("num_batch_threads")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"batch_sizes": ()}, "batch_sizes"),
        ({"batch_sizes": (0, 1)}, "batch_sizes"),
        ({"batch_sizes": (8, 8)}, "batch_sizes"),
        ({"batch_timeout_micros": -1}, "batch_timeout_micros of 0"),
        ({"max_enqueued_batches": 0}, "max_enqueued_batches of 1"),
        ({"num_batch_threads": 0}, "num_batch_threads of 1"),
    ],
)
def test_batching_parameters_refused(tmp_path, options, message):
    with pytest.raises(ValueError, match=message):
        write_batching_parameters(tmp_path / "batching", **{"batch_sizes": (1, 8)} | options)


@pytest.mark.parametrize("versions", [(), (2, 3)])
def test_models_config(tmp_path, versions):
    path = write_models_config(
        tmp_path / "models.config", "cars", "/models/cars", versions=versions
    )
    read = text_format.Parse(path.read_text(), model_server_config_pb2.ModelServerConfig())
    (model,) = read.model_config_list.config
    assert (model.name, model.base_path) == ("cars", "/models/cars")
    assert model.model_platform == "tensorflow"
    assert tuple(model.model_version_policy.specific.versions) == versions
    assert model.HasField("model_version_policy") == bool(versions)


@pytest.mark.parametrize(
    ("name", "base_path", "versions", "message"),
    [
        ("", "/models/cars", (), "letters, digits"),
        ("a/b", "/models/cars", (), "letters, digits"),
        ("cars", "models/cars", (), "base_path"),
        ("cars", "/models/cars", (0,), "versions of 1"),
    ],
)
def test_models_config_refused(tmp_path, name, base_path, versions, message):
    with pytest.raises(ValueError, match=message):
        write_models_config(tmp_path / "models.config", name, base_path, versions=versions)
