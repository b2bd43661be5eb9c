"""The network and the vehicle models of the simulation, made from the reference data.

Only stations of registries are simulated: stations of recordings have recorded sessions. Equal reference data and an equal
seed give an equal network.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Any, Self

from evcharge.connections import ServerDownError
from evcharge.contracts import STATION_REGISTRY
from evcharge.log import log
from evcharge.reference.bundled import model_row
from evcharge.reference.mongodb import available, ev_models, stations
from evcharge.settings import Settings
from simulation import EvModel, Evse, Network, SiteKind, Station, build_network
from simulation.fleet import MODELS
from simulation.network import CHADEMO, COMBO, J1772, TESLA, site_power_kw

Row = dict[str, Any]

#: Sources that are simulated, preferred in this order: real stations, our own synthetic ones, Kaggle's.
_SOURCES = ("afdc", "synthetic", "kaggle")

# Power (kW) where the registry has none, as in AFDC's downloads: 240 V x 30 A, the most common Level 2 port in the US
# (ChargePoint CT4000 data sheet); 150 kW a port, which US federal funding requires since 2023 (NEVI, 23 CFR 680.106); 50 kW
# for nearly all CHAdeMO plugs; 240 V x 48 A, Tesla's Wall Connector. Simulated cars fit no other connector.
_POWER_KW = {J1772: 7.2, COMBO: 150.0, CHADEMO: 50.0, TESLA: 11.5}
# AFDC's name of the Supercharger network (the others are "Tesla Destination"); a V2 Supercharger gives 150 kW.
_SUPERCHARGERS, _SUPERCHARGER_KW = "Tesla", 150.0

# Facility types of AFDC at which cars stay for work or study, or over night. All others are public.
_FACILITIES = {
    SiteKind.WORKPLACE: (
        *("OFFICE_BLDG", "FACTORY", "RESEARCH_FACILITY", "UTILITY", "FED_GOV", "STATE_GOV", "MUNI_GOV", "MIL_BASE"),
        *("COLLEGE_CAMPUS", "SCHOOL", "HOSPITAL", "FLEET_GARAGE", "MOTOR_POOL", "FIRE_STATION", "PRISON"),
    ),
    SiteKind.RESIDENTIAL: ("MULTI_UNIT_DWELLING", "HOTEL", "INN", "B_AND_B", "CAMPGROUND", "RV_PARK"),
}
# Most records have no facility type. Then words of the station's name decide.
_WORDS = {
    SiteKind.WORKPLACE: ("campus", "university", "college", "office", "school", "hospital", "corporate"),
    SiteKind.RESIDENTIAL: ("residence", "apartment", "condo", "hotel", "inn ", "lofts"),
    SiteKind.PUBLIC: ("parking", "garage", "mall", "plaza", "center", "market", "library", "park "),
}
# If neither decides: the shares of AC sites in the built-in network.
_KIND_SHARES = ((SiteKind.WORKPLACE, 0.29), (SiteKind.RESIDENTIAL, 0.18), (SiteKind.PUBLIC, 0.53))


@dataclass(frozen=True, slots=True)
class SimulatedWorld:
    """The network, the models with their shares of the fleet, and the stations' registry records.

    `records` are messages of the station-registry contract, in the network's order, without `observed_at`.
    """

    network: Network
    models: tuple[tuple[EvModel, float], ...]
    records: tuple[Row, ...]

    @classmethod
    def built_in(cls, count: int, seed: int) -> Self:
        """The simulation's own network and models. ValueError if `count` is below 1."""
        network = build_network(count, seed)
        return cls(network, MODELS, tuple(network.registry_records()))

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> Self:
        """Reads what `to_json` wrote. Raises KeyError, TypeError or ValueError for anything else."""
        return cls(
            Network(tuple(_station_of(entry) for entry in content["stations"])),
            tuple((_model(entry), entry["fleet_share"]) for entry in content["models"]),
            tuple(entry["record"] for entry in content["stations"]),
        )

    def to_json(self) -> dict[str, Any]:
        """Plain values for JSON. The models are rows of the reference data."""
        return {
            "stations": [
                {"record": record, "site_kind": station.site_kind.value, "site_power_kw": station.site_power_kw}
                for station, record in zip(self.network.stations, self.records, strict=True)
            ],
            "models": [model_row(model, share, "simulation") for model, share in self.models],
        }


def simulated_world(settings: Settings) -> SimulatedWorld:
    """`settings.simulation_stations` stations and the models of MongoDB; the built-in ones if there are none."""
    count, seed = settings.simulation_stations, settings.simulation_seed
    reason = "EVCHARGE_PROFILE=small has no reference data"
    if available(settings):
        try:
            world = world_of(stations(settings, open_only=True), ev_models(settings), count, seed)
        except ServerDownError as error:
            reason = str(error)
        else:
            if world.network.stations and world.models:
                found = len(world.network.stations)
                log.info("simulation takes stations of the reference data", found=found, wanted=count)
                return world
            reason = "MongoDB has no stations or models to simulate"
    log.warning("simulation takes the built-in stations", reason=reason)
    return SimulatedWorld.built_in(count, seed)


def world_of(
    station_rows: Iterable[Mapping[str, Any]], model_rows: Iterable[Mapping[str, Any]], count: int, seed: int
) -> SimulatedWorld:
    """At most `count` stations, sorted by id, and the models that have a share of the fleet, a curve and a fitting plug.

    Real stations come first, in whole areas: cars need other stations nearby.
    """
    candidates = [
        (row, station)
        for row in sorted(station_rows, key=lambda row: (_rank(row), *_area(row, seed), row["station_id"]))
        if row["source"] in _SOURCES and (station := _station(row)) is not None
    ]
    chosen = sorted(candidates[:count], key=lambda pair: pair[1].station_id)
    plugs = {connector_type for _, station in chosen for connector_type in station.connector_types}
    models = [
        (_model(row), row["fleet_share"])
        for row in sorted(model_rows, key=lambda row: row["ev_model_id"])
        if row["fleet_share"] and row["dc_curve"] and plugs & set(row["connector_types"])
    ]
    return SimulatedWorld(
        Network(tuple(station for _, station in chosen)),
        _shares_of_one(models),
        tuple(_record(row, station) for row, station in chosen),
    )


def _rank(row: Mapping[str, Any]) -> int:
    return _SOURCES.index(row["source"]) if row["source"] in _SOURCES else len(_SOURCES)


def _area(row: Mapping[str, Any], seed: int) -> tuple[str, str]:
    """The sort key of an area: the seed draws the order. A US area is a sectional centre, the first three digits of the ZIP."""
    area = f"{row['country']} {row['state']} {(row['zip'] or '')[:3] or row['city']}"
    return sha256(f"{seed} {area}".encode()).hexdigest(), area


def _station(row: Mapping[str, Any]) -> Station | None:
    """The simulated station; None if no simulated car could charge there."""
    evses = tuple(_evses(row))
    if not evses:
        return None
    return Station(
        station_id=row["station_id"],
        station_name=row["station_name"],
        city=row["city"] or "",
        state=row["state"] or "",
        zip=row["zip"] or "",
        country=row["country"] or "",
        time_zone=row["time_zone"],
        longitude=row["longitude"],
        latitude=row["latitude"],
        site_kind=_site_kind(row, evses),
        evses=evses,
        site_power_kw=site_power_kw(evses),
        network=row["network"] or "",
    )


def _evses(row: Mapping[str, Any]) -> Iterator[Evse]:
    """The registry's EVSEs if it lists them. Otherwise one for each outlet, the strongest first."""
    if row.get("evses"):
        for evse in row["evses"]:
            if evse["connector_type"] in _POWER_KW:
                power_kw = evse["power_kw"] or _power_kw(row, evse["connector_type"])
                yield Evse(evse["evse_id"], evse["connector_id"] or "1", evse["connector_type"], power_kw)
        return
    sockets = sorted(_sockets(row), key=lambda socket: (-socket[1], socket[0]))
    for position, (connector_type, power_kw) in enumerate(sockets, start=1):
        yield Evse(f"{row['station_id']}-{position}", "1", connector_type, power_kw)


def _sockets(row: Mapping[str, Any]) -> Iterator[tuple[str, float]]:
    """Connector type and power of each outlet. An outlet has one connector here.

    The registry counts both cables of an outlet that has two, so it may have more connectors than outlets. Then the types
    take the outlets in turn.
    """
    connectors = row["connectors"] or [
        {"connector_type": connector_type, "power_kw": None, "ports": row["total_outlets"]}
        for connector_type in row["connector_types"] or ()
    ]
    left = [
        [connector["connector_type"], connector["power_kw"], connector["ports"] or 1]
        for connector in connectors
        if connector["connector_type"] in _POWER_KW
    ]
    outlets = row["total_outlets"]
    while left and outlets:
        for connector in left[:outlets]:
            connector_type, power_kw, _ = connector
            yield connector_type, power_kw or _power_kw(row, connector_type)
            connector[2] -= 1
            outlets -= 1
        left = [connector for connector in left if connector[2]]


def _power_kw(row: Mapping[str, Any], connector_type: str) -> float:
    if connector_type == TESLA and row["network"] == _SUPERCHARGERS:
        return _SUPERCHARGER_KW
    return _POWER_KW[connector_type]


def _site_kind(row: Mapping[str, Any], evses: Sequence[Evse]) -> SiteKind:
    if 2 * sum(evse.is_dc for evse in evses) >= len(evses):
        return SiteKind.DC_FAST
    facility = row.get("facility_type")
    if facility:
        other = SiteKind.WORKPLACE if row.get("access_code") == "private" else SiteKind.PUBLIC
        return next((kind for kind, facilities in _FACILITIES.items() if facility in facilities), other)
    name = f"{row['station_name'].lower()} "
    for kind, words in _WORDS.items():
        if any(word in name for word in words):
            return kind
    drawn = int(sha256(row["station_id"].encode()).hexdigest()[:8], 16) / 2**32
    for kind, share in _KIND_SHARES:
        if drawn < share:
            return kind
        drawn -= share
    return SiteKind.PUBLIC


def _record(row: Mapping[str, Any], station: Station) -> Row:
    """The registry's record with the EVSEs of the simulation."""
    record = {n: row.get(n) for n in STATION_REGISTRY.columns if n not in ("schema_version", "observed_at")}
    return record | {
        "evses": [
            {
                "evse_id": evse.evse_id,
                "connector_id": evse.connector_id,
                "connector_type": evse.connector_type,
                "power_kw": evse.power_kw,
            }
            for evse in station.evses
        ]
    }


def _station_of(entry: Mapping[str, Any]) -> Station:
    record = entry["record"]
    texts = {name: record[name] or "" for name in ("city", "state", "zip", "country", "network")}
    return Station(
        station_id=record["station_id"],
        station_name=record["station_name"],
        time_zone=record["time_zone"],
        longitude=record["longitude"],
        latitude=record["latitude"],
        site_kind=SiteKind(entry["site_kind"]),
        evses=tuple(Evse(**evse) for evse in record["evses"]),
        site_power_kw=entry["site_power_kw"],
        **texts,
    )


def _model(row: Mapping[str, Any]) -> EvModel:
    return EvModel(
        row["ev_model_id"],
        row["make"],
        row["model"],
        row["usable_kwh"],
        row["ac_kw"],
        row["dc_kw"],
        row["consumption_kwh_per_100km"],
        tuple(row["connector_types"]),
        tuple((soc, power_kw) for soc, power_kw in row["dc_curve"]),
    )


def _shares_of_one(models: list[tuple[EvModel, float]]) -> tuple[tuple[EvModel, float], ...]:
    """The shares, scaled so that they add up to 1."""
    total = sum(share for _, share in models)
    scale = 1.0 if abs(total - 1) < 1e-6 else total
    return tuple((model, share / scale) for model, share in models)
