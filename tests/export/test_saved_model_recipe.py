"""export/saved_model/embed_folder.py in a process of its own, without Keras and pa_keras."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

SCRIPT = Path(__file__).parents[2] / "export" / "saved_model" / "embed_folder.py"
# Runs the script as __main__, then tells whether it needed what its users do not have.
RUN = """
import runpy, sys
for name in ("keras", "pa_keras"):
    sys.modules[name] = None  # importing it fails
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""


@pytest.fixture(scope="module")
def saved_model(tmp_path_factory):
    path = tmp_path_factory.mktemp("model") / "1"

    @tf.function(input_signature=[tf.TensorSpec((None,), tf.string, "image_bytes")])
    def embed(image_bytes):
        def mean(each):
            image = tf.io.decode_image(each, 3, expand_animations=False)
            return tf.reduce_mean(tf.cast(image, tf.float32), [0, 1])

        means = tf.map_fn(mean, image_bytes, fn_output_signature=tf.TensorSpec((3,)))
        return {"embedding": tf.math.l2_normalize(means, -1)}

    module = tf.Module()
    module.embed = embed
    tf.saved_model.save(module, str(path), {"serving_default": embed})
    return path


def run(*arguments):
    command = [sys.executable, "-c", RUN, str(SCRIPT), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True)


def test_embeds_a_folder(saved_model, photos, tmp_path):
    out = tmp_path / "embeddings.npz"
    output = run(saved_model, photos, out, "--batch-size", 7)
    assert output.returncode == 0, output.stderr
    assert "60 embeddings of 3 numbers" in output.stdout
    with np.load(out) as found:
        embeddings, paths = found["embeddings"], found["paths"]
    assert paths.tolist() == sorted(f"class {c}/{i}.png" for c in range(10) for i in range(6))
    assert embeddings.dtype == np.float32
    for path, embedding in zip(paths, embeddings, strict=True):
        pixels = tf.io.decode_image((photos / str(path)).read_bytes()).numpy()
        mean = pixels.mean((0, 1))
        np.testing.assert_allclose(embedding, mean / np.linalg.norm(mean), atol=1e-5)


def test_names_the_file_that_is_no_image(saved_model, photos, tmp_path):
    (photos / "bad.png").write_bytes(b"no image")
    output = run(saved_model, photos, tmp_path / "out.npz")
    assert output.returncode == 1
    assert f"cannot read {photos / 'bad.png'}; remove" in output.stderr
    assert not (tmp_path / "out.npz").exists()
