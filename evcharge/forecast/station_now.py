"""What a forecast knows of a station when it is asked: the cars at its outlets, the queue, and who is on the way."""

from __future__ import annotations

from dataclasses import dataclass

from evcharge.forecast.power_class import power_class


@dataclass(frozen=True, slots=True)
class Car:
    """A car at an outlet: how long it has been there (s), and how long it has not charged any more (s; None: it charges).

    `state_of_charge` (percent) is None where the car does not tell.
    """

    age_s: float
    blocked_s: float | None = None
    state_of_charge: float | None = None


@dataclass(frozen=True, slots=True)
class StationNow:
    """The fitting outlets of a station: `free`, with `cars`, `broken`, and `unknown`, of which nothing was heard.

    `power_kw` is the strongest fitting outlet's, None where the registry does not tell. `queue` is the number of cars that
    wait. `inbound` has, for each car that heads for the station, the minutes until it arrives and the chance that it comes to
    charge.
    """

    station_id: str
    time_zone: str
    power_kw: float | None
    free: int
    cars: tuple[Car, ...] = ()
    broken: int = 0
    unknown: int = 0
    queue: int = 0
    inbound: tuple[tuple[float, float], ...] = ()

    @property
    def outlets(self) -> int:
        return self.free + len(self.cars) + self.broken + self.unknown

    @property
    def power_class(self) -> str:
        return power_class(self.power_kw)
