"""The chance of a free outlet for many stations at once, from their counts alone: what a map shows.

The cars at the outlets are taken to have come as cars come there in the hours before: nobody looks at each of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from evcharge.forecast.model import Model, SiteKind
from evcharge.forecast.occupancy import count_of_independent, poisson, sum_of
from evcharge.forecast.stays import new_stays

Floats = NDArray[np.float64]

#: More outlets than these are taken in proportion: at so many one is nearly always free.
_MOST = 24
_STEP_MIN = 10.0


@dataclass(frozen=True, slots=True)
class Counts:
    """A station's fitting outlets whose state is known, and its local hour and power as `StationNow` has them."""

    station_id: str
    local_hour: int
    is_weekend: bool
    power_class: str
    free: int
    busy: int
    broken: int = 0


def chances_free(model: Model, stations: Sequence[Counts], in_min: float) -> list[float]:
    """The chance of each station that an outlet is free in `in_min` minutes. 1,000 stations take some 10 ms."""
    if not stations:
        return []
    tables = _tables(model.kinds, round(in_min))
    stay, new, outlets, busy, broken = (np.empty(len(stations)) for _ in range(5))
    for row, station in enumerate(stations):
        of_kinds = tables[station.power_class]
        known = model.stations.get(station.station_id)
        at = station.local_hour + 24 * station.is_weekend
        if known is not None and len(known.weights) == len(of_kinds):
            weights, rate = known.weights, known.rate
        else:
            weights, rate = tuple(share for share, _, _ in of_kinds), 1.0
        stay[row] = sum(w * stays[at] for w, (_, stays, _) in zip(weights, of_kinds, strict=True))
        new[row] = rate * sum(w * come[at] for w, (_, _, come) in zip(weights, of_kinds, strict=True))
        outlets[row] = station.free + station.busy + station.broken
        busy[row], broken[row] = station.busy, station.broken
    scale = np.minimum(1.0, _MOST / np.maximum(outlets, 1))
    new *= outlets * scale
    outlets, busy, broken = np.rint(outlets * scale), np.rint(busy * scale), np.rint(broken * scale)
    there = np.where(np.arange(_MOST)[None, :] < busy[:, None], stay[:, None], 0.0)[:, : max(int(busy.max()), 1)]
    counts = sum_of(count_of_independent(there), poisson(new, _MOST), _MOST)
    below = np.arange(_MOST + 1)[None, :] < (outlets - broken)[:, None]
    return [float(chance) for chance in np.minimum((counts * below).sum(axis=1), 1.0)]


@lru_cache(maxsize=16)
def _tables(kinds: tuple[SiteKind, ...], in_min: int) -> dict[str, list[tuple[float, Floats, Floats]]]:
    found: dict[str, list[tuple[float, Floats, Floats]]] = {}
    for kind in kinds:
        found.setdefault(kind.power_class, []).append((kind.share, *_of_kind(kind, in_min)))
    return found


def _of_kind(kind: SiteKind, in_min: int) -> tuple[Floats, Floats]:
    """A car's chance to be there still, and the new cars per outlet, in `in_min` minutes: by local hour, weekdays first."""
    ahead = max(int(np.ceil(in_min / _STEP_MIN)), 1)
    grid = np.arange(0.0, 2880.0 + _STEP_MIN * (ahead + 1), _STEP_MIN)
    stays = new_stays(kind.hazards, 0.0, grid)
    still, come = np.empty(48), np.empty(48)
    for row, rates in enumerate(kind.arrivals):
        came = rates[(grid // 60 % 24).astype(np.intp)] * _STEP_MIN / 60
        for hour in range(24):
            # half past the hour of the second day: what came the day before is there
            now = 144 + hour * 6 + 3
            then_in = in_min / _STEP_MIN
            weights = came[: now + 1] * stays[: now + 1, now]
            low, high = (came[: now + 1] * stays[: now + 1, now + step] for step in (int(then_in), ahead))
            part = then_in - int(then_in)
            still[row * 24 + hour] = ((1 - part) * low.sum() + part * high.sum()) / max(weights.sum(), 1e-9)
            later = slice(now, now + ahead)
            come[row * 24 + hour] = (came[later] * stays[later, now + ahead]).sum() * then_in / ahead
    return still, come
