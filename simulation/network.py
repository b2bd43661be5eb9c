"""The charging stations of a simulation, and the built-in network."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from simulation.draws import Draws, Purpose, Uniforms
from simulation.places import PLACES

# Connector types as the Alternative Fuels Data Center (AFDC) spells them; TESLA is SAE J3400.
J1772 = "J1772"
COMBO = "J1772COMBO"
CHADEMO = "CHADEMO"
TESLA = "TESLA"

# J1772 ends at 80 A x 240 V = 19.2 kW; a J3400 plug above that can only be direct current.
_MAX_AC_KW = 19.2


class SiteKind(StrEnum):
    """The use of a site. It decides when cars come, how long they stay and what they can charge with."""

    WORKPLACE = "workplace"
    PUBLIC = "public"
    RESIDENTIAL = "residential"
    DC_FAST = "dc_fast"


@dataclass(frozen=True, slots=True)
class Evse:
    """An EVSE, which serves one car at a time, with its one connector. `power_kw` is its limit at the connector."""

    evse_id: str
    connector_id: str
    connector_type: str
    power_kw: float

    @property
    def is_dc(self) -> bool:
        return self.connector_type in (COMBO, CHADEMO) or self.power_kw > _MAX_AC_KW


@dataclass(frozen=True, slots=True)
class Station:
    """A charging station (OCPI location). `site_power_kw` is what its grid connection gives to all EVSEs together."""

    station_id: str
    station_name: str
    city: str
    state: str
    zip: str
    country: str
    time_zone: str
    longitude: float
    latitude: float
    site_kind: SiteKind
    evses: tuple[Evse, ...]
    site_power_kw: float
    network: str

    @property
    def connector_types(self) -> tuple[str, ...]:
        """Distinct connector types, sorted."""
        return tuple(sorted({evse.connector_type for evse in self.evses}))


@dataclass(frozen=True, slots=True)
class Network:
    """The stations of a simulation. Their order is part of its identity."""

    stations: tuple[Station, ...]

    def registry_records(self) -> Iterator[dict[str, Any]]:
        """One station-registry message per station, without `observed_at` and `schema_version`."""
        for station in self.stations:
            yield {
                "station_id": station.station_id,
                "station_name": station.station_name,
                "city": station.city,
                "state": station.state,
                "zip": station.zip,
                "country": station.country,
                "time_zone": station.time_zone,
                "longitude": station.longitude,
                "latitude": station.latitude,
                "status_code": "E",
                "connector_types": list(station.connector_types),
                "total_outlets": len(station.evses),
                "connectors": _connectors(station),
                "evses": [
                    {
                        "evse_id": evse.evse_id,
                        "connector_id": evse.connector_id,
                        "connector_type": evse.connector_type,
                        "power_kw": evse.power_kw,
                    }
                    for evse in station.evses
                ],
                "network": station.network,
                "source": "simulation",
                "snapshot_scope": "source",
            }


def _connectors(station: Station) -> list[dict[str, Any]]:
    ports: dict[tuple[str, float], int] = {}
    for evse in station.evses:
        key = (evse.connector_type, evse.power_kw)
        ports[key] = ports.get(key, 0) + 1
    return [
        {"connector_type": connector_type, "power_kw": power_kw, "ports": count}
        for (connector_type, power_kw), count in sorted(ports.items())
    ]


_KIND_NAMES = {
    SiteKind.WORKPLACE: "Campus",
    SiteKind.PUBLIC: "Public Parking",
    SiteKind.RESIDENTIAL: "Residences",
    SiteKind.DC_FAST: "Fast Charging",
}

# Model assumptions of the built-in network: about one site in eight is DC fast and AC sites at shops, garages and streets
# are the most common, as in AFDC's list of US stations.
_KIND_SHARES = (
    (SiteKind.WORKPLACE, 0.25),
    (SiteKind.PUBLIC, 0.46),
    (SiteKind.RESIDENTIAL, 0.16),
    (SiteKind.DC_FAST, 0.13),
)
# Fewest and most EVSEs of an AC site.
_AC_EVSES = {SiteKind.WORKPLACE: (4, 10), SiteKind.PUBLIC: (2, 5), SiteKind.RESIDENTIAL: (3, 8)}
# Usual US Level 2 circuits: 208 V x 32 A, 240 V x 30, 40 and 48 A.
_AC_POWERS_KW = (6.6, 7.2, 9.6, 11.5)

# Steps of the golden ratio spread any number of stations evenly over the kinds. Plain draws would leave a small network
# without one of them.
_GOLDEN = 0.6180339887498949
# About a kilometre of latitude: stations of one ZIP code must not share a point.
_SPREAD_DEGREES = 0.01


def build_network(stations: int, seed: int, id_prefix: str = "sim") -> Network:
    """The built-in network: `stations` sites at real US ZIP codes, the same for the same `seed`.

    Station ids are `<id_prefix>-00001` and so on. A larger network begins with the stations of a smaller one. ValueError if
    `stations` is below 1.
    """
    if stations < 1:
        raise ValueError(f"stations must be at least 1, not {stations}")
    draws = Draws(seed)
    phase = draws.block(Purpose.STATION, -1)[0]
    return Network(tuple(_build_station(number, draws, phase, id_prefix) for number in range(1, stations + 1)))


def _build_station(number: int, draws: Draws, phase: float, id_prefix: str) -> Station:
    u = draws.block(Purpose.STATION, number)
    kind = _kind((phase + number * _GOLDEN) % 1.0)
    place = PLACES[int(u[0] * len(PLACES))]
    station_id = f"{id_prefix}-{number:05d}"
    sockets = _dc_sockets(u) if kind is SiteKind.DC_FAST else _ac_sockets(kind, u)
    evses = tuple(
        Evse(f"{station_id}-{position}", "1", connector_type, power_kw)
        for position, (connector_type, power_kw) in enumerate(sockets, start=1)
    )
    return Station(
        station_id=station_id,
        station_name=f"{place.city} {_KIND_NAMES[kind]} {number}",
        city=place.city,
        state=place.state,
        zip=place.zip,
        country="US",
        time_zone=place.time_zone,
        longitude=round(place.longitude + (u[1] - 0.5) * 2 * _SPREAD_DEGREES, 5),
        latitude=round(place.latitude + (u[2] - 0.5) * 2 * _SPREAD_DEGREES, 5),
        site_kind=kind,
        evses=evses,
        site_power_kw=site_power_kw(evses),
        network=f"Simulated {_KIND_NAMES[kind]}",
    )


def _kind(u: float) -> SiteKind:
    for kind, share in _KIND_SHARES[:-1]:
        if u < share:
            return kind
        u -= share
    return _KIND_SHARES[-1][0]


def _ac_sockets(kind: SiteKind, u: Uniforms) -> list[tuple[str, float]]:
    fewest, most = _AC_EVSES[kind]
    count = fewest + int(u[3] * (most - fewest + 1))
    return [(J1772, _AC_POWERS_KW[int(u[4] * len(_AC_POWERS_KW))])] * count


def _dc_sockets(u: Uniforms) -> list[tuple[str, float]]:
    """Four makes of fast-charging sites: TESLA only, older 50 kW with CHAdeMO, and 150 or 350 kW of today."""
    if u[3] < 0.35:
        return [(TESLA, 250.0 if u[4] < 0.6 else 150.0)] * (6 + 2 * int(u[5] * 4))
    if u[3] < 0.55:
        return [(COMBO, 50.0)] * (1 + int(u[5] * 2)) + [(CHADEMO, 50.0)]
    power_kw = 150.0 if u[4] < 0.65 else 350.0
    return [(COMBO, power_kw)] * (3 + int(u[5] * 4)) + [(CHADEMO, 50.0)] * (u[6] < 0.6)


def site_power_kw(evses: tuple[Evse, ...]) -> float:
    """AC sites feed all EVSEs at once; fast-charging sites are connected for about half of the sum (assumption)."""
    total = sum(evse.power_kw for evse in evses)
    shared = total * 0.5 if evses[0].is_dc and len(evses) > 1 else total
    return round(max(shared, max(evse.power_kw for evse in evses)), 1)
