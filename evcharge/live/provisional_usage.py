"""Copies the hours of the station documents to Cassandra's `usage_provisional`, as absolute values."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from threading import Event
from typing import TYPE_CHECKING, Any

from evcharge.connections import ServerDownError, cassandra_cluster, elasticsearch_errors, server_down
from evcharge.live.indices import documents
from evcharge.live.station_state import HORIZON_MS
from evcharge.live.usage import Hour
from evcharge.live.usage_tables import StationHour, write_provisional
from evcharge.log import log
from evcharge.settings import Settings

if TYPE_CHECKING:
    from cassandra.cluster import Session
    from elasticsearch import Elasticsearch

#: The shortest and the longest pause between two writes. Within these bounds, writing takes a tenth of the time.
EVERY_S = (15.0, 120.0)
#: A document becomes visible up to one refresh after its write, and the writer's clock may differ from this one.
_OVERLAP = timedelta(seconds=5)


class UsageWriter:
    """Writes the hours that changed since the last call, at first all of them. A Cassandra that is down only delays them."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._session: Session | None = None
        self._looked_at: datetime | None = None
        self._written: dict[tuple[str, int], list[int]] = {}

    def keep_written(self, client: Elasticsearch, ended: Event) -> None:
        """Writes the changed hours again and again until `ended` is set."""
        shortest_s, longest_s = EVERY_S
        while not ended.is_set():
            begun = time.monotonic()
            # A write that failed is tried again soon, however long it took.
            took_s = time.monotonic() - begun if self.write_changed(client) else 0.0
            ended.wait(min(max(shortest_s, 9 * took_s), longest_s))

    def write_changed(self, client: Elasticsearch) -> int:
        """Writes the hours that differ from the last ones written; returns how many. Logs a failure; the next call retries."""
        looking_at = datetime.now(UTC)
        try:
            with elasticsearch_errors(self._settings):
                rows = [row for row in self._changed(client) if self._written.get(row[:2]) != row.hour.values()]
            if rows:
                write_provisional(self._settings, self._connected(), rows)
        except ServerDownError as error:
            log.warning("hourly usage waits", reason=str(error))
            return 0
        except Exception as error:
            from cassandra import DriverException
            from cassandra.cluster import NoHostAvailable

            if not isinstance(error, DriverException | NoHostAvailable):
                raise
            self.close()
            log.warning("hourly usage waits", reason=str(error).splitlines()[0][:200])
            return 0
        self._looked_at = looking_at
        self._written |= {row[:2]: row.hour.values() for row in rows}
        oldest_ms = int(looking_at.timestamp() * 1000) - 4 * HORIZON_MS
        self._written = {key: values for key, values in self._written.items() if key[1] >= oldest_ms}
        return len(rows)

    def close(self) -> None:
        if self._session is not None:
            self._session.cluster.shutdown()
            self._session = None

    def _connected(self) -> Session:
        from cassandra.cluster import NoHostAvailable

        if self._session is None:
            try:
                self._session = cassandra_cluster(self._settings).connect()
            except NoHostAvailable as error:
                raise server_down(
                    self._settings, "cassandra", self._settings.cassandra_contact_points, error
                ) from error
        return self._session

    def _changed(self, client: Elasticsearch) -> Iterator[StationHour]:
        conditions: list[dict[str, Any]] = [{"term": {"has_hours": True}}]
        if self._looked_at is not None:
            conditions.append({"range": {"applied_at": {"gte": (self._looked_at - _OVERLAP).isoformat()}}})
        for document in documents(client, {"bool": {"filter": conditions}}, ["station_id", "hours"]):
            for start, values in document["hours"].items():
                yield StationHour(document["station_id"], int(start), Hour(*values))
