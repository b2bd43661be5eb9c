"""What a station looks forward to: the chance of a free outlet and the wait, over the next four hours."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from zoneinfo import ZoneInfo

import numpy as np
from numpy.typing import NDArray

from evcharge.forecast.model import Model, SiteKind
from evcharge.forecast.occupancy import count_of_independent, poisson, sum_of, waits_for
from evcharge.forecast.station_now import StationNow
from evcharge.forecast.stays import lasting, new_stays, stayed

Floats = NDArray[np.float64]

#: The forecast's instants: minutes from now.
STEP_MIN = 10
LONGEST_MIN = 240
MINUTES = np.arange(0.0, LONGEST_MIN + STEP_MIN, STEP_MIN)
#: Arrivals and departures are counted in steps of half of that, so that a stay of half an hour has six of them.
_STEP_MIN = STEP_MIN / 2
_GRID = np.arange(0.0, LONGEST_MIN + 1, _STEP_MIN)
_SHOWN = slice(None, None, 2)
#: The wait is summed over these minutes after an arrival: finer than a stay at a fast charger.
_WAITS_MIN = np.array([0.0, 2, 5, 10, 15, 20, 30, 45, 60, 90, 120, 180, 240])
#: So far the cars' chances are needed: the last arrival's longest wait.
_LONG_GRID = np.arange(0.0, 2 * LONGEST_MIN + 1, _STEP_MIN)
#: Cars that wait in a queue beyond those that wait now; the last counts for all further ones.
_WAITING_MOST = 4
#: How often the share of drivers who find all taken is put in again; the third time changes less than a thousandth.
_ROUNDS = 2
#: The range of the arrivals: the 10th to the 90th percentile of what a station's sessions leave open.
_RANGE = 1.28
#: Of the drivers who find all outlets taken this share leaves at once (5 to 12 % of drivers wait, 14 % of visits fail:
#: J.D. Power 2025, which gives no share; assumption).
_LEAVES_AT_ONCE = 0.4
#: Half of those who wait give up, after so many minutes in the mean (assumption).
_GIVES_UP, _PATIENCE_MIN = 0.5, 30.0
#: A broken outlet works again after so long in the mean (h; assumption: a day, until somebody was there).
_REPAIR_H = 24.0


@dataclass(frozen=True, slots=True)
class Point:
    """The station at one instant: the chance (0 to 1) that a fitting outlet is free, with its range `low` to `high`.

    `expected_free` is the mean number of free outlets. `expected_wait_s` is the mean wait of a car that comes then.
    """

    in_min: float
    probability_free: float
    expected_free: float
    expected_wait_s: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Outlook:
    """A station at the instants of `MINUTES`, each array of shape (25,). Between two instants it is interpolated.

    `remark` says in words what a driver has to know of it, e.g. that some outlets are unknown.
    """

    station_id: str
    probability_free: Floats
    expected_free: Floats
    expected_wait_s: Floats
    low: Floats
    high: Floats
    remark: str | None = None

    def at(self, in_min: float) -> Point:
        """The station `in_min` minutes from now. Beyond four hours the last instant counts."""

        def value(values: Floats) -> float:
            return float(np.interp(in_min, MINUTES, values))

        return Point(
            in_min,
            value(self.probability_free),
            value(self.expected_free),
            value(self.expected_wait_s),
            value(self.low),
            value(self.high),
        )

    def wait_s(self, in_min: float) -> float:
        """The mean wait (s) of a car that comes in `in_min` minutes."""
        return float(np.interp(in_min, MINUTES, self.expected_wait_s))

    def chance(self, in_min: float) -> float:
        """The chance (0 to 1) that a fitting outlet is free in `in_min` minutes."""
        return float(np.interp(in_min, MINUTES, self.probability_free))


def never_free(station_id: str, remark: str) -> Outlook:
    """The outlook of a station where nobody can charge."""
    nothing = np.zeros(len(MINUTES))
    forever = np.full(len(MINUTES), np.inf)
    return Outlook(station_id, nothing, nothing, forever, nothing, nothing, remark)


def outlook_of(model: Model, station: StationNow, now: datetime, remark: str | None = None) -> Outlook:
    """The outlook of a station with at least one fitting outlet, `now` in any time zone."""
    local_min = minute_of_week(station.time_zone, now)
    kinds = model.kinds_of(station)
    rate, steps = model.rate_of(station) * station.outlets, len(_LONG_GRID)
    new = rate * new_cars(kinds, local_min, steps)
    there = cars_there(model, station, local_min, steps)
    unknown = np.tile(_busy_share(model, station, local_min), (station.unknown, 1))
    all_there = np.concatenate([there, unknown])
    shown = len(_GRID)
    counts, staying = taken(all_there, new, station, shown)
    free, mean_free = _free(counts, station.outlets)
    spread = np.exp(_RANGE / np.sqrt(1.0 + model.sessions_of(station)))
    fewer, _ = taken(there, new / spread, station, shown)
    more, _ = taken(np.concatenate([there, np.ones_like(unknown)]), new * spread, station, shown)
    return Outlook(
        station.station_id,
        model.calibrated(free[_SHOWN], MINUTES),
        mean_free[_SHOWN],
        _waits(counts, all_there, staying, station),
        model.calibrated(np.minimum(_free(more, station.outlets)[0], free)[_SHOWN], MINUTES),
        model.calibrated(np.maximum(_free(fewer, station.outlets)[0], free)[_SHOWN], MINUTES),
        remark,
    )


def chances_at(model: Model, station: StationNow, local_min: float, in_min: Sequence[int]) -> Floats:
    """The chances that an outlet is free at whole steps of five minutes, before calibration: all that a score needs.

    `local_min` is the local minute of the week, Monday first.
    """
    steps = int(max(in_min) / _STEP_MIN) + 1
    new = model.rate_of(station) * station.outlets * new_cars(model.kinds_of(station), local_min, steps)
    counts, _ = taken(cars_there(model, station, local_min, steps), new, station, steps)
    return _free(counts, station.outlets)[0][[int(minutes / _STEP_MIN) for minutes in in_min]]


def minute_of_week(time_zone: str, now: datetime) -> float:
    """The local minute of the week, Monday first."""
    local = now.astimezone(ZoneInfo(time_zone))
    return local.weekday() * 1440 + local.hour * 60 + local.minute + local.second / 60


def cars_there(model: Model, station: StationNow, local_min: float, steps: int) -> Floats:
    """The chance of each to be at an outlet at the first instants of the long grid: cars, broken outlets, queue, cars on
    their way; shape (all of them, steps)."""
    grid = _LONG_GRID[:steps]
    kinds = model.kinds_of(station)
    stays = np.asarray(sum(weight * _stays(kind, _slot(local_min), steps)[0] for weight, kind in kinds))
    broken = np.tile(np.exp(-grid / 60 / _REPAIR_H), (station.broken, 1))
    cars = _cars(kinds, station, local_min, grid)
    return np.concatenate([cars, broken, _waiting(station, cars, stays, grid), _inbound(station, stays, grid)])


def _waiting(station: StationNow, cars: Floats, stays: Floats, grid: Floats) -> Floats:
    """The chance of each waiting car to take an outlet away, or to wait for one still.

    Where a car waits although an outlet is free, the outlet does not fit it: it takes the place of the next car that leaves.
    (Of simulated fast chargers with two connector types such an outlet was still free ten minutes later in 97 of 100 cases.)
    """
    if not station.queue:
        return np.zeros((0, len(grid)))
    if station.free:
        left = count_of_independent(1 - cars.T)
        return np.array([left[:, number + 1 :].sum(axis=1) for number in range(station.queue)])
    patient = 1 - _GIVES_UP + _GIVES_UP * np.exp(-grid / _PATIENCE_MIN)
    return np.tile(stays * patient, (station.queue, 1))


def _cars(kinds: Sequence[tuple[float, SiteKind]], station: StationNow, local_min: float, grid: Floats) -> Floats:
    """The chance of each car to be there at the instants of a grid. Its kind is judged by when it came, too."""
    if not station.cars:
        return np.zeros((0, len(grid)))
    ages_min = np.array([car.age_s for car in station.cars]) / 60
    if len(kinds) == 1:
        return lasting(kinds[0][1].hazards, ages_min, local_min, grid)
    hours = ((local_min - ages_min) // 60).astype(np.intp) % 24
    chances, weights = [], []
    for weight, kind in kinds:
        chances.append(lasting(kind.hazards, ages_min, local_min, grid))
        came = kind.arrivals.mean(axis=0)[hours]
        weights.append(weight * came * stayed(kind.hazards, ages_min, local_min) + 1e-9)
    by_kind = np.array(weights) / np.sum(weights, axis=0)
    return np.einsum("kn,knt->nt", by_kind, np.array(chances))


def _slot(local_min: float) -> int:
    """The step of the week that a minute lies in: what is computed of a kind is kept for each."""
    return int(local_min // _STEP_MIN) % int(10_080 // _STEP_MIN)


@lru_cache(maxsize=512)
def _stays(kind: SiteKind, slot: int, steps: int) -> Floats:
    return new_stays(kind.hazards, slot * _STEP_MIN, _LONG_GRID[:steps])


@lru_cache(maxsize=512)
def _new_cars(kind: SiteKind, slot: int, steps: int) -> Floats:
    """Cars per outlet by the step in which they come (rows), and how many of them are there at an instant."""
    at_min = slot * _STEP_MIN + _LONG_GRID[:steps]
    weekend = (at_min // 1440 % 7 >= 5).astype(np.intp)
    came = kind.arrivals[weekend, (at_min // 60 % 24).astype(np.intp)] * _STEP_MIN / 60
    # a car that comes within a step is there from the step's end on
    return came[:, None] * np.triu(_stays(kind, slot, steps), 1)


def new_cars(kinds: Sequence[tuple[float, SiteKind]], local_min: float, steps: int) -> Floats:
    """Cars per outlet that come in each step (rows) and are there at each instant (columns) of the long grid."""
    return np.asarray(sum(weight * _new_cars(kind, _slot(local_min), steps) for weight, kind in kinds))


def _busy_share(model: Model, station: StationNow, local_min: float) -> Floats:
    hours = ((local_min + _LONG_GRID) // 60 % 24).astype(np.intp)
    shares = sum(weight * kind.busy[hours] for weight, kind in model.kinds_of(station))
    return np.asarray(np.minimum(model.rate_of(station) * shares, 0.95))


def _inbound(station: StationNow, stays: Floats, grid: Floats) -> Floats:
    """The chance that each car on its way is at an outlet: it comes about when expected, and then stays."""
    rows = []
    for eta_min, chance in station.inbound:
        first = min(int(eta_min / _STEP_MIN), len(grid) - 1)
        # a trip takes a third more or less than expected
        arrived = 1 / (1 + np.exp(-(grid - eta_min) / max(eta_min / 5, 1.0)))
        rows.append(
            chance * arrived * np.where(eta_min > grid, 1.0, stays[np.maximum(np.arange(len(grid)) - first, 0)])
        )
    return np.array(rows).reshape(len(rows), len(grid))


def taken(there: Floats, new: Floats, station: StationNow, shown: int) -> tuple[Floats, Floats]:
    """The distribution of the cars that want an outlet at the first `shown` instants, and the new cars that do.

    The last count stands for all above. `new` are the cars that would come; of those who find all taken some leave at once.
    """
    outlets, most = station.outlets, station.outlets + station.queue + _WAITING_MOST
    known = count_of_independent(there.T[:shown])
    staying = new
    full = np.zeros(len(new))
    for _ in range(_ROUNDS):
        staying = new * (1 - _LEAVES_AT_ONCE * full)[:, None]
        counts = sum_of(known, poisson(staying.sum(axis=0)[:shown], most), most)
        full[:shown] = counts[:, outlets:].sum(axis=-1)
        full[shown:] = full[shown - 1]
    return counts, staying


def _free(counts: Floats, outlets: int) -> tuple[Floats, Floats]:
    """The chance that an outlet is free, and the mean number of free ones."""
    below = counts[:, :outlets]
    return np.minimum(below.sum(axis=-1), 1.0), below @ (outlets - np.arange(outlets))


def _waits(counts: Floats, there: Floats, new: Floats, station: StationNow) -> Floats:
    """The mean wait (s) at the instants of `MINUTES` of a car that comes behind all others."""
    outlets, most = station.outlets, counts.shape[1] - 1
    shown = counts[_SHOWN]
    at = np.arange(0, len(_GRID), 2)
    later = at[:, None] * _STEP_MIN + _WAITS_MIN[None, :]
    both = there.sum(axis=0) + new.sum(axis=0)
    # of the cars that are there at an instant, those that are still there later
    known = there.sum(axis=0)
    come = np.cumsum(new, axis=0)[at]
    then = np.stack([np.interp(when, _LONG_GRID, known + row) for when, row in zip(later, come, strict=True)])
    still = then / np.maximum(both[at], 1e-9)[:, None]
    still = np.minimum.accumulate(np.clip(still, 0.0, 1.0), axis=1)
    places = min(most - outlets + 1, outlets)
    departures = waits_for(places, still, outlets, _WAITS_MIN * 60)
    means = np.zeros(len(at))
    for ahead in range(most - outlets + 1):
        # behind more cars than there are outlets it is the turn of the next ones, who stay as long
        turns, place = divmod(ahead, places)
        means += shown[:, outlets + ahead] * (turns * departures[:, -1] + departures[:, place])
    return means
