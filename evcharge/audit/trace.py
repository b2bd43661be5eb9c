"""Follows one session through every store: its events and their Kafka offsets, branch, commit, Dagster run, fact row."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from evcharge.connections import clickhouse, clickhouse_errors
from evcharge.contracts import SESSION_EVENTS
from evcharge.errors import UserError
from evcharge.gathering import scanned
from evcharge.lake.repository import Repository
from evcharge.lake.rows import archive_dataset, raw_prefixes
from evcharge.settings import Settings
from evcharge.warehouse.tables import ENDS


@dataclass(frozen=True, slots=True)
class Trace:
    """What each store knows of a session. `events` are in their order, with those that do not count."""

    station_id: str
    session_id: str
    events: list[dict[str, Any]]
    publications: list[dict[str, str]]
    fact: dict[str, Any] | None


def trace(settings: Settings, session_id: str, station_id: str | None = None) -> Trace | None:
    """The session's path through the platform; None if no store knows it.

    Raises ServerDownError, and UserError that names the stations where several have a session of this id.
    """
    repository = Repository(settings)
    head = repository.head().id
    here = "session_id = %(session)s" + ("" if station_id is None else " AND station_id = %(station)s")
    session = {"session": session_id, "station": station_id}
    with clickhouse_errors(settings):
        client = clickhouse(settings)
        rows, columns = client.execute(
            f"SELECT * FROM v_charging_sessions WHERE {here}", session, with_column_types=True
        )
        ends = client.execute(f"SELECT DISTINCT ended_on FROM {ENDS} WHERE {here}", session)
    facts = [dict(zip((name for name, _ in columns), row, strict=True)) for row in rows]
    events = _events(repository, head, session_id, _days(facts[0], ends) if len(facts) == 1 else None)
    stations = {event["station_id"] for event in events} | {fact["station_id"] for fact in facts}
    if station_id is not None:
        stations &= {station_id}
    if not stations:
        return None
    if len(stations) > 1:
        names = ", ".join(sorted(stations))
        raise UserError(f"several stations have a session {session_id}: {names}. Choose one with --station")
    (station_id,) = stations
    events = [event for event in events if event["station_id"] == station_id]
    wanted = {event["publication_id"] for event in events}
    publications = []
    for commit in repository.log(head):
        if commit.metadata.get("publication_id") in wanted:
            wanted.discard(commit.metadata["publication_id"])
            publications.append(
                {"lake_commit": commit.id, "merged_at": commit.created_at.isoformat(), **commit.metadata}
            )
        if not wanted:
            break
    return Trace(station_id, session_id, events, publications, facts[0] if facts else None)


def _days(fact: dict[str, Any], ends: list[tuple[date]]) -> list[str]:
    """The UTC days of the session's events: from its arrival in the queue to its end, and those of ends that do not count."""
    first = (fact["started_at"] - timedelta(seconds=fact["queue_wait_s"] or 0)).date()
    count = (fact["ended_at"].date() - first).days + 1
    days = {first + timedelta(days=n) for n in range(count)} | {day for (day,) in ends}
    return [day.isoformat() for day in sorted(days)]


def _events(repository: Repository, commit: str, session_id: str, days: list[str] | None) -> list[dict[str, Any]]:
    files = archive_dataset(repository, commit, raw_prefixes(SESSION_EVENTS.topic, days))
    if files is None:
        return []
    columns = (
        *("station_id", "sequence", "event_type", "occurred_at", "energy_delivered_kwh", "kafka_partition"),
        *("kafka_offset", "publication_id"),
    )
    wanted = pc.field("session_id") == session_id
    batches = [rows for rows in scanned(files, list(columns), wanted) if rows.num_rows]
    if not batches:
        return []
    return (
        pa.Table.from_batches(batches).sort_by([("sequence", "ascending"), ("kafka_offset", "ascending")]).to_pylist()
    )
