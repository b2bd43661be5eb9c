"""Which days' final hours are behind the lake."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import UTC, date, datetime

from evcharge.connections import cassandra
from evcharge.contracts import SESSION_EVENTS
from evcharge.lake.repository import Repository
from evcharge.settings import Settings


@dataclass(frozen=True, slots=True)
class PendingHours:
    """UTC days whose final hours are to compute, days that only wait for their running hour to end, and main's head."""

    head: str
    days: list[date]
    running: list[date]


@dataclass(frozen=True, slots=True)
class ComputedDay:
    """A day's mark in `usage_days`."""

    lake_commit: str
    hours_to: datetime


def computed_days(settings: Settings) -> dict[date, ComputedDay]:
    """The days that were computed. Raises ServerDownError."""
    with cassandra(settings) as session:
        rows = session.execute(f"SELECT day, lake_commit, hours_to FROM {settings.cassandra_keyspace}.usage_days")
        return {row.day.date(): ComputedDay(row.lake_commit, row.hours_to.replace(tzinfo=UTC)) for row in rows}


def pending_hours(settings: Settings, repository: Repository, now: datetime, since: str | None = None) -> PendingHours:
    """Days that main's commits after `since` touched and `usage_days` does not cover.

    The running day is computed once an hour, when another of its hours is over: until then the stream's hours serve.
    `since` (a commit at which nothing was pending) is a shortcut: None reads the whole log. Raises ServerDownError.
    """
    head = repository.head().id
    computed = computed_days(settings)
    touched: dict[date, int] = {}
    position: dict[str, int] = {}
    for age, commit in enumerate(repository.log(head, stop_at=since if computed else None)):
        position[commit.id] = age
        if commit.metadata.get("topic") == SESSION_EVENTS.topic:
            for day in json.loads(commit.metadata.get("event_dates", "[]")):
                touched.setdefault(date.fromisoformat(day), age)
    today, hour = now.astimezone(UTC).date(), now.astimezone(UTC).replace(minute=0, second=0, microsecond=0)
    days: list[date] = []
    running: list[date] = []
    for day, age in sorted(touched.items()):
        mark = computed.get(day)
        if mark is not None and position.get(mark.lake_commit, len(position)) <= age:
            continue
        waits = day > today or (day == today and (hour.hour == 0 or (mark is not None and mark.hours_to >= hour)))
        (running if waits else days).append(day)
    return PendingHours(head, days, running)
