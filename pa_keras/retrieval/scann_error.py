"""Measures the error of an approximate search on a sample of queries, and bounds it."""

from dataclasses import asdict, dataclass

import numpy as np
from scipy.special import betaincinv

CONFIDENCE = 0.95
# Similarities of the same pair, summed in different orders, differ by less than this.
TOLERANCE = 1e-5


@dataclass(frozen=True)
class SearchError:
    """The error of an approximate search against exact search; shares are in [0, 1].

    Attributes:
        k: Number of neighbours per query.
        sample_size: Number of queries that were searched by both methods.
        nearest: Share of these queries whose nearest neighbour was missed.
        neighbours: Share of all their k nearest neighbours that were missed.
        recalls: Recall@1 and Recall@k of the approximate search minus those of exact search, or
            None without labels.
        bound: Upper bound, at 95 % confidence, of the change of the recalls over all queries;
            without labels, of the shares of missed nearest and k nearest neighbours.
    """

    k: int
    sample_size: int
    nearest: float
    neighbours: float
    recalls: tuple[float, float] | None
    bound: float

    def as_json(self) -> dict:
        """Returns all values, ready for `json.dump`."""
        return {**asdict(self), "confidence": CONFIDENCE}

    def __str__(self) -> str:
        sample = f"{self.sample_size:,} queries that were also searched exactly"
        sure = f"at {CONFIDENCE:.0%} confidence"
        if self.recalls is None:
            return (
                f"missed {self.nearest:.2%} of the nearest and {self.neighbours:.2%} of all "
                f"neighbours of {sample}; {sure} at most {self.bound:.2%}"
            )
        at_1, at_k = (f"{100 * moved:+.2f}" for moved in self.recalls)
        return (
            f"moved Recall@1 by {at_1} and Recall@{self.k} by {at_k} points on {sample}; {sure} "
            f"by at most {100 * self.bound:.2f} points"
        )


def measure_error(
    similarities: np.ndarray,
    exact_similarities: np.ndarray,
    right: np.ndarray | None = None,
    exact_right: np.ndarray | None = None,
    tests: int = 1,
    whole: bool = False,
) -> SearchError:
    """Measures the error of an approximate search on a sample of queries.

    With labels, a query counts as changed if only one of the two searches finds a hit as its
    nearest, or among its k nearest. No recall can change by more than the share of changed queries,
    so one bound on this share covers Recall@1 and Recall@k, losses and gains. Any of several
    neighbours with equal similarities counts as found.

    Args:
        similarities: Similarities by the approximate search, float (n, k); NaN if no answer.
        exact_similarities: Similarities by exact search, float (n, k).
        right: Which answers of the approximate search are right, bool (n, k). Default None:
            there are no labels.
        exact_right: Which answers of exact search are right, bool (n, k).
        tests: Number of searches, of which the first that is good enough is taken. The confidence
            of each is raised so that the choice has 95 %. Default 1.
        whole: Whether the sample is all queries, so that there is no sampling error. Default False.

    Returns:
        The `SearchError`.

    Example:
        >>> error = measure_error(np.ones((3000, 1)), np.ones((3000, 1)))
        >>> error.nearest, round(error.bound, 4)
        (0.0, 0.001)

    Source: Clopper and Pearson, The Use of Confidence or Fiducial Limits, 1934.
    """
    size, k = similarities.shape
    missed_nearest = ~(similarities[:, 0] >= exact_similarities[:, 0] - TOLERANCE)
    missed = ~(similarities >= exact_similarities[:, -1:] - TOLERANCE)
    recalls: tuple[float, float] | None = None
    shares = [missed_nearest.mean(), missed.mean()]
    if right is not None and exact_right is not None:
        hits = np.stack([right[:, 0], right.any(axis=1)])
        exact_hits = np.stack([exact_right[:, 0], exact_right.any(axis=1)])
        nearest, any_of_k = map(float, hits.mean(axis=1) - exact_hits.mean(axis=1))
        recalls = (nearest, any_of_k)
        shares = [(hits != exact_hits).any(axis=0).mean()]
    worst = float(max(shares))
    return SearchError(
        k=k,
        sample_size=size,
        nearest=float(missed_nearest.mean()),
        neighbours=float(missed.mean()),
        recalls=recalls,
        bound=worst if whole else upper_bound(worst, size, 1 - (1 - CONFIDENCE) / tests),
    )


def upper_bound(share: float, size: int, confidence: float = CONFIDENCE) -> float:
    """Returns the Clopper-Pearson upper bound of a share, from the share in a random sample.

    Args:
        share: Mean over the sample of a yes or no, or of values in [0, 1]. Such values vary no
            more than a yes or no with the same mean, so the bound is at most too wide.
        size: Size of the sample.
        confidence: One-sided confidence, in (0, 1). Default 0.95.
    """
    count = share * size
    return 1.0 if count >= size else float(betaincinv(count + 1, size - count, confidence))
