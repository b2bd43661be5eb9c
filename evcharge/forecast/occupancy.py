"""How many outlets will be taken, and how long a car that comes then has to wait: counting, without any model of drivers.

Arrays over time have a row for each instant of a grid. A car at an outlet is its chance of still being there at each instant.
The cars that are there now are few and each has a chance of its own (Poisson-binomial); those that come later are many
possible ones with a small chance each (Poisson).
"""

from __future__ import annotations

from math import comb

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


def count_of_independent(chances: Floats) -> Floats:
    """The distribution of how many of independent events happen (Poisson-binomial), by convolution.

    `chances` has the shape (…, events); the result has the shape (…, events + 1).
    """
    *shape, events = chances.shape
    found = np.zeros((*shape, events + 1))
    found[..., 0] = 1.0
    for event in range(events):
        chance = chances[..., event, None]
        found[..., 1 : event + 2] = found[..., 1 : event + 2] * (1 - chance) + found[..., : event + 1] * chance
        found[..., 0] *= 1 - chances[..., event]
    return found


def poisson(means: Floats, most: int) -> Floats:
    """The Poisson probabilities of 0 to `most` for each of `means`, shape (…, most + 1); the last has all that is above."""
    found = np.empty((*means.shape, most + 1))
    found[..., 0] = np.exp(-means)
    for count in range(1, most + 1):
        found[..., count] = found[..., count - 1] * means / count
    found[..., most] += np.maximum(1 - found.sum(axis=-1), 0.0)
    return found


def sum_of(one: Floats, other: Floats, most: int) -> Floats:
    """The distribution of the sum of two independent counts, shape (…, most + 1); the last has all that is above."""
    found = np.zeros((*one.shape[:-1], most + 1))
    for count in range(one.shape[-1]):
        room = most - count
        if room <= 0:
            found[..., most] += one[..., count]
            continue
        weight = one[..., count, None]
        width = min(other.shape[-1], room)
        found[..., count : count + width] += weight * other[..., :width]
        found[..., most] += one[..., count] * other[..., width:].sum(axis=-1)
    return found


def waits_for(most: int, still_there: Floats, cars: int, after_s: Floats) -> Floats:
    """The mean time (s) until the first, the second, … of equal cars has left: the means of the order statistics.

    `still_there` has the shape (…, instants): a car's chance to be there still `after_s` (seconds from now, rising from 0). The
    result has the shape (…, most), with `most` at most `cars`. A mean is the integral of the chance that fewer have left. Of
    what is left at the last instant half of the grid's length is added.
    """
    gone = 1 - still_there
    counts = np.arange(most)
    ways = np.array([comb(cars, int(count)) for count in counts], dtype=np.float64)
    exactly = ways * gone[..., None] ** counts * still_there[..., None] ** (cars - counts)
    fewer = np.cumsum(exactly, axis=-1)
    widths = np.diff(after_s)[:, None]
    mean = ((fewer[..., 1:, :] + fewer[..., :-1, :]) / 2 * widths).sum(axis=-2)
    return np.asarray(mean + fewer[..., -1, :] * after_s[-1] / 2)
