"""The simulation's network from reference data: the built-in one from the synthetic registry, a plausible one from AFDC's."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime
from typing import Any

import orjson
import pytest

from evcharge.reference.bundled import bundled_models, bundled_stations
from evcharge.settings import load_settings
from evcharge.simulated.world import SimulatedWorld, simulated_world, world_of
from simulation import Network, Simulation, SiteKind, build_fleet, build_network
from simulation.fleet import MODELS

Row = dict[str, Any]

START = datetime(2026, 3, 9, 9, tzinfo=UTC)


@pytest.fixture(scope="module")
def synthetic() -> list[Row]:
    return bundled_stations()


def afdc(number: int, **fields: Any) -> Row:
    """A real station as MongoDB has it: two Level 2 outlets of unknown power."""
    return {
        "station_id": f"afdc-{number}",
        "station_name": "Somewhere",
        "city": "Boston",
        "state": "MA",
        "zip": "02114",
        "country": "US",
        "time_zone": "America/New_York",
        "longitude": -71.066,
        "latitude": 42.361,
        "status_code": "E",
        "connector_types": ["J1772"],
        "total_outlets": 2,
        "connectors": [{"connector_type": "J1772", "power_kw": None, "ports": 2}],
        "evses": None,
        "network": "Non-Networked",
        "source": "afdc",
        "snapshot_scope": "all",
        "removed_at": None,
        "facility_type": None,
        "access_code": None,
        **fields,
    }


def world(*rows: Row, count: int = 640, seed: int = 7) -> SimulatedWorld:
    return world_of(rows, bundled_models(), count, seed)


def sockets(*rows: Row) -> list[list[tuple[str, float]]]:
    return [
        [(evse.connector_type, evse.power_kw) for evse in station.evses] for station in world(*rows).network.stations
    ]


def mix(network: Network) -> Counter[Any]:
    """How many sites of which kind have which EVSEs."""
    return Counter(
        (s.site_kind, s.site_power_kw, tuple(sorted((e.connector_type, e.power_kw) for e in s.evses)))
        for s in network.stations
    )


def test_the_synthetic_registry_gives_the_built_in_network(synthetic: list[Row]) -> None:
    found = world(*synthetic)
    assert mix(found.network) == mix(build_network(640, 7))
    assert all(station.station_id.startswith("syn-") for station in found.network.stations)
    assert sorted(model.ev_model_id for model, _ in found.models) == sorted(model.ev_model_id for model, _ in MODELS)


def test_equal_reference_data_and_seed_give_an_equal_network(synthetic: list[Row]) -> None:
    assert world(*synthetic, count=100) == world(*reversed(synthetic), count=100)
    assert world(*synthetic, count=100) != world(*synthetic, count=100, seed=8)


@pytest.mark.slow
def test_what_is_written_down_is_the_same_simulation(synthetic: list[Row]) -> None:
    found = world(*synthetic, count=40)
    again = SimulatedWorld.from_json(orjson.loads(orjson.dumps(found.to_json())))
    assert again == found
    first, second = (
        Simulation(w.network, build_fleet(w.network, 50, 7, w.models), seed=7, start_at=START) for w in (found, again)
    )
    until = datetime(2026, 3, 9, 21, tzinfo=UTC)
    assert list(first.advance(until).rows()) == list(second.advance(until).rows())


def test_records_are_the_registrys_with_the_evses_that_are_simulated(synthetic: list[Row]) -> None:
    found = world(*synthetic, count=3)
    by_id = {row["station_id"]: row for row in synthetic}
    for record, station in zip(found.records, found.network.stations, strict=True):
        row = by_id[station.station_id]
        kept = ("source", "snapshot_scope", "connectors", "total_outlets", "network", "station_name")
        assert {name: record[name] for name in kept} == {name: row[name] for name in kept}
        assert [evse["evse_id"] for evse in record["evses"]] == [evse.evse_id for evse in station.evses]
        assert "observed_at" not in record


def test_real_stations_come_first_and_recorded_sites_not_at_all(synthetic: list[Row]) -> None:
    recorded = afdc(1, station_id="acn-1", source="acn")
    found = world(*synthetic[:5], recorded, afdc(2), afdc(3), count=4)
    assert Counter(record["source"] for record in found.records) == {"afdc": 2, "synthetic": 2}


def test_whole_areas_are_taken() -> None:
    rows = [
        afdc(number, zip=f"0{area}1{number % 10}0") for area in range(10) for number in range(area * 10, area * 10 + 10)
    ]
    areas = Counter(station.zip[:3] for station in world(*rows, count=25).network.stations)
    assert sorted(areas.values()) == [5, 10, 10]


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({}, [("J1772", 7.2)] * 2),
        # two cables an outlet: the registry counts four connectors at two outlets
        (
            {
                "connectors": [
                    {"connector_type": "CHADEMO", "power_kw": None, "ports": 2},
                    {"connector_type": "J1772COMBO", "power_kw": 350.0, "ports": 2},
                ]
            },
            [("J1772COMBO", 350.0), ("CHADEMO", 50.0)],
        ),
        (
            {"connectors": [{"connector_type": "TESLA", "power_kw": None, "ports": 2}], "network": "Tesla"},
            [("TESLA", 150.0)] * 2,
        ),
        (
            {"connectors": [{"connector_type": "TESLA", "power_kw": None, "ports": 2}], "network": "Tesla Destination"},
            [("TESLA", 11.5)] * 2,
        ),
        (
            {"connectors": None, "connector_types": ["CHADEMO", "J1772COMBO"]},
            [("J1772COMBO", 150.0), ("CHADEMO", 50.0)],
        ),
        (
            {"evses": [{"evse_id": "a", "connector_id": None, "connector_type": "J1772", "power_kw": None}]},
            [("J1772", 7.2)],
        ),
        (
            {
                "connectors": [
                    {"connector_type": "J1772", "power_kw": None, "ports": 1},
                    {"connector_type": "NEMA515", "power_kw": None, "ports": 1},
                ]
            },
            [("J1772", 7.2)],
        ),
    ],
)
def test_outlets_of_a_real_station(fields: Row, expected: list[tuple[str, float]]) -> None:
    assert sockets(afdc(1, **fields)) == [expected]


@pytest.mark.parametrize(
    "fields",
    [
        {"connectors": None, "connector_types": None, "total_outlets": 0},
        {"connectors": [{"connector_type": "NEMA515", "power_kw": None, "ports": 2}]},
        {"connectors": [{"connector_type": "IEC_62196_T2", "power_kw": 22.0, "ports": 2}]},
    ],
)
def test_a_station_that_no_car_fits_is_not_simulated(fields: Row) -> None:
    assert sockets(afdc(1, **fields)) == []


@pytest.mark.parametrize(
    ("fields", "kind"),
    [
        ({"facility_type": "OFFICE_BLDG"}, SiteKind.WORKPLACE),
        ({"facility_type": "CAR_DEALER", "access_code": "private"}, SiteKind.WORKPLACE),
        ({"facility_type": "MULTI_UNIT_DWELLING", "access_code": "private"}, SiteKind.RESIDENTIAL),
        ({"facility_type": "PAY_GARAGE"}, SiteKind.PUBLIC),
        ({"station_name": "Harvard University"}, SiteKind.WORKPLACE),
        ({"station_name": "Main Street Garage"}, SiteKind.PUBLIC),
        (
            {"connectors": [{"connector_type": "J1772COMBO", "power_kw": 50.0, "ports": 2}], "facility_type": "HOTEL"},
            SiteKind.DC_FAST,
        ),
    ],
)
def test_what_a_site_is_used_for(fields: Row, kind: SiteKind) -> None:
    assert world(afdc(1, **fields)).network.stations[0].site_kind is kind


def test_sites_without_a_facility_type_are_of_all_kinds() -> None:
    kinds = Counter(station.site_kind for station in world(*(afdc(number) for number in range(400))).network.stations)
    assert kinds.keys() == {SiteKind.WORKPLACE, SiteKind.PUBLIC, SiteKind.RESIDENTIAL}
    assert kinds[SiteKind.PUBLIC] > kinds[SiteKind.WORKPLACE] > kinds[SiteKind.RESIDENTIAL] > 40


def test_models_need_a_share_a_curve_and_a_plug() -> None:
    # Teslas come with an adapter for J1772, not for the fast chargers of others
    combo = afdc(1, connectors=[{"connector_type": "J1772COMBO", "power_kw": 150.0, "ports": 2}])
    shareless = {**bundled_models()[3], "ev_model_id": "x", "fleet_share": None}
    found = world_of([combo], [*bundled_models(), shareless], 1, 7)
    assert {model.make for model, _ in found.models}.isdisjoint({"Tesla", "Nissan"})
    assert sum(share for _, share in found.models) == pytest.approx(1)
    assert "x" not in {model.ev_model_id for model, _ in found.models}
    assert build_fleet(found.network, 20, 7, found.models).vehicles


def test_without_reference_data_the_network_is_the_built_in_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EVCHARGE_PROFILE", "small")
    monkeypatch.setenv("EVCHARGE_SIMULATION_STATIONS", "8")
    found = simulated_world(load_settings())
    assert found.network == build_network(8, 7)
    assert found.models == MODELS
    assert [record["source"] for record in found.records] == ["simulation"] * 8
