"""`python -m pa_keras.compare`: compares losses, or other settings of `fit`."""

import dataclasses
import json
import logging
import re
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from pa_keras import cli
from pa_keras.cli import shipped_configs
from pa_keras.config import CompareConfig

if TYPE_CHECKING:
    from pa_keras.comparison import Curve
    from pa_keras.comparison.plan import Run

# Not __name__, which is __main__ under python -m and has no handler.
logger = logging.getLogger("pa_keras.compare")

PROGRAM = "python -m pa_keras.compare"

Trained = list[tuple["Run", Path]]

# This first line identifies a folder of results, whose files may be replaced.
_HEAD = "# Written by pa_keras.compare, which replaces the results in this folder.\n"


def main(arguments: Sequence[str] | None = None) -> None:
    """Reads the settings, trains what is not trained yet, and reports."""
    folder = shipped_configs.folder() / "compare"
    cli.run_from(
        arguments,
        CompareConfig,
        PROGRAM,
        "Trains runs of fit that differ in a few settings, such as the loss, from the same initial "
        "weights, on the same number of batches, with several seeds. Plots Recall@1 against time "
        "and epochs, and writes a table. After an interruption, the same command continues; "
        "several processes share the runs. --config also accepts a comparison that ships with the "
        "package: " + ", ".join(sorted(f"compare/{path.stem}" for path in folder.glob("*.yaml"))),
        _compare,
        shipped=True,
    )


def _compare(config: CompareConfig) -> None:
    # TensorFlow is imported only here, so that --help and error messages do not wait for it.
    from pa_keras.comparison import plan

    cache, out = Path(config.cache), Path(config.out)
    runs = plan.plan(config)
    _claim(out, config)
    if config.train:
        _trained(runs, cache)  # an error in these now, not after training others
        _train(runs, cache)
    trained = _trained(runs, cache)
    if not trained:
        raise ValueError(f"Expected a trained run in {cache}; found none. Leave --train false out.")
    note = ""
    if len(trained) < len(runs):
        note = f"{len(runs) - len(trained)} of {len(runs)} runs are not trained yet.\n"
    _report(config, trained, out, note)


def _trained(runs: list["Run"], cache: Path) -> Trained:
    """Returns the complete runs, which must be trained on the same images."""
    from pa_keras.comparison import run_cache

    found = [(run, run_cache.trained(run.config, cache)) for run in runs]
    trained = [(run, folder) for run, folder in found if folder is not None]
    run_cache.expect_same_images([(run.config, folder) for run, folder in trained])
    return trained


def _train(runs: list["Run"], cache: Path) -> None:
    from pa_keras.comparison import run_cache

    busy = []
    try:
        for number, run in enumerate(runs, 1):
            logger.info("Run %d of %d: %s", number, len(runs), run)
            if run_cache.train(run.config, cache, wait=False) is None:
                busy.append(run)
        for run in busy:
            logger.info("Waiting for %s", run)
            run_cache.train(run.config, cache)
    except KeyboardInterrupt:
        logger.info("Stopped. To continue, start compare again, not fit.")
        raise


def _claim(out: Path, config: CompareConfig) -> None:
    """Makes the folder for the results, or checks that it belongs to this comparison.

    Raises:
        FileExistsError: If it belongs to another comparison or to something else.
    """
    kept = out / "comparison.yaml"
    if kept.exists() and kept.read_text().startswith(_HEAD):
        before = cli.config_from(CompareConfig, [str(kept)], {})
        # The same comparison may have more seeds, and other folders.
        same = dataclasses.replace(
            before, seeds=config.seeds, train=config.train, cache=config.cache, out=config.out
        )
        if same != config:
            raise FileExistsError(
                f"Expected the folder of this comparison; {kept} has other settings. "
                "Give another --out."
            )
    elif out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise FileExistsError(
            f"Expected a new folder; {out} has something in it that compare did not write, and "
            "nothing is overwritten. Give another --out."
        )
    out.mkdir(parents=True, exist_ok=True)
    _write(_HEAD + cli.as_yaml(dataclasses.replace(config, train=True)), kept)


def _write(text: str, path: Path) -> None:
    from pa_keras.files import START_AGAIN, save_whole

    save_whole(lambda partial: Path(partial).write_text(text), path, START_AGAIN)


def _report(config: CompareConfig, trained: Trained, out: Path, note: str) -> None:
    from pa_keras import comparison
    from pa_keras.runs.folder import RunFolder
    from pa_keras.runs.loss import KINDS

    curves = [
        comparison.Curve(
            run.name,
            run.values,
            run.config.seed,
            RunFolder(folder).read_metrics(),
            cost=KINDS[run.config.loss].cost,
            untrained=(RunFolder(folder).read_before_training() or {}).get("recall_at_1"),
        )
        for run, folder in trained
    ]
    rows = comparison.summarize(curves)
    settings = list(config.vary)
    table = comparison.as_markdown(rows, settings) + note
    _write(table, out / "table.md")
    comparison.write_csv(rows, settings, out / "table.csv")
    _draw(settings, curves, out)
    _write(_about(config.out, trained), out / "about.md")
    sys.stdout.write(f"{table}Written to {out}: table.md, table.csv, about.md and pictures.\n")


def _draw(settings: list[str], curves: list["Curve"], out: Path) -> None:
    from pa_keras import comparison, plots

    lines = comparison.lines(curves)
    points = list(dict.fromkeys(values for _, values in lines))
    for values in points:
        group = {name: each for (name, point), each in lines.items() if point == values}
        untrained = {name: comparison.untrained(each) for name, each in group.items()}
        suffix = re.sub(r"[^\w.-]+", "_", "".join(f"-{value}" for value in values))
        plots.convergence(
            {name: comparison.seconds(each) for name, each in group.items()},
            {name: comparison.recalls(each) for name, each in group.items()},
            out / f"convergence{suffix}.png",
            {name: each for name, each in untrained.items() if each is not None},
        )
    names = list(dict.fromkeys(name for name, _ in lines))
    if len(settings) == 1:
        finals = {name: [comparison.finals(lines, name, p) for p in points] for name in names}
        plots.study(settings[0], [point[0] for point in points], finals, out / "study.png")
    if len(settings) == 2:
        rows, columns = (list(dict.fromkeys(p[axis] for p in points)) for axis in (0, 1))
        maps = {
            name: [[comparison.finals(lines, name, (r, c)) for c in columns] for r in rows]
            for name in names
        }
        plots.heat_maps((settings[0], settings[1]), (rows, columns), maps, out / "heat_map.png")


def _about(out: str, trained: Trained) -> str:
    """Returns the versions and machines of the runs, and the commands that reproduce them."""
    command = shlex.join([*PROGRAM.split(), "--config", f"{out}/comparison.yaml"])
    lines = ["# How this comparison was made", "", "```bash", command, "```", ""]
    runs_of: dict[str, list[str]] = {}
    for _, folder in trained:
        runs_of.setdefault((folder / "versions.json").read_text(), []).append(folder.name)
    for versions, runs in runs_of.items():
        lines += [f"{', '.join(runs)}:", ""]
        lines += [f"- {name}: {value}" for name, value in json.loads(versions).items()] + [""]
    lines += ["To train a single run with its own settings:", "", "```bash"]
    lines += [f"python -m pa_keras.fit --config {folder}/config.yaml" for _, folder in trained]
    return "\n".join([*lines, "```", ""])


if __name__ == "__main__":
    main()
