"""The stations beside a trip's way at which its car can charge, from one to three searches."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import numpy as np
from elasticsearch import Elasticsearch

from evcharge.live.indices import STATION_STATE
from evcharge.live.station_document import unpacked
from evcharge.queries.availability import Availability, Station, read_station
from evcharge.queries.box import Box
from evcharge.queries.freshness import Freshness
from evcharge.trips.charging import MAX_AC_KW, Car, Plug, best_plug
from evcharge.trips.corridor import Beside, beside, boxes, gaps
from evcharge.trips.roads import Route

#: Fast chargers are looked for this near to the way (km), then this near to its parts without any, then all chargers there.
NEAR_KM, FAR_KM = 8.0, 45.0
#: A part of the way without any is so long (km), or a third of the car's range.
_GAP_KM = 50.0
#: More stations than these are not read: the corridor is halved instead.
_MOST_READ = 1_200
_NARROWINGS = 3


@dataclass(frozen=True, slots=True)
class Candidate:
    """A station, the outlet that the car takes there, and its time zone as the registry has it."""

    station: Station
    plug: Plug
    time_zone: str | None

    @property
    def min_power_kw(self) -> float | None:
        """The least power of an outlet that is as good as the plug; None if the registry does not say."""
        known = {outlets.power_kw for outlets in self.station.outlets if outlets.power_kw}
        return min(self.plug.power_kw, self.plug.car_kw) if self.plug.power_kw in known else None


@dataclass(frozen=True, slots=True)
class Found:
    """Candidates, and where they lie beside the way."""

    candidates: tuple[Candidate, ...]
    near: Beside
    latitudes: np.ndarray[Any, np.dtype[np.float64]]
    longitudes: np.ndarray[Any, np.dtype[np.float64]]


def stations_beside(
    client: Elasticsearch,
    route: Route,
    car: Car,
    range_km: float,
    fresh: Freshness,
    heard_since: datetime,
    avoid: Collection[str],
) -> Found:
    """The stations beside a way at which the car can charge and that are not known to be broken. `range_km` is its range."""
    found: list[Candidate] = []
    parts = [(0.0, route.distance_km)]
    for width_km, fits in ((NEAR_KM, _fast(car)), (FAR_KM, _fast(car)), (FAR_KM, _any(car))):
        documents = _search_parts(client, route, parts, width_km, fits)
        known = {candidate.station.station_id for candidate in found}
        new = _candidates(documents, car, fresh, heard_since, {*known, *avoid})
        found += new
        placed = _found(route, found)
        parts = gaps(route, placed.near, min(_GAP_KM, range_km / 3))
        if not parts:
            break
    return placed


def _search_parts(
    client: Elasticsearch,
    route: Route,
    parts: Sequence[tuple[float, float]],
    width_km: float,
    fits: list[dict[str, Any]],
) -> list[dict[str, Any]]:
    """What lies within a width of parts of the way, or within half or a quarter of it where that is very much."""
    for _ in range(_NARROWINGS):
        documents = _search(client, [box for part in parts for box in _boxes(route, width_km, *part)], fits)
        if len(documents) < _MOST_READ:
            break
        width_km /= 2
    return documents


def _found(route: Route, candidates: Sequence[Candidate]) -> Found:
    latitudes = np.array([candidate.station.latitude for candidate in candidates], dtype=float)
    longitudes = np.array([candidate.station.longitude for candidate in candidates], dtype=float)
    near = beside(route, latitudes, longitudes)
    inside = np.flatnonzero(near.off_km <= FAR_KM * 1.5)
    return Found(
        tuple(candidates[number] for number in inside.tolist()),
        Beside(near.at_km[inside], near.off_km[inside]),
        latitudes[inside],
        longitudes[inside],
    )


def _candidates(
    documents: Iterable[Mapping[str, Any]],
    car: Car,
    fresh: Freshness,
    heard_since: datetime,
    avoid: Collection[str],
) -> list[Candidate]:
    candidates = []
    for document in documents:
        if document["station_id"] in avoid or not document["location"]:
            continue
        plug = best_plug(car, ((outlets["connector_type"], outlets["power_kw"]) for outlets in document["outlets"]))
        if plug is None:
            continue
        station = read_station(document, fresh, heard_since, plug.connector_type)
        broken = station.total and station.count(Availability.OUT_OF_SERVICE) == station.total
        if station.is_open and not broken:
            candidates.append(Candidate(station, plug, document["time_zone"]))
    return candidates


def _boxes(route: Route, width_km: float, from_km: float = 0.0, to_km: float | None = None) -> list[Box]:
    length = (route.distance_km if to_km is None else to_km) - from_km
    count = max(min(int(length / max(2 * width_km, 1)), 40), 1)
    return [
        Box(box.west, box.south, box.east, box.north) for box in boxes(route, width_km, from_km, to_km, count=count)
    ]


def _fast(car: Car) -> list[dict[str, Any]]:
    """Filters for stations at which the car charges fast; for one that cannot, those of `_any`."""
    if car.dc_kw is None:
        return _any(car)
    least_kw = {"J1772COMBO": 0.0, "CHADEMO": 0.0, "IEC_62196_T2_COMBO": 0.0}
    return [
        {"range": {f"power_kw.{kind}": {"gte": least_kw.get(kind, MAX_AC_KW + 0.1)}}} for kind in car.connector_types
    ]


def _any(car: Car) -> list[dict[str, Any]]:
    return [{"range": {f"power_kw.{kind}": {"gte": 0.0}}} for kind in car.connector_types]


def _search(client: Elasticsearch, inside: Sequence[Box], fits: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The `LISTED_FIELDS` of up to `_MOST_READ` current stations in any of the boxes that any of the filters finds."""
    request: dict[str, Any] = {
        "query": {
            "bool": {
                "filter": [
                    {"term": {"is_current": True}},
                    {"bool": {"should": [box.query() for box in inside]}},
                    {"bool": {"should": fits}},
                ]
            }
        },
        "size": _MOST_READ,
        "sort": ["_doc"],
        "stored_fields": "_none_",
        "docvalue_fields": ["listed"],
        "track_total_hits": False,
        "allow_partial_search_results": False,
    }
    hits = client.search(index=STATION_STATE, **request)["hits"]["hits"]
    return [unpacked(hit["fields"]["listed"][0]) for hit in hits]
