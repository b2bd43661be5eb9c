"""Loads the stations from a commit of the lake."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

from evcharge.connections import clickhouse, clickhouse_errors
from evcharge.contracts import STATION_REGISTRY
from evcharge.contracts.connector_types import normalised
from evcharge.lake.repository import Repository
from evcharge.lake.rows import raw_rows
from evcharge.log import log
from evcharge.settings import Settings
from evcharge.warehouse.staging import mark_loaded, mark_unloaded, mutate, query, replace_all
from evcharge.warehouse.tables import FACT, NO_DAY, STATIONS, LoadReport

if TYPE_CHECKING:
    from clickhouse_driver import Client
    from pyspark.sql import SparkSession

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
        PARTITION BY station_id
        ORDER BY observed_at DESC, topic_generation DESC, kafka_partition DESC, kafka_offset DESC) AS newest
    FROM stations
) LEFT JOIN (
    -- a record that takes no EVSE away adds to those before
    SELECT station_id, count(DISTINCT evse.evse_id) AS listed_evses
    FROM (SELECT station_id, explode(evses) AS evse FROM stations WHERE snapshot_scope = 'undeclared') GROUP BY station_id
) USING (station_id) WHERE newest = 1
"""


#: Stations of facts whose zone is not that of the last load, by their zone. Placeholder: stations.
_OTHER_ZONE = f"""
WITH moved AS (
    SELECT station_id, time_zone FROM {{stations}}
    WHERE (station_id, time_zone) NOT IN (SELECT station_id, time_zone FROM {STATIONS})
)
SELECT time_zone, groupArray(station_id) FROM moved
WHERE station_id IN (SELECT station_id FROM {FACT} WHERE station_id IN (SELECT station_id FROM moved))
GROUP BY time_zone ORDER BY time_zone
"""


def load_stations(settings: Settings, repository: Repository, spark: SparkSession, run_id: str) -> LoadReport:
    """Replaces `dim_station` by the newest registry record of each station at main's head.

    Where a station's time zone is another one than before, the local days and hours of its facts are corrected. Raises
    ServerDownError.
    """
    commit = repository.head().id
    stations = raw_rows(repository, spark, commit, STATION_REGISTRY.topic, None)
    rows = [] if stations is None else query(spark, SPARK_QUERY, stations=stations).toArrow().to_pylist()
    for row in rows:
        row["connector_types"] = sorted({normalised(name) for name in row["connector_types"] if name})
        for name in ("observed_at", "removed_at"):
            row[name] = None if row[name] is None else datetime.fromtimestamp(row[name] / 1000, UTC)
    with clickhouse_errors(settings):
        client = clickhouse(settings)
        # before the swap: a load that is killed later finds the same differences again
        replace_all(client, STATIONS, rows, run_id, lambda stations: _correct_local_times(client, stations))
        mark_loaded(client, STATIONS, commit, {NO_DAY: len(rows)}, run_id)
    log.info("stations loaded", run_id=run_id, commit=commit, rows=len(rows))
    return LoadReport(commit, {NO_DAY: len(rows)})


def _correct_local_times(client: Client, stations: str) -> None:
    """Corrects the facts of stations whose zone in the table `stations` is not that of `dim_station`."""
    known = {zone for (zone,) in client.execute("SELECT time_zone FROM system.time_zones")}
    for zone, station_ids in client.execute(_OTHER_ZONE.format(stations=stations)):
        if zone in known:
            # facts that were loaded since the registry has the new zone are right, and their days are not written again
            mutate(
                client,
                FACT,
                "UPDATE local_date = toDate(started_at, %(zone)s), local_hour = toHour(started_at, %(zone)s) "
                "WHERE station_id IN %(values)s "
                "AND (local_date <> toDate(started_at, %(zone)s) OR local_hour <> toHour(started_at, %(zone)s))",
                station_ids,
                zone=zone,
            )
        else:
            # a newer zone than the server's list: Spark, which knows it, loads the days again
            days = client.execute(
                f"SELECT DISTINCT toDate(ended_at, 'UTC') FROM {FACT} WHERE station_id IN %(stations)s",
                {"stations": station_ids},
            )
            mark_unloaded(client, FACT, [day for (day,) in days])
        log.info("local times corrected", time_zone=zone, stations=len(station_ids))
