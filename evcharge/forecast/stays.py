"""How long cars stay: the hazard of departure by kind of site, local hour and age of the stay.

A hazard (per hour) is constant within an age class and a local hour. A kind of site has a table of them, shape (24, 17), rows
by local hour. A stay's chance to last is exp(-sum of hazards along its hours and ages).
"""

from __future__ import annotations

from math import erf, log, sqrt

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

#: Where the age classes begin (minutes). The first holds failed starts, which end within a minute and a half.
AGES_MIN = np.array([0, 2, 5, 10, 20, 30, 45, 60, 90, 120, 180, 240, 360, 480, 720, 960, 1440], dtype=np.float64)

#: No stay is safe from ending (per hour): nobody stays for a week.
_LEAST_HAZARD = 0.005


def age_class(age_min: Floats) -> NDArray[np.intp]:
    """The number of the age class of each of `age_min`."""
    return np.searchsorted(AGES_MIN, age_min, side="right") - 1


def log_normal_hazards(median_min: float, sigma: float) -> Floats:
    """The mean hazard (per hour) of a log-normal stay in each age class, shape (17,)."""

    def lasts(minutes: float) -> float:
        if minutes <= 0:
            return 1.0
        return max(0.5 - 0.5 * erf(log(minutes / median_min) / sigma / sqrt(2)), 1e-12)

    ends = [*AGES_MIN[1:], 2 * AGES_MIN[-1]]
    found: list[float] = []
    for begin, end in zip(AGES_MIN, ends, strict=True):
        whole = lasts(begin) <= 1e-9
        hazard = found[-1] if whole else log(lasts(begin) / lasts(end)) * 60 / (end - begin)
        found.append(max(hazard, _LEAST_HAZARD))
    return np.array(found)


def lasting(hazards: Floats, ages_min: Floats, local_min: float, after_min: Floats) -> Floats:
    """The chance that stays of `ages_min` (minutes, shape (n,)) last on at `after_min` (minutes from now, rising from 0).

    `hazards` has the shape (24, 17), `local_min` is the local minute of the day now. Shape (n, instants).
    """
    widths = np.diff(after_min)
    middles = after_min[:-1] + widths / 2
    hours = ((local_min + middles) / 60).astype(np.intp) % 24
    ages = age_class(ages_min[:, None] + middles[None, :])
    spent = hazards[hours[None, :], ages] * widths / 60
    return np.exp(-np.concatenate([np.zeros((len(ages_min), 1)), np.cumsum(spent, axis=1)], axis=1))


def new_stays(hazards: Floats, local_min: float, grid_min: Floats) -> Floats:
    """The chance that a car that comes at an instant of an even grid (rows) is there at another (columns); 0 before it came."""
    step = grid_min[1] - grid_min[0]
    size = len(grid_min)
    hours = ((local_min + grid_min + step / 2) / 60).astype(np.intp) % 24
    lags = np.arange(size)
    ages = age_class(lags * step + step / 2)
    lag = lags[None, :] - lags[:, None]
    spent = np.where(lag >= 0, hazards[hours[None, :], ages[np.maximum(lag, 0)]], 0.0) * step / 60
    gone = np.cumsum(spent, axis=1)
    # what is spent in the cell of an instant counts from its end on
    chance = np.exp(-np.concatenate([np.zeros((size, 1)), gone[:, :-1]], axis=1))
    return np.where(lag >= 0, chance, 0.0)


def stayed(hazards: Floats, ages_min: Floats, local_min: float) -> Floats:
    """The chance that stays that began `ages_min` ago (minutes, shape (n,)) have lasted until now, shape (n,)."""
    begins, ends = AGES_MIN, np.append(AGES_MIN[1:], np.inf)
    spent = np.clip(ages_min[:, None] - begins, 0.0, ends - begins)
    middles = begins + spent / 2
    hours = ((local_min - ages_min[:, None] + middles) / 60).astype(np.intp) % 24
    return np.asarray(np.exp(-(hazards[hours, np.arange(len(AGES_MIN))] * spent / 60).sum(axis=1)))


def busy_by_hour(hazards: Floats, arrivals: Floats) -> Floats:
    """The mean number of cars at each local hour, from arrivals per hour of a day, shape (24,) each.

    A day's cars stay into the next day at most.
    """
    day = np.arange(0.0, 2880.0, 10.0)
    # a car that comes within a step is there for half of it
    stays = new_stays(hazards, 0.0, day) - 0.5 * np.eye(len(day))
    came = np.tile(np.repeat(arrivals, 6) / 6, 2)
    return np.asarray((came[:, None] * stays).sum(axis=0)[144:].reshape(24, 6).mean(axis=1))
