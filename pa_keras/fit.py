"""`python -m pa_keras.fit`: from labelled images to a trained embedding model."""

import dataclasses
import logging
import sys
import time
import zlib
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING

from pa_keras import cli
from pa_keras.cli import shipped_configs
from pa_keras.config import FitConfig

if TYPE_CHECKING:
    import keras
    import tensorflow as tf

    from pa_keras.datasets import Dataset
    from pa_keras.runs.folder import RunFolder
    from pa_keras.training.checkpoint import State

# Not by __name__, which is __main__ under python -m: its lines would go nowhere.
logger = logging.getLogger("pa_keras.fit")

PROGRAM = "python -m pa_keras.fit"

# What a resumed run may change, since its result does not depend on it.
_OF_THIS_PROCESS = (
    "training.cluster",
    "training.max_hours",
    "training.profile",
    "training.save_minutes",
    "training.strategy",
)


def main(arguments: Sequence[str] | None = None) -> None:
    """Reads the settings, and trains or resumes."""
    started = time.monotonic()
    parser = cli.make_parser(
        FitConfig,
        PROGRAM,
        "Trains an embedding model, with Proxy-Anchor or another loss, and measures Recall@K on "
        "classes that it never saw. Without any setting it draws its own images and takes a few "
        "minutes. "
        "--config also takes the name of an experiment that ships with the package: "
        + ", ".join(sorted(path.stem for path in shipped_configs.folder().glob("*.yaml"))),
    )
    switch = {"action": "store_true"}
    cli.add_option(parser, "resume", "continue the run in --run_dir, with its settings", **switch)
    cli.add_option(parser, "dry_run", "check settings, images and model; train nothing", **switch)
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    config, flags = cli.parse(parser, FitConfig, arguments, shipped=True)
    cli.log_to()
    if flags.resume and flags.dry_run:
        parser.error("--resume trains, and --dry-run does not. Give one of them.")
    if flags.resume:
        cli.run_command(lambda: _resume(config.run_dir, arguments, parser, started))
    else:
        cli.run_command(lambda: _start(config, flags.dry_run, started))


def _start(config: FitConfig, dry_run: bool, started: float) -> None:
    # TensorFlow is imported from here on, so that --help and a misspelt setting need not wait.
    from pa_keras.runs.build import load_data, make_models
    from pa_keras.runs.checks import check
    from pa_keras.runs.folder import RunFolder, expect_new_run, new_run_folder
    from pa_keras.runs.images import fingerprint_of
    from pa_keras.runs.loss import resolved
    from pa_keras.runs.train import make_strategy, stoppable, train
    from pa_keras.training import distribution

    if config.training.strategy == "multi_worker" and config.run_dir is None:
        raise ValueError(
            "Expected --run-dir for training.strategy=multi_worker; received none. Give a new "
            "folder on a disk that every worker sees: to resume they read the state there."
        )
    if dry_run and config.training.strategy == "multi_worker":
        strategy = make_strategy(FitConfig())  # it waits for nobody
    else:
        strategy = make_strategy(config)
    writes = distribution.is_chief(strategy)
    if writes and not dry_run:
        expect_new_run(config.run_dir)
    config = resolved(config)
    with stoppable(config, started) as requests:
        dataset, selection, skipped = load_data(config)
        with distribution.naming_lost_workers(strategy), strategy.scope():
            model, embedder = make_models(config, dataset.train.num_classes)
            check(config, dataset, selection, model)
        if dry_run:
            sys.stdout.write(_summary(config, dataset, selection, embedder))
            return
        parts = dataset, selection, model, embedder, requests
        if not writes:
            train(config, RunFolder(Path(config.run_dir or "")), *parts, state=None)
            return
        images = fingerprint_of(dataset, selection)
        # Three states of weights and two moments each, as a new one is written beside two, and four
        # best models.
        folder = new_run_folder(config.run_dir, config.dataset, room=52 * model.count_params())
        with folder.locked():
            _describe(config, folder, images, skipped)
            train(config, folder, *parts, state=None)


def _describe(config: FitConfig, folder: "RunFolder", images: dict, skipped: dict) -> None:
    """Writes what the run is of; with the last of the files the folder is that of a run."""
    from pa_keras.files import save_whole
    from pa_keras.runs.fingerprint import write_fingerprint

    write_fingerprint(folder.images, images)
    folder.write_versions()
    (folder.path / "skipped_images.txt").write_text(
        "".join(f"{path}: {reason}\n" for path, reason in skipped.items())
    )
    # Without its folder in it, so that --config with this file makes another run.
    text = cli.as_yaml(dataclasses.replace(config, run_dir=None))
    save_whole(lambda path: Path(path).write_text(text), folder.config)


def _resume(
    run_dir: str | None,
    arguments: list[str],
    parser: cli.Parser,
    started: float,
) -> None:
    from pa_keras.runs.build import load_data, make_models
    from pa_keras.runs.checks import check_devices
    from pa_keras.runs.folder import existing_run_folder
    from pa_keras.runs.images import fingerprint_of
    from pa_keras.runs.train import make_strategy, stoppable, train
    from pa_keras.training import distribution
    from pa_keras.training.checkpoint import newest_state, restore_best

    folder = existing_run_folder(run_dir)
    config = _resumed_config(folder, run_dir, arguments, parser)
    strategy = make_strategy(config)
    writes = distribution.is_chief(strategy)
    with (
        stoppable(config, started) as requests,
        folder.locked() if writes else nullcontext(),
    ):
        state = newest_state(folder.state)
        if state is None and folder.result.exists():
            raise FileNotFoundError(
                f"Expected the states of the run in {folder.state}; they are gone, but the run has "
                "ended: there is nothing to go on with."
            )
        with distribution.naming_lost_workers(strategy):  # before anything is changed
            _expect_same_state(folder, state, strategy)
        dataset, selection, _ = load_data(config)
        _expect_same_images(folder, fingerprint_of(dataset, selection), writes)
        if writes:
            folder.drop_metrics_after(state.epoch if state else 0)
            if config.training.selection != "last":  # whose model is written at the very end
                restore_best(folder.state, state, folder.best_model)
        # All workers make a model together: none reads the metrics before they are put right.
        with distribution.naming_lost_workers(strategy), strategy.scope():
            model, embedder = make_models(config, dataset.train.num_classes)
            check_devices(config, model)
        train(config, folder, dataset, selection, model, embedder, requests, state)


def _expect_same_images(folder: "RunFolder", images: dict, writes: bool) -> None:
    from pa_keras.runs.fingerprint import expect_same, write_fingerprint

    if folder.images.exists():
        expect_same(folder.images, images)
    elif writes:
        logger.warning("%s is missing: the images of now are taken.", folder.images)
        write_fingerprint(folder.images, images)


def _expect_same_state(
    folder: "RunFolder", state: "State | None", strategy: "tf.distribute.Strategy"
) -> None:
    from pa_keras.training import distribution

    checksum = zlib.crc32(repr(sorted(state.checksums.items())).encode()) if state else 0
    if not distribution.all_have(checksum, strategy):
        raise ValueError(
            f"Expected every worker to go on from the same state; this one found {state or 'none'} "
            f"in {folder.state}, and others another. Let --run-dir be one folder that all see."
        )


def _resumed_config(
    folder: "RunFolder",
    run_dir: str | None,
    arguments: list[str],
    parser: cli.Parser,
) -> FitConfig:
    """The settings of the run, with how long to go on, when to save and where, as of now."""
    from pa_keras.runs.loss import resolved

    stored = [f"--config={folder.config}"]
    config, _ = cli.parse(parser, FitConfig, stored)
    asked, _ = cli.parse(parser, FitConfig, stored + arguments, shipped=True)
    config = dataclasses.replace(config, run_dir=run_dir)
    changed = _differences(dataclasses.asdict(config), dataclasses.asdict(asked))
    changed = [name for name in changed if name not in _OF_THIS_PROCESS]
    if changed:
        raise ValueError(
            "Expected a resumed run to keep its settings; received others for "
            f"{', '.join(changed)}. Leave them out, or start a new run with another --run-dir."
        )
    return resolved(dataclasses.replace(config, training=asked.training))


def _summary(
    config: FitConfig, dataset: "Dataset", selection: "Dataset | None", embedder: "keras.Model"
) -> str:
    """What a dry run found, after one batch was drawn."""
    import tensorflow as tf

    from pa_keras.runs.build import make_batches

    one = tf.distribute.get_strategy()  # of several replicas each would have its part of the batch
    images, _ = next(iter(make_batches(config, dataset.train, "none", one)))
    lines = [
        cli.as_yaml(config),
        f"train      {dataset.train}",
        f"selection  {selection.queries if selection else 'the last epoch'}",
        f"test       {dataset.queries}, gallery {dataset.gallery or 'the queries themselves'}",
        f"batch      {tuple(images.shape)}",
        f"model      {embedder.input_shape} -> {embedder.output_shape}, "
        f"{embedder.count_params():,} weights",
        "A dry run: nothing was trained or written.",
    ]
    return "\n".join(lines) + "\n"


def _differences(kept: dict, asked: dict, prefix: str = "") -> list[str]:
    names = []
    for name, value in kept.items():
        if isinstance(value, dict):
            names += _differences(value, asked[name], f"{prefix}{name}.")
        elif value != asked[name]:
            names.append(prefix + name)
    return names


if __name__ == "__main__":
    main()
