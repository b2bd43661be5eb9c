"""Follows one session through every store: its events and their Kafka offsets, branch, commit, Dagster run, fact row."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import pyarrow.compute as pc

from evcharge.connections import clickhouse, clickhouse_errors
from evcharge.contracts import SESSION_EVENTS
from evcharge.lake.repository import Repository
from evcharge.lake.rows import archive_dataset, raw_prefixes
from evcharge.settings import Settings


@dataclass(frozen=True, slots=True)
class Trace:
    """What each store knows of a session. `events` are in their order, re-sent ones included."""

    session_id: str
    events: list[dict[str, Any]]
    publications: list[dict[str, str]]
    fact: dict[str, Any] | None


def trace(settings: Settings, session_id: str) -> Trace | None:
    """The session's path through the platform; None if no store knows it. Raises ServerDownError."""
    repository = Repository(settings)
    head = repository.head().id
    with clickhouse_errors(settings):
        rows, columns = clickhouse(settings).execute(
            "SELECT * FROM v_charging_sessions WHERE session_id = %(id)s", {"id": session_id}, with_column_types=True
        )
    fact = dict(zip((name for name, _ in columns), rows[0], strict=True)) if rows else None
    events = _events(repository, head, session_id, fact)
    if not events and fact is None:
        return None
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
    return Trace(session_id, events, publications, fact)


def _events(repository: Repository, commit: str, session_id: str, fact: dict[str, Any] | None) -> list[dict[str, Any]]:
    days = None
    if fact is not None:
        # a session's events lie between its arrival in the queue and its end
        first = (fact["started_at"] - timedelta(seconds=fact["queue_wait_s"] or 0)).date()
        count = (fact["ended_at"].date() - first).days + 1
        days = [(first + timedelta(days=n)).isoformat() for n in range(count)]
    files = archive_dataset(repository, commit, raw_prefixes(SESSION_EVENTS.topic, days))
    if files is None:
        return []
    columns = (
        *("sequence", "event_type", "occurred_at", "energy_delivered_kwh", "kafka_partition", "kafka_offset"),
        "publication_id",
    )
    found = files.to_table(columns=list(columns), filter=pc.field("session_id") == session_id)
    return found.sort_by([("sequence", "ascending"), ("kafka_offset", "ascending")]).to_pylist()
