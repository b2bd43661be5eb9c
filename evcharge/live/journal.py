"""Writes session events, without meter values, to Cassandra by station and day. It runs inside Spark's Python workers."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pyarrow as pa

from evcharge.connections import cassandra_cluster, server_down
from evcharge.contracts import SESSION_EVENTS
from evcharge.live.batch_report import TouchedHours
from evcharge.live.cassandra_statements import execute_all, prepared
from evcharge.live.dead_letters import bury
from evcharge.live.refusals import Record, Refusal, of_cassandra, refused_alone, taken_with_care
from evcharge.live.worker import gathered_records, shared_client
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

_EPOCH = datetime.fromtimestamp(0, UTC)
_sessions: dict[str, Session] = {}


@dataclass(frozen=True)
class JournalWriter:
    """Takes the Arrow batches of a task: session-events rows with `occurred_at` in ms.

    With `careful` it also finds the records of a batch at which it fails for no known reason.
    """

    settings: Settings
    careful: bool = False

    def __call__(self, batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        hours = TouchedHours()
        for rows in gathered_records(batches):
            # Filtered here: with the condition in SQL, Spark would parse each message once more.
            events = [row for row in rows if row["event_type"] != LEFT_OUT]
            hours.add(row["occurred_at"] for row in events)
            if refusals := taken_with_care(events, self.take) if self.careful else self.take(events):
                bury(shared_client(self.settings), TABLE, SESSION_EVENTS.topic, refusals)
        yield hours.report()

    def take(self, rows: Sequence[Record]) -> list[Refusal]:
        """Writes the rows; returns those that Cassandra refuses. Raises ServerDownError."""
        if not rows:
            return []
        columns = ("station_id", "day", "occurred_at", *_FIELDS)
        statement = (
            f"INSERT INTO {self.settings.cassandra_keyspace}.{TABLE} ({', '.join(columns)}) "
            f"VALUES ({', '.join('?' * len(columns))})"
        )
        with _journal_session(self.settings) as session:
            # Prepared before any row: a table that is missing is no row's fault.
            prepared(session, statement)

            def insert(part: Sequence[Record]) -> None:
                execute_all(session, statement, map(_parameters, part), in_flight=2)

            return [Refusal(*pair) for pair in refused_alone(rows, insert, of_cassandra)]


def _parameters(row: Record) -> tuple[object, ...]:
    # Added, since `fromtimestamp` raises the operating system's error for a far year, as a lost connection does.
    at = _EPOCH + timedelta(milliseconds=row["occurred_at"])
    return (row["station_id"], at.date(), at, *map(_cell, map(row.get, _FIELDS)))


def _cell(value: object) -> object:
    """The value to bind. A null would be written as a deletion, which costs as much as a value."""
    from cassandra.query import UNSET_VALUE

    return UNSET_VALUE if value is None else value


@contextmanager
def _journal_session(settings: Settings) -> Iterator[Session]:
    """This process's session. Spark keeps the worker process from batch to batch."""
    from cassandra import OperationTimedOut
    from cassandra.cluster import NoHostAvailable

    address = settings.cassandra_contact_points
    try:
        session = _sessions.get(address)
        if session is None:
            # No driver waits for the journal: the queries that drivers wait for go first.
            yield_to_others(BACKGROUND)
            session = _sessions[address] = cassandra_cluster(settings).connect()
        yield session
    except (NoHostAvailable, OperationTimedOut) as error:
        if address in _sessions:
            _sessions.pop(address).cluster.shutdown()
        raise server_down(settings, "cassandra", address, error) from error
