"""Compares the error rates with scikit-learn on all pairs, and with plain resampling."""

import numpy as np
import pytest
from scipy.optimize import brentq
from sklearn.metrics import roc_auc_score, roc_curve

from pa_keras.retrieval import as_pairs, pair_counts, pair_rates
from pa_keras.retrieval.error_rates import needed_pairs
from pa_keras.retrieval.pair_counts import STEPS, count_by_group, count_pairs, cuts_of


def random_case(seed):
    """Small integer vectors, so that cosines repeat, in classes of any size, some of one image."""
    rng = np.random.default_rng(seed)
    number, size = rng.integers(8, 40), rng.integers(2, 5)
    vectors = rng.integers(-2, 3, (number, size)) + 3 * np.eye(size)[0]
    labels = rng.choice([3, 5, 8, 13, 21, 34, 55], number)
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype("float32"), labels


def listed(queries, labels, gallery=None, gallery_labels=None):
    """Whether each pair is of one class, and its cosine on the grid, one pair after the other."""
    truth, cosines = [], []
    for i, query in enumerate(queries.astype("float64")):
        others = queries if gallery is None else gallery
        for j, other in enumerate(others.astype("float64")):
            if gallery is not None or i < j:
                truth.append(labels[i] == (labels if gallery is None else gallery_labels)[j])
                cosines.append(min(np.rint(query @ other * STEPS), STEPS) - 0.5)
    return np.array(truth), np.array(cosines) / STEPS


def measured(truth, cosines, threshold):
    """The rates of the pairs by scikit-learn and by counting."""
    false, true, at = roc_curve(truth, cosines, drop_intermediate=False)
    result = {
        "false_match_rate": (cosines[~truth] >= threshold).mean(),
        "false_non_match_rate": (cosines[truth] < threshold).mean(),
        "equal_error_rate": brentq(lambda x: x - 1 + np.interp(x, false, true), 0, 1),
        "roc_auc": roc_auc_score(truth, cosines),
    }
    for far in (0.1, 0.01, 0.001, 0.0001):
        result[f"tar_at_far_{far:g}"] = max(true[false <= far])
    return result, false, true, at


@pytest.mark.parametrize("seed", range(200))
def test_equals_scikit_learn_on_all_pairs(seed):
    queries, labels = random_case(seed)
    case = [queries, labels]
    if seed % 2:
        half = len(labels) // 2
        case = [queries[:half], labels[:half], queries[half:], labels[half:]]
    truth, cosines = listed(*case)
    found = pair_rates(as_pairs(*case), threshold=0.7, resamples=1)
    expected, false, true, at = measured(truth, cosines, 0.7)
    np.testing.assert_allclose(found.curve.false_match, false)
    np.testing.assert_allclose(found.curve.true_match, true)
    np.testing.assert_allclose(found.curve.thresholds, at)
    assert (found.num_same, found.num_different) == (truth.sum(), (~truth).sum())
    for name, value in expected.items():
        needed = needed_pairs(float(name[11:])) if name.startswith("tar") else 0
        if found.num_different < needed:
            assert found.rates[name] is None
        else:
            assert found.rates[name] == pytest.approx(value, abs=1e-9), name


def clustered(num_classes=12, images=6, size=4, seed=0):
    rng = np.random.default_rng(seed)
    labels = np.repeat(np.arange(num_classes), images)
    vectors = rng.normal(size=(num_classes, size))[labels] + rng.normal(size=(len(labels), size))
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    shuffled = rng.permutation(len(labels))
    return vectors.astype("float32")[shuffled], labels[shuffled]


@pytest.mark.parametrize("with_gallery", [False, True])
def test_the_chosen_threshold_is_the_least_one_with_the_wanted_rate(with_gallery):
    queries, labels = clustered()
    case = [queries, labels, *(clustered(seed=1) if with_gallery else ())]
    truth, cosines = listed(*case)
    found = pair_rates(as_pairs(*case), wanted=0.05, resamples=1)
    negatives = np.sort(cosines[~truth])[::-1]
    allowed = int(0.05 * len(negatives))
    assert negatives[allowed] < found.threshold <= negatives[allowed - 1]
    assert found.rates["false_match_rate"] == allowed / len(negatives)
    assert found.rates["threshold"] == found.threshold
    assert found.threshold == np.float32(found.threshold), "the same decision in float32"


@pytest.mark.parametrize(("rows", "columns"), [(1, 1), (3, 7), (72, 5), (1000, 1000)])
def test_the_block_size_changes_nothing(monkeypatch, rows, columns):
    pairs = as_pairs(*clustered())
    counts = count_pairs(pairs)
    groups = count_by_group(pairs, cuts_of(counts))
    monkeypatch.setattr(pair_counts, "ROWS", rows)
    monkeypatch.setattr(pair_counts, "COLUMNS", columns)
    again = count_pairs(pairs)
    np.testing.assert_array_equal(again.same, counts.same)
    np.testing.assert_array_equal(again.different, counts.different)
    groups_again = count_by_group(pairs, cuts_of(counts))
    np.testing.assert_array_equal(groups_again.same, groups.same)
    np.testing.assert_array_equal(groups_again.different, groups.different)


@pytest.mark.parametrize("with_gallery", [False, True])
def test_intervals_equal_plain_resampling_of_classes(monkeypatch, with_gallery):
    monkeypatch.setattr(pair_counts, "MOST_CUTS", 10**6)
    queries, labels = clustered()
    gallery, gallery_labels = clustered(seed=1) if with_gallery else (None, None)
    pairs = as_pairs(queries, labels, gallery, gallery_labels)
    found = pair_rates(pairs, wanted=0.1, threshold=0.5, resamples=40, seed=3)
    place = dict(zip(pairs.query_labels.tolist(), pairs.query_groups.tolist(), strict=True))
    values = []
    for draw in np.random.default_rng([3]).multinomial(12, [1 / 12] * 12, 40):
        truth, cosines = [], []
        # (class, copy) of every image; copies of a class only meet other classes.
        copied = [(label, copy) for label in place for copy in range(draw[place[label]])]
        for a, (label, copy) in enumerate(copied):
            for b, (other, other_copy) in enumerate(copied):
                if label == other and copy != other_copy or (gallery is None and b < a):
                    continue
                others = queries if gallery is None else gallery
                other_labels = labels if gallery is None else gallery_labels
                block = queries[labels == label].astype("float64") @ others[other_labels == other].T
                if gallery is None and a == b:
                    block = block[np.triu_indices(len(block), 1)]
                truth += [label == other] * block.size
                cosines += ((np.rint(block.ravel() * STEPS) - 0.5) / STEPS).tolist()
        values.append(measured(np.array(truth), np.array(cosines), 0.5)[0])
    for name, (low, high) in found.intervals.items():
        if name != "threshold":
            expected = np.quantile([each[name] for each in values], [0.025, 0.975])
            np.testing.assert_allclose([low, high], expected, atol=1e-9, err_msg=name)


def test_more_classes_of_the_same_kind_narrow_the_intervals():
    few = pair_rates(as_pairs(*clustered(15, 5, 8)), threshold=0.5, resamples=300)
    many = pair_rates(as_pairs(*clustered(240, 5, 8)), threshold=0.5, resamples=300)
    for name in ("false_match_rate", "false_non_match_rate", "roc_auc"):
        (low, high), (narrow_low, narrow_high) = few.intervals[name], many.intervals[name]
        assert high - low > 2 * (narrow_high - narrow_low), name
        assert narrow_low <= many.rates[name] <= narrow_high


def test_groups_of_classes_and_few_cuts_give_nearly_the_same_intervals(monkeypatch):
    case = clustered(90, 6, 8)
    exact = pair_rates(as_pairs(*case), wanted=0.01, resamples=200)
    monkeypatch.setattr(pair_counts, "MOST_GROUPS", 45)
    monkeypatch.setattr(pair_counts, "MOST_CUTS", 300)
    grouped = pair_rates(as_pairs(*case), wanted=0.01, resamples=200)
    assert grouped.rates == exact.rates
    for name, (low, high) in exact.intervals.items():
        low_again, high_again = grouped.intervals[name]
        assert high_again - low_again == pytest.approx(high - low, rel=0.35), name
        assert low_again <= exact.rates[name] <= high_again, name


def test_fewer_than_ten_classes_have_no_interval():
    assert pair_rates(as_pairs(*clustered(9)), threshold=0.5).intervals == {}


def test_a_rate_that_the_pairs_cannot_resolve():
    pairs = as_pairs(*clustered())  # 72 * 71 / 2 - 12 * 15 = 2,376 pairs
    with pytest.raises(
        ValueError, match=r"at least 10,000 pairs.* received 2,376.* 0.0043 or more"
    ):
        pair_rates(pairs, wanted=0.001)
    assert pair_rates(pairs, wanted=0.0043).threshold > 0
    rates = pair_rates(pairs, wanted=0.001, threshold=0.5).rates
    assert rates["threshold"] is None and rates["tar_at_far_0.001"] is None
    assert rates["tar_at_far_0.01"] is not None


@pytest.mark.parametrize("wanted", [0, 1, -0.1, float("nan"), 5])
def test_a_wanted_rate_out_of_range(wanted):
    with pytest.raises(ValueError, match="between 0 and 1"):
        pair_rates(as_pairs(*clustered()), wanted=wanted)


def test_data_without_pairs_of_both_kinds():
    points = np.eye(4, dtype="float32")
    with pytest.raises(ValueError, match="2 classes or more"):
        as_pairs(points, [7, 7, 7, 7])
    with pytest.raises(ValueError, match="classes with 2 images or more"):
        pair_rates(as_pairs(points, [1, 2, 3, 4]))
    with pytest.raises(ValueError, match="without any such pair"):
        pair_rates(as_pairs(points, [1, 1, 2, 2], points, [3, 3, 4, 4]))
    with pytest.raises(ValueError, match="one per vector; received 3"):
        as_pairs(points, [1, 1, 2])


def test_no_threshold_reaches_the_rate():
    points, labels = np.tile(np.eye(2, dtype="float32")[0], (20, 1)), np.arange(20) % 2
    with pytest.raises(ValueError, match="100 % of the pairs .* the largest cosine of all, 1.0000"):
        pair_rates(as_pairs(points, labels), wanted=0.5)
