"""Loads days of sessions and of cars' positions, and the stations, from a commit of the lake into ClickHouse.

A load writes to staging tables of its own run, swaps each day in with REPLACE PARTITION, and writes `loaded_day` last: a
load that was killed left either the old day or the new one, and is repeated because `loaded_day` does not name its commit.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime
from secrets import token_hex
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import structlog

from evcharge.connections import clickhouse, clickhouse_errors
from evcharge.contracts import SESSION_EVENTS, STATION_REGISTRY, VEHICLE_TELEMETRY
from evcharge.lake.repository import Repository
from evcharge.lake.rows import raw_rows
from evcharge.reference.collections import ev_models
from evcharge.settings import Settings

if TYPE_CHECKING:
    from clickhouse_driver import Client
    from pyspark.sql import DataFrame, SparkSession

log = structlog.get_logger()

FACT = "fact_charging_sessions"
POSITIONS = "fact_vehicle_positions"
STATIONS = "dim_station"
EV_MODELS = "dim_ev_model"
#: `loaded_day.date` of a table that has no days.
NO_DAY = date(1970, 1, 1)

_INSERT_ROWS = 200_000

# One row per event_id, the one that reached Kafka first: re-sent events are the same event.
_FACT_ROWS = """
WITH stopped AS (
    SELECT *, row_number() OVER (
        PARTITION BY event_id ORDER BY topic_generation, kafka_partition, kafka_offset) AS arrival
    FROM events WHERE event_type = 'stopped'
), zones AS (
    SELECT station_id, max_by(time_zone, struct(observed_at, kafka_offset)) AS time_zone FROM stations GROUP BY station_id
), local AS (
    SELECT e.*, from_utc_timestamp(e.started_at, coalesce(z.time_zone, 'UTC')) AS local_started_at
    FROM stopped e LEFT JOIN zones z ON z.station_id = e.station_id WHERE e.arrival = 1
)
SELECT
    session_id,
    station_id,
    coalesce(evse_id, '') AS evse_id,
    coalesce(connector_id, '') AS connector_id,
    coalesce(ev_id, '') AS vehicle_id,
    CAST(date_format(started_at, 'yyyyMMddHH') AS INT) AS start_time_id,
    CAST(date_format(occurred_at, 'yyyyMMddHH') AS INT) AS end_time_id,
    unix_millis(started_at) AS started_at,
    unix_millis(occurred_at) AS ended_at,
    unix_date(CAST(local_started_at AS DATE)) AS local_date,
    hour(local_started_at) AS local_hour,
    -- to even, as reconcile and the producers' ledgers round
    CAST(bround(energy_delivered_kwh * 1000) AS BIGINT) AS energy_wh,
    (unix_millis(occurred_at) - unix_millis(started_at)) / 1000D AS duration_s,
    idle_s,
    queue_wait_s,
    state_of_charge_start AS soc_start_percent,
    state_of_charge AS soc_end_percent,
    coalesce(reason, '') AS end_reason,
    publication_id,
    coalesce(ev_model_id, '') AS ev_model_id
FROM local
"""

# The staging table holds what Spark sends quickest, plain integers; ClickHouse turns them into decimals and dates.
_STAGING_FACT = """
CREATE TABLE {name} (
    session_id String, station_id String, evse_id String, connector_id String, vehicle_id String,
    start_time_id UInt32, end_time_id UInt32, started_at Int64, ended_at Int64, local_date Int32, local_hour UInt8,
    energy_wh Int64, duration_s Float64, idle_s Nullable(Float64), queue_wait_s Nullable(Float64),
    soc_start_percent Nullable(Float64), soc_end_percent Nullable(Float64), end_reason String, publication_id String,
    ev_model_id String
) ENGINE = MergeTree ORDER BY session_id
"""

_FROM_STAGING = """
INSERT INTO {days}
SELECT
    session_id, station_id, evse_id, connector_id, vehicle_id, start_time_id, end_time_id,
    fromUnixTimestamp64Milli(started_at, 'UTC'), fromUnixTimestamp64Milli(ended_at, 'UTC'),
    toDate(local_date), local_hour, toDecimal64(energy_wh, 3) / 1000, duration_s, idle_s, queue_wait_s,
    soc_start_percent, soc_end_percent, end_reason, publication_id
FROM {rows}
"""

# Of a car's day what its ignition and destination changed at, else the first of every 5 minutes on the road and of every
# hour parked: a twelfth of the messages, from which a drive and a stay can still be told.
_POSITION_ROWS = """
WITH told AS (
    SELECT *, unix_millis(occurred_at) AS at, coalesce(destination_station_id, '') AS destination, row_number() OVER (
        PARTITION BY vehicle_id, unix_millis(occurred_at) ORDER BY topic_generation, kafka_partition, kafka_offset
    ) AS arrival
    FROM telemetry
), compared AS (
    SELECT *,
        lag(struct(ignition, destination)) OVER (PARTITION BY vehicle_id ORDER BY at) AS before,
        row_number() OVER (
            PARTITION BY vehicle_id, ignition, at DIV IF(ignition, 300000, 3600000) ORDER BY at) AS place_in_slot
    FROM told WHERE arrival = 1
)
SELECT
    vehicle_id,
    at AS occurred_at,
    CAST(date_format(occurred_at, 'yyyyMMddHH') AS INT) AS position_time_id,
    latitude,
    longitude,
    heading,
    speed_kmh,
    CAST(ignition AS INT) AS ignition,
    state_of_charge AS soc_percent,
    range_km,
    destination AS destination_station_id,
    publication_id
FROM compared
WHERE before IS NULL OR before.ignition <> ignition OR before.destination <> destination OR place_in_slot = 1
"""

_STAGING_POSITIONS = """
CREATE TABLE {name} (
    vehicle_id String, occurred_at Int64, position_time_id UInt32, latitude Float64, longitude Float64,
    heading Nullable(Float64), speed_kmh Float64, ignition UInt8, soc_percent Float64, range_km Nullable(Float64),
    destination_station_id String, publication_id String
) ENGINE = MergeTree ORDER BY vehicle_id
"""

_POSITIONS_FROM_STAGING = """
INSERT INTO {days}
SELECT
    vehicle_id, fromUnixTimestamp64Milli(occurred_at, 'UTC'), position_time_id, latitude, longitude, heading, speed_kmh,
    ignition, soc_percent, range_km, destination_station_id, publication_id
FROM {rows}
"""

_VEHICLES = """
INSERT INTO dim_vehicle
SELECT vehicle_id, max(ev_model_id), min(toDate(fromUnixTimestamp64Milli(ended_at, 'UTC')))
FROM {rows} WHERE vehicle_id NOT IN (SELECT vehicle_id FROM dim_vehicle)
GROUP BY vehicle_id
"""

_STATION_ROWS = """
SELECT
    station_id, station_name, coalesce(city, '') AS city, coalesce(state, '') AS state, coalesce(zip, '') AS zip,
    coalesce(country, '') AS country, time_zone, longitude, latitude, status_code,
    coalesce(connector_types, array()) AS connector_types, total_outlets,
    array_max(concat(coalesce(transform(connectors, c -> c.power_kw), array()),
                     coalesce(transform(evses, e -> e.power_kw), array()))) AS max_power_kw,
    coalesce(network, '') AS network, source, unix_millis(observed_at) AS observed_at,
    unix_millis(removed_at) AS removed_at
FROM (
    SELECT *, row_number() OVER (
        PARTITION BY station_id ORDER BY observed_at DESC, kafka_partition DESC, kafka_offset DESC) AS newest
    FROM stations
) WHERE newest = 1
"""


@dataclass(frozen=True, slots=True)
class LoadReport:
    """What a load did: the commit it read, rows per day (a day without rows is 0) and vehicles that were new."""

    lake_commit: str
    rows_by_day: dict[date, int]
    new_vehicles: int = 0

    @property
    def rows(self) -> int:
        return sum(self.rows_by_day.values())


def load_sessions(
    settings: Settings,
    repository: Repository,
    spark: SparkSession,
    days: Iterable[date],
    run_id: str,
    *,
    on_step: Callable[[str], None] = lambda step: None,
) -> LoadReport:
    """Replaces the given UTC days (of `ended_at`) in `fact_charging_sessions` by what main's head holds.

    Raises ServerDownError. Running it twice changes nothing but `loaded_at`.
    """
    wanted = sorted(set(days))
    commit = repository.head().id
    events = raw_rows(repository, spark, commit, SESSION_EVENTS.topic, [d.isoformat() for d in wanted])
    stations = raw_rows(repository, spark, commit, STATION_REGISTRY.topic, None)
    rows = None if events is None else _query(spark, _FACT_ROWS, events=events, stations=stations)
    new_vehicles = 0

    def add_vehicles(client: Client, rows_table: str) -> None:
        nonlocal new_vehicles
        new_vehicles = client.execute(
            f"SELECT uniqExact(vehicle_id) FROM {rows_table} WHERE vehicle_id NOT IN (SELECT vehicle_id FROM dim_vehicle)"
        )[0][0]
        client.execute(_VEHICLES.format(rows=rows_table))

    rows_by_day = _replace_days(settings, _SESSIONS, commit, rows, wanted, run_id, on_step, add_vehicles)
    log.info("sessions loaded", run_id=run_id, commit=commit, days=len(wanted), rows=sum(rows_by_day.values()))
    return LoadReport(commit, rows_by_day, new_vehicles)


def load_vehicle_positions(
    settings: Settings,
    repository: Repository,
    spark: SparkSession,
    days: Iterable[date],
    run_id: str,
    *,
    on_step: Callable[[str], None] = lambda step: None,
) -> LoadReport:
    """Replaces the given UTC days (of `occurred_at`) in `fact_vehicle_positions` by what main's head holds, thinned.

    Raises ServerDownError. Running it twice changes nothing but `loaded_at`.
    """
    wanted = sorted(set(days))
    commit = repository.head().id
    telemetry = raw_rows(repository, spark, commit, VEHICLE_TELEMETRY.topic, [d.isoformat() for d in wanted])
    rows = None if telemetry is None else _query(spark, _POSITION_ROWS, telemetry=telemetry)
    rows_by_day = _replace_days(settings, _VEHICLE_POSITIONS, commit, rows, wanted, run_id, on_step)
    log.info("positions loaded", run_id=run_id, commit=commit, days=len(wanted), rows=sum(rows_by_day.values()))
    return LoadReport(commit, rows_by_day)


@dataclass(frozen=True, slots=True)
class _Fact:
    """A table whose partitions are the UTC days of `day`, with the SQL that makes its staging table and reads from it."""

    table: str
    day: str
    staging: str
    from_staging: str


_SESSIONS = _Fact(FACT, "ended_at", _STAGING_FACT, _FROM_STAGING)
_VEHICLE_POSITIONS = _Fact(POSITIONS, "occurred_at", _STAGING_POSITIONS, _POSITIONS_FROM_STAGING)


def _replace_days(
    settings: Settings,
    fact: _Fact,
    commit: str,
    rows: DataFrame | None,
    wanted: list[date],
    run_id: str,
    on_step: Callable[[str], None],
    before_swap: Callable[[Client, str], None] = lambda client, rows_table: None,
) -> dict[date, int]:
    """Swaps the days in by way of staging tables and marks them as loaded from `commit`; their numbers of rows."""
    with clickhouse_errors(settings):
        client = clickhouse(settings)
        rows_table, days_table = _staging_names(client, fact.table, run_id)
        try:
            client.execute(fact.staging.format(name=rows_table))
            client.execute(f"CREATE TABLE {days_table} AS {fact.table}")
            on_step("staging created")
            if rows is not None:
                _insert(settings, rows, rows_table)
            on_step("staging filled")
            # a replay of a year touches more days at once than ClickHouse takes for sane
            any_days = {"max_partitions_per_insert_block": 0}
            client.execute(fact.from_staging.format(days=days_table, rows=rows_table), settings=any_days)
            counts = dict(client.execute(f"SELECT toDate({fact.day}, 'UTC'), count() FROM {days_table} GROUP BY 1"))
            before_swap(client, rows_table)
            rows_by_day = {}
            for day in wanted:
                rows_by_day[day] = counts.get(day, 0)
                # REPLACE PARTITION refuses a source without rows
                action = (
                    f"REPLACE PARTITION '{day}' FROM {days_table}" if rows_by_day[day] else f"DROP PARTITION '{day}'"
                )
                client.execute(f"ALTER TABLE {fact.table} {action}")
                on_step(f"day {day} replaced")
            _mark_loaded(client, fact.table, commit, rows_by_day, run_id)
            on_step("loaded_day written")
        finally:
            client.disconnect()
            client = clickhouse(settings)
            for table in (rows_table, days_table):
                client.execute(f"DROP TABLE IF EXISTS {table}")
    return rows_by_day


def load_stations(settings: Settings, repository: Repository, spark: SparkSession, run_id: str) -> LoadReport:
    """Replaces `dim_station` by the newest registry record of each station at main's head. Raises ServerDownError."""
    commit = repository.head().id
    stations = raw_rows(repository, spark, commit, STATION_REGISTRY.topic, None)
    rows = [] if stations is None else _query(spark, _STATION_ROWS, stations=stations).toArrow().to_pylist()
    for row in rows:
        for name in ("observed_at", "removed_at"):
            row[name] = None if row[name] is None else datetime.fromtimestamp(row[name] / 1000, UTC)
    with clickhouse_errors(settings):
        client = clickhouse(settings)
        (staging,) = _staging_names(client, STATIONS, run_id)[:1]
        try:
            client.execute(f"CREATE TABLE {staging} AS {STATIONS}")
            if rows:
                client.execute(f"INSERT INTO {staging} ({', '.join(rows[0])}) VALUES", rows)
                client.execute(f"ALTER TABLE {STATIONS} REPLACE PARTITION tuple() FROM {staging}")
            else:
                client.execute(f"TRUNCATE TABLE {STATIONS}")
            _mark_loaded(client, STATIONS, commit, {NO_DAY: len(rows)}, run_id)
        finally:
            client.execute(f"DROP TABLE IF EXISTS {staging}")
    log.info("stations loaded", run_id=run_id, commit=commit, rows=len(rows))
    return LoadReport(commit, {NO_DAY: len(rows)})


def load_ev_models(settings: Settings, run_id: str) -> int:
    """Replaces `dim_ev_model` by the EV models of the reference data; how many there are.

    Raises ServerDownError, and UserError where the platform has no reference data.
    """
    models = ev_models(settings)
    with clickhouse_errors(settings):
        client = clickhouse(settings)
        staging, _ = _staging_names(client, EV_MODELS, run_id)
        try:
            client.execute(f"CREATE TABLE {staging} AS {EV_MODELS}")
            if models:
                columns = [name for (name, *_) in client.execute(f"DESCRIBE TABLE {EV_MODELS}")]
                rows = [[model[name] for name in columns] for model in models]
                client.execute(f"INSERT INTO {staging} ({', '.join(columns)}) VALUES", rows)
                client.execute(f"ALTER TABLE {EV_MODELS} REPLACE PARTITION tuple() FROM {staging}")
            else:
                client.execute(f"TRUNCATE TABLE {EV_MODELS}")
        finally:
            client.execute(f"DROP TABLE IF EXISTS {staging}")
    log.info("EV models loaded", run_id=run_id, rows=len(models))
    return len(models)


def _query(spark: SparkSession, sql: str, **frames: DataFrame | None) -> DataFrame:
    for name, frame in frames.items():
        if frame is None:
            raise ValueError(f"the lake has no {name}")
        frame.createOrReplaceTempView(name)
    return spark.sql(sql)


def _insert(settings: Settings, rows: DataFrame, table: str) -> None:
    """Sends the rows to ClickHouse from Spark's Python workers, columnar."""

    def send(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        client = clickhouse(settings, use_numpy=True)
        sent = 0
        for batch in batches:
            for start in range(0, batch.num_rows, _INSERT_ROWS):
                part = batch.slice(start, _INSERT_ROWS)
                columns = [_numpy(part.column(i)) for i in range(part.num_columns)]
                names = ", ".join(part.schema.names)
                client.execute(f"INSERT INTO {table} ({names}) VALUES", columns, columnar=True)
                sent += part.num_rows
        client.disconnect()
        yield pa.RecordBatch.from_pydict({"rows": [sent]})

    rows.mapInArrow(send, "rows BIGINT").collect()


def _numpy(column: pa.Array) -> np.ndarray:
    if pa.types.is_string(column.type) or column.null_count:
        return np.array(column.to_pylist(), dtype=object)
    return column.to_numpy(zero_copy_only=False)


def _staging_names(client: Client, table: str, run_id: str) -> tuple[str, str]:
    """Names of this run's staging tables, after dropping those that killed runs left (loads run one at a time)."""
    for (left,) in client.execute(f"SHOW TABLES LIKE 'staging_{table}_%'"):
        client.execute(f"DROP TABLE IF EXISTS {left}")
    # never a name twice: the Spark job of a killed load may still be inserting when its step is retried in the same run
    suffix = re.sub(r"\W", "", run_id)[:16] + "_" + token_hex(4)
    return f"staging_{table}_{suffix}_rows", f"staging_{table}_{suffix}_days"


def _mark_loaded(client: Client, table: str, commit: str, rows_by_day: dict[date, int], run_id: str) -> None:
    now = datetime.now(UTC)
    client.execute(
        "INSERT INTO loaded_day (table_name, date, lake_commit, row_count, run_id, loaded_at) VALUES",
        [(table, day, commit, rows, run_id, now) for day, rows in rows_by_day.items()],
    )
