"""Writes session events, without meter values, to Cassandra by station and day. It runs inside Spark's Python workers."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pyarrow as pa

from evcharge.connections import cassandra_cluster, server_down
from evcharge.live.batch_report import TouchedHours
from evcharge.live.cassandra_statements import execute_all
from evcharge.live.worker import gathered
from evcharge.priority import BACKGROUND, yield_to_others
from evcharge.settings import Settings

if TYPE_CHECKING:
    from cassandra.cluster import Session

TABLE = "station_events_by_day"
#: The event type that the journal leaves out: meter values are many, and the lake has them.
LEFT_OUT = "meter"

_FIELDS = (
    *("event_id", "event_type", "session_id", "evse_id", "ev_id", "power_kw", "energy_delivered_kwh"),
    *("state_of_charge", "reason"),
)

_sessions: dict[str, Session] = {}


@dataclass(frozen=True)
class JournalWriter:
    """Takes the Arrow batches of a task: session-events rows with `occurred_at` in ms."""

    settings: Settings

    def __call__(self, batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        columns = ("station_id", "day", "occurred_at", *_FIELDS)
        statement = (
            f"INSERT INTO {self.settings.cassandra_keyspace}.{TABLE} ({', '.join(columns)}) "
            f"VALUES ({', '.join('?' * len(columns))})"
        )
        hours = TouchedHours()
        for rows in gathered(batches):
            # Filtered here: with the condition in SQL, Spark would parse each message once more.
            events = [row for row in rows if row["event_type"] != LEFT_OUT]
            hours.add(row["occurred_at"] for row in events)
            parameters = []
            for row in events:
                at = datetime.fromtimestamp(row["occurred_at"] / 1000, UTC)
                parameters.append((row["station_id"], at.date(), at, *map(_cell, map(row.get, _FIELDS))))
            if parameters:
                _execute(self.settings, statement, parameters)
        yield hours.report()


def _cell(value: object) -> object:
    """The value to bind. A null would be written as a deletion, which costs as much as a value."""
    from cassandra.query import UNSET_VALUE

    return UNSET_VALUE if value is None else value


def _execute(settings: Settings, statement: str, parameters: list[tuple[object, ...]]) -> None:
    """Executes on this process's session. Spark keeps the worker process from batch to batch."""
    from cassandra.cluster import NoHostAvailable

    address = settings.cassandra_contact_points
    try:
        session = _sessions.get(address)
        if session is None:
            # No driver waits for the journal: the queries that drivers wait for go first.
            yield_to_others(BACKGROUND)
            session = _sessions[address] = cassandra_cluster(settings).connect()
        execute_all(session, statement, parameters, in_flight=2)
    except NoHostAvailable as error:
        if address in _sessions:
            _sessions.pop(address).cluster.shutdown()
        raise server_down(settings, "cassandra", address, error) from error
