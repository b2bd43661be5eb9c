"""Distances: which stations a car can reach from its base, how popular they are, and how long a drive is."""

from __future__ import annotations

from bisect import bisect_right
from itertools import accumulate
from math import asin, cos, exp, radians, sin, sqrt

import numpy as np
from numpy.typing import NDArray

from simulation.draws import Draws, Purpose, normal
from simulation.network import Network, SiteKind, Station

EARTH_KM = 6371.0
# Road over straight-line distance, US average (Ballou, Rahardja and Sakai 2002, "Selected country circuity factors").
CIRCUITY = 1.20
# Mean speeds in a city and on longer trips (assumption).
CITY_KMH = 40.0
TRIP_KMH = 80.0
# Drivers look for a charger within their metropolitan area (assumption).
_REACH_KM = 40.0
# Spread of how popular stations of one kind and size are (assumption).
_POPULARITY_SIGMA = 0.5
# Popularity belongs to the place, not to one run: the same for every seed of a simulation.
_POPULARITY_SEED = 0


class Choice:
    """Stations to choose among, each with a weight."""

    __slots__ = ("_cumulated", "_stations")

    def __init__(self, stations: list[int], weights: list[float]) -> None:
        self._stations = stations
        self._cumulated = list(accumulate(weights))

    def __bool__(self) -> bool:
        return bool(self._stations)

    def pick(self, uniform: float) -> int | None:
        """A station by weight, None if there is none to pick."""
        if not self._stations:
            return None
        index = bisect_right(self._cumulated, uniform * self._cumulated[-1])
        return self._stations[min(index, len(self._stations) - 1)]


class Surroundings:
    """The stations of `network` as a driver sees them."""

    def __init__(self, network: Network) -> None:
        self._stations = network.stations
        self._latitudes = np.radians(np.array([station.latitude for station in network.stations]))
        self._longitudes = np.radians(np.array([station.longitude for station in network.stations]))
        draws = Draws(_POPULARITY_SEED)
        self._weights = [
            len(station.evses) * exp(_POPULARITY_SIGMA * normal(draws.block(Purpose.POPULARITY, index)[0]))
            for index, station in enumerate(network.stations)
        ]
        self._bases: dict[tuple[str, ...], Choice] = {}
        self._usables: dict[tuple[SiteKind, tuple[str, ...]], NDArray[np.bool_]] = {}
        self._near: dict[tuple[int, SiteKind, tuple[str, ...]], Choice] = {}
        self._alternatives: dict[tuple[int, tuple[str, ...], float], tuple[tuple[int, float], ...]] = {}

    def base(self, connector_types: tuple[str, ...], uniform: float) -> int:
        """A station to live near: one that fits, drawn by its number of EVSEs. ValueError if no station fits."""
        choice = self._bases.get(connector_types)
        if choice is None:
            fitting = [i for i, station in enumerate(self._stations) if _fits(station, connector_types)]
            choice = self._bases[connector_types] = Choice(
                fitting, [float(len(self._stations[i].evses)) for i in fitting]
            )
        station = choice.pick(uniform)
        if station is None:
            raise ValueError(f"the network has no station with a connector among {', '.join(connector_types)}")
        return station

    def near(self, base: int, kind: SiteKind, connector_types: tuple[str, ...]) -> Choice:
        """The stations of `kind` within reach of station `base` that fit one of `connector_types`."""
        key = (base, kind, connector_types)
        choice = self._near.get(key)
        if choice is None:
            stations = np.flatnonzero(self._within(base) & self._usable(kind, connector_types)).tolist()
            choice = self._near[key] = Choice(stations, [self._weights[i] for i in stations])
        return choice

    def alternatives(
        self, station: int, connector_types: tuple[str, ...], within_km: float
    ) -> tuple[tuple[int, float], ...]:
        """Other stations of the same kind and the way there (km by road, at most `within_km`), the nearest first."""
        key = (station, connector_types, within_km)
        known = self._alternatives.get(key)
        if known is None:
            usable = self._usable(self._stations[station].site_kind, connector_types) & self._within(station)
            ways = ((self.drive_km(station, other), other) for other in np.flatnonzero(usable).tolist())
            known = self._alternatives[key] = tuple(
                (other, km) for km, other in sorted(ways) if other != station and km <= within_km
            )
        return known

    def drive_km(self, origin: int, destination: int) -> float:
        """Road distance (km) between two stations."""
        a, b = self._stations[origin], self._stations[destination]
        return road_km(a.latitude, a.longitude, b.latitude, b.longitude)

    def _usable(self, kind: SiteKind, connector_types: tuple[str, ...]) -> NDArray[np.bool_]:
        usable = self._usables.get((kind, connector_types))
        if usable is None:
            usable = np.array(
                [station.site_kind is kind and _fits(station, connector_types) for station in self._stations]
            )
            self._usables[kind, connector_types] = usable
        return usable

    def _within(self, base: int) -> NDArray[np.bool_]:
        half_latitude = (self._latitudes - self._latitudes[base]) / 2
        half_longitude = (self._longitudes - self._longitudes[base]) / 2
        chord = (
            np.sin(half_latitude) ** 2
            + np.cos(self._latitudes) * np.cos(self._latitudes[base]) * np.sin(half_longitude) ** 2
        )
        return 2 * EARTH_KM * np.arcsin(np.sqrt(chord)) <= _REACH_KM


def road_km(latitude: float, longitude: float, to_latitude: float, to_longitude: float) -> float:
    """Length (km) of the road between two points (degrees, WGS 84)."""
    latitude_a, latitude_b = radians(latitude), radians(to_latitude)
    half_latitude = (latitude_b - latitude_a) / 2
    half_longitude = radians(to_longitude - longitude) / 2
    chord = sin(half_latitude) ** 2 + cos(latitude_a) * cos(latitude_b) * sin(half_longitude) ** 2
    return CIRCUITY * 2 * EARTH_KM * asin(sqrt(chord))


def _fits(station: Station, connector_types: tuple[str, ...]) -> bool:
    return any(evse.connector_type in connector_types for evse in station.evses)
