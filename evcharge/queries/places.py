"""Places by name, ZIP, coordinates or station id: what a search box suggests, and the ends of a trip."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from elasticsearch import Elasticsearch, NotFoundError

from evcharge.errors import UserError
from evcharge.live.indices import STATION_STATE
from evcharge.trips.gazetteer import MAX_TEXT, Found, Place, find, suggest

MAX_LIMIT = 50
#: A station's id as registries make them: a prefix, a hyphen and a part with a digit. No place's name looks like that.
_STATION_ID = re.compile(r"[A-Za-z]{2,10}-[\w*.:-]*\d[\w*.:-]*")


@dataclass(frozen=True, slots=True)
class PlacesAnswer:
    """Places that a text may mean, the likeliest first."""

    places: tuple[Place, ...]

    def to_json(self) -> dict[str, Any]:
        return {"places": [place.to_json() for place in self.places]}


def places(client: Elasticsearch, text: str, limit: int) -> PlacesAnswer:
    """Up to `limit` (1 to 50) places that begin with a text. Only for a station's id is a server asked."""
    if not 1 <= limit <= MAX_LIMIT:
        raise UserError(f"limit {limit}: it must be between 1 and {MAX_LIMIT}")
    if len(text) > MAX_TEXT:
        raise UserError(f"a place has at most {MAX_TEXT} characters; this text has {len(text):,}")
    station = station_place(client, text)
    return PlacesAnswer((station,) if station else tuple(suggest(text, limit)))


def find_place(client: Elasticsearch, text: str) -> Found:
    """The place that a text means; it may be a station's id. Raises UserError, which names the nearest spellings."""
    station = station_place(client, text)
    return Found(station) if station else find(text)


def station_place(client: Elasticsearch, text: str) -> Place | None:
    """The place of the station with this id; None if there is none, or if its place is not known."""
    station_id = text.strip()
    if len(station_id) > MAX_TEXT or not _STATION_ID.fullmatch(station_id):
        return None
    try:
        found = client.get(index=STATION_STATE, id=station_id, source_includes=["station_name", "state", "location"])
    except NotFoundError as error:
        if isinstance(error.body, dict) and error.body.get("found") is False:
            return None
        raise
    document = found["_source"]
    location = document["location"]
    if not location:
        return None
    name = document["station_name"] or station_id
    return Place(name, "station", document["state"], location["lat"], location["lon"])
