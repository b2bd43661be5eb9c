"""Writes session events, without meter values, to Cassandra by station and day; runs inside Spark's Python workers."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pyarrow as pa

from evcharge.connections import cassandra_cluster, server_down
from evcharge.live.batch_report import TouchedHours
from evcharge.live.hours import execute_all
from evcharge.live.worker import gathered
from evcharge.priority import BACKGROUND, yield_to_others
from evcharge.settings import Settings

if TYPE_CHECKING:
    from cassandra.cluster import Session

TABLE = "station_events_by_day"
#: Meter values are many, and the lake has them.
LEFT_OUT = "meter"

_FIELDS = (
    *("event_id", "event_type", "session_id", "evse_id", "ev_id", "power_kw", "energy_delivered_kwh"),
    *("state_of_charge", "reason"),
)

_sessions: dict[str, Session] = {}


@dataclass(frozen=True)
class JournalWriter:
    """Call it with the Arrow batches of a task: session-events rows with `occurred_at` as ms."""

    settings: Settings

    def __call__(self, batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        columns = ("station_id", "day", "occurred_at", *_FIELDS)
        statement = (
            f"INSERT INTO {self.settings.cassandra_keyspace}.{TABLE} ({', '.join(columns)}) "
            f"VALUES ({', '.join('?' * len(columns))})"
        )
        hours = TouchedHours()
        for rows in gathered(batches):
            # here and not in SQL, where the condition would have each message parsed once more
            told = [row for row in rows if row["event_type"] != LEFT_OUT]
            hours.add(row["occurred_at"] for row in told)
            parameters = []
            for row in told:
                at = datetime.fromtimestamp(row["occurred_at"] / 1000, UTC)
                parameters.append((row["station_id"], at.date(), at, *map(_cell, map(row.get, _FIELDS))))
            if parameters:
                _execute(self.settings, statement, parameters)
        yield hours.report()


def _cell(value: object) -> object:
    """A null would be written as a deletion, which costs as much as a value."""
    from cassandra.query import UNSET_VALUE

    return UNSET_VALUE if value is None else value


def _execute(settings: Settings, statement: str, parameters: list[tuple[object, ...]]) -> None:
    """Executes on the worker's own session, which Spark keeps from batch to batch."""
    from cassandra.cluster import NoHostAvailable

    address = settings.cassandra_contact_points
    try:
        session = _sessions.get(address)
        if session is None:
            # no driver waits for the journal: what they do wait for goes first
            yield_to_others(BACKGROUND)
            session = _sessions[address] = cassandra_cluster(settings).connect()
        execute_all(session, statement, parameters, in_flight=2)
    except NoHostAvailable as error:
        if address in _sessions:
            _sessions.pop(address).cluster.shutdown()
        raise server_down(settings, "cassandra", address, error) from error
