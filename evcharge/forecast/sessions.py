"""Sessions in columns, as training and scoring read them, and what a station looked like at an instant of the past.

A state as of t comes from what had happened by then: the end of a session that runs at t is not in it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import numpy as np
from numpy.typing import NDArray

from evcharge.forecast.station_now import Car

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class Sites:
    """Stations: ids and IANA time zones, outlets and the strongest outlet's power (kW, 0 where unknown), shape (n,) each."""

    station_ids: tuple[str, ...]
    time_zones: tuple[str, ...]
    outlets: Ints
    power_kw: Floats


@dataclass(frozen=True, eq=False)
class Sessions:
    """Finished sessions, a row each: `site` and `evse` are numbers, times are seconds since the epoch.

    `idle_s` is how long the car was plugged in after it had charged, at the end; 0 where the source does not tell. `wait_s` is
    the wait for an outlet before the start. `faulted`: the outlet was broken afterwards. States of charge are percent,
    NaN where the car does not tell.
    """

    sites: Sites
    site: Ints
    evse: Ints
    started_s: Floats
    ended_s: Floats
    idle_s: Floats
    wait_s: Floats
    soc_start: Floats
    soc_end: Floats
    faulted: Bools

    def __len__(self) -> int:
        return len(self.site)

    def where(self, chosen: Bools | Ints) -> Sessions:
        """Some of the rows."""
        columns = {name: getattr(self, name)[chosen] for name in self.__dataclass_fields__ if name not in ("sites",)}
        return Sessions(self.sites, **columns)

    def local_s(self, at_s: Floats) -> Floats:
        """Local seconds since the epoch of an instant of each row."""
        return at_s + offsets_s(self.sites.time_zones, self.site, at_s)


def offsets_s(time_zones: Sequence[str], site: Ints, at_s: Floats) -> Floats:
    """The offset from UTC (s) at each instant at each site. It may be an hour off within the day when clocks change."""
    names = sorted(set(time_zones))
    zone_of_site = np.array([names.index(name) for name in time_zones], dtype=np.int64)
    days, place = np.unique(np.floor(at_s / 86_400).astype(np.int64), return_inverse=True)
    table = np.zeros((len(names), max(len(days), 1)))
    for row, name in enumerate(names):
        zone = ZoneInfo(name)
        for column, day in enumerate(days):
            offset = datetime.fromtimestamp((int(day) + 0.5) * 86_400, UTC).astimezone(zone).utcoffset()
            table[row, column] = offset.total_seconds() if offset else 0.0
    return table[zone_of_site[site], place.reshape(at_s.shape)]


@dataclass(frozen=True, slots=True)
class SiteThen:
    """A station at an instant of the past: the outlets that had been heard of by then, as `StationNow` has them."""

    free: int
    cars: tuple[Car, ...]
    broken: int
    queue: int


class SitePast:
    """The sessions of one station, for its state at any instant. `rows` are its rows, in any order."""

    def __init__(self, sessions: Sessions) -> None:
        order = np.lexsort((sessions.started_s, sessions.evse))
        own = sessions.where(order)
        self._own = own
        self._heard_s = own.started_s[np.append(True, own.evse[1:] != own.evse[:-1])] if len(own) else own.started_s
        follows = np.append(own.evse[1:] == own.evse[:-1], False) if len(own) else np.zeros(0, dtype=bool)
        next_start = np.where(follows, np.append(own.started_s[1:], np.inf), np.inf)
        self._broken_until_s = np.where(own.faulted, next_start, own.ended_s)
        # a session that begins before the last one at its outlet ended has replaced it
        self._ended_s = np.minimum(own.ended_s, next_start)
        self._charged_s = own.ended_s - own.idle_s
        self._queued_s = own.started_s - own.wait_s

    def counts(self, at_s: Floats) -> tuple[Ints, Ints]:
        """Free outlets, and outlets that had been heard of, at each instant."""
        own = self._own
        taken = np.zeros(len(at_s), dtype=np.int64)
        for starts, ends in (
            (own.started_s, self._ended_s),
            (self._ended_s, np.maximum(self._broken_until_s, self._ended_s)),
        ):
            taken += np.searchsorted(np.sort(starts), at_s, side="right")
            taken -= np.searchsorted(np.sort(ends), at_s, side="right")
        heard = np.searchsorted(np.sort(self._heard_s), at_s, side="right")
        return heard - taken, heard

    def at(self, at_s: float) -> SiteThen:
        """The station at an instant."""
        own = self._own
        runs = np.flatnonzero((own.started_s <= at_s) & (at_s < self._ended_s))
        cars = tuple(self._car(row, at_s) for row in runs.tolist())
        broken = int(((self._ended_s <= at_s) & (at_s < self._broken_until_s)).sum())
        queue = int(((self._queued_s <= at_s) & (at_s < own.started_s)).sum())
        heard = int((self._heard_s <= at_s).sum())
        return SiteThen(heard - len(cars) - broken, cars, broken, queue)

    def _car(self, row: int, at_s: float) -> Car:
        own = self._own
        charged_s = self._charged_s[row]
        blocked_s = at_s - charged_s if own.idle_s[row] > 0 and at_s >= charged_s else None
        share = min((at_s - own.started_s[row]) / max(charged_s - own.started_s[row], 1.0), 1.0)
        soc = own.soc_start[row] + share * (own.soc_end[row] - own.soc_start[row])
        return Car(
            float(at_s - own.started_s[row]),
            None if blocked_s is None else float(blocked_s),
            None if np.isnan(soc) else float(soc),
        )
