"""Compares the bound of the search error with SciPy's binomial test and with samples."""

import numpy as np
import pytest
from scipy.stats import binomtest

from pa_keras.retrieval.scann_error import measure_error, upper_bound


@pytest.mark.parametrize("count, size", [(0, 3000), (1, 3000), (4, 10_000), (7, 20)])
@pytest.mark.parametrize("confidence", [0.95, 0.9875])
def test_the_bound_is_clopper_and_pearson_s(count, size, confidence):
    exact = binomtest(count, size, alternative="less").proportion_ci(confidence, method="exact")
    np.testing.assert_allclose(upper_bound(count / size, size, confidence), exact.high)


def test_three_thousand_queries_without_a_loss_bound_it_to_a_tenth_of_a_point():
    assert upper_bound(0.0, 3000) < 0.001 < upper_bound(0.0, 2900)
    assert upper_bound(1.0, 10) == 1


@pytest.mark.parametrize("share", [0.001, 0.03])
def test_few_samples_are_bounded_below_the_truth(share):
    """The values are yes or no, or shares of ten neighbours that are missed independently."""
    rng = np.random.default_rng(0)
    size, draws = 1000, 2000
    yes = rng.binomial(size, share, draws) / size
    tenths = rng.binomial(10 * size, share, draws) / (10 * size)
    for means in (yes, tenths):
        below = np.mean([upper_bound(mean, size) < share for mean in means])
        assert below <= 0.05 + 3 * np.sqrt(0.05 * 0.95 / draws)


def test_a_case_by_hand():
    exact = np.array([[0.9, 0.8], [0.7, 0.6], [0.5, 0.4], [0.3, 0.2]])
    found = np.array([[0.9, 0.8], [0.6, 0.1], [0.5, np.nan], [np.nan, np.nan]])
    error = measure_error(found, exact)
    assert (error.nearest, error.neighbours) == (2 / 4, 4 / 8) and error.recalls is None
    exact_right = np.array([[1, 0], [0, 1], [0, 0], [1, 0]], bool)
    right = np.array([[1, 0], [1, 0], [0, 0], [0, 0]], bool)
    error = measure_error(found, exact, right, exact_right, whole=True)
    assert error.recalls == (0.0, -0.25)
    # The second query gained a hit at 1 and the fourth lost one, so both changed.
    assert error.bound == 0.5
    assert measure_error(found, exact, right, exact_right).bound > 0.5


def test_a_choice_among_several_is_bounded_more_widely():
    ones = np.ones((100, 1))
    assert measure_error(ones, ones, tests=4).bound > measure_error(ones, ones).bound
