"""Every signature, compared with the Keras model, and requests that are not images."""

import io

import keras
import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from pa_keras.exporters import Gallery, to_saved_model
from pa_keras.models import embedding_model, in_float32, with_proxies
from pa_keras.pipelines import evaluation_batches

CROP_FRACTION = 0.9


@pytest.fixture(scope="module")
def gallery(model, scenes):
    embeddings = model(scenes, training=False).numpy()
    return Gallery(
        embeddings, [f"{i}.png" for i in range(12)], np.arange(12) // 3, ["a", "b", "c", "d"]
    )


@pytest.fixture(scope="module")
def saved(model, gallery, tmp_path_factory):
    path = tmp_path_factory.mktemp("export") / "cars" / "1"
    assert to_saved_model(model, path, crop_fraction=CROP_FRACTION, gallery=gallery, k=5) == path
    return tf.saved_model.load(path)


def call(saved, name, **inputs):
    return {key: each.numpy() for key, each in saved.signatures[name](**inputs).items()}


def embed_bytes(saved, *contents):
    return call(saved, "serving_default", image_bytes=tf.constant(contents))["embedding"]


def test_names_shapes_and_dtypes(saved):
    found = {
        name: (each.structured_input_signature[1], each.structured_outputs)
        for name, each in saved.signatures.items()
    }
    assert set(found) == {
        "serving_default", "pixels_uint8", "pixels_float32", "neighbours_of_images",
        "neighbours_of_embeddings",
    }  # fmt: skip
    pixels = found["pixels_uint8"][0]["pixels"]
    assert (pixels.dtype, pixels.shape.as_list()) == (tf.uint8, [None, None, None, 3])
    assert found["serving_default"][0]["image_bytes"].shape.as_list() == [None]
    for name in ("serving_default", "pixels_uint8", "pixels_float32"):
        embedding = found[name][1]["embedding"]
        assert (embedding.dtype, embedding.shape.as_list()) == (tf.float32, [None, 16])
    for name in ("neighbours_of_images", "neighbours_of_embeddings"):
        outputs = {key: (each.dtype, each.shape.as_list()) for key, each in found[name][1].items()}
        assert outputs == {
            "ids": (tf.string, [None, 5]),
            "labels": (tf.string, [None, 5]),
            "similarities": (tf.float32, [None, 5]),
        }


def test_image_files_as_in_evaluation(saved, model, image_files, tmp_path):
    """One batch of every kind, including CMYK, alpha, EXIF, animations, and extreme shapes."""
    paths = []
    for number, content in enumerate(image_files.values()):
        paths.append(str(tmp_path / str(number)))
        (tmp_path / str(number)).write_bytes(content)
    batches = evaluation_batches(
        paths, batch_size=99, image_size=(40, 48), crop_fraction=CROP_FRACTION
    )
    expected = model(next(iter(batches)), training=False).numpy()
    found = embed_bytes(saved, *image_files.values())
    np.testing.assert_allclose(found, expected, atol=1e-5)
    one_by_one = np.concatenate([embed_bytes(saved, each) for each in image_files.values()])
    np.testing.assert_allclose(one_by_one, expected, atol=1e-5)


def test_preprocessing_is_that_of_pillow(saved, model, image_files):
    """Pillow decodes, resizes and crops, independently of our pipelines."""
    image = Image.open(io.BytesIO(image_files["png"]))  # 90 x 70, to cover 53 x 44
    resized = image.resize((90 * 44 // 70, 44), Image.Resampling.BILINEAR)
    left = (resized.width - 48) // 2
    pixels = np.asarray(resized.crop((left, 2, left + 48, 42)), "float32")
    expected = model(pixels[None], training=False).numpy()
    np.testing.assert_allclose(embed_bytes(saved, image_files["png"]), expected, atol=2e-3)


def test_orientation_is_ignored_as_in_training(saved, image_files):
    found = embed_bytes(saved, image_files["turned jpeg"], image_files["jpeg"])
    np.testing.assert_allclose(found[0], found[1], atol=1e-6)


@pytest.mark.parametrize("dtype", ["uint8", "float32"])
def test_pixels_of_the_models_size_go_in_as_they_are(saved, model, scenes, dtype):
    found = call(saved, f"pixels_{dtype}", pixels=tf.constant(scenes.astype(dtype)))["embedding"]
    np.testing.assert_allclose(found, model(scenes, training=False), atol=1e-6)


@pytest.mark.parametrize("dtype", ["uint8", "float32"])
def test_pixels_of_another_size_are_preprocessed(saved, image_files, dtype):
    pixels = np.asarray(Image.open(io.BytesIO(image_files["png"])), dtype)[None].repeat(2, 0)
    found = call(saved, f"pixels_{dtype}", pixels=tf.constant(pixels))["embedding"]
    expected = embed_bytes(saved, image_files["png"])
    np.testing.assert_allclose(found, expected.repeat(2, 0), atol=1e-5)


def test_neighbours(saved, scenes, gallery):
    contents = [tf.io.encode_png(each.astype("uint8")).numpy() for each in scenes[:4]]
    embedding = embed_bytes(saved, *contents)
    order = np.argsort(-embedding @ gallery.embeddings.T, axis=1)[:, :5]
    for answer in (
        call(saved, "neighbours_of_images", image_bytes=tf.constant(contents)),
        call(saved, "neighbours_of_embeddings", embedding=tf.constant(embedding)),
    ):
        expected = np.array(gallery.ids)[order]
        np.testing.assert_array_equal(answer["ids"].astype(str), expected)
        labels = np.array(gallery.class_names)[gallery.labels[order]]
        np.testing.assert_array_equal(answer["labels"].astype(str), labels)
        cosines = np.take_along_axis(embedding @ gallery.embeddings.T, order, axis=1)
        np.testing.assert_allclose(answer["similarities"], cosines, atol=1e-5)


BAD = {
    "no image": b"no image",
    "empty": b"",
    "text with a JPEG's first bytes": b"\xff\xd8\xff\xe0 cut",
    "a PNG's first bytes": b"\x89PNG\r\n\x1a\n",
    "a GIF's first bytes": b"GIF89a",
    "a WebP's first bytes": b"RIFF\x00\x00\x00\x00WEBP",
    "a BMP's first bytes": b"BM" + b"\x00" * 60,
}


@pytest.mark.parametrize("bad", BAD.values(), ids=BAD)
def test_bytes_that_are_no_image(saved, image_files, bad):
    with pytest.raises(tf.errors.InvalidArgumentError):
        embed_bytes(saved, image_files["jpeg"], bad)
    assert embed_bytes(saved, image_files["jpeg"]).shape == (1, 16)


@pytest.mark.parametrize("kind", ["jpeg", "png", "gif", "webp", "bmp"])
def test_a_truncated_file(saved, image_files, kind):
    whole = image_files[kind]
    with pytest.raises(tf.errors.InvalidArgumentError):
        embed_bytes(saved, whole[: len(whole) // 2])
    assert embed_bytes(saved, whole).shape == (1, 16)


@pytest.mark.parametrize(
    ("name", "inputs"),
    [
        ("serving_default", {"image_bytes": tf.constant([], tf.string)}),
        ("pixels_uint8", {"pixels": tf.zeros((0, 40, 48, 3), tf.uint8)}),
        ("pixels_float32", {"pixels": tf.zeros((0, 9, 9, 3))}),
        ("neighbours_of_images", {"image_bytes": tf.constant([], tf.string)}),
        ("neighbours_of_embeddings", {"embedding": tf.zeros((0, 16))}),
    ],
)
def test_a_batch_of_none(saved, name, inputs):
    with pytest.raises(tf.errors.InvalidArgumentError, match="batch of 1 or more; received 0"):
        call(saved, name, **inputs)


def test_a_small_gif_that_claims_a_huge_canvas(saved):
    """65,535 x 65,535 would be 12.9 GB."""
    gif = b"GIF89a\xff\xff\xff\xff\x80\0\0" + b"\0\0\0\xff\xff\xff"
    gif += b",\0\0\0\0\1\0\1\0\0\2\2\x44\1\0;"
    with pytest.raises(tf.errors.InvalidArgumentError, match="too large"):
        embed_bytes(saved, gif)


def test_a_small_png_that_claims_a_huge_image(saved):
    png = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR" + (23_000).to_bytes(4, "big") * 2 + b"\1\0\0\0\0"
    with pytest.raises(tf.errors.InvalidArgumentError, match="too large"):
        embed_bytes(saved, png)


def test_pixels_that_are_not_finite(saved):
    with pytest.raises(tf.errors.InvalidArgumentError, match="Expected finite pixels"):
        call(saved, "pixels_float32", pixels=tf.fill((1, 40, 48, 3), np.nan))


@pytest.mark.parametrize(
    ("start", "kind"), [(b"GIF89a", "GIF"), (b"BM", "BMP"), (b"RIFF\0\0\0\0WEBP", "WebP")]
)
def test_a_header_that_is_cut_short_is_named(saved, start, kind):
    with pytest.raises(tf.errors.InvalidArgumentError, match=f"Expected a complete {kind} file"):
        embed_bytes(saved, start)


def test_pixels_without_rows(saved):
    with pytest.raises(tf.errors.InvalidArgumentError):
        call(saved, "pixels_uint8", pixels=tf.zeros((1, 0, 5, 3), tf.uint8))


def test_every_variable_once_no_proxies_and_no_ops_of_others(model, gallery, tmp_path):
    """A stock server has only TensorFlow's own ops; names of ScaNN's ops begin with Scann."""
    to_saved_model(model, tmp_path / "1", gallery=gallery)
    saved = tf.saved_model.load(tmp_path / "1")
    reader = tf.train.load_checkpoint(str(tmp_path / "1/variables/variables"))
    dtypes = reader.get_variable_to_dtype_map()
    shapes = reader.get_variable_to_shape_map()
    numbers = sum(int(np.prod(shapes[name])) for name in shapes if dtypes[name] == tf.float32)
    # Folding leaves one of four numbers per channel of a batch normalization.
    folds = [x for x in model._flatten_layers() if isinstance(x, keras.layers.BatchNormalization)]
    folded = 3 * sum(each.gamma.shape[0] for each in folds)
    assert folded
    assert numbers == model.count_params() - folded + gallery.embeddings.size + len(gallery)
    graph = saved.signatures["neighbours_of_images"].graph.as_graph_def()
    ops = {node.op for each in [graph, *graph.library.function] for node in nodes_of(each)}
    assert not [op for op in ops if op.startswith("Scann") or op in ("PyFunc", "EagerPyFunc")]


def nodes_of(graph_or_function):
    is_graph = isinstance(graph_or_function, tf.compat.v1.GraphDef)
    return graph_or_function.node if is_graph else graph_or_function.node_def


@pytest.mark.parametrize("dtype", ["bfloat16", "int8"])
def test_small_galleries_answer_alike(model, scenes, gallery, tmp_path, dtype):
    small = Gallery(gallery.embeddings, gallery.ids, gallery.labels, gallery.class_names, dtype)
    to_saved_model(model, tmp_path / "1", gallery=small, k=1)
    loaded = tf.saved_model.load(tmp_path / "1")
    answer = call(loaded, "neighbours_of_embeddings", embedding=tf.constant(gallery.embeddings))
    np.testing.assert_array_equal(answer["ids"][:, 0].astype(str), gallery.ids)


def test_mixed_precision_is_exported_in_float32(scenes, tmp_path, model, float32_policy):
    keras.config.set_dtype_policy("mixed_bfloat16")
    mixed = embedding_model("conv4", 16, (40, 48), weights=None)
    mixed.set_weights(model.get_weights())
    to_saved_model(in_float32(mixed), tmp_path / "1")
    found = call(tf.saved_model.load(tmp_path / "1"), "pixels_float32", pixels=tf.constant(scenes))
    np.testing.assert_allclose(found["embedding"], model(scenes, training=False), atol=1e-6)
    assert np.abs(found["embedding"] - mixed(scenes, training=False).numpy()).max() > 1e-4


def test_refused(model, gallery, tmp_path):
    (tmp_path / "1").mkdir()
    with pytest.raises(FileExistsError, match="exists already"):
        to_saved_model(model, tmp_path / "1")
    with pytest.raises(ValueError, match="received the model to train, with proxies"):
        to_saved_model(with_proxies(model, 4), tmp_path / "2")
    with pytest.raises(ValueError, match=r"crop_fraction in \(0, 1\]"):
        to_saved_model(model, tmp_path / "2", crop_fraction=1.5)
    with pytest.raises(ValueError, match="gallery's size, 12; received 13"):
        to_saved_model(model, tmp_path / "2", gallery=gallery, k=13)
    narrow = Gallery(np.eye(4, dtype="float32"), list("abcd"), np.zeros(4, int), ["x"])
    with pytest.raises(ValueError, match="of the model's 16 numbers; received 4"):
        to_saved_model(model, tmp_path / "2", gallery=narrow, k=1)
    assert sorted(each.name for each in tmp_path.iterdir()) == ["1"]


def test_matched_neighbours(saved, model, scenes, gallery, tmp_path):
    contents = tf.constant([tf.io.encode_png(each.astype("uint8")).numpy() for each in scenes])
    before = call(saved, "neighbours_of_images", image_bytes=contents)
    cosines = embed_bytes(saved, *contents.numpy()) @ gallery.embeddings.T
    threshold = float(np.quantile(cosines, 0.7))
    options = {"crop_fraction": CROP_FRACTION, "gallery": gallery, "k": 5}
    to_saved_model(model, tmp_path / "1", **options, min_similarity=threshold)
    loaded = tf.saved_model.load(tmp_path / "1")
    found = call(loaded, "neighbours_of_images", image_bytes=contents)
    matched = found.pop("matched")
    for key, values in found.items():
        np.testing.assert_array_equal(values, before[key])
    np.testing.assert_array_equal(matched, -np.sort(-cosines)[:, :5] >= threshold)
    assert 0 < matched.sum() < matched.size and matched.dtype == bool
    embedding = tf.constant(embed_bytes(saved, *contents.numpy()))
    answer = call(loaded, "neighbours_of_embeddings", embedding=embedding)
    np.testing.assert_array_equal(answer["matched"], matched)
    assert loaded.signatures["neighbours_of_images"].structured_outputs["matched"].shape[1] == 5


def test_a_threshold_that_is_refused(model, gallery, tmp_path):
    with pytest.raises(ValueError, match=r"Expected a gallery for the min_similarity 0\.5"):
        to_saved_model(model, tmp_path / "1", min_similarity=0.5)
    with pytest.raises(ValueError, match=r"Expected a min_similarity of -1 to 1.*received 1\.5"):
        to_saved_model(model, tmp_path / "1", gallery=gallery, min_similarity=1.5)
    assert not (tmp_path / "1").exists()
