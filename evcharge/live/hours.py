"""Hourly usage in Cassandra: writing hours, and reading them with the final ones preferred."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING, Any, NamedTuple

from evcharge.live.usage import Hour
from evcharge.settings import Settings

if TYPE_CHECKING:
    from cassandra.cluster import Session

PROVISIONAL = "usage_provisional"
FINAL = "usage_final"

#: Statements in flight at once: enough to keep one node busy, few enough to leave it to others.
IN_FLIGHT = 4
#: Up to 400 bytes each: below `batch_size_warn_threshold`.
ROWS_PER_BATCH = 150

_VALUES = ("sessions", "energy_wh", "occupied_ms", "peak_occupancy", "waits", "faults")


class StationHour(NamedTuple):
    """One station and UTC hour; `start_ms` is ms since the epoch."""

    station_id: str
    start_ms: int
    hour: Hour


@dataclass(frozen=True, slots=True)
class HourlyUsage:
    """One hour as it is read: `is_final` if it was computed from the lake."""

    station_id: str
    hour_at: datetime
    sessions: int
    energy_kwh: float
    occupied_minutes: float
    peak_occupancy: int
    waits: int
    faults: int
    is_final: bool
    written_at: datetime


def write_provisional(settings: Settings, session: Session, rows: Iterable[StationHour]) -> int:
    """Writes hours as the stream knows them; how many."""
    return _write(settings, session, PROVISIONAL, rows, {})


def write_final(settings: Settings, session: Session, rows: Iterable[StationHour], lake_commit: str) -> int:
    """Writes hours as the lake tells; how many."""
    return _write(settings, session, FINAL, rows, {"lake_commit": lake_commit})


def read_hours(settings: Settings, session: Session, station_id: str, days: Iterable[date]) -> list[HourlyUsage]:
    """A station's hours of the given UTC days in order, each once: the final one where there is one."""
    days, answers = tuple(days), []
    # the final ones last, in place of the provisional; all are asked before any is waited for
    for table in (PROVISIONAL, FINAL):
        statement = prepared(
            session, f"SELECT * FROM {settings.cassandra_keyspace}.{table} WHERE station_id = ? AND day = ?"
        )
        answers += [(table == FINAL, session.execute_async(statement, (station_id, day))) for day in days]
    usages = (_usage(row, is_final=is_final) for is_final, answer in answers for row in answer.result())
    found = {usage.hour_at: usage for usage in usages}
    return [found[hour] for hour in sorted(found)]


def prepared(session: Session, statement: str) -> Any:
    """The statement, prepared once per session."""
    known: dict[str, Any] = session.__dict__.setdefault("evcharge_prepared", {})
    if statement not in known:
        known[statement] = session.prepare(statement)
    return known[statement]


def execute_all(
    session: Session, statement: str, parameters: Iterable[tuple[Any, ...]], in_flight: int = IN_FLIGHT
) -> int:
    """Executes a statement for each of the parameters, which begin with the table's partition key `(station_id, day)`.

    Rows of the same replicas go in one unlogged batch, `in_flight` batches at once: a row of its own takes Cassandra three
    times and the client fifteen times as long (measured here). Returns how many rows; raises the first failure.
    """
    from cassandra.concurrent import execute_concurrent
    from cassandra.query import BatchStatement, BatchType

    partitions: dict[tuple[Any, ...], list[tuple[Any, ...]]] = {}
    for row in parameters:
        partitions.setdefault(row[:2], []).append(row)
    insert = prepared(session, statement)
    by_replicas: dict[tuple[Any, ...], list[tuple[Any, ...]]] = {}
    for rows in partitions.values():
        key = insert.bind(rows[0]).routing_key
        replicas = session.cluster.metadata.get_replicas(insert.keyspace, key)
        by_replicas.setdefault(tuple(host.endpoint for host in replicas), []).extend(rows)
    batches = []
    for rows in by_replicas.values():
        for start in range(0, len(rows), ROWS_PER_BATCH):
            batch = BatchStatement(BatchType.UNLOGGED)
            for row in rows[start : start + ROWS_PER_BATCH]:
                batch.add(insert, row)
            batches.append((batch, ()))
    execute_concurrent(session, batches, concurrency=in_flight, raise_on_first_error=True)
    return sum(map(len, partitions.values()))


def _write(
    settings: Settings, session: Session, table: str, rows: Iterable[StationHour], more: Mapping[str, Any]
) -> int:
    columns = ("station_id", "day", "hour", *_VALUES, "written_at", *more)
    statement = (
        f"INSERT INTO {settings.cassandra_keyspace}.{table} ({', '.join(columns)}) "
        f"VALUES ({', '.join('?' * len(columns))})"
    )
    now = datetime.now(UTC)
    return execute_all(
        session,
        statement,
        ((row.station_id, *_day_and_hour(row.start_ms), *row.hour.values(), now, *more.values()) for row in rows),
    )


def _day_and_hour(start_ms: int) -> tuple[date, int]:
    at = datetime.fromtimestamp(start_ms / 1000, UTC)
    return at.date(), at.hour


def _usage(row: Any, *, is_final: bool) -> HourlyUsage:
    midnight = datetime.combine(row.day.date(), datetime.min.time(), UTC)
    return HourlyUsage(
        station_id=row.station_id,
        hour_at=midnight + timedelta(hours=row.hour),
        sessions=row.sessions,
        energy_kwh=row.energy_wh / 1000,
        occupied_minutes=row.occupied_ms / 60_000,
        peak_occupancy=row.peak_occupancy,
        waits=row.waits,
        faults=row.faults,
        is_final=is_final,
        written_at=row.written_at.replace(tzinfo=UTC),
    )
