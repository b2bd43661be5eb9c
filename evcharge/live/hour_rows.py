"""Which rows of the lake the hours of given UTC days are computed from. The computation and its audit both ask here."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date, datetime, timedelta

import pyarrow as pa
import pyarrow.compute as pc

from evcharge.contracts import SESSION_EVENTS
from evcharge.contracts.session_events import MAX_SESSION_DAYS
from evcharge.gathering import scanned
from evcharge.lake.repository import Repository
from evcharge.lake.rows import archive_dataset, raw_prefixes
from evcharge.lake.schemas import raw_schema
from evcharge.live.pending_hours import MARGIN_DAYS


@dataclass(frozen=True, slots=True)
class NeededRows:
    """All rows of `days` and, from `far_days`, those of `sessions` (station_id, session_id). Days are `YYYY-MM-DD`."""

    days: list[str]
    far_days: list[str]
    sessions: frozenset[tuple[str, str]]


def needed_rows(repository: Repository, commit: str, days: Iterable[date]) -> NeededRows:
    """The rows at a commit that the hours of the given UTC days depend on. Raises ServerDownError."""
    wanted = set(days)
    near = {day + timedelta(days=n) for day in wanted for n in range(-MARGIN_DAYS, MARGIN_DAYS + 1)}
    ends = {day + timedelta(days=n) for day in wanted for n in range(MAX_SESSION_DAYS + 1)}
    far: set[date] = set()
    sessions: set[tuple[str, str]] = set()
    for station_id, session_id, started_at, ended_at in _long_sessions(repository, commit, ends):
        span = days_of_session(started_at.date(), ended_at.date())
        if not wanted.isdisjoint(span):
            sessions.add((station_id, session_id))
            far.update(span)
    return NeededRows(_names(near), _names(far - near), frozenset(sessions))


def days_of_session(started_on: date, ended_on: date) -> set[date]:
    """The UTC days of a session, at most the last MAX_SESSION_DAYS and the day of its end."""
    count = min((ended_on - started_on).days, MAX_SESSION_DAYS)
    return {ended_on - timedelta(days=n) for n in range(count + 1)}


def _long_sessions(
    repository: Repository, commit: str, ended_on: Iterable[date]
) -> Iterable[tuple[str, str, datetime, datetime]]:
    """Station, session, start and end of the finished sessions whose rows may lie outside of the near days."""
    files = archive_dataset(
        repository, commit, raw_prefixes(SESSION_EVENTS.topic, _names(ended_on)), raw_schema(SESSION_EVENTS)
    )
    if files is None:
        return ()
    lasted = pc.field("occurred_at").cast(pa.int64()) - pc.field("started_at").cast(pa.int64())
    is_long = (pc.field("event_type") == "stopped") & (
        lasted > timedelta(days=MARGIN_DAYS) // timedelta(microseconds=1)
    )
    columns = ["station_id", "session_id", "started_at", "occurred_at"]
    return (
        row
        for batch in scanned(files, columns, is_long)
        for row in zip(*(batch[name].to_pylist() for name in columns), strict=True)
    )


def _names(days: Iterable[date]) -> list[str]:
    return [day.isoformat() for day in sorted(days)]
