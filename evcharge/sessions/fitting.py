"""Fits a site's demand to its recorded sessions, and says how near the fit comes to days that it has not seen."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from enum import StrEnum
from pathlib import Path
from statistics import median
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
from numpy.typing import NDArray

from evcharge.errors import UserError
from evcharge.sessions.readers import Recording
from simulation.profile import WEEKDAYS, WEEKEND, Conditional, DayKind, Distribution, Floats, SiteProfile, Visits
from simulation.realism import Interval, dispersion, interval, ks_distance, rank_correlation

#: Fewer tell nothing of a distribution.
LEAST_SESSIONS = 50
# Knots of a quantile function, and sessions behind each that stands for a part of the data: as many as keep the marginal
# distributions and rank correlations of ACN-Data Caltech and the EPFL fast chargers within what their odd and even days differ.
_START_KNOTS, _STAY_KNOTS, _ENERGY_KNOTS = 120, 33, 17
_SESSIONS_PER_STAY, _SESSIONS_PER_ENERGY, _SESSIONS_PER_GROUP = 60, 30, 300
_MOST_STAYS, _MOST_ENERGIES, _MOST_GROUPS = 24, 16, 4
#: Days that are drawn to compare: so many that what differs is the model, not the draw.
COMPARED_DAYS = 5_000


class Days(StrEnum):
    """Which days to fit, by the local day of the month."""

    ALL = "all"
    ODD = "odd"
    EVEN = "even"

    def has(self, day: date) -> bool:
        return self is Days.ALL or (day.day % 2 == 1) == (self is Days.ODD)

    @property
    def others(self) -> Days:
        return {Days.ODD: Days.EVEN, Days.EVEN: Days.ODD}.get(self, Days.ALL)


@dataclass(frozen=True, slots=True)
class Sample:
    """A site's sessions on some days: visits whose day is a number from `first` on, and the numbers of all its `days`.

    A day without a session is a day as well.
    """

    path: Path
    first: date
    visits: Visits
    days: NDArray[np.int64]

    def on(self, days: Days) -> Sample:
        """Those of some of the days. Raises UserError if they are too few to fit."""
        numbers = np.array([n for n in self.days if days.has(self.first + timedelta(days=int(n)))], dtype=np.int64)
        visits = self.visits.where(np.isin(self.visits.day, numbers))
        if len(visits) < LEAST_SESSIONS:
            raise UserError(f"{self.path}: {len(visits)} sessions on {days.value} days, a fit needs {LEAST_SESSIONS}")
        return Sample(self.path, self.first, visits, numbers)

    def weekday(self, numbers: NDArray[np.int64]) -> NDArray[np.int64]:
        """The weekdays (0 is Monday) of days by their numbers."""
        return (numbers + self.first.weekday()) % 7

    @property
    def counts(self) -> Floats:
        """Sessions of each of `days`."""
        return np.bincount(self.visits.day, minlength=int(self.days[-1]) + 1)[self.days].astype(float)


@dataclass(frozen=True, slots=True)
class Score:
    """How near a profile is to days: KS distances to them, and beside each that of the days it was fitted to."""

    days: Days
    sessions: int
    distances: dict[str, tuple[float, float]]
    intervals: dict[str, Interval]

    def to_json(self) -> dict[str, Any]:
        return {
            "days": self.days.value,
            "sessions": self.sessions,
            "ks_distances": {
                name: {"profile": round(ours, 4), "fitted_days": round(real, 4)}
                for name, (ours, real) in self.distances.items()
            },
            **{
                name: {"profile": round(i.simulated, 3), "low": round(i.low, 3), "high": round(i.high, 3)}
                for name, i in self.intervals.items()
            },
        }


def read(recording: Recording, zone: ZoneInfo) -> Sample:
    """All sessions of a recording, in its order. Raises UserError if it has none."""
    rows = [(session.started_at.astimezone(zone), session) for session in recording.sessions()]
    if not rows:
        raise UserError(f"{recording.path}: no session is left")
    first, last = (edge(at.date() for at, _ in rows) for edge in (min, max))
    visits = Visits(
        np.array([(at.date() - first).days for at, _ in rows]),
        np.array([at.hour + at.minute / 60 + at.second / 3600 for at, _ in rows]),
        np.array([(session.ended_at - session.started_at).total_seconds() / 3600 for _, session in rows]),
        np.array([session.energy_delivered_kwh for _, session in rows]),
        np.array([np.nan if session.soc_start is None else session.soc_start for _, session in rows]),
    )
    return Sample(recording.path, first, visits, np.arange((last - first).days + 1))


def fit(recording: Recording, days: Days = Days.ALL) -> SiteProfile:
    """The profile of the sessions on `days` of a recording of one site. Raises UserError where it can not be fitted."""
    if len(recording.stations) != 1:
        raise UserError(f"{recording.path}: sessions of {len(recording.stations)} sites; a profile is of one")
    (site,) = recording.stations
    everything = read(recording, ZoneInfo(site["time_zone"]))
    seen = everything.on(days)
    visits, weekday, means = seen.visits, seen.weekday(seen.visits.day), _means(seen)
    kinds = {}
    for name, at in ((WEEKDAYS, weekday < 5), (WEEKEND, weekday >= 5)):
        if at.any():
            kinds[name] = _kind(visits.where(at))
    known = visits.where(~np.isnan(visits.soc_percent))
    soc = None
    if len(known) >= LEAST_SESSIONS:
        soc = _given(known.energy_kwh, known.soc_percent, _SESSIONS_PER_STAY, _MOST_ENERGIES, _ENERGY_KNOTS)
    evses = site["evses"]
    powers_kw = [evse["power_kw"] for evse in evses if evse["power_kw"]] or [_least_power_kw(everything.visits)]
    return SiteProfile(
        source=recording.source,
        sessions=len(visits),
        time_zone=site["time_zone"],
        evses=len(evses),
        power_kw=float(median(powers_kw)),
        connector_type=evses[0]["connector_type"] or "J1772",
        visits=means,
        day_variance=_day_variance(seen, means),
        kinds=kinds,
        soc=soc,
    )


def score(profile: SiteProfile, recording: Recording, fitted: Days) -> Score:
    """The profile against the days that it was not fitted to; against its own where it was fitted to all."""
    everything = read(recording, ZoneInfo(profile.time_zone))
    own, unseen = everything.on(fitted), everything.on(fitted.others)
    real, counts, drawn = unseen.visits, unseen.counts, profile.draw(seed=0, days=COMPARED_DAYS)
    columns = {"start_hour": "start_hour", "stay": "stay_h", "energy": "energy_kwh"}
    return Score(
        fitted.others,
        len(real),
        {
            name: (_distance(drawn, real, column), _distance(own.visits, real, column))
            for name, column in columns.items()
        },
        {
            "stay_energy_correlation": _correlation(drawn.stay_h, drawn.energy_kwh, real.stay_h, real.energy_kwh),
            "start_stay_correlation": _correlation(drawn.start_hour, drawn.stay_h, real.start_hour, real.stay_h),
            "day_count_dispersion": interval(
                dispersion(np.bincount(drawn.day, minlength=COMPARED_DAYS).astype(float)),
                lambda rows: dispersion(counts[rows]),
                len(counts),
            ),
        },
    )


def _distance(a: Visits, b: Visits, column: str) -> float:
    return ks_distance(getattr(a, column), getattr(b, column))


def _correlation(drawn_a: Floats, drawn_b: Floats, a: Floats, b: Floats) -> Interval:
    return interval(rank_correlation(drawn_a, drawn_b), lambda rows: rank_correlation(a[rows], b[rows]), len(a))


def _means(seen: Sample) -> tuple[float, ...]:
    """Visits of each weekday, Monday first."""
    weekdays, counts = seen.weekday(seen.days), seen.counts
    return tuple(
        float(counts[weekdays == weekday].mean()) if (weekdays == weekday).any() else 0.0 for weekday in range(7)
    )


def _day_variance(seen: Sample, means_of_weekdays: Sequence[float]) -> float:
    """What the counts vary beyond a Poisson process of the weekday's mean, by moments: var = mean + day_variance mean^2."""
    means = np.array(means_of_weekdays)[seen.weekday(seen.days)]
    return max(float(((seen.counts - means) ** 2 - means).sum() / (means**2).sum()), 0.0)


def _kind(visits: Visits) -> DayKind:
    start, stay, energy = visits.start_hour, visits.stay_h, visits.energy_kwh
    groups = np.array_split(np.argsort(start, kind="stable"), _parts(len(start), _SESSIONS_PER_GROUP, _MOST_GROUPS))
    return DayKind(
        _distribution(start, _START_KNOTS),
        _given(start, stay, _SESSIONS_PER_STAY, _MOST_STAYS, _STAY_KNOTS),
        tuple(float(start[rows[0]]) for rows in groups),
        tuple(_given(stay[rows], energy[rows], _SESSIONS_PER_ENERGY, _MOST_ENERGIES, _ENERGY_KNOTS) for rows in groups),
    )


def _given(given: Floats, values: Floats, sessions: int, most: int, knots: int) -> Conditional:
    parts = np.array_split(np.argsort(given, kind="stable"), _parts(len(given), sessions, most))
    return Conditional(
        tuple(float(np.median(given[rows])) for rows in parts),
        tuple(_distribution(values[rows], knots) for rows in parts),
    )


def _distribution(values: Floats, knots: int) -> Distribution:
    count = min(knots, len(values))
    quantiles = np.quantile(values, (np.arange(count) + 0.5) / count, method="hazen")
    return Distribution(tuple(map(float, quantiles)))


def _parts(count: int, each: int, most: int) -> int:
    return max(1, min(most, count // each))


def _least_power_kw(visits: Visits) -> float:
    """What an EVSE gives at least, where the source does not say it: the most that a session took on average."""
    lasting = visits.where(visits.stay_h > 0)
    return float(np.max(lasting.energy_kwh / lasting.stay_h))
