"""The figures of a report: what the simulated sessions of some kinds of site add up to."""

from __future__ import annotations

from datetime import date, datetime, timedelta
from functools import cached_property
from zoneinfo import ZoneInfo

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from evcharge.simulated.report.inputs import RealSite, SimulatedRun
from simulation.comparison import concentration, half_from
from simulation.network import SiteKind
from simulation.profile import Floats, Visits

WEEK_H = 168
_UNKNOWN = float("nan")


class Simulated:
    """The simulated sessions of some kinds of site, and their figures."""

    def __init__(self, name: str, run: SimulatedRun, kinds: tuple[SiteKind, ...], sessions: pa.Table) -> None:
        self.name, self.kinds, self._run = name, kinds, run
        self._stations = {name: station for name, station in run.stations.items() if station[0] in kinds}
        self._station_id, self._evse_id = sessions["station_id"], sessions["evse_id"]
        day = sessions["local_day"].cast(pa.int32()).to_numpy()
        # Days count from a Monday before the first session of every time zone.
        monday = run.start_at.date() - timedelta(days=1)
        self._monday = monday - timedelta(days=monday.weekday())
        self.visits = Visits(
            day.astype(np.int64) - (self._monday - date(1970, 1, 1)).days,
            _floats(sessions["local_start_hour"]),
            _floats(sessions["stay_h"]),
            _floats(sessions["energy_kwh"]),
            _floats(sessions["soc_start_percent"]),
        )
        self.wait_s = _floats(sessions["queue_wait_s"])
        self.charging_h = np.maximum(self.visits.stay_h - _floats(sessions["idle_s"]) / 3600, 0.0)

    @property
    def stations(self) -> int:
        return len(self._stations)

    @property
    def evses(self) -> int:
        return sum(evses for _, evses, _ in self._stations.values())

    @property
    def sessions(self) -> int:
        return len(self.visits)

    @property
    def energy_kwh(self) -> float:
        return float(self.visits.energy_kwh.sum())

    @property
    def plugged_in(self) -> float:
        """Share of the EVSEs' time."""
        return self._share_of_time(self.visits.stay_h)

    @property
    def charging(self) -> float:
        """Share of the EVSEs' time: plugged in and not idle."""
        return self._share_of_time(self.charging_h)

    @property
    def sessions_per_evse_day(self) -> float:
        return self.sessions / (self.evses * self._hours / 24) if self.evses else _UNKNOWN

    @property
    def abandoned(self) -> int:
        return sum(self._run.abandoned.get(kind, 0) for kind in self.kinds)

    @property
    def balked(self) -> int:
        return sum(self._run.balked.get(kind, 0) for kind in self.kinds)

    @property
    def waited(self) -> float:
        """Share of all visits that waited, including those that gave up."""
        visits = self.sessions + self.abandoned + self.balked
        return (int((self.wait_s > 0).sum()) + self.abandoned) / visits if visits else _UNKNOWN

    def wait_quantile_s(self, level: float) -> float:
        """A quantile of the waits of sessions that waited; nan if none did."""
        waits = self.wait_s[self.wait_s > 0]
        return float(np.quantile(waits, level)) if len(waits) else _UNKNOWN

    @cached_property
    def energy_shares(self) -> Floats:
        """Share of the energy that the busiest 1, 2, … EVSEs deliver together; empty without any energy."""
        table = pa.table({"station": self._station_id, "evse": self._evse_id, "kwh": self.visits.energy_kwh})
        energies = _floats(table.group_by(["station", "evse"]).aggregate([("kwh", "sum")])["kwh_sum"])
        return concentration(np.append(energies, np.zeros(max(self.evses - len(energies), 0))))

    @property
    def half_the_energy(self) -> float:
        """The smallest share of all EVSEs that delivers half of the energy."""
        return half_from(self.energy_shares)

    def on(self, weekend: bool) -> NDArray[np.bool_]:
        """Which visits are on local weekdays, or on weekends."""
        chosen: NDArray[np.bool_] = (self.visits.day % 7 >= 5) == weekend
        return chosen

    @cached_property
    def occupancy(self) -> Floats:
        """Mean share of EVSEs plugged in for each of the 168 local hours of a week; nan for hours not simulated."""
        observed = np.zeros(WEEK_H)
        for zone, evses in self._evses_by_zone().items():
            start, end = (self._local_h(at, zone) for at in (self._run.start_at, self._run.end_at))
            observed += evses * _hours_of_week(np.array([start]), np.array([end - start]))
        plugged_in = _hours_of_week(self.visits.day * 24 + self.visits.start_hour, self.visits.stay_h)
        return np.divide(plugged_in, observed, out=np.full(WEEK_H, np.nan), where=observed > 0)

    def dispersion(self, visits_per_day: float) -> float:
        """Variance over mean of the day counts of a station with `visits_per_day`; nan for less than a whole week.

        The variance beyond a Poisson process grows with the square of the mean. It is estimated by moments over all stations
        (var = mean + v mean^2) and applied to the recorded site's number of visits.
        """
        counts = self._day_counts()
        if not counts.shape[1]:
            return _UNKNOWN
        mean, variance = counts.mean(axis=1), counts.var(axis=1, ddof=1)
        squares = (mean**2 - variance / counts.shape[1]).sum()
        return float(1 + (variance - mean).sum() / squares * visits_per_day) if squares > 0 else _UNKNOWN

    def _day_counts(self) -> Floats:
        """Sessions of each station (rows) on each local day of as many weeks as were simulated whole."""
        zones = self._evses_by_zone()
        first = int(max(np.ceil(self._local_h(self._run.start_at, zone) / 24) for zone in zones))
        last = int(min(self._local_h(self._run.end_at, zone) // 24 for zone in zones))
        days = max(last - first, 0) // 7 * 7
        day = self.visits.day - first
        within = (day >= 0) & (day < days)
        station = pc.index_in(self._station_id, value_set=pa.array(list(self._stations))).to_numpy()
        cells = station[within] * days + day[within]
        return np.bincount(cells, minlength=self.stations * days).reshape(self.stations, days).astype(float)

    def _evses_by_zone(self) -> dict[str, int]:
        zones: dict[str, int] = {}
        for _, evses, zone in self._stations.values():
            zones[zone] = zones.get(zone, 0) + evses
        return zones

    def _local_h(self, at: datetime, zone: str) -> float:
        """Local hours since the Monday from which days count."""
        local = at.astimezone(ZoneInfo(zone)).replace(tzinfo=None)
        return (local - datetime.combine(self._monday, datetime.min.time())) / timedelta(hours=1)

    @property
    def _hours(self) -> float:
        return (self._run.end_at - self._run.start_at) / timedelta(hours=1)

    def _share_of_time(self, hours: Floats) -> float:
        return float(hours.sum()) / (self.evses * self._hours) if self.evses else _UNKNOWN


def real_occupancy(site: RealSite) -> Floats:
    """Mean share of EVSEs plugged in for each of the 168 local hours of a week."""
    sample = site.sample
    monday = sample.first.weekday() * 24
    plugged_in = _hours_of_week(monday + sample.visits.day * 24 + sample.visits.start_hour, sample.visits.stay_h)
    observed = _hours_of_week(np.array([float(monday)]), np.array([(sample.days[-1] + 1) * 24.0]))
    return np.divide(plugged_in, observed * site.evses, out=np.full(WEEK_H, np.nan), where=observed > 0)


def _hours_of_week(start_h: Floats, stay_h: Floats) -> Floats:
    """How much of each of the 168 hours of the week stays cover. Starts are hours since a Monday, not negative."""
    end_h = start_h + stay_h
    weeks = int(end_h.max(initial=0.0) // WEEK_H) + 1
    at = np.arange(weeks * WEEK_H + 1.0)
    covered = np.diff(_elapsed(start_h, at) - _elapsed(end_h, at))
    hours: Floats = covered.reshape(weeks, WEEK_H).sum(axis=0)
    return hours


def _elapsed(since: Floats, at: Floats) -> Floats:
    """The sum over all of `since` of the time that has passed by each of `at`."""
    ordered = np.sort(since)
    sums = np.concatenate([[0.0], np.cumsum(ordered)])
    before = np.searchsorted(ordered, at)
    elapsed: Floats = before * at - sums[before]
    return elapsed


def _floats(column: pa.ChunkedArray) -> Floats:
    values: Floats = column.to_numpy().astype(float)
    return values
