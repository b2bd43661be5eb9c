"""The client for all questions, over connections that stay open: for commands, a web page and the benchmark."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from http import HTTPStatus
from threading import Lock
from typing import TYPE_CHECKING, Any, Self

from elasticsearch import ApiError, Elasticsearch, NotFoundError

from evcharge.connections import cassandra, elasticsearch, elasticsearch_errors, server_down
from evcharge.errors import UserError
from evcharge.forecast.model import Model
from evcharge.forecast.model_store import ModelReader, newest_score
from evcharge.forecast.published import published
from evcharge.live.stream_status import QueryStatus, read_status
from evcharge.queries.availability import Station, read_station
from evcharge.queries.box import Box
from evcharge.queries.changes import Changes, Cursor, begin, changes
from evcharge.queries.ev_models import EvModels, EvModelsKept
from evcharge.queries.forecast import ForecastAnswer, ForecastQuestion, Waits, forecast, likely_free, waits
from evcharge.queries.freshness import Freshness, freshness, heard_since
from evcharge.queries.history import HistoryAnswer, history
from evcharge.queries.map import MapAnswer, MapQuestion, map_view, networks
from evcharge.queries.nearby import NearbyAnswer, NearbyQuestion, nearby
from evcharge.queries.network import NetworkAnswer, NetworkQuestion, network
from evcharge.queries.network_facts import NetworkFacts
from evcharge.queries.places import PlacesAnswer, places
from evcharge.queries.routing import RoutingEngine
from evcharge.queries.station import StationAnswer, day_of_station, known_zone, station_document, station_now
from evcharge.queries.status import PATIENCE_S, StatusAnswer, StatusReader
from evcharge.queries.traffic import TrafficAnswer, TrafficQuestion, traffic
from evcharge.queries.trip import TripAnswer, TripQuestion, trip
from evcharge.queries.vehicles import Vehicle, VehiclesAnswer, VehiclesQuestion, vehicle, vehicles
from evcharge.settings import Settings
from evcharge.trips import gazetteer, roads

if TYPE_CHECKING:
    from cassandra.cluster import Session

#: What Elasticsearch says of a field that an index of an older format does not have in this way.
_NO_COLUMN = ("since it is not indexed", "Can't load fielddata", "Fielddata is disabled")
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
        self._read_model = ModelReader()
        self._models = EvModelsKept(settings)
        url = settings.routing_url
        self._engine = RoutingEngine(url, settings.routing_kind or None) if url else None
        self._facts = NetworkFacts(settings)
        self._status = StatusReader(settings)
        self._statuses: dict[str, tuple[float, QueryStatus | None]] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Closes the connections that this object opened."""
        self._status.close()
        self._open.close()
        self._session = None

    def nearby(self, question: NearbyQuestion, now: datetime | None = None) -> NearbyAnswer:
        """Which stations are near, and which of them are free."""
        now = now or datetime.now(UTC)
        with _elasticsearch_errors(self.settings):
            fresh = self._freshness("stations", now)
            return nearby(self._client, question, fresh, heard_since(self.settings, now))

    def station(self, station_id: str, now: datetime | None = None, *, with_day: bool = True) -> StationAnswer:
        """What a station does now, and `with_day` its day compared with a typical day, for which Cassandra is asked."""
        now = now or datetime.now(UTC)
        with _elasticsearch_errors(self.settings):
            fresh = self._freshness("stations", now)
            document = station_document(self._client, station_id, "evses", "sessions")
        answer = station_now(document, fresh, heard_since(self.settings, now))
        if not with_day:
            return answer
        with _cassandra_errors(self.settings):
            return replace(answer, today=day_of_station(self.settings, self._cassandra(), answer, now))

    def traffic(
        self, question: TrafficQuestion, now: datetime | None = None, *, station: Station | None = None
    ) -> TrafficAnswer:
        """Which cars are near a station, and which head for it. A `station` that was just read is not read again."""
        now = now or datetime.now(UTC)
        with _elasticsearch_errors(self.settings):
            fresh, cars_fresh = self._freshness("stations", now), self._freshness("vehicles", now)
            if station is None:
                document = station_document(self._client, question.station_id)
                station = read_station(document, fresh, heard_since(self.settings, now))
            return traffic(self._client, question, station, fresh, cars_fresh)

    def forecast(self, question: ForecastQuestion, now: datetime | None = None) -> ForecastAnswer:
        """Whether a fitting outlet will be free later, and how long a driver will wait."""
        now = now or datetime.now(UTC)
        with _elasticsearch_errors(self.settings):
            fresh = self._freshness("stations", now)
            return forecast(self._client, self.model(), question, fresh, heard_since(self.settings, now))

    def waits(
        self,
        station_ids: Sequence[str],
        connector_type: str | None = None,
        min_power_kw: float | None = None,
        now: datetime | None = None,
    ) -> Waits:
        """The outlooks of many stations at once, for a trip: `waits[station_id].wait_s(minutes)`."""
        now = now or datetime.now(UTC)
        with _elasticsearch_errors(self.settings):
            fresh, since = self._freshness("stations", now), heard_since(self.settings, now)
            return waits(self._client, self.model(), station_ids, connector_type, min_power_kw, fresh, since)

    def likely_free(
        self,
        stations: Sequence[Station],
        time_zones: Sequence[str | None],
        in_minutes: float,
        now: datetime | None = None,
    ) -> list[float | None]:
        """The chance of each station that one of its listed outlets is free then; None where no outlet's state is known."""
        return likely_free(self.model(), stations, time_zones, in_minutes, now or datetime.now(UTC))

    def model(self) -> Model:
        """The forecast's newest model. It is read again when a newer one was saved."""
        with _elasticsearch_errors(self.settings):
            return self._read_model(self._client)

    def forecast_score(self) -> dict[str, Any]:
        """How good the forecasts are: `platform`, the newest score of this platform's own (null before two days of sessions),
        and `published`, this version's scores on recordings and on the simulator's truth."""
        with _elasticsearch_errors(self.settings):
            return {"platform": newest_score(self._client), "published": published()}

    def trip(self, question: TripQuestion, now: datetime | None = None) -> TripAnswer:
        """The quickest way to somewhere by an electric car, with its stops to charge and the waits there."""
        now = now or datetime.now(UTC)
        self.load_trips()
        models = self._models.get()
        with _elasticsearch_errors(self.settings):
            fresh, since = self._freshness("stations", now), heard_since(self.settings, now)
            return trip(self._client, question, models, self.model(), self._engine, fresh, since)

    def places(self, text: str, limit: int = 8) -> PlacesAnswer:
        """Places that begin with a text, for a search box."""
        gazetteer.load(self.settings.cache / "trips")
        with _elasticsearch_errors(self.settings):
            return places(self._client, text, limit)

    def load_trips(self) -> None:
        """Loads places and roads now, for a server: the first trip does not wait for them."""
        gazetteer.load(self.settings.cache / "trips")
        roads.load(self.settings.cache / "trips")

    def ev_models(self) -> EvModels:
        """The EV models that a trip can be planned for. Without MongoDB they are the bundled ones."""
        return self._models.get()

    def map(self, question: MapQuestion, now: datetime | None = None) -> MapAnswer:
        """The stations of a map's view, or clusters of them."""
        now = now or datetime.now(UTC)
        with _elasticsearch_errors(self.settings):
            fresh = self._freshness("stations", now)

            def chances(stations: Sequence[Station], zones: Sequence[str | None], minutes: float) -> list[float | None]:
                return self.likely_free(stations, zones, minutes, now)

            return map_view(self._client, question, chances, fresh, heard_since(self.settings, now))

    def networks(self) -> list[tuple[str, int]]:
        """The networks that current stations are of, with their number of stations, the largest first."""
        with _elasticsearch_errors(self.settings):
            return networks(self._client)

    def network(self, question: NetworkQuestion, now: datetime | None = None) -> NetworkAnswer:
        """How a network of stations is used, what fails, and how well it is known."""
        now = now or datetime.now(UTC)
        return network(self._facts.get(now), question, now)

    def history(self, station_id: str, now: datetime | None = None) -> HistoryAnswer:
        """A station's last thirty local days."""
        now = now or datetime.now(UTC)
        with _elasticsearch_errors(self.settings):
            document = station_document(self._client, station_id)
        outlets = sum(group["total"] for group in document["outlets"])
        with _cassandra_errors(self.settings):
            zone = known_zone(document["time_zone"])
            return history(self.settings, self._cassandra(), station_id, zone, outlets, now)

    def status(self, now: datetime | None = None) -> StatusAnswer:
        """How the platform is. What does not answer is said to be down; nothing is raised for it."""
        return self._status.read(self._client, self._cassandra_answers, now or datetime.now(UTC))

    def changes(
        self,
        cursor: Cursor | None,
        boxes: Iterable[Box] = (),
        station_ids: Iterable[str] = (),
        vehicle_ids: Iterable[str] = (),
        now: datetime | None = None,
    ) -> Changes:
        """What changed in the boxes, and of the stations and cars with these ids, since the answer that `cursor` is from.

        Without a cursor nothing has changed yet.
        """
        now = now or datetime.now(UTC)
        with _elasticsearch_errors(self.settings):
            fresh, cars_fresh = self._freshness("stations", now), self._freshness("vehicles", now)
            since = heard_since(self.settings, now)
            if cursor is None:
                return Changes(begin(self._client), (), (), fresh, cars_fresh, since)
            return changes(self._client, cursor, boxes, station_ids, vehicle_ids, fresh, cars_fresh, since)

    def vehicles(self, question: VehiclesQuestion, now: datetime | None = None) -> VehiclesAnswer:
        """The connected cars in a box."""
        with _elasticsearch_errors(self.settings):
            return vehicles(self._client, question, self._freshness("vehicles", now or datetime.now(UTC)))

    def vehicle(self, vehicle_id: str, now: datetime | None = None) -> Vehicle:
        """One connected car, where it last said it was."""
        with _elasticsearch_errors(self.settings):
            return vehicle(self._client, vehicle_id, self._freshness("vehicles", now or datetime.now(UTC)))

    def _freshness(self, query: str, now: datetime) -> Freshness:
        asked_at, status = self._statuses.get(query, (float("-inf"), None))
        if time.monotonic() - asked_at > STATUS_KEPT_S:
            status = read_status(self._client, query)
            self._statuses[query] = (time.monotonic(), status)
        return freshness(status, now)

    def _cassandra_answers(self) -> str:
        self._cassandra().execute("SELECT release_version FROM system.local", timeout=PATIENCE_S)
        return ""

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
        if error.meta.status == HTTPStatus.BAD_REQUEST and any(words in str(error.body) for words in _NO_COLUMN):
            raise UserError(
                "the stations' state is that of an older version: the live stream computes it anew, in some minutes"
            ) from error
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
