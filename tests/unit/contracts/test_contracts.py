"""Contracts are well formed, and their rules judge rows as their descriptions say."""

from __future__ import annotations

import math
import re
import sqlite3
from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any

import pytest

from evcharge.contracts import (
    CONTRACTS,
    SESSION_EVENTS,
    STATION_REGISTRY,
    VEHICLE_TELEMETRY,
    Contract,
    Field,
    FieldType,
    Rule,
)
from evcharge.contracts.session_events import event_id

NUMBERS = (FieldType.INTEGER, FieldType.LONG, FieldType.DOUBLE)

contracts = pytest.mark.parametrize("contract", CONTRACTS.values(), ids=CONTRACTS)

GOOD: dict[str, dict[str, Any]] = {
    SESSION_EVENTS.topic: {
        "schema_version": 1,
        "event_id": "s-1-3",
        "session_id": "s-1",
        "sequence": 3,
        "station_id": "station",
        "evse_id": "evse",
        "event_type": "stopped",
        "occurred_at": "2026-11-21T12:00:00Z",
        "energy_delivered_kwh": 12.345,
        "reason": "EVDisconnected",
        "started_at": "2026-11-21T11:00:00Z",
    },
    STATION_REGISTRY.topic: {
        "schema_version": 1,
        "observed_at": "2026-11-21T12:00:00Z",
        "station_id": "station",
        "station_name": "Station",
        "time_zone": "America/Argentina/Buenos_Aires",
        "longitude": -58.4,
        "latitude": -34.6,
        "status_code": "E",
        "total_outlets": 4,
        "source": "generic",
        "snapshot_scope": "source",
    },
    VEHICLE_TELEMETRY.topic: {
        "schema_version": 1,
        "vehicle_id": "car",
        "occurred_at": "2026-11-21T12:00:00Z",
        "latitude": -34.6,
        "longitude": -58.4,
        "heading": 271.5,
        "speed_kmh": 48.2,
        "ignition": True,
        "state_of_charge": 61.2,
        "range_km": 240.0,
        "destination_station_id": "nobody-knows-it",
    },
}


@pytest.fixture(scope="module")
def sql() -> Iterator[sqlite3.Connection]:
    """Evaluates conditions. SQLite has SQL's logic of nulls, and gets the few functions of Spark that rules use.

    It has no lists: rules on lists are tested with a real Spark, in `tests/unit/lake/test_judge.py`.
    """
    connection = sqlite3.connect(":memory:")
    connection.create_function("isnan", 1, lambda x: None if x is None else isinstance(x, str) and x == "NaN")
    connection.create_function("concat", -1, lambda *parts: None if None in parts else "".join(map(str, parts)))
    connection.create_function(
        "regexp", 2, lambda pattern, text: None if text is None else bool(re.search(pattern, text))
    )
    connection.create_function("octet_length", 1, lambda text: None if text is None else len(text.encode()))
    connection.create_function(
        "unix_seconds", 1, lambda text: None if text is None else int(datetime.fromisoformat(text).timestamp())
    )
    yield connection
    connection.close()


def broken(sql: sqlite3.Connection, contract: Contract, row: Mapping[str, Any]) -> Rule | None:
    """The first rule that the row breaks."""
    # SQLite turns a NaN into null, so it is passed as text
    values = {
        name: "NaN" if isinstance(v := row.get(name), float) and math.isnan(v) else v for name in contract.columns
    }
    source = ", ".join(f":{name} AS {name}" for name in contract.columns)
    for rule in contract.rules:
        if contract.field(rule.field).element:
            continue
        condition = rule.violated_when.replace("RLIKE r'", "REGEXP '")
        if sql.execute(f"SELECT {condition} FROM (SELECT {source})", values).fetchone()[0]:
            return rule
    return None


def outside(field: Field) -> Iterator[float]:
    if field.minimum is not None:
        yield field.minimum - 1
    if field.maximum is not None:
        yield field.maximum + 1
    if field.type is FieldType.DOUBLE:
        yield math.nan


@contracts
def test_a_good_row_keeps_every_rule(contract: Contract, sql: sqlite3.Connection) -> None:
    assert broken(sql, contract, GOOD[contract.topic]) is None


@contracts
def test_a_missing_field_is_named(contract: Contract, sql: sqlite3.Connection) -> None:
    for field in contract.fields:
        rule = broken(sql, contract, GOOD[contract.topic] | {field.name: None})
        if field.required:
            assert rule is not None
            assert (rule.code, rule.field) == ("MISSING_FIELD", field.name)


@contracts
def test_a_value_outside_its_range_is_named(contract: Contract, sql: sqlite3.Connection) -> None:
    for field in contract.fields:
        for value in outside(field):
            rule = broken(sql, contract, GOOD[contract.topic] | {field.name: value})
            assert rule is not None, (field.name, value)
            assert (rule.code, rule.field) == ("OUT_OF_RANGE", field.name)
        for bound in (field.minimum, field.maximum):
            if bound is not None and field.name not in ("sequence", "schema_version"):
                assert broken(sql, contract, GOOD[contract.topic] | {field.name: bound}) is None


@contracts
def test_an_unknown_word_is_named(contract: Contract, sql: sqlite3.Connection) -> None:
    for field in contract.fields:
        if field.values:
            rule = broken(sql, contract, GOOD[contract.topic] | {field.name: "nonsense"})
            assert rule is not None
            assert (rule.code, rule.field) == ("UNKNOWN_VALUE", field.name)


@contracts
def test_an_unusable_text_is_named(contract: Contract, sql: sqlite3.Connection) -> None:
    for field in contract.fields:
        cases = {}
        if field.max_bytes is not None:
            # two bytes a letter
            cases["TEXT_TOO_LONG"] = "é" * (field.max_bytes // 2 + 1)
            if field.required:
                cases["BLANK_TEXT"] = "  "
        if field.is_id:
            cases |= {"BLANK_TEXT": "", "CONTROL_CHARACTER": "a\tb"}
        for code, text in cases.items():
            rule = broken(sql, contract, GOOD[contract.topic] | {field.name: text})
            assert rule is not None, (field.name, text)
            assert (rule.code, rule.field) == (code, field.name)


@contracts
def test_every_text_list_and_number_is_bounded(contract: Contract) -> None:
    def fields(of: tuple[Field, ...]) -> Iterator[Field]:
        for field in of:
            yield field
            yield from fields(field.element)

    # these have values or rules of their own
    exempt = {"schema_version", "time_zone"}
    for field in fields(contract.fields):
        if field.name in exempt or field.values:
            continue
        if field.type is FieldType.STRING:
            assert field.max_bytes is not None, field.name
        elif field.type in NUMBERS:
            assert field.minimum is not None, field.name
            assert field.maximum is not None, field.name
        elif field.type not in (FieldType.TIMESTAMP, FieldType.BOOLEAN):
            assert field.element, field.name
            assert field.max_elements is not None, field.name


@contracts
def test_elements_are_those_of_the_type(contract: Contract) -> None:
    for field in contract.fields:
        if field.element and field.type is not FieldType.STRINGS:
            parts = ", ".join(f"{each.name}: {each.type.value}" for each in field.element)
            assert field.type.value == f"ARRAY<STRUCT<{parts}>>"
            assert not field.unique or field.unique in [each.name for each in field.element]


@pytest.mark.parametrize(
    ("topic", "change", "code"),
    [
        ("session-events", {"schema_version": 2}, "UNKNOWN_SCHEMA_VERSION"),
        ("session-events", {"event_id": "another"}, "EVENT_ID_MISMATCH"),
        ("session-events", {"energy_delivered_kwh": None}, "INCOMPLETE_CDR"),
        ("session-events", {"started_at": None}, "INCOMPLETE_CDR"),
        ("session-events", {"started_at": "2026-11-21T12:00:01Z"}, "ENDS_BEFORE_START"),
        ("session-events", {"started_at": "2025-11-20T11:59:59Z"}, "STAY_TOO_LONG"),
        ("session-events", {"started_at": "2025-11-20T11:59:59Z", "event_type": "meter"}, None),
        ("session-events", {"started_at": "2025-11-20T12:00:00Z"}, None),
        ("session-events", {"event_type": "queued", "energy_delivered_kwh": None, "evse_id": None}, None),
        ("session-events", {"event_id": event_id("s-1", 3)}, None),
        ("station-registry", {"time_zone": "EST5EDT'; --"}, "UNKNOWN_TIME_ZONE"),
        ("station-registry", {"time_zone": "UTC"}, None),
        ("station-registry", {"time_zone": "CET"}, None),
        ("station-registry", {"time_zone": ""}, "UNKNOWN_TIME_ZONE"),
        ("station-registry", {"time_zone": "SystemV/PST8"}, "UNKNOWN_TIME_ZONE"),
        ("vehicle-telemetry", {"speed_kmh": 400}, "OUT_OF_RANGE"),
        ("vehicle-telemetry", {"state_of_charge": 130}, "OUT_OF_RANGE"),
        ("vehicle-telemetry", {"latitude": 91}, "OUT_OF_RANGE"),
        ("vehicle-telemetry", {"heading": None, "range_km": None, "destination_station_id": None}, None),
    ],
)
def test_own_rules(topic: str, change: dict[str, Any], code: str | None, sql: sqlite3.Connection) -> None:
    rule = broken(sql, CONTRACTS[topic], GOOD[topic] | change)
    assert (rule and rule.code) == code


@contracts
def test_a_rule_speaks_of_the_contracts_columns(contract: Contract) -> None:
    for rule in contract.rules:
        assert re.fullmatch(r"[A-Z][A-Z_]+", rule.code)
        assert rule.field in contract.columns
        assert rule.field in rule.violated_when
        assert rule.description


@contracts
def test_fields_are_well_formed(contract: Contract) -> None:
    assert len(set(contract.columns)) == len(contract.columns)
    for field in contract.fields:
        assert re.fullmatch(r"[a-z][a-z0-9_]*", field.name)
        assert field.description
        assert "|" not in field.description, "it stands in a Markdown table"
        assert not field.values or field.type is FieldType.STRING
        assert (field.minimum is None and field.maximum is None) or field.type in NUMBERS
        assert (field.type is FieldType.TIMESTAMP) == field.name.endswith("_at")


@contracts
def test_units_stand_in_names(contract: Contract) -> None:
    units = {"_kwh": "kWh", "_kw": "kW", "_s": "s", "_percent": "percent"}
    for field in contract.fields:
        if field.type is FieldType.DOUBLE:
            assert field.unit
            for suffix, unit in units.items():
                assert not field.name.endswith(suffix) or field.unit == unit


@contracts
def test_key_and_event_time_are_always_there(contract: Contract) -> None:
    assert contract.field(contract.key).required
    assert contract.field(contract.event_time).required
    assert contract.field(contract.event_time).type is FieldType.TIMESTAMP
    # a topic's name is part of the names of its lakeFS branches, which allow these characters
    assert re.fullmatch(r"[a-z0-9-]+", contract.topic)
    with pytest.raises(KeyError, match="has no field 'nonsense'"):
        contract.field("nonsense")


def test_stations_come_before_the_sessions_at_them() -> None:
    assert list(CONTRACTS) == ["station-registry", "session-events", "vehicle-telemetry"]
