"""How a battery fills: power by state of charge, integrated exactly.

Power is piecewise linear in the state of charge. On a piece P(s) = P0 + m (s - s0) the charge obeys
C ds/dt = efficiency x P(s), whose solution is s(t) = s0 + P0/m (exp(m t efficiency/C) - 1), a straight line where m = 0.
There is no time step, so the energy at an instant does not depend on which other instants were computed.

States of charge are fractions 0..1, energies kWh, powers kW at the connector, times seconds.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import accumulate, pairwise
from math import expm1, log, log1p

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

# Battery gain over energy at the connector on AC: 77.7 of 87.9 kWh, a Tesla Model Y's full charge on 240 V in the EPA
# certification filing (quoted by Car and Driver, "EVs Explained: Charging Losses").
AC_EFFICIENCY = 0.884
# On DC the meter is behind the rectifier, so only cable and battery lose energy (assumption: 5 %).
DC_EFFICIENCY = 0.95

# Where the constant-voltage phase on AC begins, and which share of the power is left when the battery is full (assumption).
_AC_TAPER_FROM = 0.97
_AC_POWER_LEFT = 0.25
# Published curves may end at 0 kW. With that a battery would never be full.
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

    __slots__ = ("_highest", "_powers", "_rates", "_seconds", "_slopes", "_socs", "kwh_per_soc")

    def __init__(self, points: tuple[tuple[float, float], ...], capacity_kwh: float, efficiency: float) -> None:
        """ValueError if the points do not run from 0.0 to 1.0 in rising order."""
        self._socs = [soc for soc, _ in points]
        # An EVSE may give less than the least power; its limit holds.
        least_kw = min(_MIN_POWER_KW, max(power for _, power in points))
        self._powers = [max(power, least_kw) for _, power in points]
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
        # The highest power from each knot on.
        self._highest = list(accumulate(reversed(self._powers), max))[::-1]

    def power_kw(self, soc: float) -> float:
        """Power at the connector at `soc`."""
        piece = self._piece(self._socs, soc)
        return self._powers[piece] + self._slopes[piece] * (soc - self._socs[piece])

    def highest_kw(self, soc: float) -> float:
        """The highest power at the connector from `soc` on."""
        piece = self._piece(self._socs, soc)
        return max(self._powers[piece] + self._slopes[piece] * (soc - self._socs[piece]), self._highest[piece + 1])

    def seconds_at(self, soc: float) -> float:
        """Charging time from empty to `soc`."""
        piece = self._piece(self._socs, soc)
        power, slope, above = self._powers[piece], self._slopes[piece], soc - self._socs[piece]
        if slope:
            return self._seconds[piece] + log1p(slope * above / power) / self._rates[piece]
        return self._seconds[piece] + above * self.kwh_per_soc * 3600.0 / power

    def soc_at(self, seconds: float) -> float:
        """State of charge after charging for `seconds` from empty."""
        piece = self._piece(self._seconds, seconds)
        since = seconds - self._seconds[piece]
        power, slope = self._powers[piece], self._slopes[piece]
        straight = power * since / (self.kwh_per_soc * 3600.0)
        gained = power / slope * expm1(self._rates[piece] * since) if slope else straight
        return min(self._socs[piece] + gained, self._socs[piece + 1])

    def soc_after(self, soc: float, seconds: float, target_soc: float) -> float:
        """State of charge after charging for `seconds` from `soc` towards `target_soc`, in one step."""
        return min(max(self.soc_at(self.seconds_at(soc) + seconds), soc), target_soc)

    @property
    def pieces(self) -> Iterator[tuple[float, float, float, float, float]]:
        """For each piece: seconds from empty, state of charge and power at its begin, state of charge at its end, and slope (kW
        per unit of state of charge)."""
        return zip(self._seconds, self._socs, self._powers, self._socs[1:], self._slopes, strict=False)

    def _piece(self, starts: list[float], value: float) -> int:
        return min(bisect_right(starts, value), len(self._slopes)) - 1


class CurveTable:
    """Many curves, evaluated at many instants at once: `ChargeCurve.soc_at` and `power_kw` for arrays."""

    def __init__(self) -> None:
        self._count = 0
        # inf: a curve without this piece never comes to it.
        self._pieces = np.full((5, 64, 16), np.inf)
        self._kwh_per_soc = np.ones(64)

    def add(self, curve: ChargeCurve) -> int:
        """Add a curve. Returns the number by which `after` knows it."""
        pieces = np.array(list(curve.pieces)).T
        _, rows, columns = self._pieces.shape
        if self._count == rows or pieces.shape[1] > columns:
            grown = np.full((5, rows * (1 + (self._count == rows)), max(columns, pieces.shape[1])), np.inf)
            grown[:, :rows, :columns] = self._pieces
            self._pieces = grown
            self._kwh_per_soc = np.resize(self._kwh_per_soc, grown.shape[1])
        self._pieces[:, self._count, : pieces.shape[1]] = pieces
        self._kwh_per_soc[self._count] = curve.kwh_per_soc
        self._count += 1
        return self._count - 1

    def kwh_per_soc(self, curve: NDArray[np.int64]) -> Floats:
        """Energy (kWh at the connector) of a whole battery, for each of `curve` (numbers)."""
        return self._kwh_per_soc[curve]

    def after(self, curve: NDArray[np.int64], seconds: Floats, target_soc: Floats) -> tuple[Floats, Floats]:
        """State of charge and power (kW) after charging for `seconds` from empty towards `target_soc`, all of shape (n,)."""
        piece = np.maximum((self._pieces[0][curve] <= seconds[:, None]).sum(axis=1) - 1, 0)
        begins, low, power, high, slope = self._pieces[:, curve, piece]
        since = seconds - begins
        per_second = 1.0 / (self._kwh_per_soc[curve] * 3600.0)
        falls = slope != 0
        steep = np.where(falls, slope, 1.0)
        gained = np.where(falls, power / steep * np.expm1(steep * per_second * since), power * since * per_second)
        soc = np.minimum(np.minimum(low + gained, high), target_soc)
        return soc, power + slope * (soc - low)


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
