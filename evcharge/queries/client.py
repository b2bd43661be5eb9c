"""The client for the three questions, over connections that stay open: for commands, a web page and the benchmark."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from http import HTTPStatus
from threading import Lock
from typing import TYPE_CHECKING, Self

from elasticsearch import ApiError, Elasticsearch, NotFoundError

from evcharge.connections import cassandra, elasticsearch, elasticsearch_errors, server_down
from evcharge.errors import UserError
from evcharge.live.stream_status import QueryStatus, read_status
from evcharge.queries.availability import read_station
from evcharge.queries.freshness import Freshness, freshness, heard_since
from evcharge.queries.nearby import NearbyAnswer, NearbyQuestion, nearby
from evcharge.queries.station import StationAnswer, day_of_station, station_document, station_now
from evcharge.queries.traffic import TrafficAnswer, TrafficQuestion, traffic
from evcharge.settings import Settings

if TYPE_CHECKING:
    from cassandra.cluster import Session

#: A status that was read is used for this long: the stream renews it once a second.
STATUS_KEPT_S = 1.0


class Queries:
    """Answers the questions. Keep one open in a process that answers often, and close it; any number of threads may use it.

    Every question raises UserError if it cannot be answered, ServerDownError if a server does not answer. `now` is for
    tests.
    """

    def __init__(self, settings: Settings, client: Elasticsearch | None = None) -> None:
        """Opens a connection when a question first needs it. A given `client` stays open when this object closes."""
        refuse_small(settings)
        self.settings = settings
        self._open = ExitStack()
        self._client = client or self._open.enter_context(elasticsearch(settings))
        self._session: Session | None = None
        self._connecting = Lock()
        self._statuses: dict[str, tuple[float, QueryStatus | None]] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Closes the connections that this object opened."""
        self._open.close()
        self._session = None

    def nearby(self, question: NearbyQuestion, now: datetime | None = None) -> NearbyAnswer:
        """Which stations are near, and which of them are free."""
        now = now or datetime.now(UTC)
        with _elasticsearch_errors(self.settings):
            fresh = self._freshness("stations", now)
            return nearby(self._client, question, fresh, heard_since(self.settings, now))

    def station(self, station_id: str, now: datetime | None = None) -> StationAnswer:
        """What a station does now, and its day compared with a typical day."""
        now = now or datetime.now(UTC)
        with _elasticsearch_errors(self.settings):
            fresh = self._freshness("stations", now)
            document = station_document(self._client, station_id, "evses", "sessions")
        answer = station_now(document, fresh, heard_since(self.settings, now))
        with _cassandra_errors(self.settings):
            return replace(answer, today=day_of_station(self.settings, self._cassandra(), answer, now))

    def traffic(self, question: TrafficQuestion, now: datetime | None = None) -> TrafficAnswer:
        """Which cars are near a station, and which head for it."""
        now = now or datetime.now(UTC)
        with _elasticsearch_errors(self.settings):
            fresh, cars_fresh = self._freshness("stations", now), self._freshness("vehicles", now)
            document = station_document(self._client, question.station_id)
            station = read_station(document, fresh, heard_since(self.settings, now))
            return traffic(self._client, question, station, fresh, cars_fresh)

    def _freshness(self, query: str, now: datetime) -> Freshness:
        asked_at, status = self._statuses.get(query, (float("-inf"), None))
        if time.monotonic() - asked_at > STATUS_KEPT_S:
            status = read_status(self._client, query)
            self._statuses[query] = (time.monotonic(), status)
        return freshness(status, now)

    def _cassandra(self) -> Session:
        with self._connecting:
            if self._session is None:
                self._session = self._open.enter_context(cassandra(self.settings))
            return self._session


def refuse_small(settings: Settings) -> None:
    """Raises UserError on a platform that runs without the servers that have the answers."""
    if settings.profile == "small" and not settings.is_external("elasticsearch"):
        raise UserError(
            "this platform runs with EVCHARGE_PROFILE=small, without Elasticsearch and Cassandra, which answer this; "
            "`make up` without PROFILE=small adds them"
        )


@contextmanager
def _elasticsearch_errors(settings: Settings) -> Iterator[None]:
    """Turns errors into ServerDownError if the server is down or not ready, into UserError if it has no live state."""
    try:
        with elasticsearch_errors(settings):
            yield
    except NotFoundError as error:
        raise UserError(
            "there is no live state yet: `evcharge stream`, or the job live_stream in Dagster, computes it"
        ) from error
    except ApiError as error:
        if error.meta.status < 500 and error.meta.status != HTTPStatus.TOO_MANY_REQUESTS:
            raise
        raise server_down(settings, "elasticsearch", settings.elasticsearch_url, error) from error


@contextmanager
def _cassandra_errors(settings: Settings) -> Iterator[None]:
    """Turns errors on an open session into ServerDownError, and missing tables into UserError."""
    from cassandra import DriverException, InvalidRequest
    from cassandra.cluster import NoHostAvailable

    try:
        yield
    except InvalidRequest as error:
        raise UserError("there is no hourly usage in Cassandra yet: `make up` makes its tables") from error
    except (DriverException, NoHostAvailable) as error:
        raise server_down(settings, "cassandra", settings.cassandra_contact_points, error) from error
