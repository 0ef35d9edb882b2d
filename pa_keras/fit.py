"""`python -m pa_keras.fit`: from labelled images to a trained embedding model."""

import sys
import time
from collections.abc import Sequence
from contextlib import nullcontext

from pa_keras import cli
from pa_keras.cli import shipped_configs
from pa_keras.config import FitConfig

PROGRAM = "python -m pa_keras.fit"


def main(arguments: Sequence[str] | None = None) -> None:
    """Reads the settings, and starts or resumes a run."""
    started = time.monotonic()
    parser = cli.make_parser(
        FitConfig,
        PROGRAM,
        "Trains an embedding model, with Proxy-Anchor or another loss, and measures Recall@K on "
        "unseen classes. Without any setting it draws its own images and takes a few minutes. "
        "--config also takes the name of an experiment that ships with the package: "
        + ", ".join(sorted(path.stem for path in shipped_configs.folder().glob("*.yaml"))),
    )
    switch = {"action": "store_true"}
    cli.add_option(
        parser,
        "resume",
        "continue the run in --run_dir, with its settings; more --training.epochs extend it",
        **switch,
    )
    cli.add_option(parser, "dry_run", "check settings, images and model; train nothing", **switch)
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    config, flags = cli.parse(parser, FitConfig, arguments, shipped=True)
    cli.log_to()
    if flags.resume and flags.dry_run:
        parser.error("--resume trains, and --dry-run does not. Give one of them.")
    if flags.resume:
        cli.run_command(lambda: _resume(config, arguments, parser, started))
    else:
        cli.run_command(lambda: _start(config, flags.dry_run, started))


def _start(config: FitConfig, dry_run: bool, started: float) -> None:
    # TensorFlow is imported only here, so that --help and a misspelt setting answer at once.
    from pa_keras.runs.build import build, expect_devices, make_strategy
    from pa_keras.runs.folder import expect_new_run
    from pa_keras.runs.loss import resolved
    from pa_keras.runs.start import expect_shared_folder, start
    from pa_keras.runs.summary import summary
    from pa_keras.runs.train import stoppable, train
    from pa_keras.training.distribution import is_chief

    if not dry_run:
        expect_shared_folder(config.training.strategy, config.run_dir)
    waits_for_nobody = dry_run and config.training.strategy == "multi_worker"
    strategy = make_strategy(FitConfig().training if waits_for_nobody else config.training)
    if is_chief(strategy) and not dry_run:
        expect_new_run(config.run_dir)
    config = resolved(config)
    expect_devices(config, strategy)
    with stoppable(config.training.max_hours, started) as requests:
        run = build(config, strategy)
        if dry_run:
            sys.stdout.write(summary(run))
            return
        with start(run) as folder:
            if run.writes:
                cli.log_to(folder.log)
            train(run, folder, requests)


def _resume(asked: FitConfig, arguments: list[str], parser: cli.Parser, started: float) -> None:
    """Reads the settings and the checkpoint, builds the run, and continues it from there."""
    from pa_keras.runs.build import build, expect_devices, make_strategy
    from pa_keras.runs.folder import existing_run_folder
    from pa_keras.runs.loss import resolved
    from pa_keras.runs.resume import (
        read_checkpoint,
        record_epochs,
        resumed_config,
        rewind,
        warn_of_other_cpu_settings,
    )
    from pa_keras.runs.train import stoppable, train
    from pa_keras.training.distribution import is_chief

    folder = existing_run_folder(asked.run_dir)
    stored = [f"--config={folder.config}"]
    before = cli.parse(parser, FitConfig, stored)[0]
    config = resolved(
        resumed_config(before, cli.parse(parser, FitConfig, stored + arguments, shipped=True)[0])
    )
    strategy = make_strategy(config.training)
    expect_devices(config, strategy)
    with (
        stoppable(config.training.max_hours, started) as requests,
        folder.locked() if is_chief(strategy) else nullcontext(),
    ):
        if is_chief(strategy):
            cli.log_to(folder.log)
            warn_of_other_cpu_settings(folder)
        checkpoint = read_checkpoint(folder, strategy)
        run = build(config, strategy)
        rewind(run, folder, checkpoint)
        if run.writes:
            record_epochs(folder, before, config.training.epochs)
        train(run, folder, requests, checkpoint)


if __name__ == "__main__":
    main()
