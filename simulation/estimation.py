"""Distributions and rank tables of a profile, estimated from visits. Pure: numpy alone."""

from __future__ import annotations

from math import inf

import numpy as np
from numpy.typing import NDArray

from simulation.profile import Copula, DayKind, Distribution, Floats, Visits

#: How far a quantile function may be from the distribution of n values, times sqrt(n). Two samples of n are 1.2 / sqrt(n)
#: apart by chance (the mean of Kolmogorov's distribution); this is a twelfth of it.
_MISSED = 0.1
#: It may be at least this many values away, so that no knot stands for a single value.
_MISSED_VALUES = 1.5
MOST_KNOTS = 160
#: This many extreme values become one even stretch of the same mean. The tail stays, but no single session is kept.
_TAIL = 5
_MOST_PARTS, _VALUES_PER_PART = 24, 4
_MOST_START_PARTS, _VALUES_PER_START_PART = 4, 300


def day_kind(visits: Visits) -> DayKind:
    """The distributions and rank tables of the visits, of which there is at least one."""
    start, stay, energy = (_levels(each) for each in (visits.start_hour, visits.stay_h, visits.energy_kwh))
    parts = _within(len(visits) // _VALUES_PER_PART, _MOST_PARTS)
    start_parts = _within(len(visits) // _VALUES_PER_START_PART, _MOST_START_PARTS)
    # The parts of the start in the table of stays must divide into those in the table of energies: else the two tables would
    # disagree on how many visits each part has.
    fine = start_parts * _within(parts // start_parts, _MOST_PARTS)
    of_start = _parts(start, start_parts)
    return DayKind(
        distribution(visits.start_hour, most=24.0),
        distribution(visits.stay_h),
        distribution(visits.energy_kwh),
        copula(start, stay, fine, parts),
        tuple(copula(stay[here], energy[here], parts, parts) for here in (of_start == n for n in range(start_parts))),
    )


def distribution(values: Floats, most: float = inf, most_knots: int = MOST_KNOTS) -> Distribution:
    """The quantile function of values from 0 to `most`, with as few knots as keep it near the values."""
    values = _even_tails(np.sort(values), most)
    count = len(values)
    steps = np.flatnonzero(np.diff(values, prepend=-1.0))
    # The empirical distribution as a line: it rises at each value and is level between two values.
    knots = np.repeat(values[steps], 2)
    levels = np.column_stack([steps, np.append(steps[1:], count)]).ravel() / count
    missed = max(_MISSED / np.sqrt(count), _MISSED_VALUES / count)
    kept = _simplified(knots, levels, missed)
    while len(kept) > most_knots:
        missed *= 1.25
        kept = _simplified(knots, levels, missed)
    return Distribution(tuple(map(float, knots[kept])), tuple(map(float, np.round(levels[kept], 5))))


def copula(given: Floats, drawn: Floats, rows: int, columns: int) -> Copula:
    """The rank table of two quantities, given by their levels (0 to 1)."""
    cells = np.bincount(_parts(given, rows) * columns + _parts(drawn, columns), minlength=rows * columns)
    return Copula(tuple(tuple(map(float, row)) for row in cells.reshape(rows, columns)))


def day_variance(counts: Floats, means: Floats) -> float:
    """How much more the counts of days vary than a Poisson process of these means, by moments: var = mean + x mean^2."""
    return float(((counts - means) ** 2 - means).sum() / (means**2).sum())


def _levels(values: Floats) -> Floats:
    """Ranks as levels (0 to 1). Equal values share their ranks at random, as draws among them would."""
    order = np.lexsort((np.random.default_rng(0).random(len(values)), values))
    levels = np.empty(len(values))
    levels[order] = (np.arange(len(values)) + 0.5) / len(values)
    return levels


def _parts(levels: Floats, count: int) -> NDArray[np.int64]:
    return (levels * count).astype(np.int64)


def _within(count: int, most: int) -> int:
    return max(1, min(count, most))


def _even_tails(rising: Floats, most: float) -> Floats:
    values = rising.copy()
    count = min(_TAIL, (len(values) - 1) // 2)
    if count:
        even = (np.arange(count) + 0.5) / count
        least, greatest = values[count], values[-count - 1]
        below, above = least - values[:count].mean(), values[-count:].mean() - greatest
        values[:count] = np.sort(np.maximum(least - 2 * below * even, 0.0))
        values[-count:] = np.minimum(greatest + 2 * above * even, most)
    return values


def _simplified(knots: Floats, levels: Floats, missed: float) -> NDArray[np.int64]:
    """The fewest points of a rising line that stay within `missed` of all its levels (Douglas and Peucker, 1973)."""
    kept = {0, len(knots) - 1}
    open_ends = [(0, len(knots) - 1)]
    while open_ends:
        first, last = open_ends.pop()
        width = knots[last] - knots[first]
        if last - first < 2 or width <= 0:
            continue
        share = (knots[first + 1 : last] - knots[first]) / width
        gap = np.abs(levels[first] + share * (levels[last] - levels[first]) - levels[first + 1 : last])
        worst = int(np.argmax(gap))
        if gap[worst] > missed:
            at = first + 1 + worst
            kept.add(at)
            open_ends += [(first, at), (at, last)]
    return np.array(sorted(kept))
