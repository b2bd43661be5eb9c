"""How a site shares its grid connection among the cars that charge."""

from __future__ import annotations

from collections.abc import Sequence
from math import floor

from simulation.network import Station

# Limits are whole quarters of a kW, rounded down. So there are few different charging curves, and the sum never exceeds the
# site's power.
_STEPS_PER_KW = 4


def share_power(site_power_kw: float, wanted_kw: Sequence[float], evse_kw: Sequence[float]) -> list[float]:
    """The limit (kW) of each charging car at a site.

    `wanted_kw` is the most that each car can take from now on, `evse_kw` is what its EVSE gives. A car that wants less than
    an equal share leaves the rest to the others (max-min fairness, Bertsekas and Gallager, Data Networks, 6.5.2). It has no
    limit of its own, since it never takes more than it wants now. Two equal cars halve the site's power.
    """
    limits = list(evse_kw)
    left, open_ = site_power_kw, sorted(range(len(wanted_kw)), key=lambda i: (wanted_kw[i], i))
    while open_:
        level = left / len(open_)
        if wanted_kw[open_[0]] > level:
            limit = max(floor(level * _STEPS_PER_KW) / _STEPS_PER_KW, 1 / _STEPS_PER_KW)
            for i in open_:
                limits[i] = min(limit, evse_kw[i])
            break
        left -= wanted_kw[open_.pop(0)]
    return limits


class SitePower:
    """The power of the EVSEs that charge, by site. A site shares its power if its EVSEs together exceed its connection.

    Power is counted in whole W, so that sums are exact.
    """

    def __init__(self, stations: Sequence[Station]) -> None:
        self.is_shared = [sum(evse.power_kw for evse in station.evses) > station.site_power_kw for station in stations]
        #: The sites where cars are limited.
        self.short: set[int] = set()
        self._site_kw = [station.site_power_kw for station in stations]
        self._evse_w = [round(evse.power_kw * 1000) for station in stations for evse in station.evses]
        self._used_w = [0] * len(stations)

    def add(self, station: int, evse: int) -> None:
        """Count an EVSE (by its number among all) that begins to charge."""
        self._used_w[station] += self._evse_w[evse]

    def remove(self, station: int, evse: int) -> None:
        """Count an EVSE no longer."""
        self._used_w[station] -= self._evse_w[evse]

    def is_too_little(self, station: int) -> bool:
        """Whether the EVSEs that charge could take more than the site's connection gives."""
        return self._used_w[station] > self._site_kw[station] * 1000
