"""Forecasts made in the past, with what was known then, compared with what happened."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from evcharge.forecast.floor import SCORED_MINUTES
from evcharge.forecast.metrics import HorizonScore, score_horizon
from evcharge.forecast.model import Model
from evcharge.forecast.outlook import chances_at
from evcharge.forecast.sessions import Sessions, SitePast, offsets_s
from evcharge.forecast.station_now import StationNow

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]

#: So far ahead the outcome has to be known (s).
LONGEST_S = SCORED_MINUTES[-1] * 60.0
#: The first of 1970 was a Thursday: minutes into the week that begins on Monday.
_THURSDAY_MIN = 3 * 1440


@dataclass(frozen=True, eq=False)
class Forecasts:
    """One row a sample, one column for each of `SCORED_MINUTES`: the chance that an outlet is free, the usual share of the time
    by station and local hour, and what came true. `free_now` has a row a sample. `raw` are the chances before calibration."""

    chances: Floats
    usual: Floats
    came_true: Bools
    free_now: Bools
    raw: Floats

    def scores(self) -> list[HorizonScore]:
        """The scores at each horizon. Raises ValueError without any sample."""
        return [
            score_horizon(
                minutes, self.chances[:, at], self.free_now, self.usual[:, at], self.came_true[:, at], ~self.free_now
            )
            for at, minutes in enumerate(SCORED_MINUTES)
        ]


def sampled_times(since_s: float, until_s: float, sites: int, most: int, step_s: float = 1_200.0) -> Floats:
    """Instants every `step_s`, or less often, so that there are at most `most` samples of all sites."""
    times = np.arange(since_s, until_s - LONGEST_S, step_s)
    thin = max(-(-len(times) * max(sites, 1) // most), 1)
    return times[::thin]


def forecasts(model: Model, sessions: Sessions, learned_from_s: float, times_s: Floats) -> Forecasts:
    """Forecasts of every station at every instant at which one of its outlets had been heard of.

    `sessions` have what happened before and after; the usual share of each local hour is of `learned_from_s` up to the first
    instant. What the model knows, it has to know from before that.
    """
    raw, usual, came_true, free_now = [], [], [], []
    order = np.argsort(sessions.site, kind="stable")
    edges = np.flatnonzero(np.diff(sessions.site[order], prepend=-1))
    before_s = np.arange(learned_from_s, times_s[0] if len(times_s) else learned_from_s, 1_200.0)
    pasts = []
    for rows in np.split(order, edges[1:]):
        if not len(rows):
            continue
        site = int(sessions.site[rows[0]])
        pasts.append((site, SitePast(sessions.where(rows))))
    mean = _mean_free(pasts, before_s)
    for site, past in pasts:
        now, heard = past.counts(times_s)
        outcomes = np.stack([past.counts(times_s + minutes * 60)[0] > 0 for minutes in SCORED_MINUTES], axis=1)
        local_s = times_s + offsets_s(sessions.sites.time_zones, np.full(len(times_s), site), times_s)
        usually = _usual(past, sessions, site, before_s, mean)
        for at in np.flatnonzero(heard > 0).tolist():
            then = past.at(float(times_s[at]))
            station = StationNow(
                sessions.sites.station_ids[site],
                sessions.sites.time_zones[site],
                float(sessions.sites.power_kw[site]),
                then.free,
                then.cars,
                then.broken,
                queue=then.queue,
            )
            local_min = (local_s[at] / 60 + _THURSDAY_MIN) % 10_080
            raw.append(chances_at(model, station, local_min, SCORED_MINUTES))
            usual.append([usually[int((local_s[at] / 3600 + minutes / 60) % 24)] for minutes in SCORED_MINUTES])
            came_true.append(outcomes[at])
            free_now.append(now[at] > 0)
    shape = (len(raw), len(SCORED_MINUTES))
    before = np.array(raw, dtype=np.float64).reshape(shape)
    return Forecasts(
        model.calibrated(before, np.array(SCORED_MINUTES, dtype=np.float64)),
        np.array(usual, dtype=np.float64).reshape(shape),
        np.array(came_true, dtype=bool).reshape(shape),
        np.array(free_now, dtype=bool),
        before,
    )


def _mean_free(pasts: list[tuple[int, SitePast]], at_s: Floats) -> float:
    free = sum(int((past.counts(at_s)[0] > 0).sum()) for _, past in pasts)
    heard = sum(int((past.counts(at_s)[1] > 0).sum()) for _, past in pasts)
    return (free + 1) / (heard + 1)


def _usual(past: SitePast, sessions: Sessions, site: int, at_s: Floats, mean: float) -> Floats:
    """The share of the time that an outlet was free, by local hour, drawn towards the mean of all stations by three hours."""
    free, heard = past.counts(at_s)
    local_s = at_s + offsets_s(sessions.sites.time_zones, np.full(len(at_s), site), at_s)
    hour = (local_s // 3600 % 24).astype(np.int64)
    known = heard > 0
    worth = 9.0  # instants of twenty minutes
    seen = np.bincount(hour[known], minlength=24)
    return (np.bincount(hour[known], weights=free[known] > 0, minlength=24) + worth * mean) / (seen + worth)
