"""Compares the bootstrap interval with the normal approximation and with a plain loop."""

import numpy as np
import pytest

from pa_keras.retrieval import bootstrap, bootstrap_interval


def test_close_to_the_normal_interval_of_a_share():
    values = np.repeat([1.0, 0.0], [800, 200])
    low, high = bootstrap_interval(values, resamples=4000)
    half = 1.96 * np.sqrt(0.8 * 0.2 / 1000)
    np.testing.assert_allclose([low, high], [0.8 - half, 0.8 + half], atol=0.003)


def test_groups_of_unequal_size_equal_a_plain_loop():
    values = np.array([1, 0, 1, 1, 0, 0.5])
    groups = np.array([4, 4, 4, 7, 7, 9])
    rng = np.random.default_rng(3)
    classes = [4, 7, 9]
    means = []
    for drawn in rng.integers(3, size=(500, 3)):
        members = [values[groups == classes[i]] for i in drawn]
        means.append(np.concatenate(members).mean())
    expected = np.quantile(means, [0.05, 0.95])
    received = bootstrap_interval(values, groups, confidence=0.9, resamples=500, seed=3)
    np.testing.assert_allclose(received, expected)


def test_classes_that_stand_or_fall_together_widen_the_interval():
    groups = np.repeat(np.arange(20), 50)
    values = (groups % 2).astype(float)
    low, high = bootstrap_interval(values)
    group_low, group_high = bootstrap_interval(values, groups)
    assert group_high - group_low > 3 * (high - low)


def test_deterministic_by_seed_and_whatever_the_memory(monkeypatch):
    values = np.random.default_rng(0).random(100)
    first = bootstrap_interval(values, seed=5)
    assert first == bootstrap_interval(values, seed=5)
    assert first != bootstrap_interval(values, seed=6)
    monkeypatch.setattr(bootstrap, "DRAWS_AT_ONCE", 700)
    assert first == bootstrap_interval(values, seed=5)


def test_a_constant_has_no_spread():
    assert bootstrap_interval([0.25] * 9) == (0.25, 0.25)


@pytest.mark.parametrize(
    "arguments, message",
    [
        ({"per_query_values": []}, "a finite vector"),
        ({"per_query_values": [[1.0]]}, "a finite vector"),
        ({"per_query_values": [1.0, np.nan]}, "with NaN or infinity"),
        ({"per_query_values": [1.0], "groups": [1, 2]}, r"groups of shape \(1,\)"),
        ({"per_query_values": [1.0], "confidence": 95}, "confidence=95"),
        ({"per_query_values": [1.0], "resamples": 0}, "resamples=0"),
    ],
)
def test_bad_input_is_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        bootstrap_interval(**arguments)
