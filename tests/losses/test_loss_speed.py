"""What a loss step costs: ratios of the same minute, never seconds."""

import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture
def benchmarks(monkeypatch):
    """The benchmarks are no part of the package: found from the root alone."""
    monkeypatch.syspath_prepend(str(ROOT))
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    before = set(sys.modules)
    from benchmarks import loss_memory, rows
    from benchmarks.parts import loss

    yield loss, loss_memory, rows
    for name in set(sys.modules) - before:
        if name.split(".")[0] == "benchmarks":
            del sys.modules[name]


@pytest.mark.large
def test_a_step_costs_less_than_twice_its_three_products(benchmarks):
    loss, _, rows = benchmarks
    sides = {
        "ours": rows.here(loss.our_step(11_318)),
        "bare": rows.here(loss.bare_products(11_318)),
    }
    seconds = rows.in_turns(sides, turns=15)
    # Its best turn against the products' best: other work only ever adds.
    assert seconds["ours"].min() < 2.0 * seconds["bare"].min()


@pytest.mark.large
def test_a_step_adds_at_most_two_and_a_half_arrays(benchmarks):
    loss, memory, _ = benchmarks
    few, many = 200_000, 500_000
    slope = (memory.added(many) - memory.added(few)) / (many - few)
    assert slope / (4 * loss.BATCH) <= 2.5
