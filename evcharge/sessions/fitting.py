"""Fits a site's demand to its recorded sessions, and says how near the fit comes to days that it has not seen."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date
from enum import StrEnum
from statistics import median
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np

from evcharge.errors import UserError
from evcharge.sessions.readers import RecordedSession, Recording
from simulation.profile import WEEKDAYS, WEEKEND, Conditional, DayKind, Distribution, Floats, SiteProfile
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
    """A site's sessions on some days, arrays of one length; `counts` has each day's, those without any included.

    `weekdays` are the days' (0 is Monday), `weekday` the sessions'. Starts are local hours, stays hours, energies kWh, SoC %.
    """

    weekday: Floats
    start_hour: Floats
    stay_h: Floats
    energy_kwh: Floats
    soc_percent: Floats
    weekdays: Floats
    counts: Floats


@dataclass(frozen=True, slots=True)
class Score:
    """How near a profile is to days: KS distances to them, and beside each that of the days it was fitted to."""

    days: Days
    sessions: int
    distances: dict[str, tuple[float, float]]
    correlations: dict[str, Interval]
    dispersion: Interval

    def to_json(self) -> dict[str, Any]:
        named = {**self.correlations, "day_count_dispersion": self.dispersion}
        return {
            "days": self.days.value,
            "sessions": self.sessions,
            "ks_distances": {
                name: {"profile": round(ours, 4), "fitted_days": round(real, 4)}
                for name, (ours, real) in self.distances.items()
            },
            **{
                name: {"profile": round(i.simulated, 3), "low": round(i.low, 3), "high": round(i.high, 3)}
                for name, i in named.items()
            },
        }


def sample(recording: Recording, days: Days, zone: ZoneInfo) -> Sample:
    """A recording's sessions that start on `days`. Raises UserError if they are too few to fit."""
    rows = [(session.started_at.astimezone(zone), session) for session in recording.sessions()]
    if not rows:
        raise UserError(f"{recording.path}: no session is left")
    first, last = (edge(at.date() for at, _ in rows).toordinal() for edge in (min, max))
    calendar = [day for day in map(date.fromordinal, range(first, last + 1)) if days.has(day)]
    rows = [(at, session) for at, session in rows if days.has(at.date())]
    if len(rows) < LEAST_SESSIONS:
        raise UserError(f"{recording.path}: {len(rows)} sessions on {days.value} days, a fit needs {LEAST_SESSIONS}")
    of_day = dict.fromkeys(calendar, 0)
    for at, _ in rows:
        of_day[at.date()] += 1
    return Sample(
        np.array([at.weekday() for at, _ in rows], dtype=float),
        np.array([at.hour + at.minute / 60 + at.second / 3600 for at, _ in rows]),
        np.array([(session.ended_at - session.started_at).total_seconds() / 3600 for _, session in rows]),
        np.array([session.energy_delivered_kwh for _, session in rows]),
        np.array([np.nan if session.soc_start is None else session.soc_start for _, session in rows]),
        np.array([day.weekday() for day in calendar], dtype=float),
        np.array(list(of_day.values()), dtype=float),
    )


def fit(recording: Recording, days: Days = Days.ALL) -> SiteProfile:
    """The profile of the sessions on `days` of a recording of one site. Raises UserError where it can not be fitted."""
    if len(recording.stations) != 1:
        raise UserError(f"{recording.path}: sessions of {len(recording.stations)} sites; a profile is of one")
    (site,) = recording.stations
    seen = sample(recording, days, ZoneInfo(site["time_zone"]))
    visits = _visits(seen)
    kinds = {}
    for name, at in ((WEEKDAYS, seen.weekday < 5), (WEEKEND, seen.weekday >= 5)):
        if at.any():
            kinds[name] = _kind(seen.start_hour[at], seen.stay_h[at], seen.energy_kwh[at])
    known = ~np.isnan(seen.soc_percent)
    soc = None
    if known.sum() >= LEAST_SESSIONS:
        soc = _given(seen.energy_kwh[known], seen.soc_percent[known], _SESSIONS_PER_STAY, _MOST_ENERGIES, _ENERGY_KNOTS)
    evses = site["evses"]
    return SiteProfile(
        source=recording.source,
        sessions=len(seen.start_hour),
        time_zone=site["time_zone"],
        evses=len(evses),
        power_kw=float(
            median([evse["power_kw"] for evse in evses if evse["power_kw"]] or [_power_kw(recording.sessions())])
        ),
        connector_type=evses[0]["connector_type"] or "J1772",
        visits=visits,
        day_variance=_day_variance(seen, visits),
        kinds=kinds,
        soc=soc,
    )


def score(profile: SiteProfile, recording: Recording, fitted: Days) -> Score:
    """The profile against the days that it was not fitted to; against its own where it was fitted to all."""
    zone = ZoneInfo(profile.time_zone)
    own, unseen = sample(recording, fitted, zone), sample(recording, fitted.others, zone)
    drawn = profile.draw(seed=0, days=COMPARED_DAYS)
    sides = {
        "start_hour": (drawn.start_hour, unseen.start_hour, own.start_hour),
        "stay": (drawn.stay_h, unseen.stay_h, own.stay_h),
        "energy": (drawn.energy_kwh, unseen.energy_kwh, own.energy_kwh),
    }
    pairs = {
        "stay_energy_correlation": (unseen.stay_h, unseen.energy_kwh, drawn.stay_h, drawn.energy_kwh),
        "start_stay_correlation": (unseen.start_hour, unseen.stay_h, drawn.start_hour, drawn.stay_h),
    }
    return Score(
        fitted.others,
        len(unseen.stay_h),
        {name: (ks_distance(ours, real), ks_distance(fit, real)) for name, (ours, real, fit) in sides.items()},
        {name: _correlation(*pair) for name, pair in pairs.items()},
        interval(
            dispersion(np.bincount(drawn.day, minlength=COMPARED_DAYS).astype(float)),
            lambda rows: dispersion(unseen.counts[rows]),
            len(unseen.counts),
        ),
    )


def _correlation(a: Floats, b: Floats, drawn_a: Floats, drawn_b: Floats) -> Interval:
    return interval(rank_correlation(drawn_a, drawn_b), lambda rows: rank_correlation(a[rows], b[rows]), len(a))


def _visits(seen: Sample) -> tuple[float, ...]:
    return tuple(
        float(seen.counts[seen.weekdays == weekday].mean()) if (seen.weekdays == weekday).any() else 0.0
        for weekday in range(7)
    )


def _day_variance(seen: Sample, visits: Sequence[float]) -> float:
    """What the counts vary beyond a Poisson process of the weekday's mean, by moments: var = mean + day_variance mean^2."""
    means = np.array(visits)[seen.weekdays.astype(int)]
    return max(float(((seen.counts - means) ** 2 - means).sum() / (means**2).sum()), 0.0)


def _kind(start: Floats, stay: Floats, energy: Floats) -> DayKind:
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


def _power_kw(sessions: Iterable[RecordedSession]) -> float:
    """What an EVSE gives at least, where the source does not say it: the most that a session took on average."""
    hours = ((session, (session.ended_at - session.started_at).total_seconds() / 3600) for session in sessions)
    return max(session.energy_delivered_kwh / taken for session, taken in hours)
