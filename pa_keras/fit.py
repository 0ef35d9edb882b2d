"""`python -m pa_keras.fit`: from labelled images to a trained embedding model."""

import dataclasses
import json
import logging
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from pa_keras import command_line
from pa_keras.config import FitConfig

if TYPE_CHECKING:
    import jsonargparse
    import keras

    from pa_keras.datasets import Dataset, Images
    from pa_keras.training.run_folder import RunFolder

logger = logging.getLogger(__name__)

PROGRAM = "python -m pa_keras.fit"


def main(arguments: Sequence[str] | None = None) -> None:
    """Reads the settings, and trains or resumes."""
    parser = command_line.make_parser(
        FitConfig,
        PROGRAM,
        "Trains an embedding model with Proxy-Anchor loss and measures Recall@K on classes that "
        "it never saw. Without any setting it draws its own images and takes a few minutes. "
        "--config also takes the name of an experiment that ships with the package: "
        + ", ".join(sorted(path.stem for path in command_line.config_folder().glob("*.yaml"))),
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
    from pa_keras.training.run_folder import new_run_folder

    dataset, selection, skipped = _load(config)
    model, embedder = _models(config, dataset.train.num_classes)
    if dry_run:
        sys.stdout.write(_summary(config, dataset, selection, embedder))
        return
    # Weights, two moments for each, and the best model: written aside before they are replaced.
    folder = new_run_folder(config.run_dir, config.dataset, room=32 * model.count_params())
    config = dataclasses.replace(config, run_dir=str(folder.path))
    folder.config.write_text(command_line.as_yaml(config))
    folder.write_versions()
    (folder.path / "skipped_images.txt").write_text("".join(f"{path}: {reason}\n" for path, reason in skipped.items()))
    _train(config, folder, dataset, selection, model, embedder)


def _resume(run_dir: str | None, arguments: list[str], parser: "jsonargparse.ArgumentParser") -> None:
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
    folder.drop_metrics_after(finished_epochs(folder.state))
    dataset, selection, _ = _load(config)
    model, embedder = _models(config, dataset.train.num_classes)
    _train(config, folder, dataset, selection, model, embedder)


def _load(config: FitConfig) -> tuple["Dataset", "Dataset | None", dict[str, str]]:
    """The data set, the one to select the best epoch by, and the files that are left out."""
    from pa_keras import datasets
    from pa_keras.training.data import load_checked

    dataset, skipped = load_checked(
        config.dataset,
        config.data_dir,
        on_bad_image=config.data.on_bad_image,
        test_fraction=config.data.test_fraction,
        crop_to_boxes=config.data.crop_to_boxes,
    )
    match config.training.selection:
        case "held_out":
            train, held_out = datasets.hold_out_classes(
                dataset.train, config.training.held_out_fraction, seed=config.seed
            )
            dataset = dataclasses.replace(dataset, train=train)
            return dataset, datasets.Dataset("held out", train, held_out), skipped
        case "reference_protocol":
            return dataset, dataset, skipped
    return dataset, None, skipped


def _models(config: FitConfig, num_classes: int) -> tuple["keras.Model", "keras.Model"]:
    """The model to train, and the embedding model at the size of the evaluation.

    Where both sizes are the same, the second is a part of the first.
    """
    import keras

    from pa_keras import models

    keras.utils.set_random_seed(config.seed)
    keras.config.set_dtype_policy(config.training.precision)
    settings = config.model
    evaluation_size = _both(config.data.image_size)
    training_size = _both(config.augmentation.image_size or evaluation_size)

    def embedder(size: tuple[int, int], weights: str | None) -> "keras.Model":
        return models.embedding_model(
            settings.backbone, settings.embedding_size, size, weights, settings.batch_norm
        )

    trained = embedder(training_size, settings.weights)
    model = models.with_proxies(trained, num_classes)
    if training_size == evaluation_size:
        return model, trained
    evaluated = embedder(evaluation_size, None)
    evaluated.set_weights(trained.get_weights())
    return model, evaluated


def _train(
    config: FitConfig,
    folder: "RunFolder",
    dataset: "Dataset",
    selection: "Dataset | None",
    model: "keras.Model",
    embedder: "keras.Model",
) -> None:
    from pa_keras.losses import ProxyAnchorLoss
    from pa_keras.pipelines import steps_per_epoch
    from pa_keras.training import phases

    command_line.log_to(folder.path / "fit.log")
    logger.info("%s: %s, test %s.", dataset.name, dataset.train, dataset.queries)
    steps = steps_per_epoch(len(dataset.train), config.batches.batch_size)
    num_classes = dataset.train.num_classes
    try:
        phases.train(
            model,
            lambda epoch: _batches(config, dataset.train, epoch),
            steps,
            phases.phases(config.training.epochs, config.training.warmup_epochs),
            lambda phase: _optimizer(config, model, steps, phase.first_epoch),
            ProxyAnchorLoss(**vars(config.loss_options), num_classes=num_classes),
            _callbacks(config, folder, selection, model, embedder, steps),
            folder.state,
            config.model.batch_norm,
            _jit_compile(config.training.jit_compile),
            verbose=1 if sys.stdout.isatty() else 2,
        )
    except KeyboardInterrupt:
        logger.info("Stopped. Go on with: %s --run-dir %s --resume", PROGRAM, folder.path)
        raise
    _finish(config, folder, dataset, model, embedder)


def _batches(config: FitConfig, images: "Images", first_epoch: int):
    from pa_keras.pipelines import training_batches

    return training_batches(
        images.paths,
        images.labels,
        batch_size=config.batches.batch_size,
        image_size=_both(config.augmentation.image_size or config.data.image_size),
        seed=config.seed,
        classes_per_batch=config.batches.classes_per_batch,
        images_per_class=config.batches.images_per_class,
        area=config.augmentation.area,
        ratio=config.augmentation.ratio,
        flip=config.augmentation.flip,
        augmentation=config.augmentation.extra,
        cache=config.data.cache,
        first_epoch=first_epoch,
    )


def _optimizer(config: FitConfig, model: "keras.Model", steps_per_epoch: int, first_epoch: int):
    from pa_keras.training import decayed, two_rate_adamw

    settings = config.optimizer

    def rate(peak: float):
        warming_up = first_epoch < config.training.warmup_epochs
        return decayed(
            peak,
            "constant" if warming_up else settings.decay,
            steps_per_epoch,
            config.training.epochs,
            first_epoch,
            settings.decay_epochs,
            settings.decay_factor,
        )

    return two_rate_adamw(
        model,
        rate(settings.learning_rate),
        rate(settings.learning_rate * settings.proxies_multiplier),
        settings.weight_decay,
        settings.clip_value,
    )


def _callbacks(
    config: FitConfig,
    folder: "RunFolder",
    selection: "Dataset | None",
    model: "keras.Model",
    embedder: "keras.Model",
    steps_per_epoch: int,
) -> list["keras.callbacks.Callback"]:
    """In the order in which they need each other's logs."""
    import keras

    from pa_keras.training import callbacks as ours

    trained = model.get_layer("embedding_model")
    result = [
        ours.EpochSeconds(steps_per_epoch * config.batches.batch_size),
        ours.StopAtNaN(),
    ]
    if trained is not embedder:
        result.append(
            keras.callbacks.LambdaCallback(
                on_epoch_end=lambda epoch, logs: embedder.set_weights(trained.get_weights())
            )
        )
    if selection is not None:
        earlier = [row["recall_at_1"] for row in folder.read_metrics()]
        result.append(_recall(config, selection, embedder))
        result.append(ours.SaveBest(folder.best_model, embedder, best=max(earlier, default=-1.0)))
    result.append(ours.AppendMetrics(folder.metrics))
    result.append(keras.callbacks.TensorBoard(folder.tensorboard, write_graph=False))
    if config.logging.wandb_project:
        result.append(_wandb(config))
    return [*result, ours.SaveState(folder.state)]


def _recall(config: FitConfig, selection: "Dataset", embedder: "keras.Model"):
    from pa_keras.pipelines import evaluation_batches
    from pa_keras.training import RecallAtK

    def labelled(images: "Images | None"):
        if images is None:
            return None
        batches = evaluation_batches(
            images.paths,
            batch_size=config.evaluation.batch_size,
            image_size=_both(config.data.image_size),
            crop_fraction=config.data.crop_fraction,
        )
        return batches, images.labels

    return RecallAtK(
        labelled(selection.queries),
        labelled(selection.gallery),
        ks=sorted({1, *config.evaluation.ks}),
        every=config.evaluation.every,
        method=config.evaluation.search,
        embedding_model=embedder,
    )


def _wandb(config: FitConfig) -> "keras.callbacks.Callback":
    try:
        import wandb
        from wandb.integration.keras import WandbMetricsLogger
    except ImportError as error:
        raise ImportError(
            'Expected the package wandb for logging.wandb_project; install it: pip install '
            '"pa_keras[wandb]".'
        ) from error
    wandb.init(project=config.logging.wandb_project, config=dataclasses.asdict(config))
    return WandbMetricsLogger()


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
        epoch = 1 + max(range(len(rows)), key=lambda i: rows[i]["recall_at_1"])
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
    folder.result.write_text(json.dumps(result, indent=2) + "\n")
    plots.curves(rows, folder.path / "curves.png")
    plots.retrieved(dataset.queries, dataset.gallery, found.indices, folder.path / "neighbours.png")
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
    images, _ = next(iter(_batches(config, dataset.train, 0)))
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


def _jit_compile(choice: str) -> bool:
    import tensorflow as tf

    return choice == "on" or (choice == "auto" and bool(tf.config.list_physical_devices("GPU")))


def _both(size: int | tuple[int, int]) -> tuple[int, int]:
    return (size, size) if isinstance(size, int) else tuple(size)


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
