"""What changed since a question before: stations and cars, for pages that show the live state as it changes.

Elasticsearch numbers the writes of an index in their order (`_seq_no`). A cursor has the number up to which everything was
seen. Writes of several writers become visible in another order than their numbers, so each question looks again at the numbers
that were new within `SETTLED_S`, and leaves out those that the cursor has. So nothing is lost and little comes twice. A cursor
is no more than these numbers: a process that starts anew begins with a new one, and its pages load their view again.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from elasticsearch import Elasticsearch, NotFoundError

from evcharge.live.indices import STATION_STATE, VEHICLE_POSITION
from evcharge.live.station_document import unpacked
from evcharge.queries.availability import read_station
from evcharge.queries.box import Box
from evcharge.queries.freshness import Freshness
from evcharge.queries.map import MapQuestion, MapStation
from evcharge.queries.vehicles import Vehicle

#: A write is visible this long after a later-numbered one at the latest: a bulk request takes less than a second, and
#: indices are refreshed every 2 s at the latest.
SETTLED_S = 5.0
#: The most changed stations or cars of one answer. What is more comes with the next one.
MAX_CHANGES = 1_000
#: The most boxes of one question.
MAX_BOXES = 200


@dataclass(frozen=True, slots=True)
class Mark:
    """How far an index was read: up to `settled` everything, and of the writes after it those in `seen`.

    `highs` has, for the last `SETTLED_S`, when (monotonic seconds) which number was the highest.
    """

    index: str
    settled: int
    seen: frozenset[int] = frozenset()
    highs: tuple[tuple[float, int], ...] = ()


@dataclass(frozen=True, slots=True)
class Cursor:
    """Where the next question begins. It is of use in the process that got it."""

    stations: Mark
    vehicles: Mark


@dataclass(frozen=True, slots=True)
class Changes:
    """The stations and cars that changed since the cursor before, as they are now, in the order of their changes.

    `cursor` is for the next question. `reset`: the live state was computed anew, so any station may have changed; pages load
    their view again. `more`: there are more changes, which the next question has at once.
    """

    cursor: Cursor
    documents: tuple[Mapping[str, Any], ...]
    vehicles: tuple[Vehicle, ...]
    fresh: Freshness
    vehicles_fresh: Freshness
    heard_since: datetime
    reset: bool = False
    more: bool = False

    @property
    def stations(self) -> tuple[MapStation, ...]:
        """The changed stations with all their outlets."""
        return tuple(MapStation(read_station(document, self.fresh, self.heard_since)) for document in self.documents)

    def stations_for(self, question: MapQuestion) -> tuple[MapStation, ...]:
        """The changed stations in the box of a question, with the outlets that fit it, and whether they fit it."""
        found = []
        for document in self.documents:
            location = document["location"]
            if location is None or not question.box.has(location["lat"], location["lon"]):
                continue
            station = read_station(
                document,
                self.fresh,
                self.heard_since,
                question.connector_type,
                question.min_power_kw,
                question.max_power_kw,
            )
            found.append(MapStation(station, question.is_fit(station)))
        return tuple(found)

    def to_json(self) -> dict[str, Any]:
        return {
            **self.fresh.to_json(),
            "reset": self.reset,
            "stations": [station.to_json() for station in self.stations],
            "vehicles": [vehicle.to_json() for vehicle in self.vehicles],
        }


def begin(client: Elasticsearch) -> Cursor:
    """A cursor at the present: questions with it answer what changes from now on."""
    return Cursor(_mark_now(client, STATION_STATE), _mark_now(client, VEHICLE_POSITION))


def changes(
    client: Elasticsearch,
    cursor: Cursor,
    boxes: Iterable[Box],
    station_ids: Iterable[str],
    vehicle_ids: Iterable[str],
    fresh: Freshness,
    vehicles_fresh: Freshness,
    heard_since: datetime,
) -> Changes:
    """Answers with one search for stations and one for cars in `boxes`, or with these ids; both are bounded."""
    boxes = tuple(boxes)[:MAX_BOXES]
    stations, station_hits, reset, more_stations = _since(
        client, STATION_STATE, cursor.stations, _watched(boxes, "station_id", station_ids)
    )
    vehicles, vehicle_hits, _, more_vehicles = _since(
        client, VEHICLE_POSITION, cursor.vehicles, _watched(boxes, "vehicle_id", vehicle_ids)
    )
    return Changes(
        Cursor(stations, vehicles),
        tuple(unpacked(hit["fields"]["listed"][0]) for hit in station_hits),
        tuple(Vehicle.from_document(hit["_source"]) for hit in vehicle_hits),
        fresh,
        vehicles_fresh,
        heard_since,
        reset,
        more_stations or more_vehicles,
    )


def _watched(boxes: Iterable[Box], id_field: str, ids: Iterable[str]) -> dict[str, Any]:
    """The filter for documents in a box or with an id."""
    ways: list[dict[str, Any]] = [box.query() for box in boxes]
    if ids := list(ids):
        ways.append({"terms": {id_field: ids}})
    return {"bool": {"should": ways, "minimum_should_match": 1}} if ways else {"match_none": {}}


def _since(
    client: Elasticsearch, alias: str, mark: Mark, watched: Mapping[str, Any]
) -> tuple[Mark, list[Mapping[str, Any]], bool, bool]:
    """The new mark, the changes after `mark`, whether the index is another one, and whether there are more changes."""
    now = time.monotonic()
    listed = {"stored_fields": "_none_", "docvalue_fields": ["listed"]} if alias == STATION_STATE else {"source": True}
    try:
        found = client.search(
            index=mark.index,
            query={"range": {"_seq_no": {"gt": mark.settled}}},
            post_filter={"bool": {"filter": [watched], "must_not": [{"terms": {"_seq_no": sorted(mark.seen)}}]}},
            aggs={"highest": {"max": {"field": "_seq_no"}}},
            sort=[{"_seq_no": "asc"}],
            size=MAX_CHANGES,
            track_total_hits=False,
            allow_partial_search_results=False,
            **listed,
        )
    except NotFoundError:
        return _mark_now(client, alias), [], True, False
    hits = found["hits"]["hits"]
    numbers = [int(hit["sort"][0]) for hit in hits]
    more = len(hits) == MAX_CHANGES
    highest = int(found["aggregations"]["highest"]["value"] or mark.settled)
    # Beyond what one answer holds nothing was seen yet.
    highs = (*mark.highs, (now, min(highest, numbers[-1]) if more else highest))
    old = [high for at, high in highs if at <= now - SETTLED_S]
    settled = max([mark.settled, *old])
    seen = frozenset(number for number in (*mark.seen, *numbers) if number > settled)
    highs = tuple((at, high) for at, high in highs if at > now - SETTLED_S)
    # The name of an index that was empty until now is known from its first document.
    index = hits[0]["_index"] if hits else mark.index
    return Mark(index, settled, seen, highs), hits, False, more


def _mark_now(client: Elasticsearch, alias: str) -> Mark:
    # The index's name from a hit: a login that only reads may not ask for an alias's index.
    found = client.search(
        index=alias, query={"match_all": {}}, sort=[{"_seq_no": "desc"}], size=1, source=False, track_total_hits=False
    )["hits"]["hits"]
    if not found:
        return Mark(alias, -1)
    return Mark(found[0]["_index"], int(found[0]["sort"][0]))
