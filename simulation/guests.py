"""Visits that come to a site, as its demand says, and what a car must be like to make one of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import isnan
from typing import NamedTuple, Protocol

import numpy as np

from simulation.charging import ChargeCurve
from simulation.clock import DAY_MS, HOUR_MS, to_utc_ms, weekday
from simulation.fleet import Vehicle
from simulation.network import Station
from simulation.profile import Visits

# For visits whose state of charge is not known (assumption): nobody comes with a fuller battery than the first level, and
# the charge ends below the second one if it can, up to which a car takes full power on AC.
_FULLEST_ARRIVAL = 0.9
_AC_FULL_POWER_TO = 0.97
# As many find the state of charge to a thousandth of a battery.
_HALVINGS = 10


class SiteDemand(Protocol):
    """What brings visits to a site, as `SiteProfile` does. Two demands that differ must have different `repr`s."""

    def visits_on(self, weekday: int, random: np.random.Generator) -> Visits:
        """The visits of one local day, all of day 0, in the order of their starts."""


class Visit(NamedTuple):
    """What a driver wants: to come at `at` (ms, UTC), to stay for `stay_ms` and to take `energy_kwh`.

    `soc` (0 to 1) is the state of charge at arrival, nan where it is not known.
    """

    at: int
    stay_ms: int
    energy_kwh: float
    soc: float


@dataclass(slots=True)
class Site:
    """A site to which visits come.

    `guests` are positions of vehicles. `day` is the local day that the site is in (days after 1970-01-01), `plan` are the
    visits of that day and `next` is the position of the next one. The site's next step has the number `order` and comes at
    `due_at` (ms): the next visit, or the next day if no visit is left.
    """

    demand: SiteDemand
    guests: list[int]
    day: int
    next: int = 0
    due_at: int = 0
    order: int = 0
    plan: tuple[Visit, ...] = ()


def guests_by_site(
    stations: Sequence[Station], vehicles: Sequence[Vehicle], sites: Mapping[str, SiteDemand]
) -> dict[int, tuple[SiteDemand, list[int]]]:
    """The demand and the guests of each of `sites` (demands by station id); stations and guests by their positions.

    ValueError if a site is none of the stations, or if a vehicle's home is none of the sites.
    """
    position = {station.station_id: index for index, station in enumerate(stations)}
    unknown = sorted(sites.keys() - position.keys())
    if unknown:
        raise ValueError(f"the network has no station {', '.join(unknown)}")
    guests: dict[int, tuple[SiteDemand, list[int]]] = {position[name]: (demand, []) for name, demand in sites.items()}
    if guests:
        for index, vehicle in enumerate(vehicles):
            if vehicle.home not in guests:
                raise ValueError(f"the home of {vehicle.ev_id} is none of the sites that have a demand of their own")
            guests[vehicle.home][1].append(index)
    return guests


def visits_of_day(demand: SiteDemand, day: int, time_zone: str, random: np.random.Generator) -> tuple[Visit, ...]:
    """The visits of a local day (days after 1970-01-01), in the order of their starts."""
    drawn = demand.visits_on(weekday(day), random)
    starts = (drawn.start_hour * HOUR_MS).astype(np.int64).tolist()
    return tuple(
        sorted(
            map(
                Visit,
                (to_utc_ms(time_zone, day * DAY_MS + ms) for ms in starts),
                np.maximum(drawn.stay_h * HOUR_MS, 1).astype(np.int64).tolist(),
                drawn.energy_kwh.tolist(),
                (drawn.soc_percent / 100).tolist(),
            )
        )
    )


def missing(visit: Visit, curve: ChargeCurve, lowest: float, highest: float, u: float) -> tuple[float, float]:
    """How far a car is from being able to make a visit, and the state of charge with which it would come.

    The car charges along `curve` and comes with a state of charge between `lowest` and `highest`; `u` is a uniform. A first
    value below 1 is how far its state of charge is from the visit's. From 1 on it is 1 plus the energy (kWh) that the car
    could not take.
    """
    gain, seconds, soc = visit.energy_kwh / curve.kwh_per_soc, visit.stay_ms / 1000, visit.soc
    if isnan(soc):
        most = min(highest, _FULLEST_ARRIVAL, _AC_FULL_POWER_TO - gain)
        soc = max(lowest + u * (most - lowest), 0.0)
    at_soc = min(max(soc, lowest), highest)
    if _can_take(curve, at_soc, gain, seconds):
        return abs(at_soc - soc), at_soc
    if not _can_take(curve, lowest, gain, seconds):
        taken, at_soc = max((_taken(curve, level, gain, seconds), level) for level in (lowest, at_soc))
        return 1.0 + (gain - taken) * curve.kwh_per_soc, at_soc
    # Batteries charge quicker from a lower level. The car comes with the highest level that leaves enough time.
    low, high = lowest, at_soc
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        low, high = (middle, high) if _can_take(curve, middle, gain, seconds) else (low, middle)
    return abs(low - soc), low


def _can_take(curve: ChargeCurve, soc: float, gain: float, seconds: float) -> bool:
    return soc + gain <= 1.0 and curve.seconds_at(soc + gain) - curve.seconds_at(soc) <= seconds


def _taken(curve: ChargeCurve, soc: float, gain: float, seconds: float) -> float:
    """How much of `gain` a battery gains in a time. Rounded to a millionth, so that equal gains compare as equal."""
    return round(curve.soc_after(soc, seconds, min(soc + gain, 1.0)) - soc, 6)
