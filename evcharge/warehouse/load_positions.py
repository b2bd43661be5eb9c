"""Loads days of cars' positions from a commit of the lake, thinned to what analysts need."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import date
from typing import TYPE_CHECKING

from evcharge.contracts import VEHICLE_TELEMETRY
from evcharge.lake.repository import Repository
from evcharge.lake.rows import raw_rows
from evcharge.log import log
from evcharge.settings import Settings
from evcharge.warehouse.staging import ANY_DAYS, Staging, TableByDay, insert_from_spark, query, replace_days
from evcharge.warehouse.tables import POSITIONS, LoadReport

if TYPE_CHECKING:
    from clickhouse_driver import Client
    from pyspark.sql import SparkSession

#: Spark's query on the view `telemetry`. It keeps the rows at which a car's ignition or destination changes, and the first
#: row of every 5 minutes on the road and of every hour parked. That is a twelfth of the messages, and drives and stays can
#: still be recognised.
SPARK_QUERY = """
WITH positions AS (
    SELECT *, unix_millis(occurred_at) AS at, coalesce(destination_station_id, '') AS destination, row_number() OVER (
        PARTITION BY vehicle_id, unix_millis(occurred_at) ORDER BY topic_generation, kafka_partition, kafka_offset
    ) AS arrival
    FROM telemetry
), compared AS (
    SELECT *,
        lag(struct(ignition, destination)) OVER (PARTITION BY vehicle_id ORDER BY at) AS before,
        row_number() OVER (
            PARTITION BY vehicle_id, ignition, at DIV IF(ignition, 300000, 3600000) ORDER BY at) AS place_in_slot
    FROM positions WHERE arrival = 1
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

STAGING_TABLE = """
CREATE TABLE {name} (
    vehicle_id String, occurred_at Int64, position_time_id UInt32, latitude Float64, longitude Float64,
    heading Nullable(Float64), speed_kmh Float64, ignition UInt8, soc_percent Float64, range_km Nullable(Float64),
    destination_station_id String, publication_id String
) ENGINE = MergeTree ORDER BY vehicle_id
"""

_FROM_STAGING = """
INSERT INTO {days}
SELECT
    vehicle_id, fromUnixTimestamp64Milli(occurred_at, 'UTC'), position_time_id, latitude, longitude, heading, speed_kmh,
    ignition, soc_percent, range_km, destination_station_id, publication_id
FROM {rows}
"""

_POSITIONS = TableByDay(POSITIONS, "occurred_at", STAGING_TABLE)


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

    A second load of the same commit changes nothing but `loaded_at`. Raises ServerDownError.
    """
    wanted = sorted(set(days))
    commit = repository.head().id
    telemetry = raw_rows(repository, spark, commit, VEHICLE_TELEMETRY.topic, [d.isoformat() for d in wanted])

    def send_rows(table: str) -> None:
        if telemetry is not None:
            insert_from_spark(settings, query(spark, SPARK_QUERY, telemetry=telemetry), table)

    def fill_days(client: Client, staging: Staging) -> list[date]:
        client.execute(_FROM_STAGING.format(days=staging.days, rows=staging.rows), settings=ANY_DAYS)
        return []

    rows_by_day = replace_days(settings, _POSITIONS, commit, send_rows, wanted, run_id, on_step, fill_days)
    log.info("positions loaded", run_id=run_id, commit=commit, days=len(wanted), rows=sum(rows_by_day.values()))
    return LoadReport(commit, rows_by_day)
