"""A station's last thirty local days: how it was used, and how often a charge failed to start.

A failed start is a session that ended without any energy, or that a fault ended within five minutes of plugging in. A car that
gave up in the queue never plugged in: it counts among the waits.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

from evcharge.live.cassandra_statements import prepared
from evcharge.live.usage_tables import HourlyUsage, read_hours
from evcharge.queries.network_sql import FAILED_WITHIN_S, FAULTS
from evcharge.queries.station import ask_settled_days
from evcharge.queries.typical import known_from, utc_days
from evcharge.settings import Settings

if TYPE_CHECKING:
    from cassandra.cluster import Session

DAYS = 30


@dataclass(frozen=True, slots=True)
class StationDay:
    """A local day. All is null on a day before the first one that is known. `utilisation` is the share of the outlets' time
    (0 to 1) in which a car was plugged in, null where the number of outlets is not known. Of the day on which the platform
    began, only the time since the station's first known hour counts."""

    date: date
    sessions: int | None = None
    energy_kwh: float | None = None
    occupied_minutes: float | None = None
    failed_starts: int | None = None
    waits: int | None = None
    faults: int | None = None
    utilisation: float | None = None

    def to_json(self) -> dict[str, Any]:
        return {
            "date": self.date.isoformat(),
            "sessions": self.sessions,
            "energy_kwh": None if self.energy_kwh is None else round(self.energy_kwh, 3),
            "occupied_minutes": None if self.occupied_minutes is None else round(self.occupied_minutes, 1),
            "failed_starts": self.failed_starts,
            "waits": self.waits,
            "faults": self.faults,
            "utilisation": None if self.utilisation is None else round(self.utilisation, 4),
        }


@dataclass(frozen=True, slots=True)
class HistoryAnswer:
    """The last `DAYS` local days of a station, today last."""

    station_id: str
    time_zone: str
    days: tuple[StationDay, ...]
    note: str | None

    def to_json(self) -> dict[str, Any]:
        return {
            "station_id": self.station_id,
            "time_zone": self.time_zone,
            "note": self.note,
            "days": [day.to_json() for day in self.days],
        }


def history(
    settings: Settings, session: Session, station_id: str, time_zone: str, outlets: int, now: datetime
) -> HistoryAnswer:
    """Reads the hours (a final one rather than a provisional one) and the journal, all days at once."""
    zone = ZoneInfo(time_zone)
    today = now.astimezone(zone).date()
    days = [today - timedelta(days=n) for n in range(DAYS - 1, -1, -1)]
    utc = utc_days(days, zone)
    statement = prepared(
        session,
        "SELECT occurred_at, event_type, session_id, energy_delivered_kwh, reason FROM "
        f"{settings.cassandra_keyspace}.station_events_by_day WHERE station_id = ? AND day = ?",
    )
    answers = [session.execute_async(statement, (station_id, day)) for day in utc]
    settled = ask_settled_days(settings, session, utc)
    usages = read_hours(settings, session, station_id, utc)
    failed = failed_starts((row for answer in answers for row in answer.result()), zone)
    found = _days(days, usages, failed, settled(), zone, outlets, now)
    known = sum(day.sessions is not None for day in found)
    note = None
    if not known:
        note = "nothing is known of the last 30 days yet"
    elif known < DAYS:
        note = f"known since {next(day.date for day in found if day.sessions is not None).isoformat()}"
    return HistoryAnswer(station_id, time_zone, tuple(found), note)


def failed_starts(events: Iterable[Any], zone: ZoneInfo) -> dict[date, int]:
    """The failed starts by the local day of their end, from the journal's events in any order."""
    started: dict[str, datetime] = {}
    stopped: dict[str, Any] = {}
    for event in events:
        if event.event_type == "started":
            started[event.session_id] = event.occurred_at
        elif event.event_type == "stopped":
            stopped[event.session_id] = event
    found: dict[date, int] = {}
    for session_id, event in stopped.items():
        begun_at = started.get(session_id)
        quick = begun_at is not None and (event.occurred_at - begun_at).total_seconds() < FAILED_WITHIN_S
        # An event without energy is stored without that cell.
        if not event.energy_delivered_kwh or (event.reason in FAULTS and quick):
            day = event.occurred_at.replace(tzinfo=UTC).astimezone(zone).date()
            found[day] = found.get(day, 0) + 1
    return found


def _days(
    days: Iterable[date],
    usages: Iterable[HourlyUsage],
    failed: Mapping[date, int],
    settled: Iterable[date],
    zone: ZoneInfo,
    outlets: int,
    now: datetime,
) -> list[StationDay]:
    by_day: dict[date, list[HourlyUsage]] = {}
    for usage in usages:
        by_day.setdefault(usage.hour_at.astimezone(zone).date(), []).append(usage)
    first = min((*by_day, *failed), default=None)
    begun_at = None
    if first in by_day:
        begun_at = known_from(min(usage.hour_at for usage in by_day[first]), settled, zone)
    found = []
    for day in days:
        if first is None or day < first:
            found.append(StationDay(day))
            continue
        hours = by_day.get(day, [])
        occupied = sum(usage.occupied_minutes for usage in hours)
        found.append(
            StationDay(
                day,
                sum(usage.sessions for usage in hours),
                sum(usage.energy_kwh for usage in hours),
                occupied,
                failed.get(day, 0),
                sum(usage.waits for usage in hours),
                sum(usage.faults for usage in hours),
                _share(occupied, outlets, day, zone, begun_at, now),
            )
        )
    return found


def _share(
    occupied_minutes: float, outlets: int, day: date, zone: ZoneInfo, begun_at: datetime | None, now: datetime
) -> float | None:
    # in UTC: a local day has 23 or 25 hours when the clocks change
    begins, ends = (
        datetime.combine(at, datetime.min.time(), zone).astimezone(UTC) for at in (day, day + timedelta(days=1))
    )
    minutes = (min(ends, now) - max(begins, begun_at or begins)).total_seconds() / 60
    return min(occupied_minutes / (outlets * minutes), 1.0) if outlets and minutes > 0 else None
