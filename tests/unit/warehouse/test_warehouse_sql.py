"""The warehouse's SQL is written by hand. These tests compare it with the contracts that its columns come from."""

from __future__ import annotations

import re
from types import ModuleType

import pyarrow as pa
import pytest

from evcharge.contracts import SESSION_EVENTS, STATION_REGISTRY, VEHICLE_TELEMETRY, Contract, Field, FieldType
from evcharge.lake.schemas import ARCHIVE_FIELDS, raw_schema
from evcharge.warehouse import load_positions, load_sessions, load_stations
from evcharge.warehouse.schema import SQL, Table, statements, warehouse_tables
from evcharge.warehouse.stopped_records import staged

TABLES = {table.name: table for table in warehouse_tables(SQL)}

#: Column of the fact: field of the stopped event that it is copied from.
FACT_FIELDS = {
    "session_id": "session_id",
    "station_id": "station_id",
    "evse_id": "evse_id",
    "connector_id": "connector_id",
    "vehicle_id": "ev_id",
    "started_at": "started_at",
    "ended_at": "occurred_at",
    "energy_delivered_kwh": "energy_delivered_kwh",
    "idle_s": "idle_s",
    "queue_wait_s": "queue_wait_s",
    "soc_start_percent": "state_of_charge_start",
    "soc_end_percent": "state_of_charge",
    "end_reason": "reason",
    "ev_model_id": "ev_model_id",
}
#: Columns computed from the event's times and the station's time zone.
FACT_COMPUTED = {"start_time_id", "end_time_id", "local_date", "local_hour", "duration_s"}
#: Fields that the fact leaves out: the message's bookkeeping, what all stopped events have in common.
FACT_LEFT_OUT = {"schema_version", "event_id", "sequence", "event_type", "power_kw"}

POSITION_FIELDS = {
    "vehicle_id": "vehicle_id",
    "occurred_at": "occurred_at",
    "latitude": "latitude",
    "longitude": "longitude",
    "heading": "heading",
    "speed_kmh": "speed_kmh",
    "ignition": "ignition",
    "soc_percent": "state_of_charge",
    "range_km": "range_km",
    "destination_station_id": "destination_station_id",
}
POSITION_COMPUTED = {"position_time_id"}
#: The model is the vehicle's, not the position's.
POSITION_LEFT_OUT = {"schema_version", "ev_model_id"}

STATION_FIELDS = {name: name for name in STATION_REGISTRY.columns}
STATION_COMPUTED = {"max_power_kw"}
STATION_LEFT_OUT = {"schema_version", "connectors", "evses", "snapshot_scope"}

TYPES = {
    FieldType.STRING: ("String", "LowCardinality(String)"),
    FieldType.INTEGER: ("UInt32", "UInt8"),
    FieldType.DOUBLE: ("Float64", "Nullable(Float64)", "Decimal(12, 3)"),
    FieldType.TIMESTAMP: ("DateTime64(3, 'UTC')", "Nullable(DateTime64(3, 'UTC'))"),
    FieldType.STRINGS: ("Array(String)",),
    FieldType.BOOLEAN: ("Bool",),
}

#: A column that a table of an earlier version lacks.
ADDED = re.compile(r"(?:--.*\n)*ALTER TABLE (\w+)\s+ADD COLUMN IF NOT EXISTS (\w+) (.*) COMMENT '(.*)'")


def column(table: str, name: str) -> tuple[str, str]:
    """Type and comment."""
    return next((kind, comment) for n, kind, comment in TABLES[table].columns if n == name)


@pytest.mark.parametrize("table", TABLES.values(), ids=TABLES)
def test_everything_has_a_comment(table: Table) -> None:
    assert table.comment
    assert table.columns
    assert all(comment for _, _, comment in table.columns)


def test_nothing_escapes_the_comparison() -> None:
    """Every statement and every line of a table's body is understood."""
    made = {}
    for file in sorted(SQL.glob("*.sql")):
        for statement in statements(file):
            if ADDED.match(statement):
                continue
            found = re.match(r"CREATE (?:TABLE IF NOT EXISTS|OR REPLACE VIEW) (\w+)", statement)
            assert found, statement
            made[found[1]] = statement
    assert made.keys() == TABLES.keys()
    for name, statement in made.items():
        if statement.startswith("CREATE TABLE"):
            body = statement.split("(\n", 1)[1].split("\n)\n", 1)[0]
            assert len(body.splitlines()) == len(TABLES[name].columns)
        else:
            select = statement.split("SELECT\n", 1)[1].split("\nFROM", 1)[0]
            shown = [line.rsplit(" AS ", 1)[1].rstrip(",") for line in select.splitlines()]
            assert shown == [column for column, _, _ in TABLES[name].columns]


def test_an_added_column_is_the_table_s_last_one() -> None:
    """So that an old table and a new one have the same columns in the same order, as REPLACE PARTITION demands."""
    added = [found for file in SQL.glob("*.sql") for s in statements(file) if (found := ADDED.match(s))]
    assert added
    for found in added:
        assert TABLES[found[1]].columns[-1] == (found[2], found[3], found[4])


@pytest.mark.parametrize(
    ("table", "contract", "fields", "computed", "left_out"),
    [
        ("fact_charging_sessions", SESSION_EVENTS, FACT_FIELDS, FACT_COMPUTED | {"publication_id"}, FACT_LEFT_OUT),
        (
            "fact_vehicle_positions",
            VEHICLE_TELEMETRY,
            POSITION_FIELDS,
            POSITION_COMPUTED | {"publication_id"},
            POSITION_LEFT_OUT,
        ),
        (
            "dim_station",
            STATION_REGISTRY,
            {name: name for name in STATION_FIELDS if name not in STATION_LEFT_OUT},
            STATION_COMPUTED,
            STATION_LEFT_OUT,
        ),
    ],
)
def test_columns_come_from_the_contract(
    table: str, contract: Contract, fields: dict[str, str], computed: set[str], left_out: set[str]
) -> None:
    assert {name for name, _, _ in TABLES[table].columns} == fields.keys() | computed
    assert set(fields.values()) | left_out == set(contract.columns), "a new field is loaded, or left out on purpose"
    for name, field_name in fields.items():
        field = contract.field(field_name)
        kind, comment = column(table, name)
        assert kind in TYPES[field.type], name
        assert says_unit(field, comment), f"{name}: {comment!r} does not say {field.unit}"


def says_unit(field: Field, comment: str) -> bool:
    words = {"": "", "s": "seconds", "degree": "degrees"}
    return words.get(field.unit, field.unit) in comment


def test_numbers_that_a_source_may_lack_are_nullable() -> None:
    """Missing text is empty instead, which spares analysts a case. The contract's CDR rule requires the energy."""
    for name, field_name in FACT_FIELDS.items():
        field = SESSION_EVENTS.field(field_name)
        if field.type is FieldType.DOUBLE and name != "energy_delivered_kwh":
            assert column("fact_charging_sessions", name)[0] == "Nullable(Float64)"
    assert "INCOMPLETE_CDR" in {rule.code for rule in SESSION_EVENTS.rules}


def test_lineage_comes_from_the_archive() -> None:
    assert "publication_id" in {field.name for field in ARCHIVE_FIELDS}
    assert column("fact_charging_sessions", "publication_id")[0] == "LowCardinality(String)"


@pytest.mark.parametrize(
    ("load", "table", "computed_later", "not_in_the_table"),
    [
        (
            load_sessions,
            "fact_charging_sessions",
            {"start_time_id", "end_time_id"},
            # what decides which record of a session counts
            ["topic_generation", "kafka_partition", "kafka_offset", "sequence"],
        ),
        (load_positions, "fact_vehicle_positions", set(), []),
    ],
)
def test_a_load_fills_every_column(
    load: ModuleType, table: str, computed_later: set[str], not_in_the_table: list[str]
) -> None:
    """The staging table and the table name the same columns, in one order, but for what ClickHouse computes."""
    columns = ["energy_wh" if name == "energy_delivered_kwh" else name for name, _, _ in TABLES[table].columns]
    assert computed_later < {*columns}
    columns = [name for name in columns if name not in computed_later]
    assert _staged(load) == [*columns, *not_in_the_table]


def test_every_column_of_the_staging_tables_is_sent() -> None:
    positions = load_positions.SPARK_QUERY.split(")\nSELECT\n", 1)[1]
    assert re.findall(r"^ {4}(?:.* AS )?(\w+),?$", positions, flags=re.MULTILINE) == _staged(load_positions)
    record = raw_schema(SESSION_EVENTS)
    rows = pa.table([pa.nulls(1, field.type) for field in record], pa.schema(f.with_nullable(True) for f in record))
    zones = pa.table({"station_id": pa.array([], pa.string()), "time_zone": pa.array([], pa.string())})
    assert sorted(staged(rows, zones).column_names) == sorted(_staged(load_sessions))


def _staged(load: ModuleType) -> list[str]:
    return re.findall(r"(\w+) (?:String|U?Int\d+|Float64|Nullable)", load.STAGING_TABLE)


def test_the_load_of_stations_fills_every_column() -> None:
    selected = re.findall(r"(?:AS )?(\w+)(?:,|\nFROM \(\n)", load_stations.SPARK_QUERY.split("FROM stations")[0])
    assert {name for name, _, _ in TABLES["dim_station"].columns} <= set(selected)


def test_the_view_says_of_a_column_what_its_table_says() -> None:
    view = {shown[0]: shown for shown in TABLES["v_charging_sessions"].columns}
    for table in ("fact_charging_sessions", "dim_station", "dim_vehicle"):
        for own in TABLES[table].columns:
            if own[0] in view and not own[0].endswith("_id"):
                assert [part.strip() for part in view[own[0]]] == [part.strip() for part in own]


def test_the_view_shows_every_fact() -> None:
    shown = [name for name, _, _ in TABLES["v_charging_sessions"].columns]
    assert len(set(shown)) == len(shown)
    facts = {name for name, _, _ in TABLES["fact_charging_sessions"].columns}
    assert facts - set(shown) == {"start_time_id", "end_time_id"}
