"""Which cars are near a station, and which are heading for it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from elasticsearch import Elasticsearch

from evcharge.errors import UserError
from evcharge.live.indices import VEHICLE_POSITION
from evcharge.places import bearing, between, check_radius, distance_km, nearest_first, within
from evcharge.queries.availability import Station
from evcharge.queries.freshness import Freshness, utc_text

#: Road over straight line, US average (Ballou, Rahardja and Sakai 2002, "Selected country circuity factors").
CIRCUITY = 1.2
#: The lowest speed for an arrival time, because a car at a light drives on: the mean of dense city traffic (assumption).
LEAST_KMH = 25.0
#: A car that is switched on and faster than this is on its way: GPS shows a few km/h for a car that stands.
DRIVING_KMH = 5.0
#: A car heads for the station if its heading differs by no more than this (assumption: streets are a grid).
HEADING_DEGREES = 30.0
#: The most cars to read for one answer, the nearest first.
MAX_CARS = 2_000


@dataclass(frozen=True, slots=True)
class TrafficQuestion:
    """Cars within `radius_km` (km) of a station. Raises UserError for a radius out of range."""

    station_id: str
    radius_km: float

    def __post_init__(self) -> None:
        check_radius(self.radius_km)


@dataclass(frozen=True, slots=True)
class InboundCar:
    """A car that heads for the station: its distance in a straight line, and its arrival time at its current speed.

    `by` says how this is known: by the car's `destination` or by its `heading`.
    """

    vehicle_id: str
    ev_model_id: str | None
    by: str
    distance_km: float
    eta_minutes: float
    speed_kmh: float
    state_of_charge: float
    range_km: float | None
    latitude: float
    longitude: float
    occurred_at: str

    def to_json(self) -> dict[str, Any]:
        return {
            "vehicle_id": self.vehicle_id,
            "ev_model_id": self.ev_model_id,
            "by": self.by,
            "distance_km": round(self.distance_km, 2),
            "eta_minutes": round(self.eta_minutes, 1),
            "speed_kmh": self.speed_kmh,
            "state_of_charge": self.state_of_charge,
            "range_km": self.range_km,
            "latitude": self.latitude,
            "longitude": self.longitude,
            "occurred_at": self.occurred_at,
        }


@dataclass(frozen=True, slots=True)
class TrafficAnswer:
    """The station, the number of cars near it and the cars that head for it, the earliest arrival first.

    The numbers are null if nothing is known about cars. `fresh` is the freshness of the stations' state, `cars_fresh` that of
    the cars' state.
    """

    question: TrafficQuestion
    fresh: Freshness
    cars_fresh: Freshness
    station: Station
    cars_near: int | None
    cars_near_driving: int | None
    inbound: tuple[InboundCar, ...]
    note: str | None

    def to_json(self) -> dict[str, Any]:
        return {
            "question": {"station_id": self.question.station_id, "radius_km": self.question.radius_km},
            **self.fresh.to_json(),
            "vehicles": self.cars_fresh.to_json(),
            "note": self.note,
            "station": self.station.to_json(),
            "cars_near": self.cars_near,
            "cars_near_driving": self.cars_near_driving,
            "inbound": [car.to_json() for car in self.inbound],
        }


def traffic(
    client: Elasticsearch, question: TrafficQuestion, station: Station, fresh: Freshness, cars_fresh: Freshness
) -> TrafficAnswer:
    """Answers with one search for cars. Raises UserError if the station's place is not known."""
    if station.latitude is None or station.longitude is None:
        raise UserError(f"station {station.station_id} is not in the registry: its place is not known")
    if cars_fresh.stale:
        reason = f"where cars are is unknown: {cars_fresh.reason}"
        return TrafficAnswer(question, fresh, cars_fresh, station, None, None, (), reason)
    location = {"lat": station.latitude, "lon": station.longitude}
    answer = client.search(index=VEHICLE_POSITION, **_request(question, location, cars_fresh))
    near = answer["aggregations"]["near"]
    hits = answer["hits"]["hits"]
    note = None
    if fresh.stale:
        note = f"the station's state is unknown: {fresh.reason}"
    elif len(hits) == MAX_CARS:
        note = f"only the nearest {MAX_CARS:,} cars on the road were looked at"
    return TrafficAnswer(
        question,
        fresh,
        cars_fresh,
        station,
        near["doc_count"],
        near["driving"]["doc_count"],
        tuple(inbound((hit["_source"] for hit in hits), station.station_id, station.latitude, station.longitude)),
        note,
    )


def inbound(cars: Iterable[Mapping[str, Any]], station_id: str, latitude: float, longitude: float) -> list[InboundCar]:
    """The cars (vehicle-position documents) that head for a station at a place and can reach it."""
    found = []
    for car in cars:
        at = car["location"]
        distance = distance_km(at["lat"], at["lon"], latitude, longitude)
        by = _heads_for(car, station_id, distance, bearing(at["lat"], at["lon"], latitude, longitude))
        if by is not None:
            found.append(
                InboundCar(
                    vehicle_id=car["vehicle_id"],
                    ev_model_id=car["ev_model_id"],
                    by=by,
                    distance_km=distance,
                    eta_minutes=distance * CIRCUITY / max(car["speed_kmh"], LEAST_KMH) * 60,
                    speed_kmh=car["speed_kmh"],
                    state_of_charge=car["state_of_charge"],
                    range_km=car["range_km"],
                    latitude=at["lat"],
                    longitude=at["lon"],
                    occurred_at=car["occurred_at"],
                )
            )
    return sorted(found, key=lambda car: (car.eta_minutes, car.vehicle_id))


def _heads_for(car: Mapping[str, Any], station_id: str, distance: float, towards: float) -> str | None:
    """How a car is known to head for the station; None if it does not head for it or cannot reach it.

    For a car that does not report its range, only the destination counts.
    """
    range_km, destination = car["range_km"], car["destination_station_id"]
    if destination is not None:
        return "destination" if destination == station_id and (range_km is None or distance <= range_km) else None
    drives = car["ignition"] and car["speed_kmh"] > DRIVING_KMH and car["heading"] is not None
    if not drives or range_km is None or distance > range_km:
        return None
    return "heading" if between(car["heading"], towards) <= HEADING_DEGREES else None


def _request(question: TrafficQuestion, location: dict[str, float], cars_fresh: Freshness) -> dict[str, Any]:
    around = within(location, question.radius_km)
    driving: list[dict[str, Any]] = [{"term": {"ignition": True}}, {"range": {"speed_kmh": {"gt": DRIVING_KMH}}}]
    by_destination = {"term": {"destination_station_id": question.station_id}}
    may_be_by_heading = {
        "bool": {"filter": [around, *driving], "must_not": {"exists": {"field": "destination_station_id"}}},
    }
    return {
        "query": {
            "bool": {
                "filter": [
                    {"range": {"expires_at": {"gt": utc_text(cars_fresh.now)}}},
                    {"bool": {"should": [around, by_destination]}},
                ]
            }
        },
        "post_filter": {"bool": {"should": [by_destination, may_be_by_heading]}},
        "aggs": {"near": {"filter": around, "aggs": {"driving": {"filter": {"bool": {"filter": driving}}}}}},
        "sort": [nearest_first(location)],
        "size": MAX_CARS,
        "track_total_hits": False,
        "allow_partial_search_results": False,
    }
