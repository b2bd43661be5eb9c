"""Which days of the warehouse are behind the lake: main's commits touched them since they were last loaded."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import date

from evcharge.connections import clickhouse, clickhouse_errors
from evcharge.contracts import SESSION_EVENTS, STATION_REGISTRY, VEHICLE_TELEMETRY
from evcharge.lake.repository import Commit, Repository
from evcharge.lake.touched_days import event_days, touched_since_computed
from evcharge.settings import Settings
from evcharge.warehouse.tables import FACT, NO_DAY, POSITIONS, STATIONS

#: The table whose days a topic's publications touch.
_TABLES_BY_DAY = {SESSION_EVENTS.topic: FACT, VEHICLE_TELEMETRY.topic: POSITIONS}


@dataclass(frozen=True, slots=True)
class Pending:
    """What to load as of main's `head`: days of sessions, the stations or not, and days of cars' positions."""

    head: str
    days: list[date]
    stations: bool
    positions: list[date] = field(default_factory=list)

    @property
    def nothing(self) -> bool:
        return not self.days and not self.stations and not self.positions


def pending_loads(settings: Settings, repository: Repository, since: str | None = None) -> Pending:
    """Days and stations that main's commits after `since` touched and `loaded_day` does not cover.

    `since` is a commit at which nothing was pending. It only saves reading: None reads the whole log. Raises
    ServerDownError.
    """
    head = repository.head().id
    with clickhouse_errors(settings):
        rows = clickhouse(settings).execute("SELECT table_name, date, lake_commit FROM loaded_day FINAL")
    loaded_from = {(table, day): commit for table, day, commit in rows}
    behind = touched_since_computed(repository, head, _touched, loaded_from, since)
    days, positions = ([day for table, day in behind if table == wanted] for wanted in (FACT, POSITIONS))
    return Pending(head, days, (STATIONS, NO_DAY) in behind, positions)


def _touched(commit: Commit) -> list[tuple[str, date]]:
    topic = commit.metadata.get("topic", "")
    if topic == STATION_REGISTRY.topic:
        return [(STATIONS, NO_DAY)]
    table = _TABLES_BY_DAY.get(topic)
    return [(table, day) for day in event_days(commit)] if table else []
