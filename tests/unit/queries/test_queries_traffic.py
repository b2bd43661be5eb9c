"""Which cars count as inbound."""

from __future__ import annotations

from typing import Any

import pytest

from evcharge.live.vehicle_positions import document
from evcharge.queries.traffic import InboundCar, inbound

#: The station; a degree of latitude is 111.2 km.
AT = (34.0, -118.0)


def car(vehicle_id: str = "car", **fields: Any) -> dict[str, Any]:
    """A car 11.1 km south of the station, driving north at 40 km/h."""
    return document(
        {
            "vehicle_id": vehicle_id,
            "ev_model_id": "model",
            "occurred_at": 1_780_000_000_000,
            "latitude": 33.9,
            "longitude": -118.0,
            "heading": 0.0,
            "speed_kmh": 40.0,
            "ignition": True,
            "state_of_charge": 30.0,
            "range_km": 90.0,
            "destination_station_id": None,
            **fields,
        }
    )


def heading_for(*cars: dict[str, Any]) -> list[InboundCar]:
    return inbound(cars, "s", *AT)


def test_a_car_that_navigates_to_the_station_is_inbound_whatever_its_heading() -> None:
    (found,) = heading_for(car(destination_station_id="s", heading=180.0))
    assert (found.by, round(found.distance_km, 2)) == ("destination", 11.12)
    # the road is a fifth longer
    assert found.eta_minutes == pytest.approx(11.12 * 1.2 / 40 * 60, abs=0.01)


def test_a_car_that_points_to_the_station_is_inbound() -> None:
    assert [found.by for found in heading_for(car(), car(heading=30.0), car(heading=331.0))] == ["heading"] * 3


@pytest.mark.parametrize(
    "fields",
    [
        {"destination_station_id": "other"},
        {"destination_station_id": "s", "range_km": 11.0},
        {"heading": 31.0},
        {"heading": None},
        {"speed_kmh": 5.0},
        {"ignition": False},
        {"range_km": 11.0},
        {"range_km": None},
    ],
)
def test_other_cars_are_not(fields: dict[str, Any]) -> None:
    assert heading_for(car(**fields)) == []


def test_a_destination_counts_without_a_known_range() -> None:
    assert len(heading_for(car(destination_station_id="s", range_km=None))) == 1


def test_a_car_at_a_light_drives_on() -> None:
    (found,) = heading_for(car(destination_station_id="s", speed_kmh=0.0))
    assert found.eta_minutes == pytest.approx(11.12 * 1.2 / 25 * 60, abs=0.02)


def test_the_soonest_comes_first() -> None:
    found = heading_for(car("slow"), car("fast", speed_kmh=80.0), car("near", latitude=33.99))
    assert [one.vehicle_id for one in found] == ["near", "fast", "slow"]
