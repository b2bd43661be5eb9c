"""Which days of the warehouse are behind the lake: touched by main's commits since they were last loaded."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import date

from evcharge.connections import clickhouse, clickhouse_errors
from evcharge.contracts import SESSION_EVENTS, STATION_REGISTRY
from evcharge.lake.repository import Repository
from evcharge.settings import Settings
from evcharge.warehouse.load import FACT, NO_DAY, STATIONS


@dataclass(frozen=True, slots=True)
class Pending:
    """`days` of the fact to load, whether the stations are to load, and main's head that both refer to."""

    head: str
    days: list[date]
    stations: bool

    @property
    def nothing(self) -> bool:
        return not self.days and not self.stations


def pending_loads(settings: Settings, repository: Repository, since: str | None = None) -> Pending:
    """Days and stations that main's commits after `since` touched and `loaded_day` does not cover.

    `since` (a commit at which nothing was pending) is only a shortcut: None reads the whole log. Raises ServerDownError.
    """
    head = repository.head().id
    with clickhouse_errors(settings):
        loaded = clickhouse(settings).execute("SELECT table_name, date, lake_commit FROM loaded_day FINAL")
    if not loaded:
        # a warehouse that lost its data, or was made anew: the shortcut speaks of another one
        since = None
    touched: dict[tuple[str, date], int] = {}
    position: dict[str, int] = {}
    for age, commit in enumerate(repository.log(head, stop_at=since)):
        position[commit.id] = age
        for table, day in _touched(commit.metadata):
            touched.setdefault((table, day), age)
    # A load from a commit older than the window, or unknown to it, does not cover what the window touched.
    loaded_age = {(table, day): position.get(commit, len(position)) for table, day, commit in loaded}
    behind = sorted(key for key, age in touched.items() if loaded_age.get(key, len(position)) > age)
    return Pending(head, [day for table, day in behind if table == FACT], (STATIONS, NO_DAY) in behind)


def _touched(metadata: dict[str, str]) -> list[tuple[str, date]]:
    topic = metadata.get("topic")
    if topic == STATION_REGISTRY.topic:
        return [(STATIONS, NO_DAY)]
    if topic == SESSION_EVENTS.topic:
        return [(FACT, date.fromisoformat(day)) for day in json.loads(metadata.get("event_dates", "[]"))]
    return []
