"""Which charging stations are near, and which of them are free."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from elasticsearch import Elasticsearch

from evcharge.contracts.connector_types import asked_type
from evcharge.errors import UserError
from evcharge.live.indices import STATION_STATE
from evcharge.live.station_document import unpacked
from evcharge.places import box_around, check_place, check_radius, nearest_first
from evcharge.queries.availability import NOT_OPEN, Availability, Station, read_station
from evcharge.queries.freshness import Freshness

#: More stations than anyone reads: a map asks for those in its view.
MAX_LIMIT = 1_000


@dataclass(frozen=True, slots=True)
class NearbyQuestion:
    """Stations within `radius_km` (km) of a place (degrees, WGS 84), the nearest `limit` of them.

    `connector` is any name of a connector type. `min_power_kw` (kW) is the least power of an outlet with that connector; an
    outlet of unknown power does not fit. `free_only` selects stations where such an outlet is known to be free. Raises
    UserError for values out of range.
    """

    latitude: float
    longitude: float
    radius_km: float
    connector: str | None = None
    min_power_kw: float | None = None
    free_only: bool = False
    limit: int = 10

    def __post_init__(self) -> None:
        check_place(self.latitude, self.longitude)
        check_radius(self.radius_km)
        if self.min_power_kw is not None and not 0 <= self.min_power_kw < float("inf"):
            raise UserError(f"power {self.min_power_kw:g} kW: it must not be negative")
        if not 1 <= self.limit <= MAX_LIMIT:
            raise UserError(f"limit {self.limit}: it must be between 1 and {MAX_LIMIT:,}")
        if self.connector is not None:
            asked_type(self.connector)

    @property
    def connector_type(self) -> str | None:
        """The connector type in the platform's words."""
        return None if self.connector is None else asked_type(self.connector)

    def to_json(self) -> dict[str, Any]:
        return {
            "latitude": self.latitude,
            "longitude": self.longitude,
            "radius_km": self.radius_km,
            "connector_type": self.connector_type,
            "min_power_kw": self.min_power_kw,
            "free_only": self.free_only,
            "limit": self.limit,
        }


@dataclass(frozen=True, slots=True)
class NearbyStation:
    """A station and its distance in a straight line (km)."""

    distance_km: float
    station: Station

    def to_json(self) -> dict[str, Any]:
        return {"distance_km": round(self.distance_km, 2), **self.station.to_json()}


@dataclass(frozen=True, slots=True)
class NearbyAnswer:
    """The nearest stations that fit. `counts` has how many of all fitting stations within the radius are free, busy, …

    `note` says in one line why no station is listed, or why nothing is known.
    """

    question: NearbyQuestion
    fresh: Freshness
    counts: Mapping[Availability, int]
    stations: tuple[NearbyStation, ...]
    note: str | None

    def to_json(self) -> dict[str, Any]:
        return {
            "question": self.question.to_json(),
            **self.fresh.to_json(),
            "note": self.note,
            "stations_in_radius": {
                "total": sum(self.counts.values()),
                **{availability.value: self.counts[availability] for availability in Availability},
            },
            "stations": [station.to_json() for station in self.stations],
        }


def nearby(client: Elasticsearch, question: NearbyQuestion, fresh: Freshness, heard_since: datetime) -> NearbyAnswer:
    """Answers with one search. Events before `heard_since` do not count: such a station reads as unknown."""
    answer = client.search(index=STATION_STATE, **request(question, fresh, heard_since))
    (within,) = answer["aggregations"]["within"]["buckets"]
    counts = _counts(within["stations"]["buckets"])
    found = (
        NearbyStation(
            hit["sort"][0],
            read_station(
                unpacked(hit["fields"]["listed"][0]), fresh, heard_since, question.connector_type, question.min_power_kw
            ),
        )
        for hit in answer["hits"]["hits"]
        # The corners of the searched box lie outside the circle.
        if hit["sort"][0] < question.radius_km
    )
    # Ties are sorted here: sorting them in the search took a fifth of its time.
    stations = tuple(sorted(found, key=lambda near: (near.distance_km, near.station.station_id)))
    return NearbyAnswer(question, fresh, counts, stations, _note(client, question, fresh, counts, bool(stations)))


def request(question: NearbyQuestion, fresh: Freshness, heard_since: datetime) -> dict[str, Any]:
    """The search. A filter for free stations applies after all stations within the radius are counted."""
    location = {"lat": question.latitude, "lon": question.longitude}
    field = question.connector_type or "any"
    least_kw = question.min_power_kw or 0.0
    fits: list[dict[str, Any]] = [{"term": {"is_current": True}}, box_around(location, question.radius_km)]
    if least_kw or question.connector_type:
        fits.append({"range": {f"power_kw.{field}": {"gte": least_kw}}})
    closed = {"terms": {"status_code": list(NOT_OPEN)}}
    known = [{"range": {"last_event_at": {"gte": heard_since.isoformat()}}}]
    free = {"range": {f"free_power_kw.{field}": {"gte": least_kw}}}
    some_unknown = {"range": {"unknown_outlets": {"gte": 1}}}
    some_busy = {"range": {"busy_outlets": {"gte": 1}}}
    some_broken = {"range": {"out_of_order_outlets": {"gte": 1}}}
    kinds: dict[str, Any] = {Availability.OUT_OF_SERVICE.value: closed}
    if not fresh.stale:
        broken = {"bool": {"filter": [*known, some_broken], "must_not": [free, some_unknown, some_busy]}}
        # A closed station has no free or busy outlet.
        kinds |= {
            Availability.FREE.value: {"bool": {"filter": [*known, free]}},
            Availability.BUSY.value: {"bool": {"filter": [*known, some_busy], "must_not": [free, some_unknown]}},
            Availability.OUT_OF_SERVICE.value: {"bool": {"should": [closed, broken]}},
        }
    search: dict[str, Any] = {
        "query": {"bool": {"filter": fits}},
        "aggs": {
            "within": {
                "geo_distance": {
                    "field": "location",
                    "origin": location,
                    "unit": "km",
                    "ranges": [{"to": question.radius_km}],
                },
                "aggs": {"stations": {"filters": {"filters": kinds, "other_bucket_key": Availability.UNKNOWN.value}}},
            }
        },
        "sort": [nearest_first(location)],
        "size": question.limit,
        # No stored fields, not even the id: unpacking them took a quarter of a search's time.
        "stored_fields": "_none_",
        "docvalue_fields": ["listed"],
        "track_total_hits": False,
        "allow_partial_search_results": False,
    }
    if question.free_only:
        search["post_filter"] = {"match_none": {}} if fresh.stale else {"bool": {"filter": [*known, free]}}
    return search


def _counts(buckets: Mapping[str, Any]) -> dict[Availability, int]:
    return {kind: buckets[kind.value]["doc_count"] if kind.value in buckets else 0 for kind in Availability}


def _note(
    client: Elasticsearch,
    question: NearbyQuestion,
    fresh: Freshness,
    counts: Mapping[Availability, int],
    any_listed: bool,
) -> str | None:
    total = sum(counts.values())
    if not total:
        if not client.search(index=STATION_STATE, query={"term": {"is_current": True}}, size=1, source=False)["hits"][
            "hits"
        ]:
            return "no station is registered yet: `evcharge registry load` loads some"
        return f"no station{_wanted(question)} within {question.radius_km:g} km"
    if fresh.stale:
        return f"whether anything is free is unknown: {fresh.reason}"
    if any_listed:
        return None
    if counts[Availability.UNKNOWN] == total:
        return f"whether anything is free is unknown: none of {total:,} stations{_wanted(question)} reports its state"
    kinds = ", ".join(
        f"{counts[kind]:,} {kind.value.replace('_', ' ')}" for kind in reversed(Availability) if counts[kind]
    )
    return f"none is known to be free; stations{_wanted(question)} within {question.radius_km:g} km: {kinds}"


def _wanted(question: NearbyQuestion) -> str:
    connector = f" with {question.connector}" if question.connector else ""
    return connector + (f" of at least {question.min_power_kw:g} kW" if question.min_power_kw else "")
