"""The hourly usage in Cassandra: `usage_provisional` from the stream, `usage_final` from the lake."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING, Any, NamedTuple

from evcharge.live.cassandra_statements import execute_all, prepared
from evcharge.live.usage import Hour
from evcharge.settings import Settings

if TYPE_CHECKING:
    from cassandra.cluster import Session

PROVISIONAL = "usage_provisional"
FINAL = "usage_final"

#: The five weeks that a station's page compares are one request for each table. A request for each day cost the asker 24 ms of
#: processor time instead of 8, and Cassandra 28 ms instead of 15 (measured here).
DAYS_PER_REQUEST = 40

_VALUES = ("sessions", "energy_wh", "occupied_ms", "peak_occupancy", "waits", "faults")


class StationHour(NamedTuple):
    """One station and UTC hour; `start_ms` is ms since the epoch."""

    station_id: str
    start_ms: int
    hour: Hour


@dataclass(frozen=True, slots=True)
class HourlyUsage:
    """A station's hour as read from the tables; `is_final` if it was computed from the lake."""

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
    """Writes hours that the stream computed; returns how many."""
    return _write(settings, session, PROVISIONAL, rows, {})


def write_final(settings: Settings, session: Session, rows: Iterable[StationHour], lake_commit: str) -> int:
    """Writes hours that were computed from the lake; returns how many."""
    return _write(settings, session, FINAL, rows, {"lake_commit": lake_commit})


def delete_final_before(settings: Settings, session: Session, days: Iterable[date], begun_at: datetime) -> int:
    """Deletes the final hours of UTC days that a computation, begun at `begun_at`, did not write again; returns how many."""
    # Cassandra keeps milliseconds.
    begun_at = begun_at.replace(microsecond=begun_at.microsecond // 1000 * 1000)
    table = f"{settings.cassandra_keyspace}.{FINAL}"
    listing = prepared(session, f"SELECT station_id, day, hour, written_at FROM {table} WHERE day = ?")
    obsolete = [
        (row.station_id, row.day, row.hour)
        for day in days
        for row in session.execute(listing, (day,))
        if row.written_at is None or row.written_at.replace(tzinfo=UTC) < begun_at
    ]
    # The timestamp spares whatever is written meanwhile.
    at_us = int(begun_at.timestamp() * 1_000_000)
    statement = f"DELETE FROM {table} USING TIMESTAMP {at_us} WHERE station_id = ? AND day = ? AND hour = ?"
    return execute_all(session, statement, obsolete)


def read_hours(settings: Settings, session: Session, station_id: str, days: Iterable[date]) -> list[HourlyUsage]:
    """A station's hours of the given UTC days, in order and each once: the final hour if there is one."""
    days, answers = tuple(days), []
    # The final hours come last, so that they replace the provisional ones. All requests are sent before the first wait.
    for table in (PROVISIONAL, FINAL):
        statement = prepared(
            session, f"SELECT * FROM {settings.cassandra_keyspace}.{table} WHERE station_id = ? AND day IN ?"
        )
        for first in range(0, len(days), DAYS_PER_REQUEST):
            asked = (station_id, days[first : first + DAYS_PER_REQUEST])
            answers.append((table == FINAL, session.execute_async(statement, asked)))
    usages = (_usage(row, is_final=is_final) for is_final, answer in answers for row in answer.result())
    found = {usage.hour_at: usage for usage in usages}
    return [found[hour] for hour in sorted(found)]


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
