"""A record of AFDC becomes a row of the contract, or an error says why not."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from afdc_server import electric

from evcharge.contracts import STATION_REGISTRY
from evcharge.registry.afdc import CONTENT, RecordError, is_electric, parse_time, read_station


def connectors(**fields: Any) -> list[tuple[str, float | None, int]]:
    row = read_station(electric(1, **fields)).row
    return [(c["connector_type"], c["power_kw"], c["ports"]) for c in row["connectors"] or []]


def unit(**ports: Any) -> dict[str, Any]:
    """A charging unit as the API sends it: connector types that it lacks are there with 0 ports."""
    absent: dict[str, Any] = {name: {"power_kw": None, "port_count": 0} for name in ("J1772", "TESLA", "CHADEMO")}
    present = {name: {"power_kw": power_kw, "port_count": 1} for name, power_kw in ports.items()}
    return {"connectors": absent | present, "port_count": 1, "charging_level": "dc_fast"}


def test_an_api_record_becomes_a_row() -> None:
    reading = read_station(
        electric(446568, ev_connector_types=["J1772COMBO"], ev_level2_evse_num=None, ev_dc_fast_num=4)
        | {"ev_charging_units": [unit(J1772COMBO=400)] * 4}
    )
    assert reading.row == {
        "station_id": "afdc-446568",
        "station_name": "Station 446568",
        "city": "Seattle",
        "state": "WA",
        "zip": "98101",
        "country": "US",
        "time_zone": "America/Los_Angeles",
        "longitude": -122.3321,
        "latitude": 47.6062,
        "status_code": "E",
        "connector_types": ["J1772COMBO"],
        "total_outlets": 4,
        "connectors": [{"connector_type": "J1772COMBO", "power_kw": 400.0, "ports": 4}],
        "network": "Non-Networked",
        "source": "afdc",
    }
    assert reading.corrections == []
    assert reading.updated_at == datetime(2025, 12, 12, 3, 48, 18, tzinfo=UTC)


def test_a_row_has_the_fields_of_the_contract() -> None:
    told_when_published = {"schema_version", "observed_at", "snapshot_scope", "removed_at"}
    assert {*CONTENT} | told_when_published | {"evses"} == {*STATION_REGISTRY.columns}
    assert {*read_station(electric(1)).row} == {*CONTENT}


def test_units_add_up_by_connector_and_power() -> None:
    units = [unit(J1772COMBO=150, CHADEMO=50), unit(J1772COMBO=150, CHADEMO=50), unit(J1772COMBO=350), unit(TESLA=None)]
    found = connectors(ev_charging_units=units, ev_level2_evse_num=None, ev_dc_fast_num=4)
    assert found == [("CHADEMO", 50.0, 2), ("J1772COMBO", 150.0, 2), ("J1772COMBO", 350.0, 1), ("TESLA", None, 1)]


@pytest.mark.parametrize(
    ("types", "counts", "expected"),
    [
        ("J1772", (None, "4", None), [("J1772", 4)]),
        ("J1772", ("2", "4", ""), [("J1772", 6)]),
        ("J1772 NEMA520", ("2", "4", ""), [("J1772", 4), ("NEMA520", 2)]),
        ("CHADEMO J1772COMBO", ("", "", "2"), [("CHADEMO", 2), ("J1772COMBO", 2)]),
        ("J1772 TESLA", ("", "3", ""), [("J1772", 3), ("TESLA", 3)]),
        ('["CHADEMO", "J1772"]', ("", "1", "2"), [("CHADEMO", 2), ("J1772", 1)]),
        ("", ("", "1", ""), []),
        ("CHADEMO", ("", "1", ""), []),
    ],
)
def test_levels_give_ports_where_units_do_not(types: str, counts: tuple[Any, ...], expected: list[Any]) -> None:
    names = ("ev_level1_evse_num", "ev_level2_evse_num", "ev_dc_fast_num")
    found = connectors(ev_connector_types=types, **dict(zip(names, counts, strict=True)))
    assert found == [(connector_type, None, ports) for connector_type, ports in expected]


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"id": None}, "MISSING_ID"),
        ({"id": "A-17"}, "UNPARSABLE_ID"),
        ({"station_name": " "}, "MISSING_NAME"),
        ({"latitude": None}, "MISSING_COORDINATES"),
        ({"latitude": 0, "longitude": 0}, "MISSING_COORDINATES"),
        ({"longitude": "west"}, "UNPARSABLE_COORDINATES"),
        ({"latitude": 475.6}, "OFF_THE_GLOBE"),
        ({"longitude": -180.1}, "OFF_THE_GLOBE"),
        ({"latitude": "nan"}, "OFF_THE_GLOBE"),
        ({"longitude": 122.3321}, "PLACE_DOES_NOT_FIT"),
        ({"state": "MA"}, "PLACE_DOES_NOT_FIT"),
        ({"status_code": "X"}, "UNKNOWN_STATUS"),
        ({"status_code": None}, "UNKNOWN_STATUS"),
        ({"ev_level2_evse_num": "four"}, "UNPARSABLE_COUNT"),
        ({"ev_dc_fast_num": -1}, "UNPARSABLE_COUNT"),
        ({"ev_dc_fast_num": 1.5}, "UNPARSABLE_COUNT"),
        ({"ev_dc_fast_num": "98101-4455"}, "UNPARSABLE_COUNT"),
        ({"ev_charging_units": [{"connectors": ["J1772"]}]}, "UNREADABLE_UNITS"),
        ({"ev_charging_units": [unit(J1772COMBO="fast")]}, "UNREADABLE_UNITS"),
        ({"ev_charging_units": [unit(J1772COMBO=-50)]}, "UNREADABLE_UNITS"),
        ({"ev_charging_units": [unit(J1772COMBO=1e308)]}, "UNREADABLE_UNITS"),
    ],
)
def test_a_record_that_is_no_station(fields: dict[str, Any], reason: str) -> None:
    with pytest.raises(RecordError) as error:
        read_station(electric(1, **fields))
    assert error.value.reason == reason


@pytest.mark.parametrize(
    ("country", "code", "unknown"), [("USA", "US", 0), ("us", "US", 0), ("Atlantis", "ATLANTIS", 1), ("", None, 0)]
)
def test_countries_by_code_or_name(country: str, code: str | None, unknown: int) -> None:
    reading = read_station(electric(1, country=country))
    assert reading.row["country"] == code
    assert [reason for reason, _ in reading.corrections] == ["UNKNOWN_COUNTRY"] * unknown
    if not unknown:
        with pytest.raises(RecordError, match="not in US"):
            read_station(electric(1, country=country, longitude=122.3321))


@pytest.mark.parametrize("number", [12, "12", "12.0", " 0012 "])
def test_ids_as_spreadsheets_write_them(number: Any) -> None:
    assert read_station(electric(1, id=number)).row["station_id"] == "afdc-12"


@pytest.mark.parametrize(
    ("names", "expected", "unknown"),
    [
        ("J3400", ["TESLA"], []),
        ("NACS J1772COMBO", ["J1772COMBO", "TESLA"], []),
        (["TESLA", "J3400"], ["TESLA"], []),
        ('["CHADEMO", "J3400"]', ["CHADEMO", "TESLA"], []),
        ("Type 2; CHAdeMO", ["CHADEMO", "IEC_62196_T2"], []),
        ("J1772 WARP-9", ["J1772", "WARP-9"], ["WARP-9"]),
    ],
)
def test_connectors_have_one_name_and_unknown_ones_are_kept(
    names: Any, expected: list[str], unknown: list[str]
) -> None:
    reading = read_station(electric(1, ev_connector_types=names))
    assert reading.row["connector_types"] == expected
    assert [detail for reason, detail in reading.corrections if reason == "UNKNOWN_CONNECTOR"] == [
        f"{name!r} is kept as it is" for name in unknown
    ]


def test_units_have_the_same_names_of_connectors() -> None:
    assert connectors(ev_connector_types=["NACS"], ev_charging_units=[unit(J3400=250), unit(TESLA=250)]) == [
        ("TESLA", 250.0, 2)
    ]


def test_a_power_of_zero_is_not_known() -> None:
    reading = read_station(electric(1, ev_charging_units=[unit(J1772=0)]))
    assert reading.row["connectors"] == [{"connector_type": "J1772", "power_kw": None, "ports": 1}]
    assert [reason for reason, _ in reading.corrections] == ["ZERO_POWER"]


@pytest.mark.parametrize(
    ("given", "country", "expected", "reason"),
    [
        ("02114", "US", "02114", None),
        ("2114", "US", "02114", "ZIP_PADDED"),
        ("601", "US", "00601", "ZIP_PADDED"),
        ("2114.0", "US", "02114", "ZIP_PADDED"),
        (6850, "US", "06850", "ZIP_PADDED"),
        ("98101-4455", "US", "98101", None),
        ("TEST", "US", None, "UNREADABLE_ZIP"),
        ("981011", "US", None, "UNREADABLE_ZIP"),
        (None, "US", None, None),
        ("K1A 0B1", "CA", "K1A 0B1", None),
    ],
)
def test_zips_keep_or_get_back_their_zeros(given: Any, country: str, expected: str | None, reason: str | None) -> None:
    place = {"latitude": 45.42, "longitude": -75.7, "state": "ON"} if country == "CA" else {}
    reading = read_station(electric(1, zip=given, country=country, **place))
    assert reading.row["zip"] == expected
    assert [found for found, _ in reading.corrections] == ([reason] if reason else [])


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2025-02-12 00:16:32 UTC", datetime(2025, 2, 12, 0, 16, 32, tzinfo=UTC)),
        ("2025-12-12T03:48:18Z", datetime(2025, 12, 12, 3, 48, 18, tzinfo=UTC)),
        ("2020-09-03 19:35:48", datetime(2020, 9, 3, 19, 35, 48, tzinfo=UTC)),
        ("2020-09-03", datetime(2020, 9, 3, tzinfo=UTC)),
        ("9/3/2020", datetime(2020, 9, 3, tzinfo=UTC)),
        ("9/3/2020 19:35", datetime(2020, 9, 3, 19, 35, tzinfo=UTC)),
        ("09/03/20 7:35:48 PM", datetime(2020, 9, 3, 19, 35, 48, tzinfo=UTC)),
        ("27/10/2020", None),
        ("soon", None),
    ],
)
def test_times_of_the_api_and_of_spreadsheets(text: str, expected: datetime | None) -> None:
    assert parse_time(text) == expected


def test_an_unreadable_date_costs_no_station() -> None:
    reading = read_station(electric(1, updated_at="27/10/2020", date_last_confirmed=None))
    assert [reason for reason, _ in reading.corrections] == ["UNREADABLE_DATE"]
    assert reading.updated_at is None


def test_our_own_records_are_synthetic() -> None:
    row = read_station(electric(90000001, ev_network="Synthetic")).row
    assert (row["station_id"], row["source"]) == ("syn-90000001", "synthetic")


def test_the_api_s_documented_answers(shared_registry: Path) -> None:
    document = json.loads((shared_registry / "api_samples" / "nearest.json").read_text())
    rows = [read_station(record).row for record in document["fuel_stations"] if is_electric(record)]
    assert [(row["station_id"], row["zip"], row["time_zone"]) for row in rows] == [
        ("afdc-389045", "80921", "America/Denver")
    ]
    assert rows[0]["connectors"] == [{"connector_type": "J1772COMBO", "power_kw": 350.0, "ports": 4}]
