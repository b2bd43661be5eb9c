"""Places in and out of their country and state."""

from __future__ import annotations

import pytest

from evcharge.registry.boundaries import CANADIAN_BOXES, US_BOXES, misfit


@pytest.mark.parametrize(
    ("latitude", "longitude", "country", "state"),
    [
        (42.36, -71.06, "US", "MA"),
        (46.02, -117.0, "US", "ZW"),
        (45.52, -122.68, None, "OR"),
        (52.9, 173.2, "US", "AK"),  # Attu
        (51.88, -176.65, "US", "AK"),
        (21.31, -157.86, "US", "HI"),
        (18.46, -66.11, "US", "PR"),
        (18.34, -64.93, "VI", "VI"),
        (13.47, 144.75, "US", "GU"),
        (-14.28, -170.7, "US", "AS"),
        (42.33, -83.045, "US", "MI"),  # Detroit, and Windsor across the river
        (42.317, -83.04, "CA", "ON"),
        (48.98, -123.08, "US", "WA"),  # Point Roberts, south of Vancouver
        (31.76, -106.49, "US", "TX"),  # El Paso
        (34.05, -118.24, "US", "CA"),
        (60.72, -135.06, "CA", "YT"),
        (63.75, -68.52, "CA", "NU"),
        (46.24, -63.13, "CA", "PE"),
        (47.56, -52.71, "CA", "NL"),
        (48.14, 11.58, "DE", "BY"),
        (48.14, 11.58, "XX", None),
        (48.14, 11.58, None, None),
    ],
)
def test_places_that_fit(latitude: float, longitude: float, country: str | None, state: str | None) -> None:
    assert misfit(latitude, longitude, country, state) is None


@pytest.mark.parametrize(
    ("latitude", "longitude", "country", "state", "says"),
    [
        (-71.04, 42.35, "US", "ZW", "is in AQ, not in US; with latitude and longitude swapped it would fit"),
        (46.36, 71.04, "US", "ZW", "is in KZ, not in US"),
        (42.36, 71.06, "US", "MA", "is in KG, not in US; with a minus before the longitude it would fit"),
        (-46.02, -117.0, "US", "WA", "is in the open sea, not in US; with a minus before the latitude it would fit"),
        (42.36, -71.06, "US", "NY", "is not in the state NY"),
        (42.36, -71.06, None, "NY", "is not in the state NY"),
        (43.65, -79.38, "US", None, "is in CA, not in US"),
        (43.65, -79.38, "CA", "BC", "is not in the state BC"),
        (42.36, -71.06, "CA", "ON", "is in US, not in CA"),
        (48.14, 11.58, "FR", None, "is in DE, not in FR"),
        (1.0, -1.0, "US", "TX", "is in the open sea, not in US"),
    ],
)
def test_places_that_do_not_fit(
    latitude: float, longitude: float, country: str | None, state: str | None, says: str
) -> None:
    assert misfit(latitude, longitude, country, state) == f"latitude {latitude:g}, longitude {longitude:g} {says}"


def test_boxes_are_boxes() -> None:
    assert len(US_BOXES) == 56, "50 states, DC and 5 territories"
    assert len(CANADIAN_BOXES) == 13
    for west, south, east, north in (*US_BOXES.values(), *CANADIAN_BOXES.values()):
        assert west < east
        assert south < north
