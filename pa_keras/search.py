"""`python -m pa_keras.search`: builds an index of images on disk, and searches it."""

import difflib
import logging
import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pa_keras import cli
from pa_keras.config import (
    ModelSource,
    SearchAddConfig,
    SearchBuildConfig,
    SearchExportConfig,
    SearchInfoConfig,
    SearchQueryConfig,
    SearchRemoveConfig,
)
from pa_keras.config.matching import Matching
from pa_keras.config.reranking import Reranking

if TYPE_CHECKING:
    import numpy as np

    from pa_keras.index import Index
    from pa_keras.retrieval import KReciprocal, QueryExpansion

# Not __name__, which is __main__ under python -m and has no handler.
logger = logging.getLogger("pa_keras.search")

PROGRAM = "python -m pa_keras.search"


def main(arguments: Sequence[str] | None = None) -> None:
    """Reads the subcommand and its settings, and runs it."""
    parser = cli.Parser(
        prog=PROGRAM,
        description="Builds an index of image embeddings on disk, and searches it for image files.",
    )
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for name, (config_class, _, description) in _COMMANDS.items():
        command = commands.add_parser(name, help=description, description=description)
        cli.add_settings(command, config_class)
        command.set_defaults(parser=command)
    arguments = sys.argv[1:] if arguments is None else list(arguments)
    if not arguments:
        parser.print_help()
        return
    flags, rest = parser.parse_known_args(arguments)
    config_class, run, _ = _COMMANDS[flags.command]
    config: Any = cli.config_of(flags.parser, config_class, flags, rest)
    cli.log_to()
    cli.run_command(lambda: run(config))


def _build(config: SearchBuildConfig) -> None:
    # TensorFlow is imported only here, so that --help does not wait for it.
    from pa_keras.index import write_index, writer_lock
    from pa_keras.index.sources import expect_room, source_to_build

    folder = Path(config.index)
    expect_room(folder, config.force)
    with writer_lock(folder):
        expect_room(folder, config.force)  # another build may have ended meanwhile
        trained = config.source
        source = source_to_build(
            config.gallery, trained.run, trained.model, trained.crop_fraction, config.prefix
        )
        items = source.items(folder, config.batch_size, trained.on_bad_image or "error")
        write_index(folder, items, source.record)
        source.discard_chunks()
    _write_summary(config.index)


def _query(config: SearchQueryConfig) -> None:
    from pa_keras import plots
    from pa_keras.evaluation.matching import expect_matching
    from pa_keras.index import as_json_lines, as_table, num_matches, open_index
    from pa_keras.index.model import embedding, model_of
    from pa_keras.pipelines import check_images

    cli.expect_new(config.picture)
    if config.picture:
        plots.expect_picture(config.picture)
    if config.k < 1 or not config.images:
        raise ValueError(
            f"Expected one image or more and k of 1 or more; received {len(config.images)} images "
            f"and k={config.k}."
        )
    expect_matching(config.matching.min_similarity, config.matching.calibration)
    method = _method(config.reranking)
    images = [str(Path(path).expanduser()) for path in config.images]
    for path in images:
        if Path(path).is_dir():
            raise ValueError(
                f"Expected image files to search for; received the folder {path}. Give files in "
                f"it, such as {path}/*.jpg."
            )
    index = open_index(config.index)
    trained = config.source
    _expect_crop_fraction(index, trained.crop_fraction)
    on_bad_image = trained.on_bad_image or "error"
    images = [images[i] for i in check_images(images, on_bad_image, progress=False).good]
    if config.k > len(index):
        logger.warning("The index has only %d items, fewer than k=%d.", len(index), config.k)
    model = model_of(index.model, trained.run, trained.model)
    threshold = _min_similarity(config.matching, config.source, index)
    queries = embedding(model, index.model.crop_fraction, config.batch_size)(images)
    rows, similarities = _found(index, queries, config.k, method, threshold)
    show = as_json_lines if config.json else as_table
    sys.stdout.write(show(images, index.items, rows, similarities, threshold))
    if config.picture:
        counts = [num_matches(values, threshold) for values in similarities]
        captions = [
            [
                f"{index.items.label_of(row)[:28]}\n{value:.3f}"
                for row, value in zip(found[:count], values[:count], strict=True)
            ]
            for found, values, count in zip(rows, similarities, counts, strict=True)
        ]
        paths = [
            [index.items.paths[row] for row in found[:count]]
            for found, count in zip(rows, counts, strict=True)
        ]
        plots.search_results(images, paths, captions, Path(config.picture))


def _method(settings: Reranking) -> "KReciprocal | QueryExpansion | None":
    """Returns how the neighbours are found, if not by the plain search."""
    from pa_keras.reports.reranking import methods_of

    methods = methods_of(settings)
    if len(methods) > 1:
        raise ValueError("Expected --rerank or --query-expansion; received both. Leave one out.")
    return next(iter(methods.values()), None)


def _found(
    index: "Index",
    queries: "np.ndarray",
    k: int,
    method: "KReciprocal | QueryExpansion | None",
    threshold: float | None,
) -> "tuple[Iterable[np.ndarray], Iterable[np.ndarray]]":
    """Returns rows and similarities of the results of each query, best first."""
    import numpy as np

    from pa_keras.index import NUM_CANDIDATES, only_matches

    if method is None or threshold is None:
        return index.search(queries, min(k, len(index)), method)
    # The first results of another order need not be the matches, so that more are searched. Those
    # of an expanded query may not even contain the nearest items of the query itself.
    number = min(len(index), max(k, NUM_CANDIDATES))
    rows, cosines = index.search(queries, number, method)
    near, near_cosines = index.search(queries, number)
    is_new = (near[:, :, None] != rows[:, None, :]).all(axis=2)
    rows = np.concatenate([rows, near], axis=1)
    cosines = np.concatenate([cosines, np.where(is_new, near_cosines, -np.inf)], axis=1)
    return only_matches(rows, cosines, k, threshold)


def _min_similarity(matching: Matching, trained: ModelSource, index: "Index") -> float | None:
    """Returns the least similarity of a match; a calibrated one must be of the index's model."""
    from pa_keras.runs.load_data import load_threshold

    run = trained.run if trained.run or trained.model else index.model.run
    threshold = load_threshold(matching.min_similarity, matching.calibration, run)
    if threshold is None:
        return None
    threshold.expect_model(index.model.checksum, index.model.crop_fraction)
    by_chance = threshold.expected_false_matches(len(index))
    if by_chance >= 0.5:
        logger.warning(
            "The threshold lets %g %% of the pairs of different classes match, so a query of an "
            "unknown class matches about %.0f of the %d items by chance. If that is too often, "
            "give --min-similarity one of the cosines that python -m pa_keras.evaluate "
            "--thresholds prints for the open set, or choose a lower --false-match-rate.",
            100 * threshold.calibration.false_match_rate if threshold.calibration else 0,
            by_chance,
            len(index),
        )
    return threshold.min_similarity


def _add(config: SearchAddConfig) -> None:
    from pa_keras.index import open_index, write_index, writer_lock
    from pa_keras.index.sources import source_to_add

    folder = Path(config.index)
    open_index(folder)  # an error before a lock is made where there is no index
    with writer_lock(folder):
        index = open_index(folder)
        trained = config.source
        _expect_crop_fraction(index, trained.crop_fraction)
        source = source_to_add(config.gallery, index, trained.run, trained.model, config.prefix)
        added = 0
        if not source.is_empty:
            items = source.items(folder, config.batch_size, trained.on_bad_image or "error")
            write_index(folder, index.items.joined(items), index.model)
            source.discard_chunks()
            added = len(items)
    sys.stdout.write(f"{added} added. ")
    _write_summary(config.index)


def _remove(config: SearchRemoveConfig) -> None:
    import numpy as np

    from pa_keras.index import open_index, write_index, writer_lock

    folder = Path(config.index)
    open_index(folder)  # an error before a lock is made where there is no index
    with writer_lock(folder):
        index = open_index(folder)
        removed = set(config.ids)
        unknown = removed.difference(index.items.ids)
        if unknown or not removed:
            close = difflib.get_close_matches(min(unknown, default=""), index.items.ids, n=1)
            raise ValueError(
                f"Expected ids of the index; received {', '.join(sorted(unknown)[:5]) or 'none'}, "
                f"{len(unknown)} unknown. " + (f"Did you mean {close[0]}?" if close else "")
            )
        kept = np.flatnonzero([name not in removed for name in index.items.ids])
        if not len(kept):
            raise ValueError(
                f"Expected items to remain; received all {len(index)} ids. Delete {folder} instead."
            )
        write_index(folder, index.items.take(kept), index.model)
    sys.stdout.write(f"{len(removed)} removed. ")
    _write_summary(config.index)


def _info(config: SearchInfoConfig) -> None:
    from pa_keras.index import open_index, verify_index

    index = open_index(config.index)
    if config.verify:
        verify_index(config.index)
    _write_summary(config.index)
    record = index.record
    model = index.model
    size = sum(file["bytes"] for file in record["files"].values())
    versions = ", ".join(f"{name} {version}" for name, version in record["versions"].items())
    sys.stdout.write(
        f"model: {model.run or model.model or 'place unknown'}, checksum {model.checksum[:12]}, "
        f"crop_fraction {model.crop_fraction}\n"
        f"files: {size / 1e6:.1f} MB in {index.folder / record['data']}"
        f"{', each with its checksum' if config.verify else ''}\n"
        f"written by {versions}\n"
    )


def _export(config: SearchExportConfig) -> None:
    from pa_keras.index import open_index, write_parquet

    index = open_index(config.index)
    shards = write_parquet(index.items, config.to, index.record["model"], config.rows_per_shard)
    sys.stdout.write(f"{config.to}: {len(index)} items in {shards} Parquet files\n")


def _expect_crop_fraction(index: "Index", given: float | None) -> None:
    """Raises a ValueError if queries would be cropped differently from the index."""
    expected = index.model.crop_fraction
    if given not in (None, expected):
        raise ValueError(
            f"Expected crop_fraction {expected}, as in the index; received {given}. Leave "
            "--crop-fraction out."
        )


def _write_summary(folder: str) -> None:
    from pa_keras.index import read_record

    record = read_record(Path(folder))
    search = "exact search"
    if record["search"]:
        missed = [f"{each['missed']:.2%} of the {each['k']} nearest" for each in record["search"]]
        search = f"ScaNN, which missed {' and '.join(missed)}"
    sys.stdout.write(
        f"{folder}: {record['items']:,} items of {record['classes']:,} classes, "
        f"{record['embedding_size']} numbers each; {search}\n"
    )


_COMMANDS: dict[str, tuple[type, Callable, str]] = {
    "build": (SearchBuildConfig, _build, "Builds an index of a gallery or its embeddings."),
    "query": (SearchQueryConfig, _query, "Finds the items that are nearest to image files."),
    "add": (SearchAddConfig, _add, "Adds the items of another gallery."),
    "remove": (SearchRemoveConfig, _remove, "Removes items by their IDs."),
    "info": (SearchInfoConfig, _info, "Shows the contents of an index, and verifies its files."),
    "export": (SearchExportConfig, _export, "Writes an index as Parquet, for other programs."),
}


if __name__ == "__main__":
    main()
