"""How far simulated visits are from real ones, compared with how far real days are from each other."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import isnan, nan

import numpy as np
from numpy.typing import NDArray

from simulation.profile import Floats

BOOTSTRAPS = 1_000


@dataclass(frozen=True, slots=True)
class Interval:
    """A statistic of the simulated visits, and its 95 % bootstrap interval (low to high) for the real ones.

    A value is nan where the statistic does not exist.
    """

    simulated: float
    low: float
    high: float

    @property
    def inside(self) -> bool:
        return isnan(self.simulated) if isnan(self.low) else self.low <= self.simulated <= self.high


def ks_distance(a: Floats, b: Floats) -> float:
    """The two-sample Kolmogorov-Smirnov distance: the largest gap between the two empirical distributions, 0 to 1."""
    points = np.concatenate([a, b])
    below_a = np.searchsorted(np.sort(a), points, side="right") / len(a)
    below_b = np.searchsorted(np.sort(b), points, side="right") / len(b)
    return float(np.max(np.abs(below_a - below_b)))


def rank_correlation(a: Floats, b: Floats) -> float:
    """Spearman's correlation of the ranks; ties have their mean rank. nan where a quantity does not vary."""
    if not len(a) or np.ptp(a) == 0 or np.ptp(b) == 0:
        return nan
    return float(np.corrcoef(_ranks(a), _ranks(b))[0, 1])


def dispersion(counts: Floats) -> float:
    """Variance over mean of the counts of days: 1 for a Poisson process of one rate, nan without sessions."""
    mean = np.mean(counts)
    return float(np.var(counts, ddof=1) / mean) if len(counts) > 1 and mean else nan


def concentration(amounts: Floats) -> Floats:
    """The share of the sum that the largest 1, 2, … of `amounts` have together; empty if the sum is 0."""
    sums: Floats = np.cumsum(np.sort(amounts)[::-1])
    return sums / sums[-1] if len(sums) and sums[-1] else np.empty(0)


def half_from(shares: Floats) -> float:
    """The smallest share of all amounts that has half of the sum, from a `concentration`; nan if that is empty."""
    return float(np.searchsorted(shares, 0.5) + 1) / len(shares) if len(shares) else nan


def interval(
    simulated: float, statistic: Callable[[NDArray[np.intp]], float], rows: int, bootstraps: int = BOOTSTRAPS
) -> Interval:
    """The bootstrap interval of `statistic`, which gets the numbers of `rows` real rows drawn with replacement."""
    random = np.random.default_rng(0)
    drawn = [statistic(random.integers(0, rows, rows)) for _ in range(bootstraps)]
    values = [value for value in drawn if not isnan(value)]
    low, high = np.quantile(values, [0.025, 0.975]) if values else (nan, nan)
    return Interval(simulated, float(low), float(high))


def _ranks(values: Floats) -> Floats:
    _, place, counts = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    ranks: Floats = (last - (counts - 1) / 2)[place]
    return ranks
