"""Which questions are refused, and how places, connectors and ages are read."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from evcharge.errors import UserError
from evcharge.live.stream_status import QueryStatus
from evcharge.places import bearing, between, box_around, distance_km
from evcharge.queries.client import refuse_small
from evcharge.queries.freshness import STREAM_STALE_AFTER, duration_text, freshness, heard_since, utc_text
from evcharge.queries.nearby import MAX_LIMIT, NearbyQuestion
from evcharge.queries.traffic import TrafficQuestion
from evcharge.settings import Settings

NOW = datetime(2026, 5, 20, 18, 30, 40, tzinfo=UTC)
LOS_ANGELES = {"latitude": 34.05, "longitude": -118.24, "radius_km": 5.0}


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"latitude": 90.1}, "latitude 90.1 is off the globe"),
        ({"latitude": float("nan")}, "latitude nan is off the globe"),
        ({"longitude": -180.5}, "longitude -180.5 is off the globe"),
        ({"radius_km": 0.0}, "radius 0 km"),
        ({"radius_km": -3.0}, "radius -3 km"),
        ({"radius_km": 500.1}, "radius 500.1 km: it must be above 0 and at most 500 km"),
        ({"radius_km": float("nan")}, "radius nan km"),
        ({"min_power_kw": -1.0}, "power -1 kW: it must not be negative"),
        ({"min_power_kw": float("inf")}, "power inf kW"),
        ({"limit": 0}, "limit 0"),
        ({"limit": MAX_LIMIT + 1}, "limit 1001"),
        ({"connector": "Type 7"}, "connector 'Type 7' is not known; there are CCS, CCS1, CCS2, NACS"),
        ({"connector": ""}, "connector '' is not known"),
    ],
)
def test_an_impossible_question_is_refused_in_one_line(wrong: dict[str, Any], said: str) -> None:
    with pytest.raises(UserError, match=said) as error:
        NearbyQuestion(**(LOS_ANGELES | wrong))
    assert "\n" not in str(error.value)


def test_the_edges_of_the_globe_can_be_asked() -> None:
    NearbyQuestion(90, 180, 500, min_power_kw=0, limit=MAX_LIMIT)
    NearbyQuestion(-90, -180, 0.001)


def test_traffic_needs_a_radius() -> None:
    with pytest.raises(UserError, match="radius -1 km"):
        TrafficQuestion("any", -1)


@pytest.mark.parametrize(
    ("to", "degrees"),
    [((35.0, -118.0), 0), ((34.0, -117.9), 90), ((33.0, -118.0), 180), ((34.0, -118.1), 270)],
)
def test_bearings_go_clockwise_from_north(to: tuple[float, float], degrees: float) -> None:
    assert between(bearing(34.0, -118.0, *to), degrees) < 0.1


def test_the_angle_between_directions_is_the_smaller_one() -> None:
    assert between(350, 10) == between(10, 350) == 20
    assert between(0, 180) == 180
    assert between(360, 0) == 0


def test_distances_are_those_of_the_globe() -> None:
    # Los Angeles to New York airports, the textbook example of Ed Williams' Aviation Formulary: 2,144 nautical miles
    assert distance_km(33.9425, -118.408056, 40.639722, -73.778889) == pytest.approx(3_974, rel=0.002)
    assert distance_km(0, 179.9, 0, -179.9) == pytest.approx(22.24, abs=0.01)
    assert distance_km(10, 10, 10, 10) == 0


def status(as_of: datetime | None) -> QueryStatus:
    return QueryStatus("stations", "stream", "index", utc_text(NOW), utc_text(as_of) if as_of else None)


def test_a_fresh_state_has_an_age() -> None:
    fresh = freshness(status(NOW - timedelta(seconds=3)), NOW)
    assert fresh.to_json() == {"state_as_of": "2026-05-20T18:30:37.000Z", "age_s": 3.0, "stale": False}
    assert not freshness(status(NOW - STREAM_STALE_AFTER), NOW).stale


def test_a_stream_that_is_down_makes_the_state_stale() -> None:
    fresh = freshness(status(NOW - STREAM_STALE_AFTER - timedelta(seconds=1)), NOW)
    assert fresh.stale
    assert fresh.age_s == 901
    assert fresh.reason == "the live state is 15 min old; is the live stream running?"


@pytest.mark.parametrize("stored", [None, status(None)])
def test_without_a_status_the_age_is_null(stored: QueryStatus | None) -> None:
    fresh = freshness(stored, NOW)
    assert fresh.to_json() == {"state_as_of": None, "age_s": None, "stale": True}


def test_clocks_that_differ_make_no_negative_age() -> None:
    assert freshness(status(NOW + timedelta(seconds=1)), NOW).age_s == 0


def test_the_limit_of_silence_is_a_setting() -> None:
    assert heard_since(Settings(state_stale_after_h=2), NOW) == datetime(2026, 5, 20, 16, 30, tzinfo=UTC)


@pytest.mark.parametrize(
    ("seconds", "said"),
    [(-5, "0 s"), (2, "2 s"), (89, "89 s"), (90, "2 min"), (5399, "90 min"), (5400, "2 h"), (200_000, "2 days")],
)
def test_spans_read_as_people_say_them(seconds: float, said: str) -> None:
    assert duration_text(timedelta(seconds=seconds)) == said


def test_a_small_platform_says_what_is_missing() -> None:
    with pytest.raises(UserError, match=r"without Elasticsearch and Cassandra.*`make up`"):
        refuse_small(Settings(profile="small"))
    refuse_small(Settings(profile="small", elasticsearch_url="http://127.0.0.1:9200"))
    refuse_small(Settings())


@given(st.floats(-90, 90), st.floats(-180, 180), st.floats(0.01, 500), st.floats(-1, 1), st.floats(-1, 1))
@example(89.9, 0.0, 100.0, 0.5, 1.0)
@example(80.0, 179.9, 100.0, 0.0, 1.0)
@example(-60.0, -179.9, 500.0, -0.9, -1.0)
def test_the_box_holds_the_circle(
    latitude: float, longitude: float, radius_km: float, north: float, east: float
) -> None:
    box = box_around({"lat": latitude, "lon": longitude}, radius_km)["geo_bounding_box"]["location"]
    # some place near by, up to somewhat beyond the circle
    high = radius_km / 100
    place = min(max(latitude + north * high, -90.0), 90.0)
    meridian = (longitude + east * min(10 * high, 180.0) + 180.0) % 360.0 - 180.0
    if distance_km(latitude, longitude, place, meridian) <= radius_km:
        assert box["bottom"] <= place <= box["top"]
        left, right = box["left"], box["right"]
        assert left <= meridian <= right if left <= right else meridian >= left or meridian <= right
