"""The numbers of the table, computed by hand."""

import csv
import dataclasses

import numpy as np
import pytest

from pa_keras import comparison
from pa_keras.comparison import Curve


def curve(name, recalls, seed=0, seconds=10.0, values=()):
    rows = [
        {"epoch": i + 1, "loss": 1.0, "seconds": seconds, "recall_at_1": r, "recall_at_2": r + 0.1,
         "map_at_r": r / 2}
        for i, r in enumerate(recalls)
    ]  # fmt: skip
    return Curve(name, values, seed, rows, cost="O(MC)")


CURVES = [
    curve("ours", [0.3, 0.5, 0.6, 0.7]),
    curve("ours", [0.5, 0.7, 0.8, 0.7], seed=1),
    curve("rival", [0.2, 0.3, 0.4, 0.5], seconds=20.0),
    curve("rival", [0.2, 0.3, 0.4, 0.6], seed=1, seconds=30.0),
    curve("worse", [0.4, 0.3, 0.2, 0.1]),
]


def test_a_table_by_hand():
    ours, rival, worse = comparison.summarize(CURVES)
    assert ours.final["recall_at_1"] == (pytest.approx(0.7), pytest.approx(0))
    assert ours.best["recall_at_1"] == (pytest.approx(0.75), pytest.approx(np.sqrt(0.005)))
    assert ours.best["map_at_r"][0] == pytest.approx(0.375)
    # The rival ends at 0.55; our means are 0.4, 0.6, ...: two epochs of 10 s.
    assert (ours.rival, ours.epochs_to_rival, ours.seconds_to_rival) == ("rival", 2, 20.0)
    assert ours.rival_seconds == 100.0 and ours.seconds_per_epoch == 10.0
    assert rival.rival == "ours" and rival.epochs_to_rival is None
    assert worse.num_seeds == 1 and worse.final["recall_at_1"] == (0.1, None)
    assert worse.best["recall_at_1"] == (0.4, None)


def test_rivals_are_those_at_the_same_values():
    curves = [
        curve("a", [0.5], values=(0.0,)), curve("b", [0.4], values=(0.0,)),
        curve("a", [0.2], values=(0.4,)),
    ]  # fmt: skip
    first, _, alone = comparison.summarize(curves)
    assert first.rival == "b" and alone.rival is None
    lines = comparison.lines(curves)
    assert comparison.finals(lines, "b", (0.0,)) == [0.4]
    assert not len(comparison.finals(lines, "b", (0.4,)))


def test_seeds_of_different_length():
    with pytest.raises(ValueError, match="equal epochs"):
        comparison.summarize([curve("a", [0.1]), curve("a", [0.1, 0.2], seed=1)])


def test_markdown():
    lines = comparison.as_markdown(comparison.summarize(CURVES), []).splitlines()
    cells = [[cell.strip() for cell in line.split("|")[1:-1]] for line in lines]
    assert len({len(row) for row in cells}) == 1
    ours = dict(zip(cells[0], cells[2], strict=True))
    assert ours["Recall@1"] == "70.0 ± 0.0" and ours["best Recall@1"] == "75.0 ± 7.1"
    assert ours["best rival's Recall@1 reached in"] == "2 epochs, 20 s, 0.20 of rival's time"
    assert ours["seeds"] == "2" and ours["cost"] == "O(MC)" and ours["s/epoch"] == "10.0"
    rival = dict(zip(cells[0], cells[3], strict=True))
    assert rival["best rival's Recall@1 reached in"] == "not (ours)"


def test_recall_before_training():
    start = {"a": [0.2, 0.4], "b": [0.3, None]}
    curves = [
        dataclasses.replace(curve(name, [0.5], seed=seed), untrained=value)
        for name, values in start.items()
        for seed, value in enumerate(values)
    ]
    rows = comparison.summarize(curves)
    assert rows[0].untrained == (pytest.approx(0.3), pytest.approx(np.sqrt(0.02)))
    assert rows[1].untrained is None, "a seed lacks it"
    head, _, a, b = (line.split(" | ") for line in comparison.as_markdown(rows, []).splitlines())
    at = head.index("untrained Recall@1")
    assert (a[at], b[at]) == ("30.0 ± 14.1", "")
    assert "untrained" not in comparison.as_markdown(rows[1:], []), "no column without a figure"


def test_csv(tmp_path):
    curves = [curve("a", [0.123456], values=(0.2,)), curve("b", [0.5], values=(0.2,))]
    comparison.write_csv(comparison.summarize(curves), ["data.label_noise"], tmp_path / "t.csv")
    with (tmp_path / "t.csv").open(newline="") as file:
        first, second = csv.DictReader(file)
    assert first["data.label_noise"] == "0.2" and float(first["final_recall_at_1_mean"]) == 0.123456
    assert first["untrained_recall_at_1_mean"] == ""
    assert first["final_recall_at_1_deviation"] == "" and second["rival"] == "a"
