"""`python -m pa_keras.fit`: from labelled images to a trained embedding model."""

import dataclasses
import json
import logging
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from pa_keras import command_line, experiments
from pa_keras.config import FitConfig

if TYPE_CHECKING:
    import jsonargparse
    import keras

    from pa_keras.datasets import Dataset
    from pa_keras.training.run_folder import RunFolder

# Not by __name__, which is __main__ under python -m: its lines would go nowhere.
logger = logging.getLogger("pa_keras.fit")

PROGRAM = "python -m pa_keras.fit"


def main(arguments: Sequence[str] | None = None) -> None:
    """Reads the settings, and trains or resumes."""
    parser = command_line.make_parser(
        FitConfig,
        PROGRAM,
        "Trains an embedding model, with Proxy-Anchor or another loss, and measures Recall@K on "
        "classes that it never saw. Without any setting it draws its own images and takes a few "
        "minutes. "
        "--config also takes the name of an experiment that ships with the package: "
        + ", ".join(sorted(path.stem for path in experiments.folder().glob("*.yaml"))),
    )
    parser.add_argument(
        "--resume", action="store_true", help="go on with the run in --run-dir, with its settings"
    )
    parser.add_argument(
        "--dry_run", action="store_true", help="check settings, images and model; train nothing"
    )
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    config, flags = command_line.parse(parser, FitConfig, arguments, shipped=True)
    command_line.log_to()
    if flags.resume:
        command_line.run_command(lambda: _resume(config.run_dir, arguments, parser))
    else:
        command_line.run_command(lambda: _start(config, dry_run=flags.dry_run))


def _start(config: FitConfig, dry_run: bool) -> None:
    # TensorFlow is imported from here on, so that --help and a misspelt setting need not wait.
    from pa_keras import assembly, loss_choice
    from pa_keras.training.run_folder import expect_new_run, new_run_folder

    if not dry_run:
        expect_new_run(config.run_dir)
    config = loss_choice.resolved(config)
    dataset, selection, skipped = assembly.load_data(config)
    model, embedder = assembly.make_models(config, dataset.train.num_classes)
    assembly.check(config, dataset, selection, model)
    if dry_run:
        sys.stdout.write(_summary(config, dataset, selection, embedder))
        return
    # Weights, two moments for each, and the best model: written aside before they are replaced.
    folder = new_run_folder(config.run_dir, config.dataset, room=32 * model.count_params())
    # Without its folder, so that --config with this file makes another run.
    folder.config.write_text(command_line.as_yaml(dataclasses.replace(config, run_dir=None)))
    folder.write_versions()
    (folder.path / "skipped_images.txt").write_text(
        "".join(f"{path}: {reason}\n" for path, reason in skipped.items())
    )
    _train(config, folder, dataset, selection, model, embedder)


def _resume(
    run_dir: str | None, arguments: list[str], parser: "jsonargparse.ArgumentParser"
) -> None:
    from pa_keras import assembly, loss_choice
    from pa_keras.training.callbacks import finished_epochs
    from pa_keras.training.run_folder import existing_run_folder

    folder = existing_run_folder(run_dir)
    stored = [f"--config={folder.config}"]
    config, _ = command_line.parse(parser, FitConfig, stored)
    asked, _ = command_line.parse(parser, FitConfig, stored + arguments, shipped=True)
    config = dataclasses.replace(config, run_dir=run_dir)
    changed = _differences(dataclasses.asdict(config), dataclasses.asdict(asked))
    if changed:
        raise ValueError(
            "Expected a resumed run to keep its settings; received others for "
            f"{', '.join(changed)}. Leave them out, or start a new run with another --run-dir."
        )
    config = loss_choice.resolved(config)
    folder.drop_metrics_after(finished_epochs(folder.state))
    dataset, selection, _ = assembly.load_data(config)
    model, embedder = assembly.make_models(config, dataset.train.num_classes)
    _train(config, folder, dataset, selection, model, embedder)


def _train(
    config: FitConfig,
    folder: "RunFolder",
    dataset: "Dataset",
    selection: "Dataset | None",
    model: "keras.Model",
    embedder: "keras.Model",
) -> None:
    from pa_keras import assembly, loss_choice
    from pa_keras.pipelines import fill_cache, steps_per_epoch
    from pa_keras.training import phases

    command_line.log_to(folder.path / "fit.log")
    logger.info("%s: %s, test %s.", dataset.name, dataset.train, dataset.queries)
    steps = steps_per_epoch(len(dataset.train), config.batches.batch_size)
    cache = fill_cache(dataset.train.paths, config.data.cache)  # once, for both phases
    optimizer = assembly.make_optimizers(config, model, steps)
    try:
        phases.train(
            model,
            lambda epoch: assembly.make_batches(config, dataset.train, cache, epoch),
            steps,
            phases.phases(config.training.epochs, config.training.warmup_epochs),
            lambda phase: optimizer(phase.first_epoch),
            loss_choice.make_loss(config, dataset.train.num_classes),
            assembly.make_callbacks(config, folder, selection, model, embedder, steps),
            folder.state,
            config.model.batch_norm,
            assembly.jit_compile(config.training.jit_compile),
            config.training.steps_per_execution,
            statistics_in_warmup=config.recipe == "reference",
            verbose=1 if sys.stdout.isatty() else 2,
        )
    except KeyboardInterrupt:
        logger.info("Stopped. Go on with: %s --run-dir %s --resume", PROGRAM, folder.path)
        raise
    _finish(config, folder, dataset, model, embedder)


def _finish(
    config: FitConfig,
    folder: "RunFolder",
    dataset: "Dataset",
    model: "keras.Model",
    embedder: "keras.Model",
) -> None:
    """Saves the last model if none was selected; evaluates the kept one from disk; draws."""
    import keras

    from pa_keras import plots
    from pa_keras.training.callbacks import save_whole
    from pa_keras.training.evaluation import evaluate

    rows = folder.read_metrics()
    epoch = len(rows)
    if config.training.selection == "last":
        embedder.set_weights(model.get_layer("embedding_model").get_weights())
        save_whole(embedder.save, folder.best_model)
    else:
        epoch = int(max(rows, key=lambda row: row["recall_at_1"])["epoch"])
    found = evaluate(
        keras.saving.load_model(folder.best_model, compile=False),
        dataset.queries,
        dataset.gallery,
        crop_fraction=config.data.crop_fraction,
        batch_size=config.evaluation.batch_size,
        ks=config.evaluation.ks,
        method=config.evaluation.search,
    )
    seconds = sum(row["seconds"] for row in rows)
    result = {"epoch": epoch, "training_seconds": seconds, **found.as_json()}
    plots.curves(rows, folder.path / "curves.png")
    plots.retrieved(dataset.queries, dataset.gallery, found.indices, folder.path / "neighbours.png")
    # Last, and at once: a run with a result is whole.
    text = json.dumps(result, indent=2) + "\n"
    save_whole(lambda path: Path(path).write_text(text), folder.result)
    recalls = ", ".join(f"Recall@{k} {100 * found.metrics[f'recall_at_{k}']:.1f}"
                        for k in config.evaluation.ks)  # fmt: skip
    sys.stdout.write(
        f"{folder.best_model}: epoch {epoch}, {recalls} on {found.num_classes} unseen classes. "
        f"Next: python -m pa_keras.evaluate --run {folder.path}\n"
    )


def _summary(
    config: FitConfig, dataset: "Dataset", selection: "Dataset | None", embedder: "keras.Model"
) -> str:
    """What a dry run found, after one batch was drawn."""
    from pa_keras import assembly

    images, _ = next(iter(assembly.make_batches(config, dataset.train, "none", 0)))
    lines = [
        command_line.as_yaml(config),
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
