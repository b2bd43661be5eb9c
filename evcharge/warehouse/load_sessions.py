"""Loads days of finished sessions, and the vehicles that they name, from a commit of the lake.

A day that was loaded before costs what is new: `loaded_day` has the commit that it was loaded from, main's log and a diff say
which files publications have added since, and Spark reads these. ClickHouse links the day's other facts into the staging
table, so that a day is swapped in as one whole, and a killed load is repeated, as if all of it had been read. No other state is
kept: what a session's fact is depends on its `stopped` records alone, and `session_end` knows where all of them are.

All of a day is read if anything is in doubt: it has other rows than were loaded, another version computed them, the commit is
not in main's past, rows were taken back, or somebody asks for it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import date
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING

from evcharge.connections import clickhouse, clickhouse_errors
from evcharge.contracts import SESSION_EVENTS
from evcharge.contracts.spark import ddl as columns_ddl
from evcharge.lake.added_rows import AddedRows, added_rows
from evcharge.lake.known_stations import station_zones, zones_table
from evcharge.lake.repository import Repository
from evcharge.lake.rows import raw_prefixes
from evcharge.log import log
from evcharge.settings import Settings
from evcharge.warehouse.session_identity import (
    PLACE,
    Uncounted,
    create_leaving,
    create_uncounted,
    days_in,
    forget_vanished,
    keep,
    remember,
    uncounted_in,
)
from evcharge.warehouse.staging import ANY_DAYS, Staging, TableByDay, intact_days, replace_days
from evcharge.warehouse.tables import FACT, LoadReport
from evcharge.warehouse.vehicles import update_vehicles

if TYPE_CHECKING:
    from clickhouse_driver import Client
    from pyspark.sql import SparkSession

#: Spark's tasks for a load at most, each with its share of the files.
_TASKS = 16

#: Plain integers, because they are sent quickest. ClickHouse turns them into decimals and dates, and computes the hours. A
#: record has one row even if Spark repeats a task.
STAGING_TABLE = """
CREATE TABLE {name} (
    session_id String, station_id String, evse_id String, connector_id String, vehicle_id String,
    started_at Int64, ended_at Int64, local_date Int32, local_hour UInt8,
    energy_wh Int64, duration_s Float64, idle_s Nullable(Float64), queue_wait_s Nullable(Float64),
    soc_start_percent Nullable(Float64), soc_end_percent Nullable(Float64), end_reason String, publication_id String,
    ev_model_id String, topic_generation Int32, kafka_partition Int32, kafka_offset Int64, sequence Int32
) ENGINE = ReplacingMergeTree ORDER BY (station_id, session_id, topic_generation, kafka_partition, kafka_offset)
"""

_FROM_STAGING = f"""
INSERT INTO {{days}}
WITH fromUnixTimestamp64Milli(started_at, 'UTC') AS start, fromUnixTimestamp64Milli(ended_at, 'UTC') AS end
SELECT
    session_id, station_id, evse_id, connector_id, vehicle_id,
    intDiv(toYYYYMMDDhhmmss(start), 10000), intDiv(toYYYYMMDDhhmmss(end), 10000), start, end,
    toDate(local_date), local_hour, toDecimal64(energy_wh, 3) / 1000, duration_s, idle_s, queue_wait_s,
    soc_start_percent, soc_end_percent, end_reason, publication_id, ev_model_id
FROM {{rows}} FINAL WHERE ({PLACE}) NOT IN (SELECT {PLACE} FROM {{uncounted}})
"""

#: What computes a fact. A day of another loader is read in full.
_COMPUTED_BY = (Path(__file__).with_name("stopped_records.py").read_text(), STAGING_TABLE, _FROM_STAGING)
_LOADER = sha256("".join([*_COMPUTED_BY, columns_ddl(SESSION_EVENTS)]).encode()).hexdigest()

_SESSIONS = TableByDay(FACT, "ended_at", STAGING_TABLE, _LOADER[:16])


def load_sessions(
    settings: Settings,
    repository: Repository,
    spark: SparkSession,
    days: Iterable[date],
    run_id: str,
    *,
    in_full: bool = False,
    on_step: Callable[[str], None] = lambda step: None,
) -> LoadReport:
    """Brings the given UTC days (of `ended_at`) in `fact_charging_sessions` to what main's head holds.

    Of a day that was loaded before, only what publications have added since is read, unless that is in doubt. With `in_full`
    all of it is read; the facts are the same. A session that another day has by mistake leaves that day (`session_identity`).
    A second load of the same commit changes nothing but `loaded_at`. Raises ServerDownError.
    """
    wanted = sorted(set(days))
    commit = repository.head().id
    load = _Load(settings, repository, spark, commit, run_id, on_step)
    added = {} if in_full else _added(settings, repository, wanted, commit)
    # first what is added: reading a day in full may find that another day has to be read in full again
    reports = [load.add(added)] if added else []
    if rest := [day for day in wanted if day not in added]:
        report, again = load.replace(rest)
        reports.append(report)
        if again:
            # the record that had kept these days' records from counting is gone
            load_sessions(settings, repository, spark, again, run_id, on_step=on_step)
    return LoadReport(
        commit,
        {day: rows for report in reports for day, rows in report.rows_by_day.items()},
        sum(report.new_vehicles for report in reports),
        sum(report.resent for report in reports),
        sum(report.second_ends for report in reports),
        tuple(sorted(added)),
    )


def send_stopped(
    repository: Repository,
    spark: SparkSession,
    commit: str,
    files: Sequence[str],
    publications: Sequence[str] | None,
    table: str,
) -> None:
    """Has Spark's workers send the `stopped` records in files of a commit to a staging table; `publications`: None is all."""
    # imported here: a run that loads nothing needs no Arrow
    import pyarrow as pa

    from evcharge.warehouse.stopped_records import StoppedRecords

    if not files:
        return
    zones = zones_table(station_zones(repository, commit))
    paths = pa.table({"path": [f"{repository.name}/{commit}/{path}" for path in files]})
    tasks = spark.createDataFrame(paths).repartition(min(len(files), _TASKS))
    tasks.mapInArrow(StoppedRecords(repository.settings, table, zones, publications), "rows BIGINT").collect()


def _added(settings: Settings, repository: Repository, days: list[date], commit: str) -> dict[date, AddedRows]:
    """What has come to those of the days of which this is known for certain."""
    with clickhouse_errors(settings):
        client = clickhouse(settings)
        intact = intact_days(client, _SESSIONS, days)
        client.disconnect()
    return added_rows(repository, SESSION_EVENTS.topic, intact, commit)


@dataclass(frozen=True, slots=True)
class _Load:
    """A load of one commit."""

    settings: Settings
    repository: Repository
    spark: SparkSession
    commit: str
    run_id: str
    on_step: Callable[[str], None]

    def add(self, added: dict[date, AddedRows]) -> LoadReport:
        """Adds rows to days, which keep their other facts."""
        files = [path for rows in added.values() for path in rows.paths]
        # a file that was rewritten has rows of older publications, too
        publications = sorted({publication for rows in added.values() for publication in rows.publications})
        report, _ = self._load(files, publications, sorted(added), keeps=True)
        return report

    def replace(self, days: list[date]) -> tuple[LoadReport, list[date]]:
        """Replaces days. Returns other days as well, which are not loaded any more."""
        prefixes = raw_prefixes(SESSION_EVENTS.topic, [day.isoformat() for day in days])
        files = [path for prefix in prefixes for path in self.repository.paths(self.commit, prefix)]
        return self._load(files, None, days, keeps=False)

    def _load(
        self, files: list[str], publications: list[str] | None, days: list[date], *, keeps: bool
    ) -> tuple[LoadReport, list[date]]:
        again: list[date] = []
        new_vehicles = 0
        uncounted = Uncounted(0, 0)

        def fill_days(client: Client, staging: Staging) -> list[date]:
            nonlocal again, new_vehicles, uncounted
            others, leaving = staging.named("uncounted"), staging.named("leaving")
            if not keeps:
                again = forget_vanished(client, staging.rows, days)
            remember(client, staging.rows, [] if keeps else days)
            create_uncounted(client, staging.rows, others)
            create_leaving(client, staging.rows, others, days if keeps else [], leaving)
            corrected = [day for day in days_in(client, leaving) if day not in days]
            keep(client, [*days, *corrected] if keeps else corrected, leaving, staging.days)
            self.on_step("known facts kept")
            copy = _FROM_STAGING.format(days=staging.days, rows=staging.rows, uncounted=others)
            client.execute(copy, settings=ANY_DAYS)
            uncounted = uncounted_in(client, others, staging.rows)
            new_vehicles = update_vehicles(client, staging, [*days, *corrected], leaving if keeps else None)
            return corrected

        send = partial(send_stopped, self.repository, self.spark, self.commit, files, publications)
        rows_by_day = replace_days(
            self.settings, _SESSIONS, self.commit, send, days, self.run_id, self.on_step, fill_days
        )
        log.info(
            "sessions loaded",
            run_id=self.run_id,
            commit=self.commit,
            days=len(days),
            rows=sum(rows_by_day.values()),
            added=keeps,
        )
        return (
            LoadReport(self.commit, rows_by_day, new_vehicles, uncounted.resent, uncounted.second_ends),
            again,
        )
