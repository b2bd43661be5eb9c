"""Loads the stations from a commit of the lake."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

import structlog

from evcharge.connections import clickhouse, clickhouse_errors
from evcharge.contracts import STATION_REGISTRY
from evcharge.contracts.connector_types import normalised
from evcharge.lake.repository import Repository
from evcharge.lake.rows import raw_rows
from evcharge.settings import Settings
from evcharge.warehouse.staging import mark_loaded, query, replace_all
from evcharge.warehouse.tables import NO_DAY, STATIONS, LoadReport

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

log = structlog.get_logger()

#: Spark's query on the view `stations`: the newest registry record of each station.
SPARK_QUERY = """
SELECT
    station_id, station_name, coalesce(city, '') AS city, coalesce(state, '') AS state, coalesce(zip, '') AS zip,
    coalesce(country, '') AS country, time_zone, longitude, latitude, status_code,
    coalesce(connector_types, array()) AS connector_types,
    IF(snapshot_scope = 'undeclared', greatest(total_outlets, listed_evses), total_outlets) AS total_outlets,
    array_max(concat(coalesce(transform(connectors, c -> c.power_kw), array()),
                     coalesce(transform(evses, e -> e.power_kw), array()))) AS max_power_kw,
    coalesce(network, '') AS network, source, unix_millis(observed_at) AS observed_at,
    unix_millis(removed_at) AS removed_at
FROM (
    SELECT *, row_number() OVER (
        PARTITION BY station_id ORDER BY observed_at DESC, kafka_partition DESC, kafka_offset DESC) AS newest
    FROM stations
) LEFT JOIN (
    -- a record that takes no EVSE away adds to those before
    SELECT station_id, count(DISTINCT evse.evse_id) AS listed_evses
    FROM (SELECT station_id, explode(evses) AS evse FROM stations WHERE snapshot_scope = 'undeclared') GROUP BY station_id
) USING (station_id) WHERE newest = 1
"""


def load_stations(settings: Settings, repository: Repository, spark: SparkSession, run_id: str) -> LoadReport:
    """Replaces `dim_station` by the newest registry record of each station at main's head. Raises ServerDownError."""
    commit = repository.head().id
    stations = raw_rows(repository, spark, commit, STATION_REGISTRY.topic, None)
    rows = [] if stations is None else query(spark, SPARK_QUERY, stations=stations).toArrow().to_pylist()
    for row in rows:
        row["connector_types"] = sorted({normalised(name) for name in row["connector_types"] if name})
        for name in ("observed_at", "removed_at"):
            row[name] = None if row[name] is None else datetime.fromtimestamp(row[name] / 1000, UTC)
    with clickhouse_errors(settings):
        client = clickhouse(settings)
        replace_all(client, STATIONS, rows, run_id)
        mark_loaded(client, STATIONS, commit, {NO_DAY: len(rows)}, run_id)
    log.info("stations loaded", run_id=run_id, commit=commit, rows=len(rows))
    return LoadReport(commit, {NO_DAY: len(rows)})
