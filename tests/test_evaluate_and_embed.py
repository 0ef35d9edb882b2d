"""`evaluate` and `embed` with a random model, compared with a plain implementation."""

import csv
import dataclasses
import json
import os
import resource
import shutil

import keras
import numpy as np
import pytest
import yaml
from PIL import Image

from pa_keras import embed, evaluate, files, index
from pa_keras.evaluation.embeddings_file import read_embeddings
from pa_keras.exporters.gallery import read_gallery
from pa_keras.index import model as index_model
from pa_keras.index.model import embedding
from pa_keras.models import embedding_model
from pa_keras.retrieval import (
    KReciprocal,
    QueryExpansion,
    nearest_centroid,
    nearest_neighbours,
    per_query_metrics,
    rerank,
    search_expanded,
)


@pytest.fixture
def model():
    keras.utils.set_random_seed(1)
    return embedding_model("conv4", 8, (20, 20), weights=None)


@pytest.fixture
def run_folder(model, photos, tmp_path):
    folder = tmp_path / "run"
    (folder / "state").mkdir(parents=True)
    model.save(folder / "best.keras")
    config = {
        "dataset": "folder",
        "data_dir": str(photos),
        "data": {"crop_fraction": 1.0, "test_fraction": 0.5, "crop_to_boxes": False},
    }
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    return folder


def vectors(model, paths):
    """Returns the central 20 x 20 of images that are 20 high, without our pipelines."""
    pixels = [np.asarray(Image.open(path))[:, 2:22] for path in paths]
    return model(np.asarray(pixels, "float32"), training=False).numpy()


def failure(command, *arguments):
    with pytest.raises(SystemExit) as stopped:
        command.main([str(argument) for argument in arguments])
    return str(stopped.value.code)


def test_evaluate_equals_a_double_loop(run_folder, model, photos, tmp_path, capsys):
    arguments = [
        "--run",
        run_folder,
        "--json",
        tmp_path / "a.json",
        "--picture",
        tmp_path / "a.png",
    ]
    evaluate.main([str(argument) for argument in arguments])
    paths = [p for c in range(5, 10) for p in sorted((photos / f"class {c}").iterdir())]
    embeddings = vectors(model, paths)
    hits = []
    for i, query in enumerate(embeddings):
        others = [(query @ other, j) for j, other in enumerate(embeddings) if j != i]
        hits.append(max(others)[1] // 6 == i // 6)
    result = json.loads((tmp_path / "a.json").read_text())
    assert result["metrics"]["recall_at_1"] == pytest.approx(np.mean(hits))
    low, high = result["intervals"]["recall_at_1"]
    assert low <= np.mean(hits) <= high
    assert (result["num_queries"], result["num_classes"]) == (30, 5)
    out = capsys.readouterr().out
    assert f"{100 * np.mean(hits):6.2f}" in out and "30 queries of 5 classes" in out
    with Image.open(tmp_path / "a.png") as picture:
        assert picture.size[0] > 100


def test_evaluate_says_everything_that_is_asked_for(run_folder, photos, tmp_path, capsys):
    first, again = photos / "class 6" / "0.png", photos / "class 7" / "5.png"
    again.write_bytes(first.read_bytes())
    arguments = ["--run", run_folder, "--json", tmp_path / "a.json", "--clustering"]
    arguments += ["--compression", "--per-class", tmp_path / "classes.csv"]
    evaluate.main([str(argument) for argument in arguments])
    result = json.loads((tmp_path / "a.json").read_text())
    out = capsys.readouterr().out
    assert result["duplicates"] == {"files": 1, "of_other_class": 1, "dropped": False}
    assert "1 files repeat another byte for byte, 1 of them one of another class: kept" in out
    assert 0 <= result["clustering"]["ami"] <= result["clustering"]["nmi"] <= 1
    assert "k-means into 5 clusters, %: NMI" in out
    assert result["compression"][0]["recall_at_1"] == result["metrics"]["recall_at_1"]
    assert "Recall@1, %, by exact search in compressed embeddings" in out
    assert result["first_hit_rank"] >= 1 and "first_hit_rank" in out
    assert result["search_report"]["method"] == "exact"
    rows = list(csv.DictReader((tmp_path / "classes.csv").read_text().splitlines()))
    assert {row["class_name"] for row in rows} == {f"class {n}" for n in range(5, 10)}
    recalls = [float(row["recall_at_1"]) for row in rows]
    assert recalls == sorted(recalls)
    assert np.mean(recalls) == pytest.approx(result["metrics"]["recall_at_1"])
    evaluate.main(["--run", str(run_folder), "--duplicates", "drop"])
    out = capsys.readouterr().out
    assert "29 queries of 5 classes" in out and "dropped" in out


RERANKING = ["--rerank", "--rerank-k1", "5", "--rerank-k2", "2", "--query-expansion", "3"]


def test_reranking_is_reported_beside_the_plain_metrics(
    run_folder, model, photos, tmp_path, capsys
):
    evaluate.main(["--run", str(run_folder), "--json", str(tmp_path / "plain.json")])
    evaluate.main(["--run", str(run_folder), "--json", str(tmp_path / "a.json"), *RERANKING])
    result = json.loads((tmp_path / "a.json").read_text())
    found = result.pop("reranking")
    assert result == json.loads((tmp_path / "plain.json").read_text())
    embeddings = vectors(model, [p for c in range(5, 10) for p in sorted_images(photos, c)])
    labels = np.arange(30) // 6
    nearest, _ = nearest_neighbours(embeddings, embeddings, 8, exclude_self=True)
    settings = {"k_reciprocal": KReciprocal(5, 2), "query_expansion": QueryExpansion(3)}
    again = {"k_reciprocal": rerank, "query_expansion": search_expanded}
    out = capsys.readouterr().out
    assert "query_expansion (neighbours 3, alpha 3)" in out
    for name, each in found.items():
        indices, _ = again[name](nearest, embeddings, settings=settings[name])
        values = per_query_metrics(indices, labels)
        recall = np.mean(values["recall_at_1"])
        assert each["settings"] == dataclasses.asdict(settings[name])
        assert each["metrics"]["recall_at_1"] == pytest.approx(recall)
        assert each["metrics"]["map_at_r"] == pytest.approx(np.mean(values["map_at_r"]))
        low, high = each["intervals"]["recall_at_1"]
        assert low <= recall <= high
        line = next(line for line in out.splitlines()[::-1] if line.startswith("recall_at_1"))
        assert f"{100 * recall:.2f}" in line
    # The nearest-centroid accuracy is always measured.
    hits = nearest_centroid(embeddings, labels)
    assert result["metrics"]["centroid_accuracy"] == pytest.approx(hits.mean())


def sorted_images(photos, number):
    return sorted((photos / f"class {number}").iterdir())


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["--rerank", "--rerank-k1", 30], "Expected k1 below the number of vectors, 30"),
        (["--rerank", "--rerank-weight", 1.5], "Expected weight in [0, 1]; received 1.5"),
        (["--rerank", "--rerank-k2", 21], "Expected k2 from 1 to k1=20; received k2=21"),
        (["--query-expansion", -1], "Expected neighbours of 1 or more; received -1"),
        (["--query-expansion", 30], "Expected from 1 to 29 neighbours for query expansion"),
        (["--query-expansion", 2, "--query-expansion-alpha", -1], "Expected alpha of 0 or more"),
    ],
)
def test_reranking_out_of_range_is_refused_before_the_work(run_folder, capsys, arguments, message):
    assert message in failure(evaluate, "--run", run_folder, *arguments)
    assert "recall" not in capsys.readouterr().out


def test_evaluate_a_model_file_on_a_named_set(run_folder, photos, capsys):
    evaluate.main(["--run", str(run_folder)])
    of_run = capsys.readouterr().out
    evaluate.main(
        ["--model", str(run_folder / "best.keras"), "--dataset", "folder", "--data-dir",
         str(photos), "--crop-fraction", "1.0"]
    )  # fmt: skip
    assert capsys.readouterr().out == of_run


@pytest.fixture
def some_test(photos, tmp_path):
    """Test images of three classes with a mate, and two that have one image each."""
    for number, images in enumerate((4, 3, 2, 1, 1)):
        folder = tmp_path / "own" / "test" / f"class {number}"
        folder.mkdir(parents=True)
        for image in range(images):
            # The single images are copies of others: whoever searches meets them first.
            source = photos / f"class {number if images > 1 else number - 3}" / f"{image}.png"
            shutil.copy(source, folder)
    return tmp_path / "own"


def double_loop(queries, query_classes, gallery, gallery_classes, alone):
    """Whether the nearest is right, for each query that has a right answer in the gallery."""
    hits = []
    for i, query in enumerate(queries):
        others = [(query @ v, -j) for j, v in enumerate(gallery) if not (alone and i == j)]
        if any(gallery_classes[-j] == query_classes[i] for _, j in others):
            hits.append(gallery_classes[-max(others)[1]] == query_classes[i])
    return hits


@pytest.mark.parametrize("layout", ["test", "test fraction", "query and gallery"])
def test_a_set_of_test_images_alone(run_folder, model, some_test, tmp_path, layout):
    paths = sorted(some_test.rglob("*.png"))
    classes = np.array([path.parent.name for path in paths])
    arguments = ["--dataset", "folder", "--data-dir", some_test]
    queries = gallery = np.arange(len(paths))
    if layout == "test fraction":  # class folders without a split
        arguments = ["--dataset", "folder", "--data-dir", some_test / "test", "--test-fraction", 1]
    if layout == "query and gallery":
        is_query = np.array([path.stem in "02" for path in paths])
        queries, gallery = np.flatnonzero(is_query), np.flatnonzero(~is_query)
        rows = [
            f"{path.relative_to(some_test)},{path.parent.name},{'query' if each else 'gallery'}"
            for path, each in zip(paths, is_query, strict=True)
        ]
        (some_test / "own.csv").write_text("\n".join(["path,label,split", *rows]))
        arguments = ["--dataset", "manifest", "--data-dir", some_test / "own.csv"]
    arguments += ["--run", run_folder, "--crop-fraction", 1, "--json", tmp_path / "a.json"]
    if layout == "test":
        arguments += ["--map", tmp_path / "map.png", "--map-neighbours", 3]
    evaluate.main([str(argument) for argument in arguments])
    embeddings = vectors(model, paths)
    hits = double_loop(
        embeddings[queries], classes[queries], embeddings[gallery], classes[gallery],
        alone=layout != "query and gallery",
    )  # fmt: skip
    result = json.loads((tmp_path / "a.json").read_text())
    if layout != "query and gallery":
        assert 0 < np.mean(hits) < 1, "a distractor is the nearest of some queries"
    assert result["metrics"]["recall_at_1"] == pytest.approx(np.mean(hits))
    assert result["num_queries"] == len(hits) and result["num_classes"] == 3
    assert result["num_left_out"] == 2
    assert layout != "test" or (tmp_path / "map.png").exists()


@pytest.mark.parametrize("fraction", [0, 1.5])
def test_a_test_fraction_out_of_range(run_folder, fraction):
    message = failure(evaluate, "--run", run_folder, "--test-fraction", fraction)
    assert "Expected test_fraction above 0 and at most 1; received" in message


def test_embed_writes_vectors_labels_and_paths(run_folder, model, photos, tmp_path):
    out = tmp_path / "photos.npz"
    embed.main(["--run", str(run_folder), "--images", str(photos), "--out", str(out)])
    with np.load(out) as arrays:
        assert arrays["embeddings"].shape == (60, 8)
        expected = vectors(model, arrays["paths"])
        np.testing.assert_allclose(arrays["embeddings"], expected, atol=1e-5)
        names = arrays["class_names"][arrays["labels"]]
        assert all(f"/{name}/" in path for name, path in zip(names, arrays["paths"], strict=True))


def test_embed_reads_a_manifest(run_folder, photos, tmp_path):
    rows = ["path,label,split", "class 0/0.png,a,train", "class 1/0.png,b,test"]
    (photos / "some.csv").write_text("\n".join([*rows, "class 1/1.png,b,test"]))
    out = tmp_path / "some.npz"
    arguments = ["--run", run_folder, "--images", photos / "some.csv", "--out", out]
    embed.main([str(argument) for argument in arguments])
    with np.load(out) as arrays:
        assert arrays["labels"].tolist() == [0, 1, 1]


def test_embed_a_folder_of_parts_and_a_flat_folder(run_folder, photos, tmp_path):
    for number in range(10):
        part = photos / ("train" if number < 5 else "test")
        part.mkdir(exist_ok=True)
        (photos / f"class {number}").rename(part / f"class {number}")
    for images, classes in ((photos, 10), (photos / "train" / "class 2", 1)):
        out = tmp_path / f"{classes}.npz"
        embed.main(["--run", str(run_folder), "--images", str(images), "--out", str(out)])
        with np.load(out) as arrays:
            assert len(arrays["embeddings"]) == 6 * classes
            expected = [f"class {n}" for n in range(10)] if classes == 10 else ["class 2"]
            assert arrays["class_names"].tolist() == expected


def test_which_model(tmp_path, run_folder):
    assert "Give --run DIR, or --model FILE.keras" in failure(evaluate)
    assert "Expected a dataset" in failure(evaluate, "--model", run_folder / "best.keras")
    assert "config.yaml" in failure(evaluate, "--run", tmp_path)
    (run_folder / "best.keras").unlink()
    assert "continue it with --resume" in failure(evaluate, "--run", run_folder)


def test_a_model_that_gives_no_embeddings(tmp_path):
    images = keras.Input((4, 4, 3))
    path = tmp_path / "other.keras"
    keras.Model(images, keras.layers.Conv2D(2, 1)(images)).save(path)
    message = failure(evaluate, "--model", path, "--dataset", "glyphs")
    assert "to embeddings (batch, D)" in message


@pytest.mark.parametrize("ending", [".keras", ".h5"])
@pytest.mark.filterwarnings("ignore")  # Keras calls .h5 legacy
def test_a_model_file_runs_no_code(photos, tmp_path, ending):
    images = keras.Input((20, 20, 3))
    marker = str(tmp_path / "attacked")
    path = tmp_path / f"model{ending}"
    function = eval(f"lambda x: (__import__('os').makedirs({marker!r}, exist_ok=True), x)[1]")
    outputs = keras.layers.Lambda(function, output_shape=(20, 20, 3))(images)
    keras.Model(images, keras.layers.GlobalAveragePooling2D()(outputs)).save(path)
    message = failure(embed, "--model", path, "--images", photos, "--out", tmp_path / "a.npz")
    assert "lambda" in message.lower() and not os.path.exists(marker)
    keras.saving.load_model(path, compile=False, safe_mode=False)(np.zeros((1, 20, 20, 3)))
    assert os.path.exists(marker)  # the attack would have worked


class Attack:
    """An object whose pickle makes a folder when it is read."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (self.path,)


@pytest.mark.parametrize("read", [read_embeddings, lambda path: read_gallery(path, "", 1.0)])
def test_embeddings_of_strangers_run_no_code(tmp_path, read):
    path, marker = tmp_path / "a.npz", str(tmp_path / "attacked")
    names = "embeddings", "labels", "class_names", "paths", "checksum", "crop_fraction"
    attack = np.array([Attack(marker)], object)
    np.savez(path, **dict.fromkeys(names, attack), allow_pickle=True)
    with pytest.raises(ValueError, match="Expected an .npz of python -m pa_keras.embed"):
        read(path)
    assert not os.path.exists(marker)


def test_nothing_is_overwritten(run_folder, photos, tmp_path):
    (tmp_path / "there.npz").write_text("mine")
    arguments = ["--run", run_folder, "--images", photos]
    assert "nothing is overwritten" in failure(embed, *arguments, "--out", tmp_path / "there.npz")
    assert "end with .npz" in failure(embed, *arguments, "--out", tmp_path / "there.csv")
    assert (tmp_path / "there.npz").read_text() == "mine"


@pytest.fixture
def small_chunks(monkeypatch):
    whole = index.Chunks
    monkeypatch.setattr(index, "Chunks", lambda *a: whole(*a, size=16))


def test_embed_continues_where_it_was_killed(
    run_folder, model, photos, tmp_path, monkeypatch, small_chunks
):
    out = tmp_path / "photos.npz"
    arguments = ["--run", run_folder, "--images", photos, "--out", out]
    whole, calls = embedding, []

    def killed_at_the_third(*settings):
        embed_paths = whole(*settings)

        def embed_or_die(paths, advance):
            calls.append(len(paths))
            if len(calls) == 3:
                raise KeyboardInterrupt
            return embed_paths(paths, advance)

        return embed_or_die

    monkeypatch.setattr(index_model, "embedding", killed_at_the_third)
    assert failure(embed, *arguments) == "130" and not out.exists()
    embed.main([str(argument) for argument in arguments])
    assert calls == [16, 16, 16, 16, 12]
    with np.load(out) as arrays:
        expected = vectors(model, arrays["paths"])
        np.testing.assert_allclose(arrays["embeddings"], expected, atol=1e-5)
    assert [path.name for path in tmp_path.glob("photos.npz*")] == ["photos.npz"]


@pytest.mark.parametrize("limit", [300, 3_000])  # in a chunk, and in the .npz
def test_embed_after_a_full_disk(run_folder, photos, tmp_path, limit):
    out = tmp_path / "photos.npz"
    arguments = ["--run", run_folder, "--images", photos, "--out", out]
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, before[1]))
        message = failure(embed, *arguments)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert message.startswith(f"error: Expected to write {out}") and "\n" not in message
    assert message.endswith("Free some space, then start the same command again: it continues.")
    assert not out.exists()
    embed.main([str(argument) for argument in arguments])
    with np.load(out) as arrays:
        assert arrays["embeddings"].shape == (60, 8)
    assert [path.name for path in tmp_path.glob("photos.npz*")] == ["photos.npz"]


def test_embed_deletes_no_folder_of_others(run_folder, photos, tmp_path):
    mine = tmp_path / "photos.npz.unfinished" / "mine.txt"
    mine.parent.mkdir()
    mine.write_text("mine")
    arguments = ["--run", run_folder, "--images", photos, "--out", tmp_path / "photos.npz"]
    assert "nothing is deleted" in failure(embed, *arguments)
    assert mine.read_text() == "mine"


def test_two_processes_that_write_one_file(run_folder, photos, tmp_path):
    out = tmp_path / "photos.npz"
    (tmp_path / "photos.npz.unfinished").mkdir()
    with files.locked(tmp_path / "photos.npz.unfinished" / "lock", "writes", "Wait."):
        message = failure(embed, "--run", run_folder, "--images", photos, "--out", out)
    assert f"the only one that writes {out}; process {os.getpid()} on " in message


def test_embeddings_that_are_not_of_unit_length(model, photos, tmp_path):
    """Rejected as in every search: normalized, they would be those of another model."""
    longer = keras.Sequential([model, keras.layers.Rescaling(3.0)])
    longer.build((None, 20, 20, 3))
    longer.save(tmp_path / "longer.keras")
    arguments = ["--model", tmp_path / "longer.keras", "--images", photos]
    message = failure(embed, *arguments, "--out", tmp_path / "photos.npz")
    assert "60 others of 60" in message and "UnitNormalization" in message
    assert f"{photos / 'class 0' / '0.png'}, of length 3." in message
    assert not (tmp_path / "photos.npz").exists()


@pytest.mark.parametrize("option", ["--json", "--per-class", "--picture", "--projector"])
def test_evaluate_on_a_full_disk_leaves_no_stump(run_folder, tmp_path, option, capsys):
    ending = {"--json": ".json", "--per-class": ".csv", "--picture": ".png"}.get(option, "")
    out = tmp_path / f"out{ending}"
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (40, before[1]))
        message = failure(evaluate, "--run", run_folder, option, out)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert message.startswith(f"error: Expected to write {out}; ") and "\n" not in message
    assert message.endswith("Free some space, then start the same command again.")
    assert not [path for path in tmp_path.iterdir() if "out" in path.name]
    assert "30 queries of 5 classes" in capsys.readouterr().out  # the numbers were shown


def test_bad_images(run_folder, photos, tmp_path):
    bad = photos / "class 2" / "3.png"
    bad.write_bytes(b"")
    arguments = ["--run", run_folder, "--images", photos, "--out", tmp_path / "a.npz"]
    assert str(bad) in failure(embed, *arguments)
    embed.main([str(a) for a in [*arguments, "--on-bad-image", "skip"]])
    with np.load(tmp_path / "a.npz") as arrays:
        assert len(arrays["embeddings"]) == 59 and str(bad) not in arrays["paths"]
