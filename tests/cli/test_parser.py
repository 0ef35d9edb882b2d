"""Settings: where they come from, which of them override others, and what a typo reports."""

import re
import subprocess
import sys

import pytest
import yaml

from pa_keras import cli
from pa_keras.cli import shipped_configs
from pa_keras.config import (
    CompareConfig,
    EmbedConfig,
    EvaluateConfig,
    ExportConfig,
    FitConfig,
    ModelSource,
    SearchAddConfig,
    SearchBuildConfig,
    SearchQueryConfig,
)


def parse(*arguments):
    parser = cli.make_parser(FitConfig, "fit", "")
    return cli.parse(parser, FitConfig, arguments, shipped=True)[0]


@pytest.fixture
def no_shipped_configs(monkeypatch, tmp_path):
    folder = tmp_path / "configs"
    folder.mkdir()
    monkeypatch.setattr(shipped_configs, "folder", lambda: folder)
    return folder


def test_yaml_is_read_back_as_it_was_written(no_shipped_configs, tmp_path):
    config = parse("--seed=3", "--data.image_size=[32, 48]", "--evaluation.ks=[1, 10]")
    assert config.data.image_size == (32, 48) and config.evaluation.ks == (1, 10)
    (tmp_path / "again.yaml").write_text(cli.as_yaml(config))
    assert parse("--config", str(tmp_path / "again.yaml")) == config


def test_the_command_line_stands_above_the_file(no_shipped_configs, tmp_path):
    (tmp_path / "a.yaml").write_text("seed: 1\ntraining: {epochs: 7}\n")
    config = parse("--config", str(tmp_path / "a.yaml"), "--training.epochs", "9")
    assert (config.seed, config.training.epochs) == (1, 9)


def test_dashes_are_underscores(no_shipped_configs):
    assert parse("--data-dir=/my-photos", "--data.image-size=64").data_dir == "/my-photos"


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--evaluation.ks", "1", "10"], (1, 10)),
        (["--evaluation.ks", "5"], (5,)),
        (["--evaluation.ks=[2, 3]"], (2, 3)),
        (["--evaluation.ks", "[2, 3]"], (2, 3)),
        (["--evaluation.ks", "1", "2", "--seed", "3"], (1, 2)),
    ],
)
def test_lists(no_shipped_configs, arguments, expected):
    assert parse(*arguments).evaluation.ks == expected


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--data.crop-to-boxes"], True),
        (["--data.crop_to_boxes", "--seed", "1"], True),
        (["--data.crop_to_boxes", "false"], False),
        (["--data.crop_to_boxes=true"], True),
    ],
)
def test_switches(no_shipped_configs, arguments, expected):
    assert parse(*arguments).data.crop_to_boxes is expected


def test_some_settings_of_training_need_no_group(no_shipped_configs, capsys):
    training = parse("--deterministic", "--max-hours", "7.5").training
    assert training.deterministic is True and training.max_hours == 7.5
    assert parse("--deterministic=false", "--training.max_hours=2").training.max_hours == 2
    with pytest.raises(SystemExit, match="2"):
        parse("--epochs=3")  # others require it
    assert "Did you mean training.epochs?" in capsys.readouterr().err


def test_short_names_are_those_that_the_config_has():
    def help_of(config_class):
        return " ".join(cli.make_parser(config_class, "fit", "Trains.").format_help().split())

    known = re.findall(r"\(also --(\w+),", help_of(FitConfig))
    assert {"deterministic", "max_hours"} <= set(known)
    assert all(hasattr(FitConfig().training, name) for name in known)
    assert "(also" not in help_of(CompareConfig)


def test_a_shipped_config_goes_by_its_name_or_by_its_dataset(no_shipped_configs):
    (no_shipped_configs / "glyphs.yaml").write_text("dataset: glyphs\nseed: 11\n")
    (no_shipped_configs / "other.yaml").write_text("dataset: folder\nseed: 12\n")
    assert parse().seed == 11
    assert parse("--dataset", "cars196").seed == 0
    assert parse("--config", "other").seed == 12
    assert parse("--config=other", "--seed=4").seed == 4


@pytest.mark.parametrize(
    ("argument", "nearest"),
    [
        ("--data.imgsize=3", "data.image_size"),
        ("--margin=0.2", "loss_options.margin"),
        ("--data_dri=x", "data_dir"),
        ("--optimizer.learn-rate=1", "optimizer.learning_rate"),
    ],
)
def test_an_unknown_setting_offers_the_nearest(no_shipped_configs, capsys, argument, nearest):
    with pytest.raises(SystemExit, match="2"):
        parse(argument)
    assert f"Did you mean {nearest}?" in capsys.readouterr().err


def test_an_unknown_setting_in_a_file(no_shipped_configs, tmp_path, capsys):
    (tmp_path / "a.yaml").write_text("data: {imagesize: 3}\n")
    with pytest.raises(SystemExit, match="2"):
        parse("--config", str(tmp_path / "a.yaml"))
    assert "There is no setting data.imagesize. Did you mean data.image_size?" in (
        capsys.readouterr().err
    )


@pytest.mark.parametrize("text", ["a: [", "- 1\n- 2\n"])
def test_a_file_that_is_no_config(no_shipped_configs, tmp_path, capsys, text):
    (tmp_path / "a.yaml").write_text(text)
    with pytest.raises(SystemExit, match="2"):
        parse("--config", str(tmp_path / "a.yaml"))
    assert "See fit --help" in capsys.readouterr().err


def test_a_switch_in_a_file_may_be_a_yaml_word(no_shipped_configs, tmp_path):
    (tmp_path / "a.yaml").write_text("training: {jit_compile: off}\n")
    assert parse("--config", str(tmp_path / "a.yaml")).training.jit_compile is False


@pytest.mark.parametrize(
    "argument", ["--seed=a", "--augmentation.flip=maybe", "--loss=proxyanchor", "--data.cache=disk"]
)
def test_a_wrong_type_or_choice_names_the_setting(no_shipped_configs, capsys, argument):
    with pytest.raises(SystemExit, match="2"):
        parse(argument)
    assert argument[2:].partition("=")[0] in capsys.readouterr().err


def test_what_a_user_can_mend_is_a_message():
    def fail():
        raise ValueError("Expected more; received less.")

    with pytest.raises(SystemExit, match="error: Expected more; received less."):
        cli.run_command(fail)


def test_an_existing_file_or_a_missing_folder_is_found_before_the_work(tmp_path):
    (tmp_path / "there.npz").write_text("")
    with pytest.raises(FileExistsError, match="nothing is overwritten"):
        cli.expect_new(str(tmp_path / "there.npz"))
    with pytest.raises(FileNotFoundError, match="create it first"):
        cli.expect_new(str(tmp_path / "no" / "there.npz"))


@pytest.mark.parametrize("command", ["fit", "evaluate", "embed", "export", "compare"])
def test_help_explains_every_setting(command):
    result = subprocess.run(
        [sys.executable, "-m", f"pa_keras.{command}", "--help"],
        capture_output=True,
        text=True,
        check=True,
    )
    for setting in result.stdout.split("\n  --")[2:]:
        name = setting.split()[0]
        if name not in ("config", "print_config", "resume", "dry_run") and " CONFIG" not in setting:
            words = " ".join(setting.split()).partition("type: ")
            assert len(words[0].split()) > 4 and words[2], f"no explanation of {name}: {setting}"


def test_resolved_config_has_every_setting():
    written = yaml.safe_load(cli.as_yaml(FitConfig()))
    assert set(written) == set(FitConfig.__dataclass_fields__)


@pytest.mark.parametrize("arguments", [["--loss=tripplet"], ["--loss", "tripplet"]])
def test_a_misspelt_choice_offers_the_nearest(no_shipped_configs, capsys, arguments):
    parser = cli.make_parser(FitConfig, "fit", "")
    with pytest.raises(SystemExit):
        cli.parse(parser, FitConfig, arguments)
    assert "loss: there is no tripplet. Did you mean triplet?" in capsys.readouterr().err


def test_a_misspelt_choice_in_a_file(no_shipped_configs, tmp_path, capsys):
    (tmp_path / "c.yaml").write_text("batches: {sampling: ballanced}")
    parser = cli.make_parser(FitConfig, "fit", "")
    with pytest.raises(SystemExit):
        cli.parse(parser, FitConfig, ["--config", str(tmp_path / "c.yaml")])
    assert "Did you mean balanced?" in capsys.readouterr().err


def test_a_config_of_files_and_settings(tmp_path):
    (tmp_path / "c.yaml").write_text("seed: 3\nmodel: {backbone: conv4, weights: null}")
    settings = {
        "model": {"weights": "file.npz"}, "augmentation.area": [0.5, 1.0], "data_dir": "a b",
        "training": {"jit_compile": True}, "seed": 4,
    }  # fmt: skip
    config = cli.config_from(FitConfig, [str(tmp_path / "c.yaml")], settings)
    assert (config.seed, config.data_dir, config.training.jit_compile) == (4, "a b", True)
    assert (config.model.backbone, config.model.weights) == ("conv4", "file.npz")
    assert config.augmentation.area == (0.5, 1.0)
    with pytest.raises(ValueError, match="Did you mean model.weights"):
        cli.config_from(FitConfig, [], {"model": {"wheights": None}})


def test_the_hint_below_a_setting_that_is_no_group(no_shipped_configs, capsys):
    parser = cli.make_parser(FitConfig, "fit", "")
    with pytest.raises(SystemExit):
        cli.parse(parser, FitConfig, ["--loss.margin", "0.2"])
    assert "There is no setting loss.margin. Did you mean loss_options.margin?" in (
        capsys.readouterr().err
    )


def test_the_last_of_two_files_counts(no_shipped_configs, tmp_path, capsys):
    (tmp_path / "a.yaml").write_text("loss: triplet")
    (tmp_path / "b.yaml").write_text("loss: tripplet")
    files = [f"--config={tmp_path / name}" for name in ("a.yaml", "b.yaml")]
    with pytest.raises(SystemExit):
        cli.parse(cli.make_parser(FitConfig, "fit", ""), FitConfig, files)
    assert "Did you mean triplet?" in capsys.readouterr().err


def query_config(*arguments):
    parser = cli.make_parser(SearchQueryConfig, "query", "")
    return cli.parse(parser, SearchQueryConfig, ["--index", "i", *arguments])[0]


@pytest.mark.parametrize(
    "arguments",
    [
        ["a", "b", "--json", "-k", "2"],
        ["--json", "a", "b", "-k2"],  # a is not the value of --json
        ["--json=true", "a", "-k=2", "b"],  # values on both sides of an option
        ["--images", "a", "b", "--json", "true", "--k=2"],
        ["a", "--json", "b", "--k", "2"],
    ],
)
def test_values_without_an_option_in_any_place(arguments):
    config = query_config(*arguments)
    assert (config.images, config.k, config.json) == (("a", "b"), 2, True)


def test_a_value_that_looks_like_yaml_is_a_file_name():
    assert query_config("[1].jpg").images == ("[1].jpg",)
    assert query_config("1", "null").images == ("1", "null")
    assert query_config("--json", "false", "a").json is False


@pytest.mark.parametrize(
    "name", ["data.crop_to_boxes", "data.crop-to-boxes", "data.crop-to_boxes", "data.crop_to-boxes"]
)
def test_dashes_and_underscores_in_any_mixture(no_shipped_configs, name):
    assert parse(f"--{name}").data.crop_to_boxes is True


@pytest.mark.parametrize(
    "arguments",
    [
        ["--margin=0.2"], ["--loss=tripplet"], ["--seed=a"], ["--seed", "null"], ["--seed"],
        ["--config", "missing.yaml"], ["--config", "a: ["], ["--augmentation.area", "0.2"],
        ["--evaluation.ks", "1", "b"], ["stray"], ["-x"], ["--data", "3"],
        ["--data.image_size=[1, 2, 3]"], ["--model.weights=[", "--training.jit_compile=x"],
    ],
)  # fmt: skip
def test_an_error_is_one_line_and_code_2(no_shipped_configs, capsys, arguments):
    with pytest.raises(SystemExit) as stopped:
        parse(*arguments)
    assert stopped.value.code == 2
    message = capsys.readouterr().err
    assert message.startswith("fit: ") and message.endswith(" See fit --help.\n")
    assert message.count("\n") == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--data=3"], "There is no setting data. Did you mean data.image_size?"),
        (["--seed=null"], "seed: Expected int; received null."),
        (["--training.jit_compile=maybe"], "Expected one of auto, true, false; received maybe."),
        (["--data.image_size=x"], "data.image_size: Expected int | [int, int]; received x."),
        (["--config=nowhere"], "or the name of an experiment; received nowhere."),
        (["--determinstic"], "Did you mean training.deterministic?"),
        (["--settings.loss=a"], "There is no setting settings.loss. Did you mean loss?"),
    ],
)
def test_what_an_error_says(no_shipped_configs, capsys, arguments, message):
    with pytest.raises(SystemExit):
        parse(*arguments)
    assert message in capsys.readouterr().err


def test_a_missing_setting_is_named(capsys):
    with pytest.raises(SystemExit, match="2"):
        cli.parse(cli.make_parser(EmbedConfig, "embed", ""), EmbedConfig, [])
    assert "Expected --images and --out; received none." in capsys.readouterr().err


def test_the_command_line_stands_above_a_file_that_follows_it(no_shipped_configs, tmp_path):
    (tmp_path / "a.yaml").write_text("seed: 1\n")
    assert parse("--seed=2", "--config", str(tmp_path / "a.yaml")).seed == 2


def test_printed_settings_can_be_read_back(no_shipped_configs, tmp_path, capsys):
    def printed(config_class, *arguments):
        with pytest.raises(SystemExit) as stopped:
            cli.parse(cli.make_parser(config_class, "x", ""), config_class, arguments)
        assert not stopped.value.code
        return capsys.readouterr().out

    given = ["--run=r", "--ks", "1", "5", "--dataset", "cub200", "--queries", "a.jpg", "7"]
    text = printed(EvaluateConfig, *given, "--print-config")
    assert yaml.safe_load(text)["run"] == "r" and yaml.safe_load(text)["queries"] == ["a.jpg", 7]
    (tmp_path / "a.yaml").write_text(text)
    assert printed(EvaluateConfig, "--config", str(tmp_path / "a.yaml"), "--print_config") == text


@pytest.mark.parametrize(
    ("config_class", "required"),
    [
        (EvaluateConfig, []),
        (EmbedConfig, ["--images=i", "--out=o"]),
        (ExportConfig, ["--out=o"]),
        (SearchBuildConfig, ["--gallery=g", "--index=i"]),
        (SearchAddConfig, ["--gallery=g", "--index=i"]),
        (SearchQueryConfig, ["--index=i", "a.jpg"]),
    ],
)
def test_commands_for_trained_models_share_one_source(config_class, required):
    parser = cli.make_parser(config_class, "x", "")
    given = ["--run=r", "--model=m", "--crop-fraction=0.5", "--on-bad-image", "skip"]
    config, _ = cli.parse(parser, config_class, [*required, *given])
    assert config.source == ModelSource("r", "m", 0.5, "skip")
    assert cli.parse(parser, config_class, required)[0].source == ModelSource()


def test_the_help_needs_neither_jsonargparse_nor_tensorflow():
    code = (
        "import sys; from pa_keras import fit\n"
        "try: fit.main(['--help'])\n"
        "except SystemExit: sys.exit(len({'jsonargparse', 'tensorflow'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True).returncode == 0


def test_an_entry_of_a_dictionary_is_added_to_that_of_the_file():
    file = "{out: o, runs: [{name: a}], settings: {data: {outliers: 0.2}, seed: 1}}"
    parser = cli.make_parser(CompareConfig, "compare", "")
    arguments = ["--config", file, "--settings.data.outliers-dir", "d", "--settings.seed=2"]
    config, _ = cli.parse(parser, CompareConfig, arguments)
    assert config.settings == {"data": {"outliers": 0.2}, "data.outliers_dir": "d", "seed": 2}
    with pytest.raises(ValueError, match="settings: Expected dict"):
        cli.config_from(CompareConfig, [file], {"settings": 3})


def test_a_percent_sign_in_a_description_is_shown_once(capsys):
    with pytest.raises(SystemExit):
        cli.make_parser(EmbedConfig, "embed", "A 95 % interval.").parse_args(["--help"])
    assert "A 95 % interval." in capsys.readouterr().out
