"""The setting of the steps to trace."""

import pytest

from pa_keras.training.profiling import profiled_steps


@pytest.mark.parametrize(
    ("profile", "steps", "expected"),
    [
        (False, 90, 0),
        (True, 90, (11, 20)),
        (True, 15, (11, 15)),
        (True, 3, (3, 3)),
        ("2:2", 90, (2, 2)),
        ("5:8", 7, (5, 7)),
    ],
)
def test_steps(profile, steps, expected):
    assert profiled_steps(profile, steps) == expected


@pytest.mark.parametrize("profile", ["", "5", "0:3", "4:3", "-1:3", "1:2:3", "1.5:2", "on"])
def test_no_steps(profile):
    with pytest.raises(ValueError, match="Expected profile as true, false or .first:last"):
        profiled_steps(profile, 90)
