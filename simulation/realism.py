"""How far simulated visits are from real ones, measured as the real days differ among themselves."""

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
    """A statistic of the simulated visits, and the 95 % bootstrap interval of the real ones'; nan where it does not exist."""

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
    """Spearman's: the correlation of the ranks, ties with their mean rank; nan where a quantity does not vary."""
    if not len(a) or np.ptp(a) == 0 or np.ptp(b) == 0:
        return nan
    return float(np.corrcoef(_ranks(a), _ranks(b))[0, 1])


def dispersion(counts: Floats) -> float:
    """Variance over mean of day counts: 1 for a Poisson process of one rate, nan without sessions."""
    mean = np.mean(counts)
    return float(np.var(counts, ddof=1) / mean) if len(counts) > 1 and mean else nan


def concentration(amounts: Floats) -> Floats:
    """The share of the sum that the largest 1, 2, … of `amounts` have together; empty if there is none to share."""
    sums: Floats = np.cumsum(np.sort(amounts)[::-1])
    return sums / sums[-1] if len(sums) and sums[-1] else np.empty(0)


def half_from(shares: Floats) -> float:
    """The smallest share of all, of a `concentration`, that has half of the sum; nan if it is empty."""
    return float(np.searchsorted(shares, 0.5) + 1) / len(shares) if len(shares) else nan


def interval(
    simulated: float, statistic: Callable[[NDArray[np.intp]], float], rows: int, bootstraps: int = BOOTSTRAPS
) -> Interval:
    """Where `statistic` of the real data lies, given rows drawn with replacement by their numbers."""
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
