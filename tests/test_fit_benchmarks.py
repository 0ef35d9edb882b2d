"""`fit` on small benchmarks in their official layouts, and every experiment that ships."""

import json
import sys

import pytest

from pa_keras import cli, fit
from pa_keras.cli import shipped_configs
from pa_keras.config import FitConfig
from pa_keras.runs.loss import resolved
from tests.datasets.official_layouts import (
    small_counts,
    write_cars196,
    write_cub200,
    write_inshop,
    write_sop,
)

pytestmark = pytest.mark.usefixtures("float32_policy")

WRITERS = {
    "cub200": write_cub200,
    "cars196": write_cars196,
    "sop": write_sop,
    "inshop": write_inshop,
}
SMALL = [
    "--model.backbone=conv4", "--model.weights=null", "--model.batch_norm=train",
    "--model.embedding_size=8", "--data.image_size=16", "--batches.batch_size=6",
    "--training.epochs=2",
]  # fmt: skip
CONFIGS = sorted(path.stem for path in shipped_configs.folder().glob("*.yaml"))
OF_BENCHMARKS = [name for name in CONFIGS if name.split("_")[0] in WRITERS]


@pytest.mark.parametrize("recipe", ["default", "reference"])
@pytest.mark.parametrize("dataset", WRITERS)
def test_each_layout_end_to_end(dataset, recipe, tmp_path, monkeypatch):
    small_counts(monkeypatch, classes=12, images=4)
    root = WRITERS[dataset](tmp_path / "set", classes=12, images=4)
    place = ["--dataset", dataset, "--data-dir", str(root), "--recipe", recipe]
    fit.main([*place, *SMALL, "--run-dir", str(tmp_path / "run")])
    result = json.loads((tmp_path / "run" / "result.json").read_text())
    assert result["num_classes"] == 6
    # In-Shop searches the gallery for one query of each class.
    assert result["num_queries"] == (6 if dataset == "inshop" else 24)
    # The config of the data set has the K of the papers.
    assert ("recall_at_10" in result["metrics"]) == (dataset in ("sop", "inshop"))
    assert 0 <= result["metrics"]["recall_at_1"] <= 1


@pytest.fixture(scope="module")
def sets(tmp_path_factory):
    """The four data sets, with enough images for the batches of the experiments."""
    folder = tmp_path_factory.mktemp("sets")
    return {name: write(folder / name, classes=16, images=46) for name, write in WRITERS.items()}


@pytest.mark.parametrize("config", OF_BENCHMARKS)
def test_every_experiment_passes_a_dry_run(config, sets, tmp_path, monkeypatch, capsys):
    small_counts(monkeypatch, classes=16, images=46)
    monkeypatch.chdir(tmp_path)
    settings = cli.config_from(FitConfig, [config], {})
    dataset = config.split("_")[0]
    # cars196_160px and cars196_80px are for a manifest of crops.
    place = ["--dataset", dataset, "--data-dir", str(sets[dataset])]
    # The published weights are a download.
    fit.main(["--config", config, *place, "--model.weights=null", "--dry-run"])
    out = capsys.readouterr().out
    size = settings.augmentation.image_size or settings.data.image_size
    assert f"batch      ({settings.batches.batch_size}, {size}, {size}, 3)" in out
    assert f"-> (None, {settings.model.embedding_size})" in out
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("dataset", ["cub200", "cars196"])
def test_one_row_for_each_network_of_the_papers_tables(dataset):
    for network, batch_size in (("bn_inception", 180), ("resnet50", 120)):
        settings = cli.config_from(FitConfig, [f"{dataset}_{network}"], {})
        assert settings.recipe == "reference"
        assert settings.batches.batch_size == batch_size
        assert settings.model.batch_norm == "frozen_statistics"
        assert settings.augmentation.area == (0.08, 1.0)  # from the recipe


def test_the_default_recipe_is_what_nothing_gives():
    assert cli.config_from(FitConfig, [], {"recipe": "default"}) == FitConfig()


def test_a_recipe_stands_below_what_is_given_beside_it(tmp_path):
    file = tmp_path / "mine.yaml"
    file.write_text("{optimizer: {learning_rate: 0.5}, training: {epochs: 3}}")
    settings = cli.config_from(FitConfig, [str(file)], {"recipe": "reference"})
    assert (
        settings.optimizer.learning_rate == 1e-4
    )  # given as an argument, which overrides the file
    assert settings.training.epochs == 3
    file.write_text("{recipe: reference, optimizer: {learning_rate: 0.5}}")
    settings = cli.config_from(FitConfig, [str(file)], {"optimizer.decay": "cosine"})
    assert (settings.optimizer.learning_rate, settings.optimizer.decay) == (0.5, "cosine")
    assert settings.optimizer.decay_epochs == 10


def test_a_recipe_leaves_the_file_that_is_of_it_as_it_is():
    row = cli.config_from(FitConfig, ["sop_bn_inception"], {})
    again = cli.config_from(FitConfig, ["sop_bn_inception"], {"recipe": "reference"})
    assert again == row
    other = cli.config_from(FitConfig, ["sop_bn_inception"], {"recipe": "default"})
    assert (other.optimizer.learning_rate, other.model.batch_norm) == (3e-4, "frozen")


@pytest.mark.parametrize("how", ["home", "inline"])
def test_a_recipe_counts_wherever_its_file_is(how, tmp_path, monkeypatch):
    text = "{recipe: reference, seed: 3}"
    (tmp_path / "mine.yaml").write_text(text)
    monkeypatch.setenv("HOME", str(tmp_path))
    given = "~/mine.yaml" if how == "home" else text
    settings = cli.config_from(FitConfig, [given], {})
    assert (settings.seed, settings.augmentation.area) == (3, (0.08, 1.0))


def test_an_abbreviated_setting_is_refused(capsys):
    with pytest.raises(SystemExit):
        fit.main(["--recip", "reference"])
    assert "There is no setting recip. Did you mean recipe?" in capsys.readouterr().err


def test_a_loss_of_pairs_has_balanced_batches_in_the_reference_recipe():
    settings = cli.config_from(FitConfig, [], {"recipe": "reference", "loss": "triplet"})
    assert resolved(settings).batches.sampling == "balanced"
    settings = cli.config_from(FitConfig, [], {"recipe": "reference"})
    assert resolved(settings).batches.sampling == "random"


def test_a_misspelt_recipe_offers_the_nearest(capsys):
    with pytest.raises(SystemExit):
        fit.main(["--recipe", "referense"])
    assert "recipe: there is no referense. Did you mean reference?" in capsys.readouterr().err


def test_the_ks_of_each_set_are_those_of_its_papers():
    ks = {name: cli.config_from(FitConfig, [name], {}).evaluation.ks for name in WRITERS}
    assert ks == {
        "cub200": (1, 2, 4, 8),
        "cars196": (1, 2, 4, 8),
        "sop": (1, 10, 100, 1000),
        "inshop": (1, 10, 20, 30, 40, 50),
    }


def test_the_help_names_the_experiments(capsys, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["fit"])
    with pytest.raises(SystemExit) as stopped:
        fit.main(["--help"])
    assert stopped.value.code == 0
    text = " ".join(capsys.readouterr().out.split())
    assert all(name in text for name in OF_BENCHMARKS)
