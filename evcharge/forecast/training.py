"""Learns the forecast's model from finished sessions: kinds of sites, how long cars stay there and when they come.

Nobody tells what kind a site is. Sites of one power class are told apart by when their cars come and how long they stay: a
mixture of kinds, each with its own local hours and lengths of stays, is fitted to the counts of the sites (expectation
maximisation). A site of which little is known is a bit of each kind.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from evcharge.forecast.model import NO_CALIBRATION, PRIOR, KnownStation, Model, SiteKind
from evcharge.forecast.past_score import Forecasts, forecasts, sampled_times
from evcharge.forecast.power_class import POWER_CLASSES, power_class
from evcharge.forecast.sessions import Sessions, Sites
from evcharge.forecast.stays import AGES_MIN, age_class

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

DAY_S = 86_400.0
#: Where the classes of stays begin by which kinds of sites are told apart (h).
STAYS_H = np.array([0.0, 0.5, 1, 2, 3, 5, 8, 12])
#: A shorter stay is a failed start and says nothing about the site's kind (s).
SHORTEST_STAY_S = 120.0
#: Beginnings of the kinds of AC sites: (name, first and last local hour, shortest and longest stay in h) of typical sessions.
#: Campus: half of the starts from 8 to 11 and a median of 4.2 h (ACN-Data Caltech, 2019); nights and shops are assumptions.
_AC_KINDS = (
    ("day", (6, 11), (3.0, 12.0)),
    ("night", (16, 23), (5.0, 24.0)),
    ("visit", (8, 20), (0.0, 3.0)),
)
_ROUNDS = 40
#: Sessions that a hazard's cell, a station's rate and a kind's hour are worth before they are counted.
_CELL_SESSIONS = 3.0
_STATION_SESSIONS = 4.0
_KIND_SESSIONS = 20.0
#: The last part of a window is forecast from the part before, up to a week of it, if the window has at least two days.
_TESTED_PART = 0.25
_TESTED_MOST_S = 7 * DAY_S
_SHORTEST_TESTED_S = 2 * DAY_S
#: A forecast of the past takes 0.4 ms: five seconds in all.
_MOST_SAMPLES = 12_000
#: So many surprises hold the calibration near none.
_CALIBRATED_WORTH = 30.0


@dataclass(frozen=True, eq=False)
class SiteCounts:
    """Per site (rows) how many sessions began in each local hour of weekdays and weekend days, shape (n, 2, 24), and how long
    they lasted, by the classes of `STAYS_H`, shape (n, 8). `days` are the weekdays and weekend days that were counted."""

    sites: Sites
    starts: Floats
    stays: Floats
    days: tuple[float, float]


def counts_of(sessions: Sessions, since_s: float, until_s: float) -> SiteCounts:
    """The counts of sessions that began in [since_s, until_s)."""
    chosen = sessions.where((sessions.started_s >= since_s) & (sessions.started_s < until_s))
    count = len(sessions.sites.station_ids)
    local_s = chosen.local_s(chosen.started_s)
    weekend, hour = is_weekend(local_s), (local_s // 3600 % 24).astype(np.int64)
    starts = np.bincount((chosen.site * 2 + weekend) * 24 + hour, minlength=count * 48)
    lasted_s = chosen.ended_s - chosen.started_s
    real = lasted_s >= SHORTEST_STAY_S
    stay = np.searchsorted(STAYS_H, lasted_s[real] / 3600, side="right") - 1
    stays = np.bincount(chosen.site[real] * len(STAYS_H) + stay, minlength=count * len(STAYS_H))
    return SiteCounts(
        sessions.sites,
        starts.reshape(count, 2, 24).astype(np.float64),
        stays.reshape(count, len(STAYS_H)).astype(np.float64),
        days_between(since_s, until_s),
    )


def is_weekend(local_s: Floats) -> Ints:
    """1 on Saturdays and Sundays, of local seconds since the epoch (a Thursday)."""
    return ((local_s // 86_400 + 3) % 7 >= 5).astype(np.int64)


def cohort_end_s(since_s: float, until_s: float) -> float:
    """Up to when starts count: of later ones some still run, and a finished session's row is all that is read.

    In a window of less than four days the last one counts too: a bias is better than a fourth less to learn from.
    """
    return until_s - DAY_S if until_s - since_s >= 4 * DAY_S else until_s


def days_between(since_s: float, until_s: float) -> tuple[float, float]:
    """Weekdays and weekend days of a window, in UTC."""
    hours = np.arange(since_s, until_s, 3600.0)
    weekend = float(is_weekend(hours).sum()) / 24
    return max(len(hours) / 24 - weekend, 0.0), weekend


def learn_kinds(counts: SiteCounts, sessions: Sessions) -> tuple[tuple[SiteKind, ...], dict[str, KnownStation]]:
    """The kinds of sites and what is known of each site. `sessions` may be a sample of those that were counted."""
    kinds: list[SiteKind] = []
    known: dict[str, KnownStation] = {}
    classes = np.array([POWER_CLASSES.index(power_class(kw)) for kw in counts.sites.power_kw])
    for number, name in enumerate(POWER_CLASSES):
        chosen = np.flatnonzero(classes == number)
        prior = next(kind for kind in PRIOR.kinds if kind.power_class == name)
        own = sessions.where(np.isin(sessions.site, chosen))
        if not len(own):
            kinds.append(prior)
            continue
        weights, names = _memberships(name, counts.starts[chosen], counts.stays[chosen])
        of_site = np.zeros((len(classes), len(names)))
        of_site[chosen] = weights
        made = [
            _kind(f"{name} {kind}".strip(), name, column, prior, counts, of_site, own)
            for column, kind in enumerate(names)
        ]
        kinds += made
        known |= _known(counts, chosen, weights, made)
    return tuple(kinds), known


def _memberships(name: str, starts: Floats, stays: Floats) -> tuple[Floats, tuple[str, ...]]:
    """The chances of each site (rows) to be of each kind of a power class, and the kinds' names."""
    if name != "AC":
        return np.ones((len(starts), 1)), ("",)
    hours = starts.sum(axis=1)
    of_hour, of_stay = [], []
    for _, (first, last), (shortest, longest) in _AC_KINDS:
        of_hour.append(np.where((np.arange(24) >= first) & (np.arange(24) <= last), 4.0, 1.0))
        of_stay.append(np.where((shortest <= STAYS_H) & (longest > STAYS_H), 4.0, 1.0))
    by_hour = np.array(of_hour) / np.sum(of_hour, axis=1, keepdims=True)
    by_stay = np.array(of_stay) / np.sum(of_stay, axis=1, keepdims=True)
    share = np.full(len(_AC_KINDS), 1 / len(_AC_KINDS))
    weights = np.empty((len(starts), len(_AC_KINDS)))
    for _ in range(_ROUNDS):
        logs = np.log(share) + hours @ np.log(by_hour).T + stays @ np.log(by_stay).T
        weights = np.exp(logs - logs.max(axis=1, keepdims=True))
        weights /= weights.sum(axis=1, keepdims=True)
        share = (weights.sum(axis=0) + 1) / (len(weights) + len(share))
        by_hour = weights.T @ hours + 0.5
        by_hour /= by_hour.sum(axis=1, keepdims=True)
        by_stay = weights.T @ stays + 0.5
        by_stay /= by_stay.sum(axis=1, keepdims=True)
    return weights, tuple(kind for kind, _, _ in _AC_KINDS)


def _kind(
    name: str, power: str, column: int, prior: SiteKind, counts: SiteCounts, of_site: Floats, sessions: Sessions
) -> SiteKind:
    weight = of_site[:, column]
    outlets = float(weight @ counts.sites.outlets)
    arrivals = np.empty((2, 24))
    begun = np.einsum("n,nwh->wh", weight, counts.starts)
    for row, days in enumerate(counts.days):
        worth = _KIND_SESSIONS / max(prior.arrivals[row].sum(), 1e-9)
        arrivals[row] = (begun[row] + worth * prior.arrivals[row]) / (outlets * days + worth)
    lasts, ends = exposures(sessions, weight[sessions.site])
    return SiteKind(
        name,
        power,
        float((weight > 0).any() and weight.sum() / (of_site.sum() or 1.0)),
        hazards_of(lasts, ends, prior.hazards),
        arrivals,
    )


def exposures(sessions: Sessions, weights: Floats) -> tuple[Floats, Floats]:
    """Hours that cars were there, and departures, by local hour and age class, shape (24, 17) each."""
    lasted_min = (sessions.ended_s - sessions.started_s) / 60
    local_min = sessions.local_s(sessions.started_s) / 60
    size = len(AGES_MIN)
    lasts, ends = np.zeros(24 * size), np.zeros(24 * size)
    edges = [*AGES_MIN, 2 * AGES_MIN[-1]]
    for row in range(size):
        for begin in np.arange(edges[row], edges[row + 1], 30.0):
            end = min(begin + 30.0, edges[row + 1])
            there = np.clip(lasted_min - begin, 0.0, end - begin)
            some = there > 0
            if not some.any():
                break
            hour = ((local_min[some] + begin + there[some] / 2) // 60 % 24).astype(np.int64)
            lasts += np.bincount(hour * size + row, weights=there[some] * weights[some] / 60, minlength=24 * size)
    hour = ((local_min + lasted_min) // 60 % 24).astype(np.int64)
    ends += np.bincount(hour * size + age_class(lasted_min), weights=weights, minlength=24 * size)
    return lasts.reshape(24, size), ends.reshape(24, size)


def hazards_of(lasts: Floats, ends: Floats, prior: Floats) -> Floats:
    """Hazards (per hour) by local hour and age, drawn towards age times hour, and that towards the prior."""
    by_age = (ends.sum(axis=0) + _CELL_SESSIONS) / (lasts.sum(axis=0) + _CELL_SESSIONS / prior.mean(axis=0))
    by_hour = np.ones(24)
    for _ in range(10):
        by_hour = (ends.sum(axis=1) + _KIND_SESSIONS) / (lasts @ by_age + _KIND_SESSIONS)
        by_age = (ends.sum(axis=0) + _CELL_SESSIONS) / (by_hour @ lasts + _CELL_SESSIONS / prior.mean(axis=0))
    usual = by_hour[:, None] * by_age[None, :]
    return np.asarray((ends + _CELL_SESSIONS) / (lasts + _CELL_SESSIONS / usual))


def _known(counts: SiteCounts, chosen: Ints, weights: Floats, kinds: list[SiteKind]) -> Mapping[str, KnownStation]:
    days = np.array(counts.days)
    a_day = np.array([[kind.arrivals[row].sum() for row in (0, 1)] for kind in kinds]) @ days
    expected = counts.sites.outlets[chosen] * (weights @ a_day)
    seen = counts.starts[chosen].sum(axis=(1, 2))
    rates = (seen + _STATION_SESSIONS) / (expected + _STATION_SESSIONS)
    return {
        counts.sites.station_ids[site]: KnownStation(
            tuple(float(w) for w in weights[row]), float(rates[row]), int(seen[row])
        )
        for row, site in enumerate(chosen.tolist())
        if seen[row]
    }


@dataclass(frozen=True, eq=False)
class Trained:
    """A model, and its forecasts of the window's last part, for which it was trained on the part before; None: too short."""

    model: Model
    tested: Forecasts | None
    tested_from_s: float


def train(counts: SiteCounts, sample: Sessions, since_s: float, until_s: float, source: str) -> Trained:
    """The model of a window [since_s, until_s). `counts` are of all its stations, `sample` has the sessions of some of them.

    It is first learned from the window without its last part, and its forecasts of that part calibrate it.
    """
    whole_s = until_s - since_s
    tested = None
    cut_s = until_s - min(whole_s * _TESTED_PART, _TESTED_MOST_S)
    calibration = NO_CALIBRATION
    if whole_s >= _SHORTEST_TESTED_S:
        earlier = sample.where(sample.ended_s < cut_s)
        if len(earlier):
            kinds, stations = learn_kinds(counts_of(earlier, since_s, cohort_end_s(since_s, cut_s)), earlier)
            before = Model("earlier", source, kinds, stations)
            sites = len(np.unique(sample.site))
            times_s = sampled_times(cut_s, until_s, sites, _MOST_SAMPLES)
            tested = forecasts(before, sample, since_s, times_s)
            calibration = calibration_of(tested.raw, tested.came_true)
    kinds, stations = learn_kinds(counts, sample)
    return Trained(Model("", source, kinds, stations, calibration), tested, cut_s)


def calibration_of(chances: Floats, came_true: NDArray[np.bool_]) -> Floats:
    """Offset and slope of the log odds at each horizon by which chances (samples, horizons) come true, shape (5, 2).

    A logistic regression, held near offset 0 and slope 1 as by `_CALIBRATED_WORTH` surprises: where little was tested,
    nothing changes. At once nothing is uncertain, so the first row does as the second.
    """
    found = NO_CALIBRATION.copy()
    for row in range(chances.shape[1]):
        inside = np.clip(chances[:, row], 1e-6, 1 - 1e-6)
        odds = np.log(inside / (1 - inside))
        design = np.stack([np.ones_like(odds), odds], axis=1)
        line = np.array([0.0, 1.0])
        for _ in range(20):
            fitted = 1 / (1 + np.exp(-np.clip(design @ line, -30, 30)))
            gradient = design.T @ (came_true[:, row] - fitted) - _CALIBRATED_WORTH * (line - [0.0, 1.0])
            curvature = (design * (fitted * (1 - fitted))[:, None]).T @ design + _CALIBRATED_WORTH * np.eye(2)
            line = line + np.linalg.solve(curvature, gradient)
        found[row + 1] = line
    found[0] = found[1]
    return found
