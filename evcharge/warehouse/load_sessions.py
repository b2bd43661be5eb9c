"""Loads days of finished sessions, and the vehicles that they name, from a commit of the lake."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import date
from typing import TYPE_CHECKING

import structlog

from evcharge.contracts import SESSION_EVENTS, STATION_REGISTRY
from evcharge.lake.repository import Repository
from evcharge.lake.rows import raw_rows
from evcharge.settings import Settings
from evcharge.warehouse.staging import TableByDay, query, replace_days
from evcharge.warehouse.tables import FACT, LoadReport

if TYPE_CHECKING:
    from clickhouse_driver import Client
    from pyspark.sql import SparkSession

log = structlog.get_logger()

#: Spark's query on the views `events` and `stations`. It keeps one row per event_id, the one that reached Kafka first: an
#: event that was sent again is the same event.
SPARK_QUERY = """
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
    -- halves to even, as reconcile and the producers' ledgers round
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

#: Plain integers, because Spark sends them quickest. ClickHouse turns them into decimals and dates.
STAGING_TABLE = """
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

_NEW_VEHICLES = """
INSERT INTO dim_vehicle
SELECT vehicle_id, max(ev_model_id), min(toDate(fromUnixTimestamp64Milli(ended_at, 'UTC')))
FROM {rows} WHERE vehicle_id NOT IN (SELECT vehicle_id FROM dim_vehicle)
GROUP BY vehicle_id
"""

_SESSIONS = TableByDay(FACT, "ended_at", STAGING_TABLE, _FROM_STAGING)


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

    A second load of the same commit changes nothing but `loaded_at`. Raises ServerDownError.
    """
    wanted = sorted(set(days))
    commit = repository.head().id
    events = raw_rows(repository, spark, commit, SESSION_EVENTS.topic, [d.isoformat() for d in wanted])
    stations = raw_rows(repository, spark, commit, STATION_REGISTRY.topic, None)
    rows = None if events is None else query(spark, SPARK_QUERY, events=events, stations=stations)
    new_vehicles = 0

    def add_vehicles(client: Client, rows_table: str) -> None:
        nonlocal new_vehicles
        new_vehicles = client.execute(
            f"SELECT uniqExact(vehicle_id) FROM {rows_table} WHERE vehicle_id NOT IN (SELECT vehicle_id FROM dim_vehicle)"
        )[0][0]
        client.execute(_NEW_VEHICLES.format(rows=rows_table))

    rows_by_day = replace_days(settings, _SESSIONS, commit, rows, wanted, run_id, on_step, add_vehicles)
    log.info("sessions loaded", run_id=run_id, commit=commit, days=len(wanted), rows=sum(rows_by_day.values()))
    return LoadReport(commit, rows_by_day, new_vehicles)
