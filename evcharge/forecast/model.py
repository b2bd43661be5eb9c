"""The model behind a station's forecast: kinds of sites with their stays and arrivals, and what is known of each station."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from evcharge.forecast.station_now import StationNow
from evcharge.forecast.stays import busy_by_hour, log_normal_hazards

Floats = NDArray[np.float64]

#: Minutes ahead at which the probabilities are calibrated; between them it is interpolated.
CALIBRATED_MIN = np.array([0.0, 10, 30, 60, 120])
NO_CALIBRATION = np.tile([0.0, 1.0], (len(CALIBRATED_MIN), 1))


@dataclass(frozen=True, eq=False)
class SiteKind:
    """A kind of site: `hazards` (per hour, shape (24, 17)) and `arrivals` (cars per outlet and local hour, shape (2, 24)).

    The rows of `arrivals` are weekdays and weekend days. `share` is the part of stations of its power that are of this kind.
    """

    name: str
    power_class: str
    share: float
    hazards: Floats
    arrivals: Floats

    @cached_property
    def busy(self) -> Floats:
        """The share of the outlets that are taken, by local hour, shape (24,)."""
        return busy_by_hour(self.hazards, (5 * self.arrivals[0] + 2 * self.arrivals[1]) / 7)


@dataclass(frozen=True, slots=True)
class KnownStation:
    """What was learned of one station: its chances to be of each kind of its power, and its arrivals over its kinds' mean.

    `sessions` is the number of sessions that it was learned from.
    """

    weights: tuple[float, ...]
    rate: float
    sessions: int


@dataclass(frozen=True, eq=False)
class Model:
    """Everything a forecast is made from. `source` says in words what it was learned from.

    `calibration` has an offset and a slope of the log odds for each of `CALIBRATED_MIN`, shape (5, 2).
    """

    version: str
    source: str
    kinds: tuple[SiteKind, ...]
    stations: Mapping[str, KnownStation] = field(default_factory=dict)
    calibration: Floats = field(default_factory=lambda: NO_CALIBRATION)
    trained_at: str | None = None
    trained_on: Mapping[str, object] = field(default_factory=dict)
    score: Mapping[str, object] | None = None

    def kinds_of(self, station: StationNow) -> list[tuple[float, SiteKind]]:
        """The kinds that a station may be of, with their chances."""
        kinds = [kind for kind in self.kinds if kind.power_class == station.power_class]
        known = self.stations.get(station.station_id)
        if known is None or len(known.weights) != len(kinds):
            return [(kind.share, kind) for kind in kinds]
        return [(weight, kind) for weight, kind in zip(known.weights, kinds, strict=True) if weight > 0.01]

    def rate_of(self, station: StationNow) -> float:
        """The station's arrivals over the mean of its kinds."""
        known = self.stations.get(station.station_id)
        return known.rate if known else 1.0

    def with_description(self, trained_on: Mapping[str, object]) -> Model:
        """The same model with what it was trained on."""
        return replace(self, trained_on=trained_on)

    def calibrated(self, chances: Floats, in_min: Floats) -> Floats:
        """Chances (…, instants) as they came true when they were last scored. 0 and 1 stay."""
        offset = np.interp(in_min, CALIBRATED_MIN, self.calibration[:, 0])
        slope = np.interp(in_min, CALIBRATED_MIN, self.calibration[:, 1])
        inside = np.clip(chances, 1e-9, 1 - 1e-9)
        odds = offset + slope * np.log(inside / (1 - inside))
        return np.where((chances <= 0) | (chances >= 1), chances, 1 / (1 + np.exp(-odds)))

    def sessions_of(self, station: StationNow) -> int:
        """The number of sessions that the station is known by."""
        known = self.stations.get(station.station_id)
        return known.sessions if known else 0


# Weights of the local hours of a weekday at public chargers: the peak shortly before nine is EVnetNL's (JRC, 2015).
_HOURS = np.array(
    [2, 1, 1, 1, 2, 6, 18, 48, 72, 64, 52, 50, 52, 48, 44, 44, 50, 56, 54, 42, 28, 18, 10, 5], dtype=float
)
# Fast chargers peak in the afternoon (EPFL's fast chargers, 2022).
_FAST_HOURS = np.array([3, 2, 2, 2, 3, 6, 14, 24, 32, 40, 48, 54, 58, 58, 60, 62, 64, 62, 54, 42, 30, 20, 12, 6], float)


def _prior(power: str, median_min: float, sigma: float, a_day: float, hours: Floats) -> SiteKind:
    per_hour = a_day * hours / hours.sum()
    hazards = np.tile(log_normal_hazards(median_min, sigma), (24, 1))
    return SiteKind(power, power, 1.0, hazards, np.stack([per_hour, 0.9 * per_hour]))


#: Before anything was learned. AC: stays with a median of 2.5 h (a campus has 4.2 h, ACN-Data Caltech 2019, shops less) and a
#: utilisation near the 13.7 % of public chargers in the Netherlands (EVnetNL, JRC 2015). DC: 30 minutes with p5 to p95 of 10
#: to 62 (EPFL's fast chargers, 2022) and 16.2 % (US fast chargers, Paren, first quarter of 2025).
PRIOR = Model(
    version="prior",
    source="published figures (ACN-Data, EVnetNL, EPFL, Paren): nothing was learned from this platform's sessions yet",
    kinds=(
        _prior("AC", 150.0, 0.9, 0.9, _HOURS),
        _prior("DC", 45.0, 0.55, 4.0, _FAST_HOURS),
        _prior("fast DC", 29.5, 0.55, 6.8, _FAST_HOURS),
    ),
)
