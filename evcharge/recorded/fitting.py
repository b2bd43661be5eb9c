"""Fits a site's demand to its recorded sessions, and measures how near the fit comes to days that it has not seen."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, timedelta
from enum import StrEnum
from math import isnan, log, nan
from pathlib import Path
from statistics import median
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
from numpy.typing import NDArray

from evcharge.errors import UserError
from evcharge.recorded.readers import Recording
from simulation.comparison import Interval, dispersion, interval, ks_distance, rank_correlation
from simulation.estimation import day_kind, day_variance, distribution
from simulation.network import COMBO, J1772
from simulation.profile import WEEKDAYS, WEEKEND, Conditional, DayKind, Floats, SiteProfile, Visits

#: Fewer sessions say nothing about a distribution.
LEAST_SESSIONS = 50
#: The power of a shorter stay is mostly the rounding of its times.
_LASTING_H = 0.1
#: Used where no session has a power: level 2, 32 A at 208 V.
_LEVEL_2_KW = 6.6
#: Weekends with fewer sessions are fitted together with weekdays, and the other way round.
_LEAST_OF_KIND = 30
#: A site counts as closed where it had no session for longer than a week, and chance brings such a run once in a million.
SHORTEST_CLOSURE_DAYS = 7
_BY_CHANCE = log(1e-6)
_MOST_SOC_PARTS, _SESSIONS_PER_SOC_PART, _MOST_SOC_KNOTS = 16, 60, 24
#: The simulated cars' plugs in place of those that they do not have: Europe's differ by shape, not by what they do.
_PLUGS = {"IEC_62196_T2": J1772, "IEC_62196_T2_COMBO": COMBO, "CCS": COMBO}
#: Days that are drawn for a comparison: with so many, a difference comes from the model, not from the draw.
COMPARED_DAYS = 5_000

#: What is compared: quantities by their column of `Visits`, and pairs of columns by their rank correlation.
DISTRIBUTIONS = {"start_hour": "start_hour", "stay": "stay_h", "energy": "energy_kwh"}
CORRELATIONS = {"stay_energy_correlation": ("stay_h", "energy_kwh"), "start_stay_correlation": ("start_hour", "stay_h")}
DISPERSION = "day_count_dispersion"


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
        """The sessions on some of the days. Raises UserError if they are too few to fit."""
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
class Equipment:
    """The source of the sessions and the site: time zone, EVSEs, power of an EVSE, and power that all EVSEs share (kW)."""

    source: str
    time_zone: str
    evses: int
    power_kw: float
    connector_type: str
    site_power_kw: float | None = None


@dataclass(frozen=True, slots=True)
class Score:
    """How near a profile is to some days: KS distances, and statistics with the interval that these days themselves have.

    `distances` and `fitted` also have the figures of the days that the profile was fitted to. A profile can hardly be
    nearer than these days are.
    """

    days: Days
    sessions: int
    distances: dict[str, tuple[float, float]]
    intervals: dict[str, Interval]
    fitted: dict[str, float]

    def to_json(self) -> dict[str, Any]:
        """Plain values. A figure that does not exist is None: a stay that never varies has no correlation."""
        return {
            "days": self.days.value,
            "sessions": self.sessions,
            "ks_distances": {
                name: {"profile": round(ours, 4), "fitted_days": round(real, 4)}
                for name, (ours, real) in self.distances.items()
            },
            **{
                name: {
                    "profile": _figure(i.simulated),
                    "fitted_days": _figure(self.fitted[name]),
                    "low": _figure(i.low),
                    "high": _figure(i.high),
                    "inside": i.inside,
                }
                for name, i in self.intervals.items()
            },
        }


def _figure(value: float) -> float | None:
    return None if isnan(value) else round(value, 3)


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


def fit(
    recording: Recording,
    days: Days = Days.ALL,
    *,
    source: str | None = None,
    evses: int | None = None,
    power_kw: float | None = None,
    site_power_kw: float | None = None,
) -> SiteProfile:
    """The profile of the sessions on `days` of a recording of one site. Raises UserError if it cannot be fitted.

    The other arguments replace what the recording says about its source and its site.
    """
    if not recording.stations and not recording.session_count:
        raise UserError(f"{recording.path}: {recording.first_rejected}; no session is left")
    if not recording.stations:
        raise UserError(f"{recording.path}: no row has latitude, longitude and time_zone: give --time-zone")
    if len(recording.stations) > 1:
        named = ", ".join(sorted(station["station_id"] for station in recording.stations)[:5])
        raise UserError(
            f"{recording.path}: sessions of {len(recording.stations)} sites ({named}); a profile describes one: "
            "`evcharge fit --site` chooses it"
        )
    (site,) = recording.stations
    everything = read(recording, ZoneInfo(site["time_zone"]))
    known_kw = [evse["power_kw"] for evse in site["evses"] if evse["power_kw"]]
    equipment = Equipment(
        source or recording.source,
        site["time_zone"],
        evses or len(site["evses"]),
        power_kw or max(median(known_kw or [0.0]), _least_power_kw(everything.visits)),
        _plug(site["evses"][0]["connector_type"]),
        site_power_kw or recording.site_power_kw,
    )
    return fit_sample(everything.on(days), equipment)


def _plug(connector_type: str | None) -> str:
    return _PLUGS.get(connector_type or J1772, connector_type or J1772)


def fit_sample(seen: Sample, equipment: Equipment) -> SiteProfile:
    """The profile of a site's sessions on some days."""
    everyday = seen
    seen = without_closures(everyday)
    means = _means(seen)
    return SiteProfile(
        source=equipment.source,
        sessions=len(seen.visits),
        time_zone=equipment.time_zone,
        evses=equipment.evses,
        power_kw=equipment.power_kw,
        connector_type=equipment.connector_type,
        visits=means,
        day_variance=day_variance(seen.counts, np.array(means)[seen.weekday(seen.days)]),
        kinds=_kinds(seen),
        soc=_soc(seen.visits),
        site_power_kw=equipment.site_power_kw,
        closed_share=1 - len(seen.days) / len(everyday.days),
    )


def without_closures(seen: Sample) -> Sample:
    """The days without those on which the site was closed: runs of empty days that chance hardly brings.

    A day of mean m is empty with the chance (1 + x m)^(-1/x) if the counts of days are negative binomial with
    var = m + x m^2.
    """
    means = np.array(_means(seen))[seen.weekday(seen.days)]
    x = max(day_variance(seen.counts, means), 1e-9)
    empty_by_chance = -np.log1p(x * means) / x
    closed = np.zeros(len(seen.days), dtype=bool)
    for run in np.split(np.arange(len(seen.days)), np.flatnonzero(np.diff(seen.counts == 0)) + 1):
        lasts_days = seen.days[run[-1]] - seen.days[run[0]]
        if seen.counts[run[0]] == 0 and lasts_days >= SHORTEST_CLOSURE_DAYS and empty_by_chance[run].sum() < _BY_CHANCE:
            closed[run] = True
    return Sample(seen.path, seen.first, seen.visits, seen.days[~closed])


def score(profile: SiteProfile, recording: Recording, fitted: Days, drawn: Visits | None = None) -> Score:
    """Compares the profile with the days that it was not fitted to. A profile fitted to all days is compared with all.

    `drawn` are visits of the profile, whose days count from 0; by default it draws COMPARED_DAYS.
    """
    everything = read(recording, ZoneInfo(profile.time_zone))
    own, unseen = everything.on(fitted), everything.on(fitted.others)
    days = 0
    if drawn is None:
        drawn, days = profile.draw(seed=0, days=COMPARED_DAYS), COMPARED_DAYS
    counts = np.bincount(drawn.day, minlength=days).astype(float)
    return compare(drawn, dispersion(counts), unseen, fitted.others, (own, unseen))


def compare(
    drawn: Visits, drawn_dispersion: float, real: Sample, days: Days, halves: tuple[Sample, Sample] | None
) -> Score:
    """Compares drawn visits with the real ones of `days`; `drawn_dispersion` is variance over mean of drawn day counts.

    `halves` are two sets of real days, the fitted ones first. Their distance is the yardstick; it is nan without them.
    """
    visits, counts = real.visits, real.counts
    return Score(
        days,
        len(visits),
        {
            name: (
                _distance(drawn, visits, column),
                _distance(halves[0].visits, halves[1].visits, column) if halves else nan,
            )
            for name, column in DISTRIBUTIONS.items()
        },
        {
            **{name: _correlations(drawn, visits, *pair) for name, pair in CORRELATIONS.items()},
            DISPERSION: interval(drawn_dispersion, lambda rows: dispersion(counts[rows]), len(counts)),
        },
        _statistics(halves[0]) if halves else {},
    )


def _statistics(sample: Sample) -> dict[str, float]:
    correlations = {name: _correlation(sample.visits, *pair) for name, pair in CORRELATIONS.items()}
    return {**correlations, DISPERSION: dispersion(sample.counts)}


def _correlation(visits: Visits, a: str, b: str) -> float:
    return rank_correlation(getattr(visits, a), getattr(visits, b))


def _correlations(drawn: Visits, real: Visits, a: str, b: str) -> Interval:
    return interval(
        _correlation(drawn, a, b),
        lambda rows: rank_correlation(getattr(real, a)[rows], getattr(real, b)[rows]),
        len(real),
    )


def _distance(a: Visits, b: Visits, column: str) -> float:
    return ks_distance(getattr(a, column), getattr(b, column))


def _means(seen: Sample) -> tuple[float, ...]:
    """Visits of each weekday, Monday first."""
    weekdays, counts = seen.weekday(seen.days), seen.counts
    return tuple(
        float(counts[weekdays == weekday].mean()) if (weekdays == weekday).any() else 0.0 for weekday in range(7)
    )


def _kinds(seen: Sample) -> dict[str, DayKind]:
    weekend = seen.weekday(seen.visits.day) >= 5
    of_kind = {WEEKDAYS: ~weekend, WEEKEND: weekend}
    few = any(0 < at.sum() < _LEAST_OF_KIND for at in of_kind.values())
    return {name: day_kind(seen.visits if few else seen.visits.where(at)) for name, at in of_kind.items() if at.any()}


def _soc(visits: Visits) -> Conditional | None:
    """The state of charge at arrival given the energy, if enough sessions have one."""
    known = visits.where(~np.isnan(visits.soc_percent))
    if len(known) < LEAST_SESSIONS:
        return None
    parts = max(1, min(_MOST_SOC_PARTS, len(known) // _SESSIONS_PER_SOC_PART))
    parted = np.array_split(np.argsort(known.energy_kwh, kind="stable"), parts)
    return Conditional(
        tuple(float(np.median(known.energy_kwh[rows])) for rows in parted),
        tuple(distribution(known.soc_percent[rows], 100.0, _MOST_SOC_KNOTS) for rows in parted),
    )


def _least_power_kw(visits: Visits) -> float:
    """The least power that an EVSE must have, to 0.1 kW: 999 of 1,000 sessions took less on average."""
    lasting = visits.where((visits.stay_h >= _LASTING_H) & (visits.energy_kwh > 0))
    if not len(lasting):
        return _LEVEL_2_KW
    return round(float(np.quantile(lasting.energy_kwh / lasting.stay_h, 0.999)), 1)
