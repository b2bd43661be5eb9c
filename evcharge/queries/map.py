"""The stations of a map's view: each of them where they are few, else clusters with how many are free, busy, …"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from elasticsearch import Elasticsearch

from evcharge.contracts.connector_types import asked_type
from evcharge.errors import UserError
from evcharge.live.indices import STATION_STATE
from evcharge.live.station_document import (
    MOST_FREE_COUNTED,
    OFFER_BLOCKED,
    OFFER_BROKEN,
    OFFER_CHARGING,
    OFFER_FREE,
    OFFER_UNKNOWN,
    SHOWN_BLOCKED,
    SHOWN_BROKEN,
    SHOWN_BUSY,
    SHOWN_CLOSED,
    SHOWN_FREE,
    SHOWN_PLANNED,
    SHOWN_UNKNOWN,
    offer,
    unpacked,
)
from evcharge.queries.availability import NOT_OPEN, PLANNED_CODE, MapState, Station, read_station
from evcharge.queries.box import Box, tile_box
from evcharge.queries.freshness import Freshness

#: More single stations than these are shown as clusters, unless the question says another number, up to the second.
MAX_STATIONS = 1_000
MOST_STATIONS = 3_000
MAX_FAVOURITES = 200
#: A chance from which on an outlet is likely to be free.
LIKELY = 0.5
#: A screen's width is about 20 km from here on: it hardly ever has more than `MAX_STATIONS`.
STATIONS_FROM_ZOOM = 13.0
MAX_ZOOM = 24.0
#: A view has about so many clusters side by side: a cluster every 60 pixels of a screen that is 1,440 wide.
CLUSTERS_ACROSS = 24
_MAX_CLUSTERS = 2_000
#: No outlet has more power (`contracts.station_registry`).
_ANY_POWER_KW = 5_000.0
_LONGEST_ID = 512


@dataclass(frozen=True, slots=True)
class MapQuestion:
    """The stations in a box (`west` greater than `east`: across the antimeridian) at a map's zoom (0 to 24).

    A station fits if it has outlets with `connector` (any name of a connector type) and a power from `min_power_kw` to
    `max_power_kw`, and is of `network` (its exact name). `min_free` selects stations with at least so many such outlets known
    to be free (1 to 8), `free_now` is `min_free=1`. `favourites` (station ids) in the box are listed even if they do not fit.
    `likely_free_in_min` (0 to 240) selects the single stations at which a fitting outlet is free then with a chance of at least
    a half. Clusters do not know it. More than `most_stations` (0 to 3,000) are answered as clusters. Raises UserError for
    values out of range.
    """

    west: float
    south: float
    east: float
    north: float
    zoom: float = 0.0
    connector: str | None = None
    min_power_kw: float | None = None
    max_power_kw: float | None = None
    min_free: int | None = None
    network: str | None = None
    free_now: bool = False
    likely_free_in_min: int | None = None
    favourites: tuple[str, ...] = ()
    most_stations: int = MAX_STATIONS

    def __post_init__(self) -> None:
        _ = self.box
        if not 0 <= self.zoom <= MAX_ZOOM:
            raise UserError(f"zoom {self.zoom:g}: it must be between 0 and {MAX_ZOOM:g}")
        for power_kw in (self.min_power_kw, self.max_power_kw):
            if power_kw is not None and not 0 <= power_kw < float("inf"):
                raise UserError(f"power {power_kw:g} kW: it must not be negative")
        if (self.max_power_kw is not None) and (self.min_power_kw or 0.0) > self.max_power_kw:
            raise UserError(f"no power is from {self.min_power_kw:g} to {self.max_power_kw:g} kW")
        if self.min_free is not None and not 1 <= self.min_free <= MOST_FREE_COUNTED:
            raise UserError(f"min_free {self.min_free}: it must be between 1 and {MOST_FREE_COUNTED}")
        if self.likely_free_in_min is not None and not 0 <= self.likely_free_in_min <= 240:
            raise UserError(f"likely_free_in_min {self.likely_free_in_min}: it must be between 0 and 240")
        if not 0 <= self.most_stations <= MOST_STATIONS:
            raise UserError(f"most_stations {self.most_stations}: it must be between 0 and {MOST_STATIONS:,}")
        if len(self.favourites) > MAX_FAVOURITES:
            raise UserError(f"{len(self.favourites):,} favourites: there can be at most {MAX_FAVOURITES}")
        if any(not name or len(name.encode()) > _LONGEST_ID for name in self.favourites):
            raise UserError(f"a favourite is the id of a station, of at most {_LONGEST_ID} bytes")
        if self.connector is not None:
            asked_type(self.connector)

    @property
    def box(self) -> Box:
        return Box(self.west, self.south, self.east, self.north)

    @property
    def connector_type(self) -> str | None:
        """The connector type in the platform's words."""
        return None if self.connector is None else asked_type(self.connector)

    @property
    def name(self) -> str:
        """The key of the outlets that are asked for, one of `POWER_KEYS`."""
        return self.connector_type or "any"

    @property
    def asks_outlets(self) -> bool:
        """Whether not all outlets fit."""
        return bool(self.connector_type or self.min_power_kw) or self.max_power_kw is not None

    def of_all_outlets(self) -> MapQuestion:
        """The question without its connector and powers."""
        return replace(self, connector=None, min_power_kw=None, max_power_kw=None)

    @property
    def least_free(self) -> int:
        """How many fitting outlets have to be free."""
        return self.min_free or int(self.free_now)

    def is_likely(self, chance: float | None) -> bool:
        """Whether a chance of a free outlet is as high as the question asks for."""
        return self.likely_free_in_min is None or (chance is not None and chance >= LIKELY)

    def is_fit(self, station: Station) -> bool:
        """Whether a station, read with the outlets that fit, fits the question. The box does not matter."""
        return (
            (bool(station.outlets) or not self.asks_outlets)
            and (self.network is None or station.network == self.network)
            and sum(outlets.free for outlets in station.outlets) >= self.least_free
        )


@dataclass(frozen=True, slots=True)
class MapStation:
    """A station on the map, with its outlets that fit the question.

    `fits` is false for a favourite that does not fit: it is shown with all its outlets.
    """

    station: Station
    fits: bool = True
    likely_free: float | None = None

    def to_json(self) -> dict[str, Any]:
        station = self.station
        powers = [outlets.power_kw for outlets in station.outlets if outlets.power_kw is not None]
        connectors = {outlets.connector_type for outlets in station.outlets}
        return {
            "id": station.station_id,
            "name": station.station_name,
            "city": station.city,
            "state_code": station.state_code,
            "lat": station.latitude,
            "lon": station.longitude,
            "state": station.map_state.value,
            "free": sum(outlets.free for outlets in station.outlets),
            "total": station.total,
            "power_kw": max(powers, default=None),
            "connectors": sorted(name for name in connectors if name is not None),
            "network": station.network,
            "queue_length": station.queue_length,
            "last_event_at": station.last_event_at,
            "remark": station.remark,
            "likely_free": None if self.likely_free is None else round(self.likely_free, 3),
            "fits": self.fits,
        }


@dataclass(frozen=True, slots=True)
class Cluster:
    """The fitting stations of a map tile `key` (zoom/x/y): their number by state and the middle of them (degrees).

    `box` is the tile.
    """

    key: str
    latitude: float
    longitude: float
    counts: Mapping[MapState, int]

    @property
    def box(self) -> Box:
        return tile_box(self.key)

    def to_json(self) -> dict[str, Any]:
        return {
            "key": self.key,
            "lat": round(self.latitude, 6),
            "lon": round(self.longitude, 6),
            "count": sum(self.counts.values()),
            **self.box.to_json(),
            **_counts_json(self.counts),
        }


@dataclass(frozen=True, slots=True)
class MapAnswer:
    """`counts` has the fitting stations by state. Up to `most_stations` in the box are in `stations`, else all in `clusters`.

    Clusters are of all map tiles that the box touches, so that they stay as they are while the box moves. Favourites are among
    the `stations` in any case. `truncated`: there are more clusters than the answer has. `note` says in one line why nothing
    is known.
    """

    question: MapQuestion
    fresh: Freshness
    counts: Mapping[MapState, int]
    stations: tuple[MapStation, ...] = ()
    clusters: tuple[Cluster, ...] = ()
    truncated: bool = False
    note: str | None = None

    @property
    def total(self) -> int:
        return sum(self.counts.values())

    @property
    def mode(self) -> str:
        return "clusters" if self.clusters else "stations"

    def to_json(self) -> dict[str, Any]:
        return {
            **self.fresh.to_json(),
            "note": self.note,
            "total": self.total,
            "mode": self.mode,
            "truncated": self.truncated,
            "counts": _counts_json(self.counts),
            "stations": [station.to_json() for station in self.stations],
            "clusters": [cluster.to_json() for cluster in self.clusters],
        }


Chances = Callable[[Sequence[Station], Sequence[str | None], float], list[float | None]]
"""`queries.forecast.likely_free` with its model and instant: stations, their time zones, minutes from now."""


def map_view(
    client: Elasticsearch, question: MapQuestion, chances: Chances, fresh: Freshness, heard_since: datetime
) -> MapAnswer:
    """Answers with one or two searches, and one for favourites. Events before `heard_since` do not count.

    Near the ground stations are looked for first: there are seldom too many. From afar they are counted first.
    """
    favourites = _favourites(client, question, chances, fresh, heard_since)
    note = f"the stations' state is unknown: {fresh.reason}" if fresh.stale else None

    def stations() -> MapAnswer | None:
        """All stations one by one, None if they are too many."""
        hits = client.search(index=STATION_STATE, **stations_request(question, fresh, heard_since))["hits"]["hits"]
        if len(hits) > question.most_stations:
            return None
        found = _shown(hits, question, chances, fresh, heard_since)
        fitting = [shown for shown in found if question.is_likely(shown.likely_free)]
        counts = dict.fromkeys(MapState, 0)
        for shown in fitting:
            counts[shown.station.map_state] += 1
        listed = {shown.station.station_id: shown for shown in (*favourites, *fitting)}
        return MapAnswer(question, fresh, counts, tuple(listed.values()), note=note)

    if question.zoom >= STATIONS_FROM_ZOOM and (answer := stations()):
        return answer
    buckets = client.search(index=STATION_STATE, **clusters_request(question, fresh, heard_since))["aggregations"]
    clusters = _clusters(question, fresh, buckets)
    counts = {state: sum(cluster.counts[state] for cluster in clusters) for state in MapState}
    if sum(counts.values()) <= question.most_stations and (answer := stations()):
        return answer
    if question.likely_free_in_min is not None:
        note = note or f"zoom in to see where an outlet is likely to be free in {question.likely_free_in_min} minutes"
    return MapAnswer(question, fresh, counts, favourites, clusters, len(clusters) == _MAX_CLUSTERS, note)


def stations_request(question: MapQuestion, fresh: Freshness, heard_since: datetime) -> dict[str, Any]:
    """The search for single stations that fit."""
    fits = [*_in_box(question.box), *_fits(question, fresh, heard_since)]
    return _listing({"bool": {"filter": fits}}, question.most_stations + 1)


def clusters_request(question: MapQuestion, fresh: Freshness, heard_since: datetime) -> dict[str, Any]:
    """The search that counts the stations that fit by map tile and state. It looks at whole tiles.

    Questions about all outlets read the states from one column, for all other questions several have to be compared. Of
    85,000 stations the one takes a third of the other's time.
    """
    zoom = min(int(question.zoom) + 3, question.box.tile_zoom(CLUSTERS_ACROSS), 29)
    grid = {"field": "location", "precision": zoom, "size": _MAX_CLUSTERS}
    inside: dict[str, Any] = {"middle": {"geo_centroid": {"field": "location"}}}
    aggs: dict[str, Any] = {"tiles": {"geotile_grid": grid, "aggs": inside}}
    if question.asks_outlets and not question.least_free:
        inside["states"] = {
            "filters": {"filters": _states(question, fresh, heard_since), "other_bucket_key": MapState.UNKNOWN.value}
        }
    elif not question.least_free:
        states = {"states": {"terms": {"field": "shown"}}}
        inside |= states
        if not fresh.stale:
            by_events = {"range": {"shown": {"gte": SHOWN_FREE, "lte": SHOWN_BROKEN}}}
            silent = {"bool": {"filter": [by_events], "must_not": [_heard(heard_since)]}}
            aggs["silent"] = {"filter": silent, "aggs": {"tiles": {"geotile_grid": grid, "aggs": states}}}
    return {
        "query": {"bool": {"filter": [*_in_box(question.box.whole_tiles(zoom)), *_fits(question, fresh, heard_since)]}},
        "aggs": aggs,
        "size": 0,
        "track_total_hits": False,
        "allow_partial_search_results": False,
    }


#: By the number in `shown` what a map shows; the state of an open station counts only if it was heard of lately.
_SHOWN_AS = {
    SHOWN_UNKNOWN: MapState.UNKNOWN,
    SHOWN_FREE: MapState.FREE,
    SHOWN_BUSY: MapState.BUSY,
    SHOWN_BLOCKED: MapState.BLOCKED,
    SHOWN_BROKEN: MapState.BROKEN,
    SHOWN_PLANNED: MapState.PLANNED,
    SHOWN_CLOSED: MapState.BROKEN,
}


def _clusters(question: MapQuestion, fresh: Freshness, aggregations: Mapping[str, Any]) -> tuple[Cluster, ...]:
    silent: dict[str, Any] = {}
    if "silent" in aggregations:
        silent = {bucket["key"]: bucket["states"]["buckets"] for bucket in aggregations["silent"]["tiles"]["buckets"]}
    found = []
    for bucket in aggregations["tiles"]["buckets"]:
        counts = dict.fromkeys(MapState, 0)
        if "states" not in bucket:
            counts[MapState.FREE] = bucket["doc_count"]
        elif isinstance(bucket["states"]["buckets"], Mapping):
            counts |= _counts(bucket["states"]["buckets"])
        else:
            for one in bucket["states"]["buckets"]:
                is_known = not fresh.stale or one["key"] in (SHOWN_PLANNED, SHOWN_CLOSED)
                counts[_SHOWN_AS[one["key"]] if is_known else MapState.UNKNOWN] += one["doc_count"]
            for one in silent.get(bucket["key"], ()):
                counts[_SHOWN_AS[one["key"]]] -= one["doc_count"]
                counts[MapState.UNKNOWN] += one["doc_count"]
        middle = bucket["middle"]["location"]
        found.append(Cluster(bucket["key"], middle["lat"], middle["lon"], counts))
    return tuple(found)


def _favourites(
    client: Elasticsearch, question: MapQuestion, chances: Chances, fresh: Freshness, heard_since: datetime
) -> tuple[MapStation, ...]:
    if not question.favourites:
        return ()
    fits = {"bool": {"filter": _fits(question, fresh, heard_since) or [{"match_all": {}}], "_name": "fits"}}
    wanted = {"terms": {"station_id": list(question.favourites)}}
    hits = client.search(
        index=STATION_STATE,
        **_listing({"bool": {"filter": [*_in_box(question.box), wanted], "should": [fits]}}, MAX_FAVOURITES),
    )["hits"]["hits"]
    found = _shown(hits, question, chances, fresh, heard_since)
    is_fit = [
        "fits" in hit.get("matched_queries", ()) and question.is_likely(shown.likely_free)
        for hit, shown in zip(hits, found, strict=True)
    ]
    outside = [hit for hit, fit in zip(hits, is_fit, strict=True) if not fit]
    whole = iter(_shown(outside, question.of_all_outlets(), chances, fresh, heard_since))
    return tuple(shown if fit else replace(next(whole), fits=False) for shown, fit in zip(found, is_fit, strict=True))


def _shown(
    hits: Sequence[Mapping[str, Any]],
    question: MapQuestion,
    chances: Chances,
    fresh: Freshness,
    heard_since: datetime,
) -> list[MapStation]:
    documents = [unpacked(hit["fields"]["listed"][0]) for hit in hits]
    outlets = (question.connector_type, question.min_power_kw, question.max_power_kw)
    stations = [read_station(document, fresh, heard_since, *outlets) for document in documents]
    if question.likely_free_in_min is None:
        return [MapStation(station) for station in stations]
    likely = chances(stations, [document["time_zone"] for document in documents], question.likely_free_in_min)
    return [MapStation(station, likely_free=chance) for station, chance in zip(stations, likely, strict=True)]


def _listing(query: Mapping[str, Any], size: int) -> dict[str, Any]:
    return {
        "query": query,
        "size": size,
        "sort": ["_doc"],
        # No stored fields, not even the id: unpacking them took a quarter of a search's time.
        "stored_fields": "_none_",
        "docvalue_fields": ["listed"],
        "track_total_hits": False,
        "allow_partial_search_results": False,
    }


def _in_box(box: Box) -> list[dict[str, Any]]:
    return [{"term": {"is_current": True}}, box.query()]


def _fits(question: MapQuestion, fresh: Freshness, heard_since: datetime) -> list[dict[str, Any]]:
    fits: list[dict[str, Any]] = []
    if question.network is not None:
        fits.append({"term": {"network": question.network}})
    if question.asks_outlets:
        fits.append(_has_any(question))
    if question.least_free:
        fits += [{"match_none": {}}] if fresh.stale else [_heard(heard_since), _has_free(question)]
    return fits


def _has_any(question: MapQuestion) -> dict[str, Any]:
    """The filter for stations with a fitting outlet, whatever its state."""
    if question.max_power_kw is None:
        return {"range": {f"power_kw.{question.name}": {"gte": question.min_power_kw or 0.0}}}
    states = (OFFER_UNKNOWN, OFFER_CHARGING, OFFER_BLOCKED, OFFER_BROKEN, OFFER_FREE)
    return {"bool": {"should": [_has(question, state) for state in states]}}


def _states(question: MapQuestion, fresh: Freshness, heard_since: datetime) -> dict[str, Any]:
    """A filter for each state that excludes the others, by the rules of `MapState`."""
    planned, closed = {"term": {"status_code": PLANNED_CODE}}, {"terms": {"status_code": list(NOT_OPEN)}}
    shut = {"terms": {"status_code": [code for code in NOT_OPEN if code != PLANNED_CODE]}}
    if fresh.stale:
        return {MapState.PLANNED.value: planned, MapState.BROKEN.value: shut}
    heard = _heard(heard_since)
    free, unknown, charging, blocked, broken = (
        _has(question, state) for state in (OFFER_FREE, OFFER_UNKNOWN, OFFER_CHARGING, OFFER_BLOCKED, OFFER_BROKEN)
    )
    is_broken = {"bool": {"filter": [heard, broken], "must_not": [closed, free, unknown, charging, blocked]}}
    # A closed station has no free or occupied outlet.
    return {
        MapState.FREE.value: {"bool": {"filter": [heard, free]}},
        MapState.BUSY.value: {"bool": {"filter": [heard, charging], "must_not": [free, unknown]}},
        MapState.BLOCKED.value: {"bool": {"filter": [heard, blocked], "must_not": [free, unknown, charging]}},
        MapState.BROKEN.value: {"bool": {"should": [shut, is_broken]}},
        MapState.PLANNED.value: planned,
    }


def _heard(heard_since: datetime) -> dict[str, Any]:
    return {"range": {"last_event_at": {"gte": heard_since.isoformat()}}}


def _has(question: MapQuestion, state: int) -> dict[str, Any]:
    """The filter for stations with a fitting outlet in a state."""
    least, most = question.min_power_kw or 0.0, question.max_power_kw
    return _offers(question, state, least, _ANY_POWER_KW if most is None else most)


def _has_free(question: MapQuestion) -> dict[str, Any]:
    """The filter for stations with enough fitting outlets free.

    Those from a least to a most power are those from the least on, without those above the most: `above` of them are.
    """
    count, least, most = question.least_free, question.min_power_kw or 0.0, question.max_power_kw
    if most is None and count == 1:
        return {"range": {f"free_power_kw.{question.name}": {"gte": least}}}
    if most is None:
        return _offers(question, OFFER_FREE + count - 1, least, _ANY_POWER_KW)
    ways = [
        {
            "bool": {
                "filter": [_offers(question, OFFER_FREE + above + count - 1, least, _ANY_POWER_KW)],
                "must_not": [_offers(question, OFFER_FREE + above, most + 0.01, _ANY_POWER_KW)],
            }
        }
        for above in range(MOST_FREE_COUNTED - count + 1)
    ]
    return {"bool": {"should": ways}}


def _offers(question: MapQuestion, state: int, least_kw: float, most_kw: float) -> dict[str, Any]:
    name = question.name
    return {"range": {"offers": {"gte": offer(name, state, least_kw), "lte": offer(name, state, most_kw)}}}


def _counts(buckets: Mapping[str, Any]) -> dict[MapState, int]:
    return {state: buckets[state.value]["doc_count"] if state.value in buckets else 0 for state in MapState}


def _counts_json(counts: Mapping[MapState, int]) -> dict[str, int]:
    return {state.value: counts[state] for state in MapState}


def networks(client: Elasticsearch, limit: int = 1_000) -> list[tuple[str, int]]:
    """The networks of current stations with their number of stations, the largest first."""
    found = client.search(
        index=STATION_STATE,
        query={"term": {"is_current": True}},
        aggs={"networks": {"terms": {"field": "network", "size": limit}}},
        size=0,
    )
    return [(bucket["key"], bucket["doc_count"]) for bucket in found["aggregations"]["networks"]["buckets"]]
