"""The connected cars of a map's view, each where it last said it was."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from elasticsearch import Elasticsearch, NotFoundError

from evcharge.errors import NoSuchThingError, UserError
from evcharge.live.indices import VEHICLE_POSITION
from evcharge.queries.box import Box
from evcharge.queries.freshness import Freshness, utc_text

MAX_VEHICLES = 2_000


@dataclass(frozen=True, slots=True)
class VehiclesQuestion:
    """Up to `limit` (1 to 2,000) cars in a box. Raises UserError for values out of range."""

    west: float
    south: float
    east: float
    north: float
    limit: int = 500

    def __post_init__(self) -> None:
        _ = self.box
        if not 1 <= self.limit <= MAX_VEHICLES:
            raise UserError(f"limit {self.limit}: it must be between 1 and {MAX_VEHICLES:,}")

    @property
    def box(self) -> Box:
        return Box(self.west, self.south, self.east, self.north)


@dataclass(frozen=True, slots=True)
class Vehicle:
    """A car: degrees (WGS 84), km/h, percent, km. Null where the car does not report it."""

    vehicle_id: str
    ev_model_id: str | None
    latitude: float
    longitude: float
    heading: float | None
    speed_kmh: float
    ignition: bool
    state_of_charge: float
    range_km: float | None
    destination_station_id: str | None
    occurred_at: str

    @classmethod
    def from_document(cls, document: Mapping[str, Any]) -> Vehicle:
        location = document["location"]
        rest = {name: document[name] for name in cls.__dataclass_fields__ if name in document}
        return cls(latitude=location["lat"], longitude=location["lon"], **rest)

    def to_json(self) -> dict[str, Any]:
        return {
            "id": self.vehicle_id,
            "lat": self.latitude,
            "lon": self.longitude,
            "heading": self.heading,
            "speed_kmh": self.speed_kmh,
            "ignition": self.ignition,
            "state_of_charge": self.state_of_charge,
            "range_km": self.range_km,
            "destination_station_id": self.destination_station_id,
            "ev_model_id": self.ev_model_id,
            "occurred_at": self.occurred_at,
        }


@dataclass(frozen=True, slots=True)
class VehiclesAnswer:
    """`truncated`: there are more cars in the box. `note` says in one line why nothing is known."""

    fresh: Freshness
    vehicles: tuple[Vehicle, ...]
    truncated: bool
    note: str | None

    def to_json(self) -> dict[str, Any]:
        return {
            **self.fresh.to_json(),
            "note": self.note,
            "truncated": self.truncated,
            "vehicles": [vehicle.to_json() for vehicle in self.vehicles],
        }


def vehicles(client: Elasticsearch, question: VehiclesQuestion, fresh: Freshness) -> VehiclesAnswer:
    """Answers with one search. Cars that are switched on come first."""
    if fresh.stale:
        return VehiclesAnswer(fresh, (), False, f"where cars are is unknown: {fresh.reason}")
    hits = client.search(
        index=VEHICLE_POSITION,
        query={"bool": {"filter": [question.box.query(), not_expired(fresh)]}},
        sort=[{"ignition": "desc"}],
        size=question.limit + 1,
        track_total_hits=False,
        allow_partial_search_results=False,
    )["hits"]["hits"]
    found = tuple(Vehicle.from_document(hit["_source"]) for hit in hits[: question.limit])
    return VehiclesAnswer(fresh, found, len(hits) > question.limit, None)


def vehicle(client: Elasticsearch, vehicle_id: str, fresh: Freshness) -> Vehicle:
    """One car. Raises NoSuchThingError if it was not heard of within the hour, UserError if nothing is known of cars."""
    if fresh.stale:
        raise UserError(f"where cars are is unknown: {fresh.reason}")
    unknown = NoSuchThingError(f"no car {vehicle_id!r} has reported where it is within the last hour")
    if not vehicle_id or len(vehicle_id.encode()) > 512:
        raise unknown
    try:
        document = client.get(index=VEHICLE_POSITION, id=vehicle_id)["_source"]
    except NotFoundError as error:
        if isinstance(error.body, dict) and error.body.get("found") is False:
            raise unknown from None
        raise
    if document["expires_at"] <= utc_text(fresh.now):
        raise unknown
    return Vehicle.from_document(document)


def not_expired(fresh: Freshness) -> dict[str, Any]:
    """The Elasticsearch filter for cars whose last position still counts."""
    return {"range": {"expires_at": {"gt": utc_text(fresh.now)}}}
