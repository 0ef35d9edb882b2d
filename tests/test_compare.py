"""`compare`: the planned runs, the trained runs, and the report."""

import contextlib
import csv
import fcntl
import importlib.metadata
import json
import logging
import os
import signal
import subprocess
import sys
import time

import keras
import pytest
import yaml

from pa_keras import cli, compare, datasets
from pa_keras.cli import shipped_configs
from pa_keras.comparison import plan as plans
from pa_keras.comparison import run_cache
from pa_keras.config import CompareConfig
from pa_keras.runs.fingerprint import fingerprint, write_fingerprint
from pa_keras.runs.loss import resolved
from pa_keras.runs.models import make_models

BASE = """
model: {backbone: conv4, weights: null, batch_norm: train, embedding_size: 8}
data: {image_size: 16, crop_fraction: 1.0}
batches: {batch_size: 6}
training: {epochs: 2}
dataset: folder
"""


@pytest.fixture
def comparison(photos, tmp_path):
    """The settings of a comparison of two losses on the small photos, as a dict."""
    (tmp_path / "base.yaml").write_text(BASE)
    return {
        "out": str(tmp_path / "out"), "cache": str(tmp_path / "cache"),
        "base": str(tmp_path / "base.yaml"), "data_dir": str(photos), "seeds": [0],
        "runs": [{"name": "Ours", "loss": "proxy_anchor"}, {"name": "N-pair", "loss": "n_pair"}],
    }  # fmt: skip


def plan(settings):
    return plans.plan(CompareConfig(**settings))


def main(settings, tmp_path, *more):
    file = tmp_path / "comparison.yaml"
    file.write_text(yaml.safe_dump(settings))
    compare.main(["--config", str(file), *more])


@pytest.fixture
def trained(monkeypatch):
    """Replaces training: writes the files of a run, and lists the trained runs."""
    names = []

    def fake(config, folder, lock):
        names.append(f"{config.loss} {config.seed}")
        folder.mkdir(exist_ok=True)
        (folder / "config.yaml").write_text(cli.as_yaml(config))
        (folder / "versions.json").write_text('{"tensorflow": "2.20.0"}')
        (folder / "metrics.csv").write_text(
            "epoch,seconds,recall_at_1,recall_at_2,map_at_r\n1,5.0,0.2,0.3,0.1\n2,5.0,0.4,0.5,0.2\n"
        )
        (folder / "result.json").write_text("{}")

    monkeypatch.setattr(run_cache, "_fit", fake)
    return names


def test_the_complete_command_on_real_runs(comparison, tmp_path, capsys):
    main(comparison, tmp_path)
    out = tmp_path / "out"
    assert {path.name for path in out.iterdir()} == {
        "about.md", "comparison.yaml", "convergence.png", "table.csv", "table.md",
    }  # fmt: skip
    with (out / "table.csv").open(newline="") as file:
        rows = {row["name"]: row for row in csv.DictReader(file)}
    _, rival = plan(comparison)
    folder = tmp_path / "cache" / run_cache.run_name(rival.config)
    result = json.loads((folder / "result.json").read_text())
    found = float(rows["N-pair"]["best_recall_at_1_mean"])
    assert found == pytest.approx(result["metrics"]["recall_at_1"]), "as evaluated from disk"
    assert float(rows["N-pair"]["best_map_at_r_mean"]) == pytest.approx(
        result["metrics"]["map_at_r"]
    )
    about = (out / "about.md").read_text()
    assert f"- tensorflow: {importlib.metadata.version('tensorflow')}" in about
    assert "- processor: " in about
    assert f"pa_keras.fit --config {folder}/config.yaml" in about
    assert "| Ours |" in capsys.readouterr().out


def test_it_goes_on_where_it_stopped(comparison, tmp_path, trained, monkeypatch):
    comparison["seeds"] = [0, 1]
    fake = run_cache._fit

    def stop_in_the_third(config, folder, lock):
        if len(trained) == 2:
            folder.mkdir()
            (folder / "metrics.csv").write_text("half")
            raise KeyboardInterrupt
        fake(config, folder, lock)

    with monkeypatch.context() as patch:
        patch.setattr(run_cache, "_fit", stop_in_the_third)
        with pytest.raises(SystemExit, match="130"):
            main(comparison, tmp_path)
    assert trained == ["proxy_anchor 0", "n_pair 0"]
    main(comparison, tmp_path)
    assert trained[2:] == ["proxy_anchor 1", "n_pair 1"], "the half-written one is redone"
    main(comparison, tmp_path)
    assert len(trained) == 4
    assert "half" not in "".join(p.read_text() for p in tmp_path.glob("cache/*-seed*/metrics.csv"))


def test_comparisons_share_runs_whatever_their_names(comparison, tmp_path, trained):
    main(comparison, tmp_path)
    other = {**comparison, "out": str(tmp_path / "other")}
    other["runs"] = [{"name": "the same", "loss": "n_pair"}, {"name": "new", "loss": "triplet"}]
    main(other, tmp_path)
    assert trained == ["proxy_anchor 0", "n_pair 0", "triplet 0"]


def test_a_run_of_other_settings_is_another_run(comparison, tmp_path, trained):
    main(comparison, tmp_path)
    other = {**comparison, "out": str(tmp_path / "other"), "settings": {"training": {"epochs": 3}}}
    main(other, tmp_path)
    assert len(trained) == 4
    assert len(list((tmp_path / "cache").glob("n_pair-seed0-*"))) == 2


def test_a_run_that_another_process_trains_is_left_to_it(comparison, tmp_path, trained, caplog):
    caplog.set_level(logging.INFO)
    config = plan(comparison)[0].config
    cache = tmp_path / "cache"
    (cache / "unfinished").mkdir(parents=True)
    with (cache / "unfinished" / f"{run_cache.run_name(config)}.lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        assert run_cache.train(config, cache, wait=False) is None
    assert "Another process is training it" in caplog.text and not trained
    assert run_cache.train(config, cache) == cache / run_cache.run_name(config)


def started(comparison, tmp_path, program):
    """Starts a process of compare in a new session, with this program instead of fit."""
    (tmp_path / "comparison.yaml").write_text(yaml.safe_dump(comparison))
    fit = tmp_path / "fit"
    fit.write_text(f"#!{sys.executable}\n{program}")
    fit.chmod(0o755)
    code = (
        "import sys; from pa_keras import compare\n"
        f"sys.executable = r'{fit}'\n"
        f"compare.main(['--config', r'{tmp_path / 'comparison.yaml'}'])"
    )
    process = subprocess.Popen([sys.executable, "-c", code], start_new_session=True)
    for _ in range(1800):
        if (tmp_path / "began").exists():
            return process
        time.sleep(0.1)
    os.killpg(process.pid, signal.SIGKILL)
    raise AssertionError("fit was not started")


def test_a_run_goes_on_under_its_lock_when_compare_is_killed(comparison, tmp_path):
    """The process of `fit` also holds the lock: a new compare must not delete its files."""
    program = (
        "import os, pathlib, time\n"
        f"folder = pathlib.Path(r'{tmp_path}')\n"
        "(folder / 'pid').write_text(str(os.getpid()))\n"
        "(folder / 'began').touch()\n"
        "time.sleep(60)\n"
    )
    killed = started(comparison, tmp_path, program)
    config, cache = plan(comparison)[0].config, tmp_path / "cache"
    assert (cache / "unfinished" / f"{run_cache.run_name(config)}.yaml").exists()
    killed.kill()
    killed.wait()
    try:
        assert run_cache.train(config, cache, wait=False) is None
    finally:
        os.kill(int((tmp_path / "pid").read_text()), signal.SIGKILL)


@pytest.mark.parametrize("to_group", [True, False])
def test_a_run_that_is_interrupted_may_save_first(comparison, tmp_path, to_group):
    """Ctrl-C reaches both processes, `kill -INT` one; compare ends after the run is saved."""
    program = (
        "import pathlib, time; from pa_keras.training.callbacks.preemption import StopRequests\n"
        f"folder = pathlib.Path(r'{tmp_path}')\n"
        "with StopRequests() as requests, requests.held():\n"
        "    (folder / 'began').touch()\n"
        "    while requests.wanted is None: time.sleep(0.01)\n"
        "    time.sleep(2)\n"
        "    (folder / 'saved').touch()\n"
    )
    process = started(comparison, tmp_path, program)
    try:
        (os.killpg if to_group else os.kill)(process.pid, signal.SIGINT)
        assert process.wait(120) == 130
        assert (tmp_path / "saved").exists()
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)


def test_a_run_that_lost_its_result_is_completed_again(comparison, tmp_path, trained):
    config, cache = plan(comparison)[0].config, tmp_path / "cache"
    kept = run_cache.train(config, cache)
    (kept / "result.json").unlink()
    (kept / "mine.txt").write_text("kept")
    assert run_cache.train(config, cache) == kept
    assert len(trained) == 2 and (kept / "mine.txt").exists()


@pytest.mark.parametrize("state", ["no config", "other config", "trained again"])
def test_what_is_no_run_is_not_replaced(comparison, tmp_path, trained, state):
    config, cache = plan(comparison)[0].config, tmp_path / "cache"
    kept = run_cache.train(config, cache)
    if state == "other config":
        (kept / "config.yaml").write_text("seed: 9")
    else:
        (kept / "result.json").unlink()
    if state == "no config":
        (kept / "config.yaml").unlink()
    if state == "trained again":  # as by a version that could not put it back
        (cache / "unfinished" / kept.name).mkdir(parents=True)
    before = {path: path.read_bytes() for path in kept.iterdir()}
    with pytest.raises(FileExistsError, match="Move it away"):
        run_cache.train(config, cache)
    assert {path: path.read_bytes() for path in kept.iterdir()} == before and len(trained) == 1


def test_what_is_no_unfinished_run_is_not_deleted(comparison, tmp_path):
    config, cache = plan(comparison)[0].config, tmp_path / "cache"
    mine = cache / "unfinished" / run_cache.run_name(config) / "images.csv"
    mine.parent.mkdir(parents=True)
    mine.write_text("mine")
    with pytest.raises(FileExistsError, match=f"{mine.parent} has something in it"):
        run_cache.train(config, cache)
    assert mine.read_text() == "mine"


def test_results_are_written_into_no_folder_of_others(comparison, tmp_path, trained):
    """A file named comparison.yaml with these settings may not be from compare."""
    out = tmp_path / "out"
    main(comparison, tmp_path)
    assert (out / "table.md").exists()
    main(comparison, tmp_path)  # in its own folder, results are replaced
    kept = out / "comparison.yaml"
    kept.write_text(kept.read_text().partition("\n")[2])
    (out / "table.md").write_text("mine")
    with pytest.raises(SystemExit, match="that compare did not write"):
        main(comparison, tmp_path)
    assert (out / "table.md").read_text() == "mine"


def test_a_complete_run_that_was_not_moved_is_kept(comparison, tmp_path, trained):
    config, cache = plan(comparison)[0].config, tmp_path / "cache"
    folder = cache / "unfinished" / run_cache.run_name(config)
    folder.parent.mkdir(parents=True)
    run_cache._fit(config, folder, 0)
    assert run_cache.train(config, cache) is not None
    assert trained == ["proxy_anchor 0"] and not folder.exists()


def test_images_that_changed_between_the_runs(comparison, tmp_path, trained, photos):
    """Settings and names are the same, but the measured images are not."""
    main(comparison, tmp_path)
    folders = sorted((tmp_path / "cache").glob("*-seed0-*"))
    train = datasets.load("folder", str(photos)).train
    before = fingerprint({"train": train})
    for folder in folders:
        write_fingerprint(folder / "images.csv", before)
    held_out = {(f"other {part}", name): rest for (part, name), rest in before.items()}
    write_fingerprint(folders[0] / "images.csv", held_out)  # as with another seed
    main(comparison, tmp_path)
    (photos / "class 0" / "0.png").write_bytes(b"other")
    write_fingerprint(folders[1] / "images.csv", fingerprint({"train": train}))
    with pytest.raises(SystemExit, match="differ in 1, such as class 0/0.png. Delete the folder"):
        main(comparison, tmp_path)


def test_a_run_of_unknown_settings_is_passed_over(comparison, tmp_path, trained, caplog):
    config, cache = plan(comparison)[0].config, tmp_path / "cache"
    (cache / "proxy_anchor-seed0-old").mkdir(parents=True)
    (cache / "proxy_anchor-seed0-old" / "result.json").write_text("{}")
    (cache / "proxy_anchor-seed0-old" / "config.yaml").write_text("once: there was\n")
    assert run_cache.train(config, cache) is not None
    assert "proxy_anchor-seed0-old is ignored" in caplog.text
    assert run_cache.trained(config, cache) == cache / run_cache.run_name(config)


def test_a_run_of_before_a_setting_existed_is_found(comparison, tmp_path, trained):
    comparison["runs"][1]["loss"] = "contrastive"
    main(comparison, tmp_path)
    config, cache = plan(comparison)[1].config, tmp_path / "cache"
    kept = run_cache.trained(config, cache)
    settings = yaml.safe_load((kept / "config.yaml").read_text())
    del settings["loss_options"]["memory_size"], settings["loss_options"]["memory_warm_up_steps"]
    (kept / "config.yaml").write_text(yaml.safe_dump(settings))
    assert run_cache.trained(config, cache) == kept


def test_a_failed_run_stops_with_what_to_do(comparison, tmp_path):
    comparison["settings"] = {"data": {"on_bad_image": "error"}, "model": {"weights": "none.npz"}}
    with pytest.raises(SystemExit) as stopped:
        main(comparison, tmp_path)
    assert "same command" in str(stopped.value.code)
    assert not list((tmp_path / "cache").glob("*-seed*"))


def test_what_is_not_trained_is_left_out_on_request(comparison, tmp_path, trained):
    with pytest.raises(SystemExit, match="Expected a trained run"):
        main(comparison, tmp_path, "--train", "false")
    main({**comparison, "runs": comparison["runs"][:1], "out": str(tmp_path / "a")}, tmp_path)
    main({**comparison, "out": str(tmp_path / "b")}, tmp_path, "--train", "false")
    assert trained == ["proxy_anchor 0"]
    table = (tmp_path / "b" / "table.md").read_text()
    assert "1 of 2 runs are not trained yet" in table and "N-pair" not in table
    compare.main(["--config", str(tmp_path / "b" / "comparison.yaml")])
    assert trained == ["proxy_anchor 0", "n_pair 0"], "its own file trains"


def test_studies_draw_their_setting(comparison, tmp_path, trained):
    comparison["vary"] = {"data.label_noise": [0.0, 0.5]}
    main(comparison, tmp_path)
    names = {path.name for path in (tmp_path / "out").iterdir()}
    assert {"study.png", "convergence-0.0.png", "convergence-0.5.png"} <= names
    both = {**comparison, "out": str(tmp_path / "both"), "runs": comparison["runs"][:1]}
    both["vary"] = {"loss_options.alpha": [4, 8], "loss_options.margin": [0.0, 0.1]}
    main(both, tmp_path)
    assert (tmp_path / "both" / "heat_map.png").exists()
    areas = {**comparison, "out": str(tmp_path / "areas")}
    areas["vary"] = {"augmentation.area": [[0.2, 1.0], [0.5, 1.0]]}
    main(areas, tmp_path)
    assert len(list((tmp_path / "areas").glob("convergence-*.png"))) == 2
    header = (tmp_path / "both" / "table.md").read_text().splitlines()[0]
    assert "| loss_options.alpha | loss_options.margin |" in header


def test_the_folder_of_another_comparison(comparison, tmp_path, trained):
    main(comparison, tmp_path)
    main({**comparison, "seeds": [0, 1]}, tmp_path)
    assert "± " in (tmp_path / "out" / "table.md").read_text(), "more seeds are the same comparison"
    with pytest.raises(SystemExit, match="has other settings"):
        main({**comparison, "settings": {"training": {"epochs": 1}}}, tmp_path)
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine.txt").write_text("")
    with pytest.raises(SystemExit, match="has something in it"):
        main({**comparison, "out": str(tmp_path / "full")}, tmp_path)
    compare.main(["--config", str(tmp_path / "out" / "comparison.yaml")])
    assert len(trained) == 4, "its own file makes it again"


def test_a_base_leaves_other_losses_their_defaults(comparison, tmp_path):
    """Such as the config.yaml of a run, which contains the defaults of its loss."""
    base = cli.as_yaml(plan(comparison)[0].config)
    (tmp_path / "of_a_run.yaml").write_text(base)
    comparison["base"] = str(tmp_path / "of_a_run.yaml")
    comparison["runs"] += [{"name": "CosFace", "loss": "cosface"}]
    ours, pairs, cosface = (run.config for run in plan(comparison))
    assert ours.loss_options.margin == 0.1 and ours.batches.sampling == "random"
    assert pairs.batches.images_per_class == 2
    assert cosface.loss_options.margin == 0.35


def test_every_loss_starts_from_the_same_weights(comparison, float32_policy):
    starts = []
    for loss in ("proxy_anchor", "triplet", "soft_triple"):
        comparison["runs"] = [{"name": loss, "loss": loss}]
        config = plan(comparison)[0].config
        model, embedder = make_models(resolved(config), 5)
        starts.append([weight.copy() for weight in embedder.get_weights()])
        del model
        keras.backend.clear_session()
    for other in starts[1:]:
        assert all((a == b).all() for a, b in zip(starts[0], other, strict=True))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"runs": []}, "Expected runs"),
        ({"runs": [{"loss": "triplet"}]}, "each with a name"),
        ({"runs": [{"name": "a"}, {"name": "a", "loss": "triplet"}]}, "'a' more than once"),
        ({"runs": [{"name": "a", "loss": "tripplet"}]}, "run a: .*Did you mean triplet"),
        ({"runs": [{"name": "a", "los": "triplet"}]}, "Did you mean loss"),
        ({"runs": [{"name": "a", "loss_options": {"beta": 1.0}}]}, "run a: .*loss_options.beta"),
        (
            {"runs": [{"name": "a"}, {"name": "b", "training": {"epochs": 9}}]},
            "training.epochs for all runs, .* a: 2; b: 9",
        ),
        (
            {"runs": [{"name": "a"}, {"name": "b", "training": {"selection": "held_out"}}]},
            "a: reference_protocol; b: held_out",
        ),
        ({"seeds": [0, 0]}, "different seeds; received 0 more than once"),
        ({"vary": {"data.label_noise": [0, 0.0]}}, "different values of data.label_noise"),
        ({"vary": {"seed": [1, 2]}}, "Expected the seeds in seeds"),
        ({"vary": {"a": [1], "b": [1], "c": [1]}}, "at most two"),
        ({"vary": {"seed": []}}, "at most two settings in vary, each with values"),
        ({"seeds": []}, "one seed or more"),
        ({"settings": {"training": {"selection": "last"}}}, "measures each epoch"),
    ],
)
def test_bad_plans(comparison, changes, message):
    with pytest.raises(ValueError, match=f"(?s){message}"):
        plan({**comparison, **changes})


def test_a_batch_size_may_vary_over_all_runs(comparison):
    runs = plan({**comparison, "vary": {"batches.batch_size": [4, 6]}})
    assert [run.config.batches.batch_size for run in runs] == [4, 4, 6, 6]


@pytest.mark.parametrize(
    "name", sorted(path.stem for path in (shipped_configs.folder() / "compare").glob("*.yaml"))
)
def test_every_shipped_comparison_can_be_planned(name, tmp_path):
    parser = cli.make_parser(CompareConfig, "compare", "")
    arguments = ["--config", f"compare/{name}", "--seeds", "0"]
    if name != "glyphs":
        arguments += ["--data-dir", str(tmp_path)]
    config, _ = cli.parse(parser, CompareConfig, arguments, shipped=True)
    assert plans.plan(config)


def test_settings_of_a_comparison_on_the_command_line(tmp_path):
    parser = cli.make_parser(CompareConfig, "compare", "")
    arguments = [
        "--config", "compare/cars196_outliers", "--settings.data.outliers_dir", str(tmp_path),
        "--data-dir", str(tmp_path), "--vary", '{"data.outliers": [0.0, 0.1]}',
    ]  # fmt: skip
    config, _ = cli.parse(parser, CompareConfig, arguments, shipped=True)
    runs = plans.plan(config)
    assert {run.config.data.outliers_dir for run in runs} == {str(tmp_path)}
    assert {run.values for run in runs} == {(0.0,), (0.1,)}


def test_help_is_there_without_tensorflow():
    code = (
        "import sys; from pa_keras import compare\n"
        "try: compare.main(['--help'])\n"
        "except SystemExit: sys.exit('tensorflow' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0 and "compare/glyphs" in done.stdout
