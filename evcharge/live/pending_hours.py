"""Which days' final hours are behind the lake."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, date, datetime

from evcharge.connections import cassandra
from evcharge.contracts import SESSION_EVENTS
from evcharge.lake.repository import Commit, Repository
from evcharge.lake.touched_days import event_days, touched_since_computed
from evcharge.settings import Settings


@dataclass(frozen=True, slots=True)
class PendingHours:
    """As of main's `head`: UTC days whose final hours are to compute, and days that wait for their running hour to end."""

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

    The running day is computed once an hour, when another of its hours is over. Until then the stream's hours serve.
    `since` is a commit at which nothing was pending. It only saves reading: None reads the whole log. Raises
    ServerDownError.
    """
    head = repository.head().id
    computed = computed_days(settings)
    computed_from = {day: mark.lake_commit for day, mark in computed.items()}
    today, hour = now.astimezone(UTC).date(), now.astimezone(UTC).replace(minute=0, second=0, microsecond=0)
    days: list[date] = []
    running: list[date] = []
    for day in touched_since_computed(repository, head, _touched, computed_from, since):
        mark = computed.get(day)
        waits = day > today or (day == today and (hour.hour == 0 or (mark is not None and mark.hours_to >= hour)))
        (running if waits else days).append(day)
    return PendingHours(head, days, running)


def _touched(commit: Commit) -> list[date]:
    return event_days(commit) if commit.metadata.get("topic") == SESSION_EVENTS.topic else []
