"""Follows one session through every store: its events in Kafka's offsets, branch, commit, Dagster run, fact row."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import pyarrow.compute as pc
import pyarrow.dataset as ds

from evcharge.connections import clickhouse, clickhouse_errors, lake_files
from evcharge.contracts import SESSION_EVENTS
from evcharge.lake.layout import raw_prefix
from evcharge.lake.repository import Repository
from evcharge.settings import Settings


@dataclass(frozen=True, slots=True)
class Trace:
    """What each store knows of a session. `events` are in the order of arrival, re-sent ones included."""

    session_id: str
    events: list[dict[str, Any]]
    publications: list[dict[str, str]]
    fact: dict[str, Any] | None


def trace(settings: Settings, session_id: str) -> Trace | None:
    """The session's way through the platform, None if no store knows it. Raises ServerDownError."""
    repository = Repository(settings)
    head = repository.head().id
    with clickhouse_errors(settings):
        rows, columns = clickhouse(settings).execute(
            "SELECT * FROM v_charging_sessions WHERE session_id = %(id)s", {"id": session_id}, with_column_types=True
        )
    fact = dict(zip((name for name, _ in columns), rows[0], strict=True)) if rows else None
    events = _events(settings, repository, head, session_id, fact)
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


def _events(
    settings: Settings, repository: Repository, commit: str, session_id: str, fact: dict[str, Any] | None
) -> list[dict[str, Any]]:
    prefix = raw_prefix(SESSION_EVENTS.topic)
    paths = list(repository.paths(commit, prefix))
    if fact is not None:
        # a session's events lie between its arrival in the queue and its end
        arrived_at = fact["started_at"] - timedelta(seconds=fact["queue_wait_s"] or 0)
        first, last = f"{prefix}event_date={arrived_at:%Y-%m-%d}", f"{prefix}event_date={fact['ended_at']:%Y-%m-%d}~"
        paths = [path for path in paths if first <= path <= last]
    if not paths:
        return []
    data = ds.dataset(
        [f"{repository.name}/{commit}/{path}" for path in paths],
        filesystem=lake_files(settings),
        format="parquet",
        partitioning=None,
    )
    columns = (
        *("sequence", "event_type", "occurred_at", "energy_delivered_kwh", "kafka_partition", "kafka_offset"),
        "publication_id",
    )
    found = data.to_table(columns=list(columns), filter=pc.field("session_id") == session_id)
    return found.sort_by([("sequence", "ascending"), ("kafka_offset", "ascending")]).to_pylist()
