"""How a battery fills: power by state of charge, integrated exactly.

Power is piecewise linear in the state of charge. On a piece P(s) = P0 + m (s - s0) the charge obeys
C ds/dt = efficiency x P(s), whose solution is s(t) = s0 + P0/m (exp(m t efficiency/C) - 1), a straight line where m = 0:
no time step, so energy at any instant does not depend on when else it was asked for.

States of charge are fractions 0..1, energies kWh, powers kW at the connector, times seconds.
"""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass
from itertools import pairwise
from math import exp, log

# Battery gain over energy at the connector on AC: 77.7 of 87.9 kWh, a Tesla Model Y's full charge on 240 V in the EPA
# certification filing (quoted by Car and Driver, "EVs Explained: Charging Losses").
AC_EFFICIENCY = 0.884
# On DC the meter stands behind the rectifier: what remains are cable and battery (assumption: 5 %).
DC_EFFICIENCY = 0.95

# Where the constant-voltage phase on AC begins and what is left of the power when full (assumption).
_AC_TAPER_FROM = 0.97
_AC_POWER_LEFT = 0.25
# Published curves may end at 0 kW, with which a battery would never be full.
_MIN_POWER_KW = 1.0


@dataclass(frozen=True, slots=True)
class EvModel:
    """A vehicle model. `dc_curve` is its own power limit: (state of charge, kW) points from 0.0 to 1.0."""

    ev_model_id: str
    make: str
    model: str
    usable_kwh: float
    ac_kw: float
    dc_kw: float
    consumption_kwh_per_100km: float
    connector_types: tuple[str, ...]
    dc_curve: tuple[tuple[float, float], ...]


class ChargeCurve:
    """A battery of `capacity_kwh` filled along `points`: (state of charge, kW at the connector) from 0.0 to 1.0."""

    __slots__ = ("_powers", "_rates", "_seconds", "_slopes", "_socs", "kwh_per_soc")

    def __init__(self, points: tuple[tuple[float, float], ...], capacity_kwh: float, efficiency: float) -> None:
        """ValueError if the points do not run from 0.0 to 1.0 in rising order."""
        self._socs = [soc for soc, _ in points]
        self._powers = [max(power, _MIN_POWER_KW) for _, power in points]
        if self._socs[0] != 0.0 or self._socs[-1] != 1.0 or any(a >= b for a, b in pairwise(self._socs)):
            raise ValueError(f"a charge curve must rise from 0.0 to 1.0, not {self._socs}")
        self.kwh_per_soc = capacity_kwh / efficiency
        per_second = 1.0 / (self.kwh_per_soc * 3600.0)
        self._slopes: list[float] = []
        self._rates: list[float] = []
        self._seconds = [0.0]
        for piece in range(len(points) - 1):
            start, end = self._powers[piece], self._powers[piece + 1]
            width = self._socs[piece + 1] - self._socs[piece]
            slope = (end - start) / width
            self._slopes.append(slope)
            self._rates.append(slope * per_second)
            duration_s = log(end / start) / (slope * per_second) if slope else width / (start * per_second)
            self._seconds.append(self._seconds[-1] + duration_s)

    def power_kw(self, soc: float) -> float:
        """Power at the connector at `soc`."""
        piece = self._piece(self._socs, soc)
        return self._powers[piece] + self._slopes[piece] * (soc - self._socs[piece])

    def seconds_at(self, soc: float) -> float:
        """Charging time from empty to `soc`."""
        piece = self._piece(self._socs, soc)
        power, slope, above = self._powers[piece], self._slopes[piece], soc - self._socs[piece]
        if slope:
            return self._seconds[piece] + log(1.0 + slope * above / power) / self._rates[piece]
        return self._seconds[piece] + above * self.kwh_per_soc * 3600.0 / power

    def soc_at(self, seconds: float) -> float:
        """State of charge after charging for `seconds` from empty."""
        piece = self._piece(self._seconds, seconds)
        since = seconds - self._seconds[piece]
        power, slope = self._powers[piece], self._slopes[piece]
        if slope:
            gained = power / slope * (exp(self._rates[piece] * since) - 1.0)
        else:
            gained = power * since / (self.kwh_per_soc * 3600.0)
        return min(self._socs[piece] + gained, self._socs[piece + 1])

    def soc_after(self, soc: float, seconds: float, target_soc: float) -> float:
        """State of charge after charging for `seconds` from `soc` towards `target_soc`, in one step."""
        return min(max(self.soc_at(self.seconds_at(soc) + seconds), soc), target_soc)

    def _piece(self, starts: list[float], value: float) -> int:
        return min(bisect_right(starts, value), len(self._slopes)) - 1


def charge_curve(model: EvModel, evse_power_kw: float, is_dc: bool) -> ChargeCurve:
    """The curve of `model` at an EVSE: the lower of the car's limit and the EVSE's, at every state of charge."""
    if is_dc:
        return ChargeCurve(_limited(model.dc_curve, evse_power_kw), model.usable_kwh, DC_EFFICIENCY)
    power = min(model.ac_kw, evse_power_kw)
    points = ((0.0, power), (_AC_TAPER_FROM, power), (1.0, power * _AC_POWER_LEFT))
    return ChargeCurve(points, model.usable_kwh, AC_EFFICIENCY)


def _limited(points: tuple[tuple[float, float], ...], limit: float) -> tuple[tuple[float, float], ...]:
    limited = [(points[0][0], min(points[0][1], limit))]
    for (soc, power), (next_soc, next_power) in pairwise(points):
        if (power - limit) * (next_power - limit) < 0:
            crossing = soc + (limit - power) / (next_power - power) * (next_soc - soc)
            limited.append((crossing, limit))
        limited.append((next_soc, min(next_power, limit)))
    return tuple(limited)
