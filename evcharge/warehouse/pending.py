"""Which days of the warehouse are behind the lake: touched by main's commits since they were last loaded."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from datetime import date

from evcharge.connections import clickhouse, clickhouse_errors
from evcharge.contracts import SESSION_EVENTS, STATION_REGISTRY, VEHICLE_TELEMETRY
from evcharge.lake.repository import Repository
from evcharge.settings import Settings
from evcharge.warehouse.load import FACT, NO_DAY, POSITIONS, STATIONS

#: The fact whose days a topic's publications touch.
_FACTS = {SESSION_EVENTS.topic: FACT, VEHICLE_TELEMETRY.topic: POSITIONS}


@dataclass(frozen=True, slots=True)
class Pending:
    """`days` of sessions and `positions`, days of cars' positions, to load, whether the stations are to load, and main's
    head that all refer to."""

    head: str
    days: list[date]
    stations: bool
    positions: list[date] = field(default_factory=list)

    @property
    def nothing(self) -> bool:
        return not self.days and not self.stations and not self.positions


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
    days, positions = ([day for table, day in behind if table == fact] for fact in (FACT, POSITIONS))
    return Pending(head, days, (STATIONS, NO_DAY) in behind, positions)


def _touched(metadata: dict[str, str]) -> list[tuple[str, date]]:
    topic = metadata.get("topic")
    if topic == STATION_REGISTRY.topic:
        return [(STATIONS, NO_DAY)]
    fact = _FACTS.get(topic or "")
    return [(fact, date.fromisoformat(day)) for day in json.loads(metadata.get("event_dates", "[]"))] if fact else []
