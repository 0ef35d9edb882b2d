"""Tests which rows of each batch a worker makes."""

import numpy as np
import pytest

from pa_keras.pipelines import WorkerShare


def workers(parts, each):
    return [WorkerShare(parts, first, each) for first in range(0, parts, each)]


@pytest.mark.parametrize(("parts", "each"), [(1, 1), (2, 1), (4, 2), (6, 3)])
def test_the_parts_of_all_workers_make_the_batches(parts, each):
    rows = np.arange(5 * 12).reshape(5, 12)
    made = np.concatenate([share.of(rows) for share in workers(parts, each)], axis=1)
    np.testing.assert_array_equal(made.reshape(5, 12), rows)


@pytest.mark.parametrize(("parts", "each"), [(2, 1), (3, 1), (4, 2)])
@pytest.mark.parametrize(("number", "batch_size"), [(1, 4), (7, 4), (23, 8), (24, 8), (25, 100)])
def test_all_rows_in_order_by_equal_parts(parts, each, number, batch_size):
    made = [share.of_all(number, batch_size) for share in workers(parts, each)]
    assert len({part.shape for part in made}) == 1
    joined = np.concatenate(made, axis=1).ravel()
    np.testing.assert_array_equal(joined[:number], range(number))
    assert (joined[number:] == number - 1).all()
    steps, _, size = made[0].shape
    assert len(joined) - number < steps * parts and steps == -(-number // batch_size)
    assert (size - 1) * parts < batch_size


@pytest.mark.parametrize(("parts", "size", "advice"), [(4, 90, "Take 88 or 92"), (4, 3, "4 or 4")])
def test_a_batch_that_the_parts_do_not_divide(parts, size, advice):
    with pytest.raises(ValueError, match=advice) as raised:
        WorkerShare(parts).part_size(size)
    assert f"batches.batch_size={size}" in str(raised.value)
