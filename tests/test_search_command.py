"""`search`: building, querying, changing and exporting an index, against plain vectors."""

import dataclasses
import fcntl
import json
import shutil
from pathlib import Path

import keras
import numpy as np
import pytest
import yaml
from PIL import Image

from pa_keras import embed, open_index, search
from pa_keras.evaluation.calibration import Calibration
from pa_keras.index import sources
from pa_keras.index.record import make_data
from pa_keras.index.sources import Chunks, embedding
from pa_keras.models import checksum, embedding_model
from pa_keras.retrieval import KReciprocal, QueryExpansion


@pytest.fixture
def model():
    keras.utils.set_random_seed(1)
    return embedding_model("conv4", 8, (20, 20), weights=None)


@pytest.fixture
def run_folder(model, tmp_path):
    folder = tmp_path / "run"
    folder.mkdir()
    model.save(folder / "best.keras")
    (folder / "config.yaml").write_text(yaml.safe_dump({"data": {"crop_fraction": 1.0}}))
    return folder


@pytest.fixture
def index(run_folder, photos, tmp_path):
    do("build", "--run", run_folder, "--gallery", photos, "--index", tmp_path / "index")
    return tmp_path / "index"


@pytest.fixture
def other_model(tmp_path):
    path = tmp_path / "other.keras"
    embedding_model("conv4", 8, (20, 20), weights=None, seed=7).save(path)
    return path


def do(*arguments):
    search.main([str(argument) for argument in arguments])


def failure(*arguments):
    with pytest.raises(SystemExit) as stopped:
        do(*arguments)
    return str(stopped.value.code)


def vectors(model, paths):
    """Returns the central 20 x 20 of images that are 20 high, without our pipelines."""
    pixels = [np.asarray(Image.open(path))[:, 2:22] for path in paths]
    return model(np.asarray(pixels, "float32"), training=False).numpy()


def answers(capsys, *arguments):
    capsys.readouterr()
    do("query", *arguments, "--json")
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def test_query_equals_a_plain_search(index, model, photos, capsys):
    files = sorted(photos.rglob("*.png"))
    queries = [files[3], files[40]]
    found = answers(capsys, "--index", index, *queries, "-k", 5)
    similarities = vectors(model, queries) @ vectors(model, files).T
    assert len(found) == 10
    for i, query in enumerate(queries):
        order = np.argsort(-similarities[i])[:5]
        own = found[5 * i : 5 * i + 5]
        assert {line["query"] for line in own} == {str(query)}
        assert [line["rank"] for line in own] == [1, 2, 3, 4, 5]
        np.testing.assert_allclose(
            [line["similarity"] for line in own], similarities[i][order], atol=1e-5
        )
        assert own[0]["id"] == query.relative_to(photos).as_posix()
        assert all(line["label"] == Path(line["id"]).parent.name for line in own)


@pytest.mark.parametrize(
    "options, method",
    [
        (["--rerank", "--rerank-k1", 6, "--rerank-k2", 2], KReciprocal(6, 2)),
        (["--query-expansion", 5, "--query-expansion-alpha", 0], QueryExpansion(5, 0)),
    ],
)
def test_query_by_another_order(index, photos, tmp_path, capsys, options, method):
    query = photos / "class 3" / "2.png"
    plain = answers(capsys, "--index", index, query, "-k", 5)
    found = answers(capsys, "--index", index, query, "-k", 5, *options)
    ids, cosines = open_index(index).search_images([query], 5, method=method)
    assert [line["id"] for line in found] == ids[0]
    np.testing.assert_allclose([line["similarity"] for line in found], cosines[0], atol=1e-6)
    # A threshold drops by the cosine, whatever the order: the matches are those of a plain search.
    threshold = (plain[2]["similarity"] + plain[3]["similarity"]) / 2
    options = ["-k", 5, "--min-similarity", threshold, *options]
    matches = answers(capsys, "--index", index, query, *options)
    assert {line["id"] for line in matches} == {line["id"] for line in plain[:3]}
    assert all(line["matched"] for line in matches)
    picture = tmp_path / "found.png"
    do("query", "--index", index, query, *options, "--picture", picture)
    assert picture.is_file()


def test_reranking_out_of_range(index, photos):
    query = ["query", "--index", index, photos / "class 1" / "1.png"]
    both = ["--rerank", "--query-expansion", 2]
    assert "Expected --rerank or --query-expansion; received both" in failure(*query, *both)
    assert "neighbours of 1 or more; received -2" in failure(*query, "--query-expansion", -2)
    assert "Expected k1 below the number of vectors, 60; received k1=60" in failure(
        *query, "--rerank", "--rerank-k1", 60
    )


def test_query_as_a_table_and_a_picture(index, photos, tmp_path, capsys):
    picture = tmp_path / "found.png"
    query = photos / "class 3" / "2.png"
    do("query", "--picture", picture, query, "--index", index)
    out = capsys.readouterr().out
    assert f"{query}\n  rank  similarity  label" in out
    assert "     1      1.0000  class 3  class 3/2.png\n" in out
    with Image.open(picture) as image:
        assert image.size == (957, 249)  # a query and four results


@pytest.mark.parametrize("k", [["-k", "2"], ["-k2"], ["-k=2"], ["--k=2"], ["--k", "2"]])
@pytest.mark.parametrize("switch", [["--json"], ["--json", "true"], ["--json=true"]])
def test_arguments_in_any_form_and_place(index, photos, capsys, tmp_path, k, switch):
    image = str(photos / "class 1" / "1.png")
    (tmp_path / "q.yaml").write_text(f"index: {index}")
    capsys.readouterr()
    do("query", *switch, *k, "--config", tmp_path / "q.yaml", image)
    assert len(capsys.readouterr().out.splitlines()) == 2


def test_help_of_a_query(capsys):
    with pytest.raises(SystemExit) as stopped:
        do("query", "-h")
    assert stopped.value.code == 0 and "--picture" in capsys.readouterr().out


def test_a_picture_that_cannot_be_written_is_refused_first(index, photos, tmp_path, capsys):
    image = photos / "class 1" / "1.png"
    message = failure("query", "--index", index, image, "--picture", tmp_path / "found.xyz")
    assert "a picture's name to end with one of" in message
    assert "rank" not in capsys.readouterr().out


def test_what_came_from_parquet_grows_by_images(index, photos, tmp_path, capsys):
    do("export", "--index", index, "--to", tmp_path / "shards")
    again = tmp_path / "again"
    do("build", "--gallery", tmp_path / "shards", "--index", again)
    Image.new("RGB", (24, 20), "red").save(photos / "class 1" / "new.png")
    link = tmp_path / "link"
    link.symlink_to(photos)
    for gallery, folder in ((photos, again), (link, index)):
        capsys.readouterr()
        do("add", "--index", folder, "--gallery", gallery)
        assert "1 added." in capsys.readouterr().out


def test_k_above_the_index_is_all_of_it(index, photos, capsys):
    assert len(answers(capsys, "--index", index, photos / "class 1" / "1.png", "--k=99")) == 60
    assert "received 1 images and k=0" in failure("query", "--index", index, "a.png", "-k", "0")


def test_a_query_that_is_no_image(index, photos):
    bad = photos / "class 1" / "1.png"
    bad.write_bytes(b"no image")
    assert str(bad) in failure("query", "--index", index, bad, photos / "class 1" / "2.png")
    assert "missing.png" in failure("query", "--index", index, photos / "missing.png")


def test_images_are_searched_in_python_as_by_query(index, photos, capsys):
    files = [photos / "class 1" / "1.png", photos / "class 7" / "4.png"]
    found = answers(capsys, "--index", index, *files, "-k", 3)
    opened = open_index(index)
    for images in (files, [files[0].read_bytes(), Image.open(files[1])]):
        ids, cosines = opened.search_images(images, k=3)
        assert sum(ids, []) == [line["id"] for line in found]
        assert cosines.shape == (2, 3) and cosines.dtype == np.float32
        expected = [line["similarity"] for line in found]
        np.testing.assert_allclose(cosines.ravel(), expected, atol=1e-5)
    with pytest.raises(ValueError, match="k from 1 to 60"):
        opened.search_images(files, k=61)
    (photos / "bad.png").write_bytes(b"no image")
    with pytest.raises(ValueError, match=r"image 1 \(.*bad.png\) cannot"):
        opened.search_images([files[0], photos / "bad.png"], k=1)


def test_search_images_wants_the_model_of_the_index(index, run_folder, other_model, photos):
    image = [photos / "class 1" / "1.png"]
    with pytest.raises(ValueError, match=r"checksum differs.* open_index\(folder, model=PATH\)"):
        open_index(index, model=other_model).search_images(image, k=1)
    moved = run_folder.rename(run_folder.with_name("moved"))
    with pytest.raises(FileNotFoundError, match=r"by open_index\(folder, model=PATH\)"):
        open_index(index).search_images(image, k=1)
    for place in (moved, str(moved / "best.keras")):
        ids, _ = open_index(index, model=place).search_images(image, k=1)
        assert ids == [["class 1/1.png"]]


def test_another_model_is_refused(index, run_folder, other_model, photos):
    query = photos / "class 1" / "1.png"
    message = failure("query", "--index", index, query, "--model", other_model)
    assert "its checksum differs" in message
    for command in (["query", query], ["add", "--gallery", photos]):
        message = failure(*command, "--index", index, "--crop-fraction", 0.5)
        assert "Expected crop_fraction 1.0, as in the index; received 0.5" in message
    shutil.move(run_folder, run_folder.with_name("moved"))
    assert "Give its current place" in failure("query", "--index", index, query)
    do("query", "--index", index, query, "--run", run_folder.with_name("moved"))


def test_add_embeds_what_is_new(index, model, photos, monkeypatch, capsys):
    Image.new("RGB", (24, 20), (250, 10, 10)).save(photos / "class 2" / "new.png")
    embedded = []
    whole = embedding

    def counted(*arguments):
        embed_paths = whole(*arguments)
        return lambda paths, advance: embedded.extend(paths) or embed_paths(paths, advance)

    monkeypatch.setattr(sources, "embedding", counted)
    do("add", "--index", index, "--gallery", photos)
    assert embedded == [str(photos / "class 2" / "new.png")]
    assert "1 added. " in capsys.readouterr().out
    found = answers(capsys, "--index", index, photos / "class 2" / "new.png", "-k", 1)
    assert found[0]["id"] == "class 2/new.png" and found[0]["label"] == "class 2"
    do("add", "--index", index, "--gallery", photos)
    assert "0 added. " in capsys.readouterr().out


def test_add_another_gallery(index, photos, tmp_path, capsys):
    other = tmp_path / "other"
    shutil.copytree(photos / "class 4", other / "class 4")
    message = failure("add", "--index", index, "--gallery", other)
    assert "6 of them for other files" in message and "--prefix" in message
    do("add", "--index", index, "--gallery", other, "--prefix", "other/")
    assert "66 items of 10 classes" in capsys.readouterr().out
    found = answers(capsys, "--index", index, photos / "class 4" / "0.png", "-k", 2)
    assert [line["id"] for line in found] == ["class 4/0.png", "other/class 4/0.png"]


def test_remove(index, photos, capsys):
    do("remove", "--index", index, "class 3/2.png", "class 3/3.png")
    assert "2 removed. " in capsys.readouterr().out
    found = answers(capsys, "--index", index, photos / "class 3" / "2.png", "-k", 60)
    ids = [line["id"] for line in found]
    assert len(ids) == 58 and not {"class 3/2.png", "class 3/3.png"} & set(ids)
    assert "Did you mean class 3/1.png?" in failure("remove", "--index", index, "clas 3/1.png")
    assert "Expected items to remain" in failure("remove", "--index", index, *ids)
    assert "Expected an index" in failure("remove", "--index", photos, "a")
    assert not (photos / "lock").exists()


def test_info_and_a_changed_file(index, capsys):
    do("info", "--index", index, "--verify")
    out = capsys.readouterr().out
    assert "60 items of 10 classes, 8 numbers each; exact search" in out
    assert "crop_fraction 1.0" in out and "each with its checksum" in out
    data = next(index.glob("data-*/embeddings.npy"))
    contents = bytearray(data.read_bytes())
    contents[-1] ^= 1
    data.write_bytes(contents)
    do("info", "--index", index)  # only sizes are compared
    assert "embeddings.npy changed" in failure("info", "--index", index, "--verify")


def test_a_second_writer_is_told_who_holds_the_index(index, photos):
    with (index / "lock").open("a+") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        file.write("process 123 on host\n")
        file.flush()
        message = failure("remove", "--index", index, "class 3/2.png")
        assert "process 123 on host does so now" in message
        do("query", "--index", index, photos / "class 3" / "2.png")  # readers need not wait


def test_nothing_is_overwritten(index, run_folder, photos, tmp_path):
    arguments = ["build", "--run", run_folder, "--gallery", photos, "--index"]
    assert "is one already" in failure(*arguments, index)
    assert "holds only an index" in failure(*arguments, photos)
    do(*arguments, index, "--force")
    assert len(list(index.glob("data-*"))) == 1 and not (index / "unfinished").exists()


def test_folders_of_others_are_never_deleted(index, run_folder, photos, tmp_path):
    mine = index / "data-2024" / "mine.txt"
    mine.parent.mkdir()
    mine.write_text("mine")
    (index / "data-raw").mkdir()
    make_data(index / "data-7")
    (index / "data-7" / "embeddings.npy").write_text("what a crash left")
    (index / "data-8").mkdir()
    (index / "data-8" / "embeddings.npy").write_text("mine")
    do("remove", "--index", index, "class 3/2.png")
    assert mine.read_text() == "mine" and (index / "data-raw").is_dir()
    assert (index / "data-8" / "embeddings.npy").read_text() == "mine"
    assert json.loads((index / "index.json").read_text())["data"] == "data-2025"
    assert not (index / "data-7").exists()
    photos.rename(tmp_path / "data-1")
    arguments = ["--run", run_folder, "--gallery", tmp_path / "data-1", "--index"]
    assert "holds only an index" in failure("build", *arguments, index, "--force")
    (tmp_path / "new").mkdir()
    (tmp_path / "data-1").rename(tmp_path / "new" / "data-1")
    arguments = ["--run", run_folder, "--gallery", tmp_path / "new" / "data-1", "--index"]
    assert "holds only an index; " in failure("build", *arguments, tmp_path / "new")
    assert len(list((tmp_path / "new" / "data-1").rglob("*.png"))) == 60


@pytest.mark.parametrize(
    "name, contents",
    [
        ("unfinished/essay.txt", "mine"),
        ("unfinished/plan.json", '{"today": "buy milk"}'),
        ("lock", "my notes"),
        ("index.json", '{"title": "my web site"}'),
        ("data-1/embeddings.npy", "mine"),
    ],
)
def test_a_folder_with_the_names_of_an_index_is_left_alone(tmp_path, name, contents):
    folder = tmp_path / "folder"
    (folder / name).parent.mkdir(parents=True)
    (folder / name).write_text(contents)
    message = failure("build", "--gallery", "a.npz", "--index", folder, "--force")
    assert f"holds {Path(name).parts[0]}, which is not part of one" in message
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert files == [folder / name] and (folder / name).read_text() == contents


def test_a_damaged_index_can_be_replaced(index, run_folder, photos):
    (index / "index.json").write_text("{")
    do("build", "--run", run_folder, "--gallery", photos, "--index", index, "--force")
    assert len(list(index.glob("data-*"))) == 1


def test_a_query_by_a_folder(index, photos):
    message = failure("query", "--index", index, photos / "class 1")
    assert "Expected image files to search for" in message and "Repair" not in message
    assert f"the folder {photos / 'class 1'}" in message


def test_a_build_that_was_killed_goes_on(run_folder, photos, tmp_path, monkeypatch, capsys):
    index = tmp_path / "index"
    arguments = ["build", "--run", run_folder, "--gallery", photos, "--index", index]
    whole, calls = embedding, []

    def killed_at_the_third(*arguments):
        embed_paths = whole(*arguments)

        def embed_or_die(paths, advance):
            calls.append(list(paths))
            if len(calls) == 3:
                raise KeyboardInterrupt
            return embed_paths(paths, advance)

        return embed_or_die

    small = Chunks
    monkeypatch.setattr(sources, "Chunks", lambda *a: small(*a, size=16))
    monkeypatch.setattr(sources, "embedding", killed_at_the_third)
    assert failure(*arguments) == "130"
    message = failure("query", "--index", index, photos / "class 1" / "1.png")
    assert "an unfinished build" in message
    do(*arguments)
    assert [len(paths) for paths in calls] == [16, 16, 16, 16, 12]
    found = answers(capsys, "--index", index, photos / "class 9" / "5.png", "-k", 1)
    assert found[0]["id"] == "class 9/5.png"


def test_bad_images_in_the_gallery(run_folder, photos, tmp_path, capsys):
    bad = photos / "class 2" / "3.png"
    bad.write_bytes(b"")
    arguments = ["build", "--run", run_folder, "--gallery", photos, "--index", tmp_path / "index"]
    assert str(bad) in failure(*arguments)
    do(*arguments, "--on-bad-image", "skip")
    assert "59 items" in capsys.readouterr().out


def test_embeddings_of_embed(run_folder, other_model, photos, tmp_path, capsys):
    npz = tmp_path / "photos.npz"
    embed.main(["--run", str(run_folder), "--images", str(photos), "--out", str(npz)])
    arguments = ["build", "--gallery", npz, "--index"]
    do(*arguments, tmp_path / "bare")
    query = photos / "class 5" / "1.png"
    assert "a place that it knows" in failure("query", "--index", tmp_path / "bare", query)
    do(*arguments, tmp_path / "placed", "--run", run_folder)
    found = answers(capsys, "--index", tmp_path / "placed", query, "-k", 1)
    assert found[0]["id"] == "class 5/1.png"
    assert "another model" in failure(*arguments, tmp_path / "c", "--model", other_model)
    message = failure(*arguments, tmp_path / "c", "--run", run_folder, "--crop-fraction", "0.5")
    assert "that model with 1.0" in message
    npz.write_text("none")
    assert "another file or damaged" in failure(*arguments, tmp_path / "c")


def test_parquet_there_and_back(index, run_folder, other_model, photos, tmp_path, capsys):
    shards = tmp_path / "shards"
    do("export", "--index", index, "--to", shards, "--rows-per-shard", 25)
    assert len(list(shards.iterdir())) == 3
    assert "is not empty" in failure("export", "--index", index, "--to", shards)
    do("build", "--gallery", shards, "--index", tmp_path / "again")  # they record their model
    query = photos / "class 5" / "1.png"
    first = answers(capsys, "--index", index, query, "-k", 60)
    assert answers(capsys, "--index", tmp_path / "again", query, "-k", 60) == first
    message = failure(
        "build", "--gallery", shards, "--index", tmp_path / "c", "--model", other_model
    )
    assert "another model" in message
    message = failure(
        "build", "--gallery", shards, "--index", tmp_path / "c", "--crop-fraction", 0.5
    )
    assert "with crop_fraction 0.5" in message and "that model with 1.0" in message
    capsys.readouterr()
    do("add", "--gallery", shards, "--index", index)  # the places of their files are unknown
    assert capsys.readouterr().out.startswith("0 added")
    do("add", "--gallery", shards, "--index", index, "--prefix", "more/")
    assert answers(capsys, "--index", index, query, "-k", 2)[1]["id"] == "more/class 5/1.png"


def test_parquet_of_another_size(run_folder, tmp_path):
    import pyarrow as pa
    from pyarrow import parquet

    (tmp_path / "shards").mkdir()
    vectors = pa.array([[0.6, 0.8]], pa.list_(pa.float32(), 2))
    table = pa.table({"id": ["a"], "label": ["x"], "vector": vectors})
    parquet.write_table(table, tmp_path / "shards" / "a.parquet")
    arguments = ["build", "--gallery", tmp_path / "shards", "--index", tmp_path / "index"]
    assert "Give --run DIR" in failure(*arguments)
    assert "the model's 8 numbers" in failure(*arguments, "--run", run_folder)


def test_parquet_of_an_unknown_model(run_folder, other_model, model, photos, tmp_path, caplog):
    import pyarrow as pa
    from pyarrow import parquet

    (tmp_path / "shards").mkdir()
    files = sorted(str(file) for file in photos.rglob("*.png"))[:3]
    rows = pa.array(vectors(model, files).tolist())

    def write(ids):
        parquet.write_table(
            pa.table({"id": ids, "vector": rows}), tmp_path / "shards" / "a.parquet"
        )

    write(files)
    arguments = ["build", "--gallery", tmp_path / "shards", "--index"]
    message = failure(*arguments, tmp_path / "a", "--model", other_model)
    assert "those of 3 files" in message and "Give the model that made them" in message
    do(*arguments, tmp_path / "a", "--run", run_folder)
    assert "is assumed to have made it" not in caplog.text
    write(["a", "b", "c"])
    do(*arguments, tmp_path / "b", "--run", run_folder)
    assert "is assumed to have made it" in caplog.text


def test_an_empty_gallery(run_folder, tmp_path):
    (tmp_path / "empty").mkdir()
    arguments = ["build", "--run", run_folder, "--index", tmp_path / "index", "--gallery"]
    assert "Expected a folder with images" in failure(*arguments, tmp_path / "empty")


def test_help_and_a_misspelt_command(capsys):
    search.main([])
    assert "remove" in capsys.readouterr().out
    assert failure("qeury") == "2"
    assert "Did you mean query?" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        search.main(["query", "--help"])
    assert "--on_bad_image" in capsys.readouterr().out


def calibrate(run_folder, threshold, **changes):
    """Writes a calibrated threshold as `evaluate --thresholds` does."""
    path = run_folder / "best.keras"
    made_by = checksum(keras.saving.load_model(path, compile=False))
    found = Calibration(threshold, 0.01, made_by, 1.0, (20, 20))
    content = {"metrics": {}, "calibration": dataclasses.replace(found, **changes).as_json()}
    (run_folder / "result.json").write_text(json.dumps(content))


def between(model, photos, queries, k):
    """Returns a cosine between the neighbours of these queries, and their plain similarities."""
    files = sorted(photos.rglob("*.png"))
    similarities = -np.sort(-vectors(model, queries) @ vectors(model, files).T)[:, :k]
    ordered = np.sort(similarities.ravel())
    middle = len(ordered) // 2
    return float(ordered[middle - 1 : middle + 1].mean()), similarities


@pytest.mark.parametrize(("rate", "warns"), [(0.05, True), (0.001, False)])
def test_a_rate_over_pairs_is_too_high_for_an_index(
    index, photos, run_folder, capsys, caplog, rate, warns
):
    calibrate(run_folder, 0.5, false_match_rate=rate)
    query = photos / "class 3" / "2.png"
    answers(capsys, "--index", index, query, "--min-similarity", "calibrated")
    text = "matches about 3 of the 60 items by chance"
    assert (text in caplog.text) == warns
    assert ("--thresholds prints for the open set" in caplog.text) == warns


def test_neighbours_below_the_threshold_are_dropped(index, model, photos, run_folder, capsys):
    queries = [photos / "class 3" / "2.png", photos / "class 8" / "4.png"]
    threshold, similarities = between(model, photos, queries, 5)
    arguments = ["--index", index, *queries, "-k", 5, "--min-similarity"]
    found = answers(capsys, *arguments, threshold)
    for query, values in zip(queries, similarities, strict=True):
        own = [line for line in found if line["query"] == str(query)]
        kept = values[values >= threshold]
        assert [line["rank"] for line in own] == list(range(1, len(kept) + 1))
        np.testing.assert_allclose([line["similarity"] for line in own], kept, atol=1e-5)
        assert all(line["matched"] is True for line in own)
    assert 0 < len(found) < 10
    calibrate(run_folder, threshold)
    assert answers(capsys, *arguments, "calibrated") == found
    assert len(answers(capsys, *arguments, -1)) == 10  # k still limits


def test_no_match(index, photos, tmp_path, capsys):
    unknown = tmp_path / "unknown.png"
    noise = np.random.default_rng(5).integers(0, 2, (20, 24, 3)) * 255
    Image.fromarray(noise.astype("uint8")).save(unknown)
    known = photos / "class 3" / "2.png"
    (nearest,) = answers(capsys, "--index", index, unknown, "-k", 1)
    assert "matched" not in nearest
    threshold = (nearest["similarity"] + 1) / 2
    arguments = ["query", "--index", index, unknown, known, "--min-similarity", threshold]
    capsys.readouterr()
    do(*arguments, "--picture", tmp_path / "found.png")
    lines = capsys.readouterr().out.splitlines()
    assert lines[:3] == [
        str(unknown),
        f"  no match: {nearest['similarity']:.4f} at most, below {threshold:.4f}",
        str(known),
    ]
    with Image.open(tmp_path / "found.png") as image:
        assert image.size[0] > 2 * 180  # a frame for "no match" beside the query
    found = answers(capsys, *arguments[1:])
    assert found[0] == {
        "query": str(unknown), "rank": None, "similarity": None, "id": None, "label": None,
        "matched": False,
    }  # fmt: skip
    assert [line["query"] for line in found[1:]] == [str(known)] * (len(found) - 1)
    assert found[1]["id"] == "class 3/2.png" and found[1]["matched"] is True
    do("query", "--index", index, unknown, "--min-similarity", threshold,
       "--picture", tmp_path / "alone.png")  # fmt: skip


def test_a_similarity_equal_to_the_threshold_is_a_match(index, photos, capsys):
    arguments = ["--index", index, photos / "class 3" / "2.png", "-k", 3]
    found = answers(capsys, *arguments)
    limit = found[1]["similarity"]
    assert len(answers(capsys, *arguments, "--min-similarity", limit)) == 2
    above = np.nextafter(np.float32(limit), np.float32(2))
    assert len(answers(capsys, *arguments, "--min-similarity", float(above))) == 1


def test_thresholds_that_are_refused(index, photos, run_folder, other_model, tmp_path, capsys):
    arguments = ["query", "--index", index, photos / "class 3" / "2.png"]
    calibrated = [*arguments, "--min-similarity", "calibrated"]
    assert "no such file. Run python -m pa_keras.evaluate" in failure(*calibrated)
    (run_folder / "result.json").write_text('{"metrics": {}}')
    assert 'it has no "calibration". Run python -m' in failure(*calibrated)
    calibrate(run_folder, 0.5, model="b" * 64)
    assert "received one of the model bbbbbbbbbbbb" in failure(*calibrated)
    calibrate(run_folder, 0.5, crop_fraction=0.875)
    assert "crop_fraction 1.0; received one for 0.875" in failure(*calibrated)
    calibrate(run_folder, 0.5)
    moved = (run_folder / "result.json").rename(tmp_path / "thresholds.json")
    do(*calibrated, "--calibration", moved)
    do(*calibrated, "--calibration", moved, "--model", run_folder / "best.keras")
    message = failure(*calibrated, "--model", run_folder / "best.keras")
    assert "received a model file alone. Give --calibration FILE" in message
    message = failure(*arguments, "--calibration", moved)
    assert "Expected --min-similarity calibrated, since --calibration is given" in message
    for value in ("1.5", "-1.5", ".nan"):
        message = failure(*arguments, f"--min-similarity={value}")
        assert "Expected a min_similarity of -1 to 1, a cosine; received" in message
    capsys.readouterr()
    assert failure(*arguments, "--min-similarity", "calibratd") == "2"
    assert "Expected float | calibrated | null; received calibratd" in capsys.readouterr().err
