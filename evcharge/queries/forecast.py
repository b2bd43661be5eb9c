"""Whether a fitting outlet will be free later at a station, and how long a driver who comes then will wait."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from elasticsearch import Elasticsearch

from evcharge.contracts.connector_types import answers_to, asked_type
from evcharge.errors import UserError
from evcharge.forecast.at_a_glance import Counts, chances_free
from evcharge.forecast.model import Model
from evcharge.forecast.outlook import LONGEST_MIN, MINUTES, Outlook, Point, never_free, outlook_of
from evcharge.forecast.power_class import power_class, usual_power_kw
from evcharge.forecast.station_now import Car, StationNow
from evcharge.live.evse import BLOCKED, CHARGING
from evcharge.live.indices import STATION_STATE, VEHICLE_POSITION
from evcharge.live.station_document import LISTED_FIELDS
from evcharge.places import distance_km
from evcharge.queries.availability import Availability, Station, read_station
from evcharge.queries.freshness import Freshness, utc_text
from evcharge.queries.station import known_zone, station_document
from evcharge.queries.traffic import CIRCUITY, LEAST_KMH

#: The fields of a station's document that its forecast needs.
FORECAST_FIELDS = ("evses", "sessions")
#: Stations that one question about waits may name.
MAX_STATIONS = 2_000
#: More cars on their way to one station than anyone waits behind.
_MAX_INBOUND = 100
#: A car that navigates to a station comes to charge (assumption: one in ten drives on or is turned back).
_COMES_BY_DESTINATION = 0.9

_DURATION = re.compile(r"(?:(?P<hours>\d+(?:\.\d+)?)\s*h)?\s*(?:(?P<minutes>\d+(?:\.\d+)?)\s*(?:m|min)?)?")


@dataclass(frozen=True, slots=True)
class ForecastQuestion:
    """A station in `in_minutes` (0 to 240; None: the next four hours, every ten minutes).

    `connector` is any name of a connector type, `min_power_kw` (kW) the least power of an outlet. Raises UserError for values
    out of range.
    """

    station_id: str
    in_minutes: float | None = None
    connector: str | None = None
    min_power_kw: float | None = None

    def __post_init__(self) -> None:
        if self.in_minutes is not None and not 0 <= self.in_minutes <= LONGEST_MIN:
            raise UserError(f"in {self.in_minutes:g} minutes: a forecast reaches from 0 to {LONGEST_MIN} minutes ahead")
        if self.min_power_kw is not None and not 0 <= self.min_power_kw < float("inf"):
            raise UserError(f"power {self.min_power_kw:g} kW: it must not be negative")
        if self.connector is not None:
            asked_type(self.connector)

    @property
    def connector_type(self) -> str | None:
        """The connector type in the platform's words."""
        return None if self.connector is None else asked_type(self.connector)


@dataclass(frozen=True, slots=True)
class ForecastAnswer:
    """A station's points in time, the earliest first. `note` says what a driver has to know of them."""

    question: ForecastQuestion
    fresh: Freshness
    station: Station
    outlook: Outlook
    model: Model
    time_zone: str

    @property
    def points(self) -> list[Point]:
        asked = self.question.in_minutes
        return [self.outlook.at(float(minutes)) for minutes in (MINUTES if asked is None else [asked])]

    @property
    def note(self) -> str | None:
        return self.outlook.remark

    def to_json(self) -> dict[str, Any]:
        return {
            **self.fresh.to_json(),
            "note": self.note,
            "station_id": self.station.station_id,
            "station_name": self.station.station_name,
            "time_zone": self.time_zone,
            "connector_type": self.question.connector_type,
            "min_power_kw": self.question.min_power_kw,
            "outlets": self.station.total,
            "source": self.model.source,
            "model": {
                "version": self.model.version,
                "trained_at": self.model.trained_at,
                "trained_on": dict(self.model.trained_on),
            },
            "score": None if self.model.score is None else dict(self.model.score),
            "points": [_point_json(point, self.fresh.now) for point in self.points],
        }


@dataclass
class Waits(Mapping[str, Outlook]):
    """The outlook of each station, computed when it is first asked for: `waits[station_id].wait_s(35.0)`.

    A station that nobody can charge at, or whose outlets do not fit, is never free, and its wait is infinite.
    """

    model: Model
    now: datetime
    stations: Mapping[str, tuple[StationNow, str | None]]
    _found: dict[str, Outlook] = field(default_factory=dict)

    def __getitem__(self, station_id: str) -> Outlook:
        if station_id not in self._found:
            station, remark = self.stations[station_id]
            self._found[station_id] = (
                outlook_of(self.model, station, self.now) if station.outlets else never_free(station_id, remark or "")
            )
        return self._found[station_id]

    def __iter__(self) -> Iterator[str]:
        return iter(self.stations)

    def __len__(self) -> int:
        return len(self.stations)


def minutes_of(text: str) -> float:
    """Minutes from "30m", "1h30m", "2h" or "90". Raises UserError for other texts."""
    found = _DURATION.fullmatch(text.strip().lower())
    if not found or not any(found.groups()):
        raise UserError(f"{text!r} is not a time from now: write 30m, 1h30m or a number of minutes")
    return float(found["hours"] or 0) * 60 + float(found["minutes"] or 0)


def forecast(
    client: Elasticsearch, model: Model, question: ForecastQuestion, fresh: Freshness, heard_since: datetime
) -> ForecastAnswer:
    """Answers with one document and one search for the cars on their way. Raises UserError if no outlet fits."""
    document = station_document(client, question.station_id, *FORECAST_FIELDS)
    inbound = inbound_cars(client, [document], fresh.now)
    station, now, remark = read_forecast(
        document, fresh, heard_since, question.connector_type, question.min_power_kw, inbound
    )
    if not now.outlets and station.is_open:
        raise UserError(remark or "no outlet fits")
    outlook = _outlook(model, now, remark, fresh.now)
    return ForecastAnswer(question, fresh, station, outlook, model, known_zone(document["time_zone"]))


def waits(
    client: Elasticsearch,
    model: Model,
    station_ids: Sequence[str],
    connector_type: str | None,
    min_power_kw: float | None,
    fresh: Freshness,
    heard_since: datetime,
) -> Waits:
    """The outlooks of many stations, from one request for their documents and one for the cars on their way.

    Stations that do not exist are left out. Raises UserError for more than MAX_STATIONS.
    """
    wanted = dict.fromkeys(station_ids, (connector_type, min_power_kw))
    return waits_of(client, model, wanted, fresh, heard_since)


def waits_of(
    client: Elasticsearch,
    model: Model,
    wanted: Mapping[str, tuple[str | None, float | None]],
    fresh: Freshness,
    heard_since: datetime,
) -> Waits:
    """The same for stations with a connector type and least power (kW) of their own."""
    if len(wanted) > MAX_STATIONS:
        raise UserError(f"{len(wanted):,} stations: ask for at most {MAX_STATIONS:,} at once")
    documents = [] if not wanted else _documents(client, list(wanted))
    inbound = inbound_cars(client, documents, fresh.now)
    read = (
        read_forecast(document, fresh, heard_since, *wanted[document["station_id"]], inbound) for document in documents
    )
    return Waits(model, fresh.now, {station.station_id: (now, remark) for station, now, remark in read})


def likely_free(
    model: Model, stations: Sequence[Station], time_zones: Sequence[str | None], in_minutes: float, now: datetime
) -> list[float | None]:
    """The chance (0 to 1) that one of a station's listed outlets is free in `in_minutes`, for all stations of a map's view.

    `time_zones` has the registry's time zone of each. It knows only the counts, not the cars. Outlets of unknown state do not
    count; None where no outlet's state is known.
    """
    hours: dict[str | None, tuple[int, bool]] = {}
    counts, rows = [], []
    found: list[float | None] = [None if station.is_open else 0.0 for station in stations]
    for row, (station, zone) in enumerate(zip(stations, time_zones, strict=True)):
        free, busy, broken = 0, 0, 0
        for outlets in station.outlets:
            free += outlets.free
            busy += outlets.busy
            broken += outlets.out_of_service
        if not station.is_open or not free + busy + broken:
            continue
        if zone not in hours:
            local = now.astimezone(ZoneInfo(known_zone(zone)))
            hours[zone] = local.hour, local.weekday() >= 5
        counts.append(Counts(station.station_id, *hours[zone], power_class(_power_kw(station)), free, busy, broken))
        rows.append(row)
    for row, chance in zip(rows, chances_free(model, counts, in_minutes), strict=True):
        found[row] = chance
    return found


def inbound_cars(
    client: Elasticsearch, documents: Sequence[Mapping[str, Any]], now: datetime
) -> dict[str, list[tuple[float, float]]]:
    """For each station the cars that navigate there: minutes until each arrives, and its chance to charge. One search."""
    places = {d["station_id"]: d["location"] for d in documents if d["location"]}
    if not places:
        return {}
    plugged = {session["ev_id"] for document in documents for session in document["sessions"]}
    answer = client.search(
        index=VEHICLE_POSITION,
        query={
            "bool": {
                "filter": [
                    {"terms": {"destination_station_id": list(places)}},
                    {"range": {"expires_at": {"gt": utc_text(now)}}},
                ]
            }
        },
        source_includes=["vehicle_id", "location", "speed_kmh", "destination_station_id", "occurred_at"],
        size=_MAX_INBOUND if len(places) == 1 else MAX_STATIONS,
        track_total_hits=False,
    )
    found: dict[str, list[tuple[float, float]]] = {}
    for hit in answer["hits"]["hits"]:
        car = hit["_source"]
        if car["vehicle_id"] in plugged:
            continue
        at, to = car["location"], places[car["destination_station_id"]]
        km = distance_km(at["lat"], at["lon"], to["lat"], to["lon"]) * CIRCUITY
        since_min = (now - datetime.fromisoformat(car["occurred_at"])) / timedelta(minutes=1)
        eta_min = max(km / max(car["speed_kmh"], LEAST_KMH) * 60 - since_min, 0.0)
        found.setdefault(car["destination_station_id"], []).append((eta_min, _COMES_BY_DESTINATION))
    return found


def _documents(client: Elasticsearch, station_ids: Sequence[str]) -> list[Mapping[str, Any]]:
    # Elasticsearch refuses empty and longer ids.
    ids = sorted({station_id for station_id in station_ids if 0 < len(station_id.encode()) <= 512})
    if not ids:
        return []
    answer = client.mget(index=STATION_STATE, ids=ids, source_includes=[*LISTED_FIELDS, *FORECAST_FIELDS])
    return [found["_source"] for found in answer["docs"] if found.get("found")]


def read_forecast(
    document: Mapping[str, Any],
    fresh: Freshness,
    heard_since: datetime,
    connector_type: str | None,
    min_power_kw: float | None,
    inbound: Mapping[str, list[tuple[float, float]]],
) -> tuple[Station, StationNow, str | None]:
    """The station, what its forecast needs, and a remark. No outlets: nobody can charge there."""
    station = read_station(document, fresh, heard_since, connector_type, min_power_kw)
    free, unknown = station.count(Availability.FREE), station.count(Availability.UNKNOWN)
    busy, broken = station.count(Availability.BUSY), station.count(Availability.OUT_OF_SERVICE)
    name = document["station_name"] or station.station_id
    remark: str | None = station.remark
    if fresh.stale:
        remark = f"the station's state is unknown: {fresh.reason}"
    if not station.is_open or not station.total:
        what = f"{name} has no outlet that fits" if station.is_open else f"{name}: {station.remark}"
        nothing = StationNow(station.station_id, "UTC", None, 0)
        return station, nothing, what
    if unknown and remark is None:
        remark = (
            f"the state of {unknown} of {station.total} outlets is unknown: they count as taken as such outlets are"
        )
    cars = _cars(document, fresh.now, connector_type, min_power_kw)[:busy] if station.is_known else []
    now = StationNow(
        station_id=station.station_id,
        time_zone=known_zone(document["time_zone"]),
        power_kw=_power_kw(station),
        free=free,
        cars=tuple(cars) + (Car(0.0),) * (busy - len(cars)),
        broken=broken,
        unknown=unknown,
        queue=station.queue_length or 0,
        inbound=tuple(inbound.get(station.station_id, ())),
    )
    return station, now, remark


def _cars(
    document: Mapping[str, Any], now: datetime, connector_type: str | None, min_power_kw: float | None
) -> list[Car]:
    """The cars at fitting outlets."""
    sessions = {session["evse_id"]: session for session in document["sessions"]}
    found = []
    for evse in document["evses"]:
        if evse["status"] not in (CHARGING, BLOCKED):
            continue
        if connector_type and connector_type not in answers_to(evse["connector_type"] or ""):
            continue
        if min_power_kw and (evse["power_kw"] or 0.0) < min_power_kw:
            continue
        session = sessions.get(evse["evse_id"])
        since = session["started_at"] if session else evse["since_at"]
        found.append(
            Car(
                _seconds(since, now),
                _seconds(evse["since_at"], now) if evse["status"] == BLOCKED else None,
                session["state_of_charge"] if session else None,
            )
        )
    return found


def _power_kw(station: Station) -> float:
    """The strongest fitting outlet's power, or what its connector is known to give."""
    known = max((outlets.power_kw or 0.0 for outlets in station.outlets), default=0.0)
    return known or usual_power_kw(outlets.connector_type for outlets in station.outlets)


def _seconds(since: str | None, now: datetime) -> float:
    return 0.0 if since is None else max((now - datetime.fromisoformat(since)).total_seconds(), 0.0)


def _outlook(model: Model, station: StationNow, remark: str | None, now: datetime) -> Outlook:
    if not station.outlets:
        return never_free(station.station_id, remark or "")
    return outlook_of(model, station, now, remark)


def _point_json(point: Point, now: datetime) -> dict[str, Any]:
    wait_s = point.expected_wait_s
    return {
        "in_min": point.in_min,
        "at": utc_text(now.astimezone(UTC) + timedelta(minutes=point.in_min)),
        "probability_free": round(point.probability_free, 4),
        "expected_wait_s": round(wait_s) if math.isfinite(wait_s) else None,
        "expected_free": round(point.expected_free, 2),
        "low": round(point.low, 4),
        "high": round(point.high, 4),
    }
