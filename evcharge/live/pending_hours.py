"""Which days' final hours are behind the lake.

A publication touches more days than those of its rows. Its finished sessions reach back to their starts, and every row tells
of the time since the station's row before it. So the day before is touched too, and the day after, because what an EVSE did
before midnight counts there. Of these neighbours only days that were computed are touched: the others have nothing yet.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta

from evcharge.connections import cassandra
from evcharge.contracts import SESSION_EVENTS
from evcharge.contracts.session_events import MAX_SESSION_DAYS
from evcharge.lake.repository import Commit, Repository
from evcharge.lake.touched_days import Mark, Part, behind_main, event_days, reached_days
from evcharge.settings import Settings

#: All rows are read from this many days before and after the computed days: what is plugged in at midnight shows in the rows
#: on both sides. A session that is longer shows in its stopped event. Until that comes, it counts from its first row here.
MARGIN_DAYS = 1
#: What touched a day: rows of days that are over, or of the running day (or later). The two are parts of their own, because
#: rows of the running day come every minute, and what they touch waits.
_PAST, _RUNNING = "past rows", "running rows"


@dataclass(frozen=True, slots=True)
class PendingHours:
    """UTC days whose final hours are to compute, and days that wait for the running hour to end, or to begin.

    `cursor` is for the next question.
    """

    cursor: str
    days: list[date]
    running: list[date]


@dataclass(frozen=True, slots=True)
class ComputedDay:
    """A day's mark in `usage_days`: the commit, the end of its last hour that was over, and when it was computed."""

    lake_commit: str
    hours_to: datetime
    written_at: datetime


def computed_days(settings: Settings) -> dict[date, ComputedDay]:
    """The days that were computed, by their marks; a mark that is not whole marks nothing. Raises ServerDownError."""
    with cassandra(settings) as session:
        rows = session.execute(
            f"SELECT day, lake_commit, hours_to, written_at FROM {settings.cassandra_keyspace}.usage_days"
        )
        return {
            row.day.date(): ComputedDay(
                row.lake_commit, row.hours_to.replace(tzinfo=UTC), row.written_at.replace(tzinfo=UTC)
            )
            for row in rows
            if row.lake_commit and row.hours_to and row.written_at
        }


def pending_hours(settings: Settings, repository: Repository, now: datetime, since: str | None = None) -> PendingHours:
    """Days that main's commits touched and `usage_days` does not cover.

    The running day, and past days that only its rows touched, are computed once an hour: when another of its hours is over.
    Until then the stream's hours serve. `since` is the cursor of an earlier answer. It only saves reading. Raises
    ServerDownError.
    """
    head = repository.head().id
    computed = computed_days(settings)
    marks = {
        (cause, day): Mark(mark.lake_commit, mark.written_at)
        for day, mark in computed.items()
        for cause in (_PAST, _RUNNING)
    }
    today, hour = now.astimezone(UTC).date(), now.astimezone(UTC).replace(minute=0, second=0, microsecond=0)

    def waits(cause: str, day: date) -> bool:
        mark = computed.get(day)
        if day >= today:
            return day > today or hour.hour == 0 or (mark is not None and mark.hours_to >= hour)
        return cause == _RUNNING and mark is not None and mark.written_at >= hour

    behind = behind_main(repository, head, lambda commit: _touched(commit, computed, today), marks, since)
    running = {day for cause, day in behind.parts if waits(cause, day)}
    days = {day for cause, day in behind.parts if not waits(cause, day)}
    return PendingHours(behind.cursor, sorted(days), sorted(running - days))


def _touched(commit: Commit, computed: Collection[date], today: date) -> Iterator[Part]:
    if commit.metadata.get("topic") != SESSION_EVENTS.topic:
        return
    own, reached = event_days(commit), reached_days(commit)
    # An earlier version did not write down what its sessions reach into.
    before = MARGIN_DAYS if reached is not None else MAX_SESSION_DAYS
    for day in own:
        cause = _PAST if day < today else _RUNNING
        yield cause, day
        for neighbour in (day + timedelta(days=n) for n in range(-before, MARGIN_DAYS + 1)):
            if neighbour in computed:
                yield cause, neighbour
    for day in reached or ():
        from_day = min((later for later in own if later > day), default=day)
        yield (_PAST if from_day < today else _RUNNING), day
