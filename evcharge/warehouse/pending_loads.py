"""Which days of the warehouse are behind the lake: main's commits touched them since they were last loaded."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, date, datetime

from evcharge.connections import clickhouse, clickhouse_errors
from evcharge.contracts import SESSION_EVENTS, STATION_REGISTRY, VEHICLE_TELEMETRY
from evcharge.lake.repository import Commit, Repository
from evcharge.lake.touched_days import Mark, Part, behind_main, event_days
from evcharge.settings import Settings
from evcharge.warehouse.tables import FACT, NO_DAY, POSITIONS, STATIONS

#: The table whose days a topic's publications touch.
_TABLES_BY_DAY = {SESSION_EVENTS.topic: FACT, VEHICLE_TELEMETRY.topic: POSITIONS}


@dataclass(frozen=True, slots=True)
class Pending:
    """What to load: days of sessions, the stations or not, and days of cars' positions.

    `later` has the days that have rows but have not begun: producers' clocks may be ahead. `cursor` is for the next question.
    """

    cursor: str
    days: list[date]
    stations: bool
    positions: list[date] = field(default_factory=list)
    later: list[date] = field(default_factory=list)

    @property
    def nothing(self) -> bool:
        """Whether there is nothing to load now."""
        return not self.days and not self.stations and not self.positions


def pending_loads(
    settings: Settings, repository: Repository, since: str | None = None, now: datetime | None = None
) -> Pending:
    """Days and stations that main's commits touched and `loaded_day` does not cover.

    `since` is the cursor of an earlier answer. It only saves reading. Raises ServerDownError.
    """
    head = repository.head().id
    behind = behind_main(repository, head, _touched, loaded_days(settings), since)
    today = (now or datetime.now(UTC)).date()
    days, positions = ([day for table, day in behind.parts if table == wanted] for wanted in (FACT, POSITIONS))
    return Pending(
        behind.cursor,
        [day for day in days if day <= today],
        (STATIONS, NO_DAY) in behind.parts,
        [day for day in positions if day <= today],
        sorted({day for day in (*days, *positions) if day > today}),
    )


def loaded_days(settings: Settings) -> dict[Part, Mark]:
    """The marks in `loaded_day`. Raises ServerDownError."""
    with clickhouse_errors(settings):
        rows = clickhouse(settings).execute("SELECT table_name, date, lake_commit, loaded_at FROM loaded_day FINAL")
    return {(table, day): Mark(commit, loaded_at) for table, day, commit, loaded_at in rows}


def _touched(commit: Commit) -> list[Part]:
    topic = commit.metadata.get("topic", "")
    if topic == STATION_REGISTRY.topic:
        return [(STATIONS, NO_DAY)]
    table = _TABLES_BY_DAY.get(topic)
    return [(table, day) for day in event_days(commit)] if table else []
