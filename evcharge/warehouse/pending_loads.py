"""Which days of the warehouse are behind the lake: main's commits touched them since they were last loaded."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta

from evcharge.connections import clickhouse, clickhouse_errors
from evcharge.contracts import SESSION_EVENTS, STATION_REGISTRY, VEHICLE_TELEMETRY
from evcharge.lake.repository import Commit, Repository
from evcharge.lake.touched_days import Mark, Part, behind_main, event_days
from evcharge.settings import Settings
from evcharge.warehouse.tables import FACT, NO_DAY, POSITIONS, STATIONS

#: The table whose days a topic's publications touch.
_TABLES_BY_DAY = {SESSION_EVENTS.topic: FACT, VEHICLE_TELEMETRY.topic: POSITIONS}


#: The running day of cars' positions is loaded at most this often. A load replaces whole days, every publication touches
#: this day, and its telemetry grows to a million messages and more.
RUNNING_DAY_EVERY = timedelta(minutes=10)


@dataclass(frozen=True, slots=True)
class Pending:
    """What to load: days of sessions, the stations or not, and days of cars' positions.

    `later` has the days that have rows but have not begun: producers' clocks may be ahead. The running day of positions waits
    as well, if it was loaded lately. `left` counts the days and tables that are left to a run. `cursor` is for the next
    question; after an answer that left some, the cursor of the question before serves as well and knows whose they are.
    """

    cursor: str
    days: list[date]
    stations: bool
    positions: list[date] = field(default_factory=list)
    later: list[date] = field(default_factory=list)
    left: int = 0

    @property
    def nothing(self) -> bool:
        """Whether there is nothing to load now."""
        return not self.days and not self.stations and not self.positions


def pending_loads(
    settings: Settings,
    repository: Repository,
    since: str | None = None,
    now: datetime | None = None,
    up_to: str | None = None,
    left_to: str | None = None,
) -> Pending:
    """Days and stations that main's commits touched and `loaded_day` does not cover.

    `since` is the cursor of an earlier answer. It only saves reading. With `up_to`, the id of a commit on main, later commits
    do not count. What the run `left_to` touched last is left to that run. Raises ServerDownError.
    """
    head = repository.head().id
    touched = _touched if up_to is None else _touched_up_to(up_to)
    marks = loaded_days(settings)
    behind = behind_main(repository, head, touched, marks, since)
    now = now or datetime.now(UTC)
    days, stations, later, left = dict[str, list[date]]({FACT: [], POSITIONS: []}), False, set[date](), 0
    for part in behind.parts:
        table, day = part
        if left_to is not None and behind.last_run.get(part) == left_to:
            left += 1
        elif table == STATIONS:
            stations = True
        elif day > now.date():
            later.add(day)
        elif may_load(table, day, marks, now):
            days[table].append(day)
    return Pending(behind.cursor, days[FACT], stations, days[POSITIONS], sorted(later), left)


def may_load(table: str, day: date, marks: Mapping[Part, Mark], now: datetime) -> bool:
    """Whether a day may be loaded again: not so the running day of positions, if it was loaded lately."""
    mark = marks.get((table, day))
    return table != POSITIONS or day != now.date() or mark is None or now - mark.written_at >= RUNNING_DAY_EVERY


def loaded_days(settings: Settings) -> dict[Part, Mark]:
    """The marks in `loaded_day`. Raises ServerDownError."""
    with clickhouse_errors(settings):
        rows = clickhouse(settings).execute("SELECT table_name, date, lake_commit, loaded_at FROM loaded_day FINAL")
    return {(table, day): Mark(commit, loaded_at) for table, day, commit, loaded_at in rows}


def _touched_up_to(last: str) -> Callable[[Commit], list[Part]]:
    """`_touched` for a log that is read from its newest commit on, without the commits after `last`."""
    reached = False

    def touched(commit: Commit) -> list[Part]:
        nonlocal reached
        reached = reached or commit.id == last
        return _touched(commit) if reached else []

    return touched


def _touched(commit: Commit) -> list[Part]:
    topic = commit.metadata.get("topic", "")
    if topic == STATION_REGISTRY.topic:
        return [(STATIONS, NO_DAY)]
    table = _TABLES_BY_DAY.get(topic)
    return [(table, day) for day in event_days(commit)] if table else []
