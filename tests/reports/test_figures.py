"""The pictures of `evaluate` from the command line, and errors before any work."""

import keras
import numpy as np
import pytest
import yaml
from PIL import Image

from pa_keras import evaluate
from pa_keras.evaluation import evaluate as evaluation
from pa_keras.models import embedding_model


@pytest.fixture
def run_folder(photos, tmp_path):
    """A run that held out two of the five training classes."""
    keras.utils.set_random_seed(1)
    folder = tmp_path / "run"
    (folder / "state").mkdir(parents=True)
    embedding_model("conv4", 8, (20, 20), weights=None).save(folder / "best.keras")
    config = {
        "dataset": "folder",
        "data_dir": str(photos),
        "seed": 0,
        "data": {"crop_fraction": 1.0, "test_fraction": 0.5, "crop_to_boxes": False},
        "training": {"selection": "held_out", "held_out_fraction": 0.4},
    }
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    return folder


@pytest.fixture
def nothing_embedded(monkeypatch):
    def embed(*arguments):
        raise AssertionError("It was embedded before the mistake was seen.")

    monkeypatch.setattr(evaluation, "embed_dataset_images", embed)


def run(folder, *arguments):
    evaluate.main(["--run", str(folder), *map(str, arguments)])


def failure(folder, *arguments):
    with pytest.raises(SystemExit) as stopped:
        run(folder, *arguments)
    return str(stopped.value.code)


def test_every_picture_at_once(run_folder, tmp_path):
    run(
        run_folder, "--picture", tmp_path / "found.png", "--failures", tmp_path / "failures.jpg",
        "--map", tmp_path / "map.png", "--map-neighbours", 5, "--map-images", 12,
        "--projector", tmp_path / "projector", "--projector-images", 20, "--columns", 3,
        "--num-queries", 2,
    )  # fmt: skip
    with Image.open(tmp_path / "found.png") as picture:
        assert picture.size == pytest.approx((4 * 1.58 * 120, 2 * 1.84 * 120), abs=40)
    for name in ("failures.jpg", "map.png"):
        with Image.open(tmp_path / name) as picture:
            assert picture.size[0] > 300
    assert len(np.loadtxt(tmp_path / "projector" / "tensors.tsv")) == 20
    rows = (tmp_path / "projector" / "metadata.tsv").read_text().split("\n")[1:-1]
    assert len(rows) == 20 and all(row >= "class 5" for row in rows), "of the test classes"


def drawn(monkeypatch, name):
    """Replaces a drawing function and returns the arguments of its calls."""
    calls = []
    monkeypatch.setattr(f"pa_keras.plots.{name}", lambda *arguments: calls.append(arguments))
    return calls


def test_chosen_queries_and_the_seed(run_folder, tmp_path, monkeypatch):
    calls = drawn(monkeypatch, "retrieved")
    asked = ["class 6/2.png", 3]
    run(run_folder, "--picture", tmp_path / "a.png", "--queries", *asked, "--seed", 7)
    queries, _, indices, path, *numbers, seed, chosen = calls[0]
    assert chosen.tolist() == [8, 3] and queries.paths[8].endswith("class 6/2.png")
    assert (path, numbers, seed) == (tmp_path / "a.png", [6, 4], 7)
    assert len(indices) == 30


def test_the_map_has_the_classes_that_were_trained_on(run_folder, tmp_path, monkeypatch):
    calls = drawn(monkeypatch, "embedding_map")
    run(run_folder, "--map", tmp_path / "map.png", "--map-neighbours", 5, "--seed", 4)
    ((parts, path, method, neighbours, seed),) = calls
    assert (path, method, neighbours, seed) == (tmp_path / "map.png", "tsne", 5, 4)
    (seen, seen_vectors), (unseen, unseen_vectors) = parts.values()
    assert [title.split(", ")[1] for title in parts] == ["training classes", "test classes"]
    assert len(seen) == len(seen_vectors) == 18, "two of five classes were held out"
    assert len(unseen) == len(unseen_vectors) == 30
    np.testing.assert_allclose(np.linalg.norm(seen_vectors, axis=1), 1, rtol=1e-4)


@pytest.mark.parametrize("option", ["--picture", "--failures", "--map", "--projector"])
def test_nothing_is_overwritten(run_folder, tmp_path, option):
    (tmp_path / "there.png").write_text("mine")
    assert "nothing is overwritten" in failure(run_folder, option, tmp_path / "there.png")
    assert (tmp_path / "there.png").read_text() == "mine"
    assert "create it first" in failure(run_folder, option, tmp_path / "nowhere" / "a.png")


@pytest.mark.parametrize("option", ["--picture", "--failures", "--map"])
def test_an_ending_that_is_no_picture(run_folder, tmp_path, option):
    assert "end with one of" in failure(run_folder, option, tmp_path / "a.txt")


def test_one_file_for_two_pictures(run_folder, tmp_path):
    both = ["--picture", tmp_path / "a.png", "--failures", tmp_path / "a.png"]
    assert "one name twice" in failure(run_folder, *both)


@pytest.mark.usefixtures("nothing_embedded")
@pytest.mark.parametrize("query", ["class 1/2.png", "30", "2.png"])
def test_a_query_that_is_not_in_the_set(run_folder, tmp_path, query):
    message = failure(run_folder, "--picture", tmp_path / "a.png", "--queries", query)
    assert query in message and "test classes" in message


@pytest.mark.usefixtures("nothing_embedded")
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--map", "map.png"], None),
        (["--map", "map.png", "--map-neighbours", "48"], "the 48 images of the map"),
        (["--map", "map.png", "--map-images", "2", "--map-neighbours", "4"], "the 4 images"),
        (["--num-queries", "0"], "num_queries of 1 or more"),
        (["--columns", "0"], "columns of 1 or more"),
        (["--map-images", "0"], "map_images of 1 or more"),
        (["--projector-images", "-1"], "projector_images of 1 or more"),
        (["--suspects-neighbours", "0"], "suspects_neighbours of 1 or more"),
        (["--suspects-similarity", "1.5"], "similarity in (0, 1]; received 1.5"),
    ],
)
def test_numbers_out_of_range(run_folder, tmp_path, monkeypatch, arguments, message):
    monkeypatch.chdir(tmp_path)
    if message is None:
        with pytest.raises(AssertionError, match="embedded"):  # 48 images are enough for 30
            run(run_folder, *arguments)
    else:
        assert message in failure(run_folder, *arguments)


@pytest.mark.usefixtures("nothing_embedded")
def test_a_bad_training_image_on_the_map(run_folder, photos, tmp_path):
    bad = sorted(photos.rglob("0.png"))[:5]
    for path in bad:
        path.write_bytes(b"")
    message = failure(run_folder, "--map", tmp_path / "map.png", "--map-neighbours", 5)
    assert "3 of 18" in message and "class 2/0.png" in message
