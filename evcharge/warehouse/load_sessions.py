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
from evcharge.warehouse.session_identity import (
    PLACE,
    Uncounted,
    copy_corrected,
    create_uncounted,
    days_to_correct,
    forget_vanished,
    remember,
    uncounted_in,
)
from evcharge.warehouse.staging import ANY_DAYS, Staging, TableByDay, query, replace_days
from evcharge.warehouse.tables import FACT, LoadReport
from evcharge.warehouse.vehicles import update_vehicles

if TYPE_CHECKING:
    from clickhouse_driver import Client
    from pyspark.sql import SparkSession

log = structlog.get_logger()

#: Spark's query on the views `events` and `stations`: every `stopped` record. ClickHouse chooses those that count.
SPARK_QUERY = """
WITH zones AS (
    SELECT
        station_id, max_by(time_zone, struct(observed_at, topic_generation, kafka_partition, kafka_offset)) AS time_zone
    FROM stations GROUP BY station_id
), local AS (
    SELECT e.*, from_utc_timestamp(e.started_at, coalesce(z.time_zone, 'UTC')) AS local_started_at
    FROM events e LEFT JOIN zones z ON z.station_id = e.station_id WHERE e.event_type = 'stopped'
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
    coalesce(ev_model_id, '') AS ev_model_id,
    topic_generation,
    kafka_partition,
    kafka_offset,
    sequence
FROM local
"""

#: Plain integers, because Spark sends them quickest. ClickHouse turns them into decimals and dates. A record has one row even
#: if Spark repeats a task.
STAGING_TABLE = """
CREATE TABLE {name} (
    session_id String, station_id String, evse_id String, connector_id String, vehicle_id String,
    start_time_id UInt32, end_time_id UInt32, started_at Int64, ended_at Int64, local_date Int32, local_hour UInt8,
    energy_wh Int64, duration_s Float64, idle_s Nullable(Float64), queue_wait_s Nullable(Float64),
    soc_start_percent Nullable(Float64), soc_end_percent Nullable(Float64), end_reason String, publication_id String,
    ev_model_id String, topic_generation Int32, kafka_partition Int32, kafka_offset Int64, sequence Int32
) ENGINE = ReplacingMergeTree ORDER BY (station_id, session_id, topic_generation, kafka_partition, kafka_offset)
"""

_FROM_STAGING = f"""
INSERT INTO {{days}}
SELECT
    session_id, station_id, evse_id, connector_id, vehicle_id, start_time_id, end_time_id,
    fromUnixTimestamp64Milli(started_at, 'UTC'), fromUnixTimestamp64Milli(ended_at, 'UTC'),
    toDate(local_date), local_hour, toDecimal64(energy_wh, 3) / 1000, duration_s, idle_s, queue_wait_s,
    soc_start_percent, soc_end_percent, end_reason, publication_id, ev_model_id
FROM {{rows}} FINAL WHERE ({PLACE}) NOT IN (SELECT {PLACE} FROM {{uncounted}})
"""

_SESSIONS = TableByDay(FACT, "ended_at", STAGING_TABLE)


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

    A session that another day has by mistake leaves that day (`session_identity`). A second load of the same commit changes
    nothing but `loaded_at`. Raises ServerDownError.
    """
    wanted = sorted(set(days))
    commit = repository.head().id
    events = raw_rows(repository, spark, commit, SESSION_EVENTS.topic, [d.isoformat() for d in wanted])
    stations = raw_rows(repository, spark, commit, STATION_REGISTRY.topic, None)
    rows = None if events is None else query(spark, SPARK_QUERY, events=events, stations=stations)
    again: list[date] = []
    new_vehicles = 0
    uncounted = Uncounted(0, 0)

    def fill_days(client: Client, staging: Staging) -> list[date]:
        nonlocal again, new_vehicles, uncounted
        table = staging.named("uncounted")
        again = forget_vanished(client, staging.rows, wanted)
        remember(client, staging.rows, wanted)
        create_uncounted(client, staging.rows, table)
        copy = _FROM_STAGING.format(days=staging.days, rows=staging.rows, uncounted=table)
        client.execute(copy, settings=ANY_DAYS)
        corrected = days_to_correct(client, table, wanted)
        if corrected:
            copy_corrected(client, table, corrected, staging.days)
        uncounted = uncounted_in(client, table, wanted)
        new_vehicles = update_vehicles(client, staging, [*wanted, *corrected])
        return corrected

    rows_by_day = replace_days(settings, _SESSIONS, commit, rows, wanted, run_id, on_step, fill_days)
    log.info("sessions loaded", run_id=run_id, commit=commit, days=len(wanted), rows=sum(rows_by_day.values()))
    if again:
        # the record that had kept these days' records from counting is gone
        load_sessions(settings, repository, spark, again, run_id, on_step=on_step)
    return LoadReport(commit, rows_by_day, new_vehicles, uncounted.resent, uncounted.second_ends)
