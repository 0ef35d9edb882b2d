"""The table of a comparison, in Markdown to read and in CSV to process further."""

import csv
from collections.abc import Sequence
from pathlib import Path

from pa_keras import files
from pa_keras.comparison.summary import Row


def as_markdown(rows: Sequence[Row], settings: Sequence[str]) -> str:
    """Returns the table in Markdown: percentages, with the deviation if there are several seeds.

    Args:
        rows: Result of `summarize`.
        settings: Names of the settings that vary, as many as each row has values.
    """
    metrics = list(rows[0].final)
    recalls = [m for m in metrics if m.startswith("recall_at_")]
    header = ["", *settings, "seeds"]
    header += [f"Recall@{m.removeprefix('recall_at_')}" for m in recalls]
    header += ["MAP@R"] if "map_at_r" in metrics else []
    header += ["best Recall@1", "best MAP@R"] if "map_at_r" in metrics else ["best Recall@1"]
    measured = any(row.untrained is not None for row in rows)
    header += ["untrained Recall@1"] if measured else []
    header += ["s/epoch", "best rival's Recall@1 reached in"]
    header += ["cost"]
    cells = []
    for row in rows:
        line = [row.name, *map(str, row.values), str(row.num_seeds)]
        line += [_percent(row.final[m]) for m in metrics]
        line += [_percent(row.best["recall_at_1"])]
        line += [_percent(row.best["map_at_r"])] if "map_at_r" in metrics else []
        line += ["" if row.untrained is None else _percent(row.untrained)] if measured else []
        line += [f"{row.seconds_per_epoch:.1f}", _reached(row), row.cost]
        cells.append(line)
    table = [header, ["---"] * len(header), *cells]
    return "\n".join(f"| {' | '.join(line)} |" for line in table) + "\n"


def write_csv(rows: Sequence[Row], settings: Sequence[str], path: Path) -> None:
    """Writes all numbers of the rows without rounding: shares in [0, 1], times in seconds.

    Args:
        rows: Result of `summarize`.
        settings: Names of the settings that vary.
        path: File to write.
    """
    flat = []
    for row in rows:
        cells = {"name": row.name, **dict(zip(settings, row.values, strict=True))}
        cells["num_seeds"] = row.num_seeds
        for when, found in (("final", row.final), ("best", row.best)):
            for metric, (mean, deviation) in found.items():
                cells[f"{when}_{metric}_mean"] = mean
                cells[f"{when}_{metric}_deviation"] = deviation
        untrained = row.untrained or (None, None)
        cells["untrained_recall_at_1_mean"], cells["untrained_recall_at_1_deviation"] = untrained
        for name in ("seconds_per_epoch", "seconds", "rival", "epochs_to_rival",
                     "seconds_to_rival", "rival_seconds"):  # fmt: skip
            cells[name] = getattr(row, name)
        flat.append(cells)

    def write(partial: str) -> None:
        with Path(partial).open("w", newline="") as file:
            writer = csv.DictWriter(file, flat[0])
            writer.writeheader()
            writer.writerows(flat)

    files.save_whole(write, path, files.START_AGAIN)


def _percent(value: tuple[float, float | None]) -> str:
    mean, deviation = value
    return f"{100 * mean:.1f}" + ("" if deviation is None else f" ± {100 * deviation:.1f}")


def _reached(row: Row) -> str:
    if row.rival is None or row.rival_seconds is None:
        return ""
    if row.epochs_to_rival is None or row.seconds_to_rival is None:
        return f"not ({row.rival})"
    epochs = "1 epoch" if row.epochs_to_rival == 1 else f"{row.epochs_to_rival} epochs"
    share = row.seconds_to_rival / row.rival_seconds
    return f"{epochs}, {row.seconds_to_rival:.0f} s, {share:.2f} of {row.rival}'s time"
