"""Ways and their distances."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evcharge.trips.corridor import Beside, beside, boxes, chosen, gaps, ways
from evcharge.trips.energy import Consumption
from evcharge.trips.gazetteer import find
from evcharge.trips.roads import CIRCUITY, great_circle_km, is_connected, route

#: Trips of which road distance (km) and driving time without traffic (h) are well known.
KNOWN = [
    ("Los Angeles, CA", "San Francisco, CA", 617, 5.8),
    ("Los Angeles, CA", "Las Vegas, NV", 435, 4.0),
    ("Boston, MA", "New York, NY", 346, 3.8),
    ("Chicago, IL", "Indianapolis, IN", 295, 2.9),
    ("Dallas, TX", "Houston, TX", 385, 3.6),
    ("Seattle, WA", "Portland, OR", 280, 2.8),
    ("Miami, FL", "Atlanta, GA", 1065, 9.5),
    ("New York, NY", "Los Angeles, CA", 4490, 41.0),
]

anywhere = st.tuples(st.floats(-90, 90), st.floats(-180, 180))


@pytest.mark.parametrize(("start", "to", "km", "hours"), KNOWN)
def test_a_known_trip_is_estimated_well(start: str, to: str, km: float, hours: float) -> None:
    a, b = find(start).place, find(to).place
    way = route(a.latitude, a.longitude, b.latitude, b.longitude)
    assert way.source == "freeways"
    assert way.distance_km == pytest.approx(km, rel=0.04)
    assert way.drive_s / 3600 == pytest.approx(hours, rel=0.13)


@given(anywhere, anywhere)
@settings(max_examples=40)
def test_a_way_is_between_the_great_circle_and_a_third_more(a: tuple[float, float], b: tuple[float, float]) -> None:
    straight = float(great_circle_km(*a, *b))
    way = route(*a, *b)
    # The network's own distances are rounded, and its nodes too.
    assert straight * 0.99 - 0.1 <= way.distance_km <= straight * CIRCUITY + 1e-6
    assert np.isfinite(way.points).all()
    assert (np.diff(way.km_at) >= 0).all()
    assert (np.diff(way.seconds_at) >= 0).all()
    assert way.points[0] == pytest.approx(a, abs=1e-6)
    assert way.points[-1][0] == pytest.approx(b[0], abs=1e-6)


def test_where_no_freeway_leads_a_way_is_a_third_longer_than_the_great_circle() -> None:
    way = route(52.52, 13.40, 48.14, 11.58)
    assert way.source == "1.3 x great circle"
    assert way.distance_km == pytest.approx(504 * 1.3, rel=0.01)
    over_the_ocean = route(21.3, -157.86, 34.05, -118.24)
    assert over_the_ocean.source == "1.3 x great circle"


@pytest.mark.parametrize(
    ("start", "to", "leads"),
    [
        ("Los Angeles, CA", "Boston, MA", True),
        ("Honolulu, HI", "Seattle, WA", False),
        ("Anchorage, AK", "Seattle, WA", False),
        ("Honolulu, HI", "Kailua, HI", True),
        ("48.1,11.6", "52.5,13.4", True),
    ],
)
def test_no_freeway_crosses_the_water(start: str, to: str, leads: bool) -> None:
    a, b = find(start).place, find(to).place
    assert is_connected(a.latitude, a.longitude, b.latitude, b.longitude) is leads


def test_a_part_of_a_way_is_drawn_forwards_and_backwards() -> None:
    way = route(34.05, -118.24, 37.77, -122.42)
    forwards, backwards = way.line(100, 200), way.line(200, 100)
    assert forwards == backwards[::-1]
    assert len(way.line()) > 50
    assert way.line()[0] == [-118.24, 34.05]


def test_stations_beside_a_way_are_where_they_lie() -> None:
    way = route(34.05, -118.24, 37.77, -122.42)
    on_way = way.points[len(way.points) // 2]
    near = beside(way, np.array([on_way[0], on_way[0]]), np.array([on_way[1], on_way[1] + 0.1]))
    assert near.off_km[0] == pytest.approx(0, abs=0.01)
    assert near.at_km == pytest.approx(way.km_at[len(way.points) // 2], abs=8)
    straight = float(great_circle_km(on_way[0], on_way[1], on_way[0], on_way[1] + 0.1))
    assert 0 < near.off_km[1] <= straight * CIRCUITY + 0.01


def test_a_way_over_the_date_line_has_its_boxes_and_stations_there() -> None:
    way = route(-17.7, 178.0, -17.7, -178.0)
    assert all(-180 <= box.west <= 180 and -180 <= box.east <= 180 for box in boxes(way, 10))
    assert any(box.west > box.east for box in boxes(way, 10, count=1))
    near = beside(way, np.array([-17.7]), np.array([180.0]))
    # the great circle bends 1.1 km to the south
    assert near.off_km[0] < 2
    assert near.at_km[0] == pytest.approx(way.distance_km / 2, rel=0.01)


@given(anywhere, anywhere, st.floats(-0.05, 0.05), st.floats(-0.05, 0.05), st.floats(0, 1))
@settings(max_examples=60)
def test_a_place_near_a_way_lies_in_one_of_its_boxes(
    a: tuple[float, float], b: tuple[float, float], north: float, east: float, share: float
) -> None:
    a, b = (a[0] * 0.8, a[1]), (b[0] * 0.8, b[1])
    way = route(*a, *b)
    place = way.points[int(share * (len(way.points) - 1))]
    latitude, longitude = place[0] + north, (place[1] + east + 180) % 360 - 180
    inside = [
        box.south <= latitude <= box.north
        and (
            box.west <= longitude <= box.east
            if box.west <= box.east
            else longitude >= box.west or longitude <= box.east
        )
        for box in boxes(way, 30)
    ]
    assert any(inside)


def test_every_part_of_a_way_keeps_its_best_stations() -> None:
    way = route(34.05, -118.24, 37.77, -122.42)
    kms = np.sort(np.random.default_rng(1).uniform(0, way.distance_km, 5_000))
    cost_s = np.random.default_rng(2).uniform(0, 3_600, 5_000)
    kept = chosen(way, Beside(kms, np.zeros(5_000)), cost_s)
    assert 80 <= len(kept) <= 150
    assert np.diff(kms[kept]).max() < 40
    assert np.argmin(cost_s) in kept
    few = chosen(way, Beside(kms[:50], np.zeros(50)), cost_s[:50])
    assert len(few) == 50


def test_gaps_are_where_no_station_is() -> None:
    way = route(34.05, -118.24, 37.77, -122.42)
    assert gaps(way, Beside(np.array([100.0, 300.0]), np.zeros(2)), 150) == [
        (100.0, 300.0),
        (300.0, way.distance_km),
    ]
    assert gaps(way, Beside(np.zeros(0), np.zeros(0)), 150) == [(0.0, way.distance_km)]


def test_ways_between_stations_follow_the_route_or_go_straight() -> None:
    way = route(34.05, -118.24, 37.77, -122.42)
    on_way = way.points[[40, 80]]
    latitudes, longitudes = on_way[:, 0], on_way[:, 1]
    near = beside(way, latitudes, longitudes)
    use = Consumption(15.0)
    between = ways(way, latitudes, longitudes, near, use)
    assert between.km[-1, -1] == pytest.approx(way.distance_km)
    assert between.drive_s[-1, -1] == pytest.approx(way.drive_s)
    assert between.km[0, 1] == pytest.approx(way.km_at[80] - way.km_at[40], rel=0.05)
    assert between.km[0, 1] == pytest.approx(between.km[1, 0])
    whole = between.kwh[-1, 0] + between.kwh[0, 1] + between.kwh[1, -1]
    assert whole == pytest.approx(between.kwh[-1, -1], rel=0.02)
    straight = great_circle_km(latitudes[:, None], longitudes[:, None], latitudes, longitudes) * CIRCUITY
    assert (between.km[:2, :2] <= straight + 1e-6).all()
