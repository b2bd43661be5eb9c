"""Hourly usage from the lake: the hours of whole UTC days, computed from every event on main that they depend on.

A station's rows are folded by the same rules as the stream's, but in the order of their event times, without events that
were sent again and with no limit on lateness.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from evcharge.clock import day_start, day_to_ms
from evcharge.connections import cassandra
from evcharge.contracts import SESSION_EVENTS
from evcharge.lake.repository import Repository
from evcharge.lake.rows import raw_rows
from evcharge.live.cassandra_statements import execute_all
from evcharge.live.hour_rows import NeededRows, needed_rows
from evcharge.live.rebuild import in_milliseconds
from evcharge.live.station_state import StationState
from evcharge.live.usage_tables import StationHour, delete_final_before, write_final
from evcharge.live.worker import records_of
from evcharge.log import log
from evcharge.settings import Settings

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

TASKS = 2
_WRITE_ROWS = 5_000

_ONE_PER_EVENT = """
SELECT * EXCEPT (arrival) FROM (
    SELECT *, row_number() OVER (
        PARTITION BY station_id, event_id ORDER BY topic_generation, kafka_partition, kafka_offset) AS arrival
    FROM {events}
) WHERE arrival = 1
"""

_REPORT_DDL = "rows BIGINT, stations BIGINT, sessions BIGINT, energy_wh BIGINT"


@dataclass(frozen=True, slots=True)
class FinalReport:
    """What was computed: the hours before `hours_to`, with the number of rows, stations and sessions and their energy.

    `removed` counts rows of an earlier computation that the days no longer have.
    """

    lake_commit: str
    hours_to: datetime
    rows: int
    stations: int
    sessions: int
    energy_kwh: float
    removed: int


def write_final_usage(
    settings: Settings, repository: Repository, spark: SparkSession, days: Iterable[date], now: datetime
) -> FinalReport:
    """Computes those hours of the given UTC days that are over at `now`, and writes them to Cassandra.

    Running it twice changes only `written_at`. Raises ServerDownError.
    """
    wanted = sorted(set(days))
    begun_at = datetime.now(UTC)
    commit = repository.head().id
    hours_to = now.replace(minute=0, second=0, microsecond=0)
    rows = _read(repository, spark, commit, needed_rows(repository, commit, wanted))
    report = FinalReport(commit, hours_to, 0, 0, 0, 0.0, 0)
    if rows is not None:
        rows.createOrReplaceTempView("events_of_days")
        unique = spark.sql(_ONE_PER_EVENT.format(events="events_of_days"))
        ordered = (
            in_milliseconds(unique, SESSION_EVENTS)
            .repartition(TASKS, "station_id")
            .sortWithinPartitions("station_id", "occurred_at", "session_id", "sequence")
        )
        writer = FinalWriter(
            settings, frozenset(day_to_ms(day) for day in wanted), int(hours_to.timestamp() * 1000), commit
        )
        reports = ordered.mapInArrow(writer, _REPORT_DDL).collect()
        report = FinalReport(
            commit,
            hours_to,
            sum(r.rows for r in reports),
            sum(r.stations for r in reports),
            sum(r.sessions for r in reports),
            sum(r.energy_wh for r in reports) / 1000,
            0,
        )
    with cassandra(settings) as session:
        report = replace(report, removed=delete_final_before(settings, session, wanted, begun_at))
        statement = (
            f"INSERT INTO {settings.cassandra_keyspace}.usage_days "
            "(year, day, lake_commit, hours_to, stations, written_at) VALUES (?, ?, ?, ?, ?, ?)"
        )
        execute_all(
            session,
            statement,
            (
                (day.year, day, commit, min(hours_to, _end_of(day)), report.stations, datetime.now(UTC))
                for day in wanted
            ),
        )
    log.info("hourly usage written", commit=commit, days=len(wanted), rows=report.rows, removed=report.removed)
    return report


def _read(repository: Repository, spark: SparkSession, commit: str, needed: NeededRows) -> DataFrame | None:
    """The needed rows; None if the lake has none."""
    rows = raw_rows(repository, spark, commit, SESSION_EVENTS.topic, needed.days)
    far = raw_rows(repository, spark, commit, SESSION_EVENTS.topic, needed.far_days)
    if far is None:
        return rows
    names = ["station_id", "session_id"]
    listed = pa.table([pa.array(column, pa.string()) for column in zip(*sorted(needed.sessions), strict=True)], names)
    sessions = spark.createDataFrame(listed, ", ".join(f"{name} STRING" for name in names))
    of_sessions = far.join(sessions, names, "left_semi").select(far.columns)
    return of_sessions if rows is None else rows.unionByName(of_sessions)


@dataclass(frozen=True)
class FinalWriter:
    """Takes the Arrow batches of a task: unique session events, station by station and in time order.

    `days` are the starts of UTC days and `hours_to` is an instant, in ms since the epoch.
    """

    settings: Settings
    days: frozenset[int]
    hours_to: int
    lake_commit: str

    def __call__(self, batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        rows: list[StationHour] = []
        total = {"rows": 0, "stations": 0, "sessions": 0, "energy_wh": 0}
        with cassandra(self.settings) as session:
            for state in folded(row for batch in batches for row in records_of(batch)):
                wanted = [
                    StationHour(state.station_id, start, hour)
                    for start, hour in sorted(state.usage.hours.items())
                    if day_start(start) in self.days and start < self.hours_to
                ]
                rows += wanted
                total["rows"] += len(wanted)
                total["stations"] += bool(wanted)
                total["sessions"] += sum(row.hour.sessions for row in wanted)
                total["energy_wh"] += sum(row.hour.energy_wh for row in wanted)
                if len(rows) >= _WRITE_ROWS:
                    write_final(self.settings, session, rows, self.lake_commit)
                    rows = []
            if rows:
                write_final(self.settings, session, rows, self.lake_commit)
        yield pa.RecordBatch.from_pylist([total])


def folded(events: Iterable[dict[str, Any]]) -> Iterator[StationState]:
    """Each station's state after all its events. The events come station by station, in time order."""
    state: StationState | None = None
    for event in events:
        if state is None or state.station_id != event["station_id"]:
            if state is not None:
                yield state
            state = StationState(event["station_id"], keeps_all=True)
        state.apply(event)
    if state is not None:
        yield state


def _end_of(day: date) -> datetime:
    return datetime.combine(day + timedelta(days=1), datetime.min.time(), UTC)
