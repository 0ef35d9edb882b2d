"""The table and file of the benchmarks, and the cost of a loss step as a ratio."""

import sys
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).parents[1]


@pytest.fixture
def benchmarks(monkeypatch):
    """The benchmarks are not part of the package: they are found only from the root."""
    monkeypatch.syspath_prepend(str(ROOT))
    before = set(sys.modules)
    import benchmarks.parts.loss
    import benchmarks.run

    yield benchmarks
    for name in set(sys.modules) - before:
        if name.split(".")[0] == "benchmarks":
            del sys.modules[name]


def test_a_row_is_the_median_of_the_ratios(benchmarks):
    rows = benchmarks.rows
    ours, peer = np.array([1.0, 2.0, 4.0]), np.array([2.0, 6.0, 20.0])
    row = rows.faster("what", ours, peer, "peer", at_least=3.5)
    assert (row.ratio, row.spread, row.bar, row.met) == (
        "3.00 x as fast",
        "2.50 to 4.00",
        ">= 3.5",
        False,
    )
    assert (row.ours, row.peer) == ("2 s", "peer 6 s")
    row = rows.no_slower("what", ours, peer, "peer", at_most=0.4)
    assert (row.ratio, row.met) == ("0.33 x its time", True)
    assert rows.no_slower("what", ours, peer, "peer").met is None
    assert rows.exponent(ours, 3 * ours**2) == pytest.approx(2)


def test_a_section_replaces_its_own_and_no_other(benchmarks, tmp_path):
    run, path = benchmarks.run, tmp_path / "performance.md"
    for title in ("Search", "The loss step", "Search"):
        run.write_section(path, title, f"| of {title} |\n\nat {path.exists()}")
    text = path.read_text()
    head = run.HEAD.format(instruction_set=run._kind())
    assert text.startswith(head) and text.count("## ") == 2
    assert text.index("The loss step |") < text.index("Search |")
    assert "| of Search |\n\nat True" in text and "| of The loss step |\n\nat True" in text


@pytest.mark.parametrize("instruction_set", ["AVX2", "AVX-512 VNNI"])
def test_the_file_in_the_docs_is_as_the_command_writes_it(benchmarks, tmp_path, instruction_set):
    run = benchmarks.run
    text = run.file_of(instruction_set).read_text()
    copy = tmp_path / "performance.md"
    copy.write_text(text)
    title = next(each for each in run.PARTS.values() if f"## {each}\n" in text)
    content = text.split(f"## {title}\n\n")[1].split("\n\n## ")[0].rstrip("\n")
    run.write_section(copy, title, content)
    assert copy.read_text() == text


def test_each_instruction_set_has_a_page(benchmarks):
    names = ["AVX-512 VNNI", "AVX-512", "AVX2", "other"]
    found = [benchmarks.run.file_of(name).name for name in names]
    assert found == ["performance_avx512.md"] * 2 + ["performance_avx2.md", "performance_other.md"]


def test_a_profile_adds_up_the_operations_of_all_threads(benchmarks):
    from tensorflow.tsl.profiler.protobuf import xplane_pb2

    from benchmarks.step_profile import operation_times

    space = xplane_pb2.XSpace()
    plane = space.planes.add()
    names = ["model/conv1:Conv2D", "model/conv2:Conv2D", "Executor::Process", "a:MatMul", "loop"]
    for number, name in enumerate(names):
        plane.event_metadata[number].name = name
        line = plane.lines.add()
        line.events.add(metadata_id=number, duration_ps=(number + 1) * 10**9)
    found = operation_times(space.SerializeToString())
    assert found == pytest.approx({"Conv2D": 0.003, "MatMul": 0.004})


def test_a_missing_peer_is_named(benchmarks, monkeypatch, tmp_path):
    monkeypatch.setenv("PA_KERAS_PEERS", str(tmp_path))
    with pytest.raises(FileNotFoundError, match=r"torch.*make\.sh"):
        benchmarks.peer.Peer("torch")
    row = benchmarks.rows.missing("what", "faiss", "not there")
    assert row.is_missing
    assert "faiss: not there" in benchmarks.run.as_text([row])


@pytest.mark.large
def test_a_loss_step_takes_less_than_twice_its_three_products(benchmarks):
    loss, rows = benchmarks.parts.loss, benchmarks.rows
    sides = {
        "ours": rows.here(loss.our_step(11_318)),
        "bare": rows.here(loss.bare_products(11_318)),
    }
    seconds = rows.in_turns(sides, turns=15)
    # The best turn of each, because other work on the machine only adds time.
    assert seconds["ours"].min() < 2.0 * seconds["bare"].min()


@pytest.mark.large
def test_a_loss_step_adds_at_most_two_and_a_half_arrays(benchmarks):
    few, many = 200_000, 500_000
    added = benchmarks.loss_memory.added
    slope = (added(many) - added(few)) / (many - few)
    assert slope / (4 * benchmarks.parts.loss.BATCH) <= 2.5


@pytest.mark.large
def test_the_start_on_many_images_is_measured_up_to_the_first_step(benchmarks, tmp_path, capsys):
    from benchmarks import many_images

    folder = tmp_path / "images"
    many_images.make(folder, images=600, classes=120, files=20)
    assert len({path.stat().st_ino for path in folder.glob("class*/*.jpg")}) == 20
    assert len((folder / "manifest.csv").read_text().splitlines()) == 601
    many_images.measure(folder, balanced=True)
    text = capsys.readouterr().out
    assert text.rstrip().endswith("from the start to the end of the first step")
    assert not (folder / "run").exists()
