"""The map's questions: which states are shown, what `offers` and `shown` say of a station, and boxes of all kinds."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import orjson
import pytest

from evcharge.errors import UserError
from evcharge.live.station_document import (
    MOST_FREE_COUNTED,
    OFFER_BLOCKED,
    OFFER_BROKEN,
    OFFER_CHARGING,
    OFFER_FREE,
    OFFER_UNKNOWN,
    offer,
    offers,
    outlet_documents,
    packed,
    shown,
)
from evcharge.queries.availability import MapState, Station, read_station
from evcharge.queries.box import Box, tile_box
from evcharge.queries.freshness import Freshness
from evcharge.queries.map import _SHOWN_AS, Cluster, MapQuestion, MapStation, map_view

NOW = datetime(2026, 5, 20, 18, 30, tzinfo=UTC)
FRESH = Freshness(NOW, NOW - timedelta(seconds=2), None)
STALE = Freshness(NOW, NOW - timedelta(hours=1), "the live state is old")
SINCE = NOW - timedelta(hours=24)
WORLD = (-180.0, -90.0, 180.0, 90.0)


def document(
    *evses: tuple[str | None, float | None, str], ago: timedelta | None = timedelta(minutes=1), **fields: Any
) -> Any:
    """A station's listed fields, with EVSEs of a connector type, power and status."""
    rows = [{"connector_type": kind, "power_kw": power, "status": status} for kind, power, status in evses]
    return {
        **dict.fromkeys(
            ("station_name", "city", "state", "country", "network", "source", "last_change_at", "removed_at")
        ),
        "station_id": "s",
        "time_zone": "UTC",
        "location": {"lat": 34.0, "lon": -118.0},
        "status_code": "E",
        "observed_at": "2026-05-01T00:00:00.000Z",
        "is_current": True,
        "queue_length": 0,
        "last_event_at": None if ago is None else (NOW - ago).isoformat(),
        "outlets": outlet_documents(rows, {}),
        **fields,
    }


@pytest.mark.parametrize(
    ("statuses", "state"),
    [
        (["AVAILABLE", "CHARGING", "UNKNOWN", "OUTOFORDER"], MapState.FREE),
        (["CHARGING", "UNKNOWN"], MapState.UNKNOWN),
        (["BLOCKED", "BLOCKED", "UNKNOWN"], MapState.UNKNOWN),
        (["CHARGING", "BLOCKED", "OUTOFORDER"], MapState.BUSY),
        (["BLOCKED", "BLOCKED", "OUTOFORDER"], MapState.BLOCKED),
        (["OUTOFORDER", "OUTOFORDER"], MapState.BROKEN),
        (["UNKNOWN"], MapState.UNKNOWN),
        ([], MapState.UNKNOWN),
    ],
)
def test_one_word_says_what_a_station_is(statuses: list[str], state: MapState) -> None:
    found = document(*(("J1772COMBO", 150.0, status) for status in statuses))
    assert read_station(found, FRESH, SINCE).map_state is state
    assert _SHOWN_AS[shown(found["outlets"], "E")] is state


@pytest.mark.parametrize(
    ("fields", "fresh", "state"),
    [
        ({"status_code": "P"}, FRESH, MapState.PLANNED),
        ({"status_code": "P"}, STALE, MapState.PLANNED),
        ({"status_code": "T"}, FRESH, MapState.BROKEN),
        ({"status_code": "T", "last_event_at": None}, FRESH, MapState.BROKEN),
        ({"removed_at": "2026-05-02T00:00:00.000Z", "status_code": "P"}, FRESH, MapState.BROKEN),
        ({}, STALE, MapState.UNKNOWN),
        ({"last_event_at": None}, FRESH, MapState.UNKNOWN),
        ({"last_event_at": (SINCE - timedelta(seconds=1)).isoformat()}, FRESH, MapState.UNKNOWN),
    ],
)
def test_what_is_closed_or_silent_is_never_free(fields: Mapping[str, Any], fresh: Freshness, state: MapState) -> None:
    assert read_station(document(("CHADEMO", 50.0, "AVAILABLE"), **fields), fresh, SINCE).map_state is state


def in_range(numbers: list[int], name: str, state: int, least: float = 0.0, most: float = 5_000.0) -> bool:
    return any(offer(name, state, least) <= number <= offer(name, state, most) for number in numbers)


def state_by_offers(numbers: list[int], name: str, least: float, most: float) -> MapState:
    """The state by the rules of the map's search."""
    if in_range(numbers, name, OFFER_FREE, least, most):
        return MapState.FREE
    if in_range(numbers, name, OFFER_UNKNOWN, least, most):
        return MapState.UNKNOWN
    if in_range(numbers, name, OFFER_CHARGING, least, most):
        return MapState.BUSY
    if in_range(numbers, name, OFFER_BLOCKED, least, most):
        return MapState.BLOCKED
    return MapState.BROKEN if in_range(numbers, name, OFFER_BROKEN, least, most) else MapState.UNKNOWN


def test_offers_say_what_the_outlets_that_fit_say() -> None:
    """Stations of every kind, asked in every way: ranges of numbers give the state that the outlets give."""
    draw = random.Random(18)
    kinds = ("J1772COMBO", "CHADEMO", "TESLA", "CCS", "SOMETHING", None)
    statuses = ("AVAILABLE", "CHARGING", "BLOCKED", "OUTOFORDER", "UNKNOWN")
    seen = set()
    for _ in range(400):
        own = draw.choices(kinds, k=3)
        evses = [
            (draw.choice(own), draw.choice((None, 6.6, 50.0, 149.99, 350.0)), draw.choice(statuses))
            for _ in range(draw.randrange(1, 7))
        ]
        found = document(*evses)
        registered = [kind for kind, _, _ in evses if kind]
        numbers = offers(found["outlets"], registered)
        for connector in ("CCS1", "CHADEMO", "NACS", "CCS2", None):
            for least, most in ((None, None), (50.0, None), (None, 50.0), (50.0, 200.0), (400.0, None)):
                question = MapQuestion(*WORLD, connector=connector, min_power_kw=least, max_power_kw=most)
                station = read_station(found, FRESH, SINCE, question.connector_type, least, most)
                if not station.outlets:
                    continue
                # of an outlet without a type a question cannot tell that the station has no such connector at all
                if connector and all(outlets.connector_type is None for outlets in station.outlets):
                    continue
                expected = station.map_state
                assert (
                    state_by_offers(numbers, question.name, least or 0.0, 5_000.0 if most is None else most) is expected
                )
                free = sum(outlets.free for outlets in station.outlets)
                if most is None:
                    for count in range(1, MOST_FREE_COUNTED + 1):
                        assert in_range(numbers, question.name, OFFER_FREE + count - 1, least or 0.0) is (free >= count)
                seen.add(expected)
    assert seen >= {MapState.FREE, MapState.UNKNOWN, MapState.BUSY, MapState.BLOCKED, MapState.BROKEN}


def test_a_type_without_outlets_is_unknown() -> None:
    numbers = offers(document(("J1772", 6.6, "AVAILABLE"))["outlets"], ["J1772", "CHADEMO"])
    assert state_by_offers(numbers, "CHADEMO", 0.0, 5_000.0) is MapState.UNKNOWN
    assert in_range(numbers, "CHADEMO", OFFER_UNKNOWN)
    assert state_by_offers(numbers, "J1772", 0.0, 5_000.0) is MapState.FREE


def test_an_offer_fits_elasticsearchs_integer() -> None:
    highest = offer("PANTOGRAPH_TOP_DOWN", OFFER_FREE + MOST_FREE_COUNTED - 1, 1e9)
    assert 0 < highest < 2**31


@pytest.mark.parametrize(
    "fields",
    [
        {"south": 40.0, "north": 30.0},
        {"north": 91.0},
        {"west": float("nan")},
        {"east": float("inf")},
        {"west": -541.0},
        {"zoom": 25.0},
        {"zoom": float("nan")},
        {"connector": "';DROP TABLE"},
        {"min_power_kw": -1.0},
        {"max_power_kw": float("nan")},
        {"min_power_kw": 50.0, "max_power_kw": 20.0},
        {"min_free": 0},
        {"min_free": 9},
        {"likely_free_in_min": 241},
        {"most_stations": -1},
        {"most_stations": 3_001},
        {"favourites": ("",)},
        {"favourites": ("x" * 513,)},
        {"favourites": ("x",) * 201},
    ],
)
def test_a_bad_question_is_refused(fields: dict[str, Any]) -> None:
    edges = dict(zip(("west", "south", "east", "north"), (-125.0, 24.0, -66.0, 50.0), strict=True))
    with pytest.raises(UserError):
        MapQuestion(**{**edges, "zoom": 4.0, **fields})


@pytest.mark.parametrize(
    ("box", "west", "east"),
    [
        (Box(170, -10, -170, 10), 170, -170),
        (Box(170, -10, 190, 10), 170, -170),
        (Box(-190, -10, -170, 10), 170, -170),
        (Box(-200, -10, 200, 10), -180, 180),
        (Box(-180, -10, 180, 10), -180, 180),
        (Box(190, -10, 200, 10), -170, -160),
    ],
)
def test_a_box_may_cross_the_antimeridian(box: Box, west: float, east: float) -> None:
    assert (box.on_globe().west, box.on_globe().east) == (west, east)


def test_a_box_has_the_places_in_it() -> None:
    fiji = Box(175, -20, -175, -10)
    assert fiji.has(-17.7, 178.0)
    assert fiji.has(-17.0, -179.0)
    assert not fiji.has(-17.7, 0.0)
    assert not fiji.has(0.0, 178.0)
    assert Box(-200, -90, 200, 90).has(0.0, 12.0)


@pytest.mark.parametrize("zoom", [0, 3, 7, 12])
def test_whole_tiles_hold_the_box(zoom: int) -> None:
    draw = random.Random(zoom)
    for _ in range(100):
        south, north = sorted((draw.uniform(-90, 90), draw.uniform(-90, 90)))
        box = Box(draw.uniform(-180, 180), south, draw.uniform(-180, 180), north)
        tiles = box.whole_tiles(zoom)
        for _ in range(20):
            latitude = draw.uniform(south, north)
            longitude = (box.west + draw.uniform(0, box.width) + 180) % 360 - 180
            assert tiles.has(latitude, longitude)
        assert tiles.whole_tiles(zoom).width == pytest.approx(tiles.width)


def test_a_tile_is_where_it_is() -> None:
    """New York's tile at zoom 5, as OpenStreetMap numbers it."""
    assert tile_box("5/9/12").has(40.71, -74.0)
    assert Cluster("5/9/12", 40.7, -74.0, {**dict.fromkeys(MapState, 0), MapState.FREE: 3}).to_json()["count"] == 3


def test_a_shown_station_counts_the_outlets_that_fit() -> None:
    found = document(
        ("J1772COMBO", 150.0, "CHARGING"), ("J1772COMBO", 50.0, "AVAILABLE"), ("CHADEMO", 50.0, "AVAILABLE")
    )
    question = MapQuestion(*WORLD, connector="CCS1", min_power_kw=100.0)
    station = read_station(found, FRESH, SINCE, question.connector_type, question.min_power_kw)
    shown_as = MapStation(station).to_json()
    assert (shown_as["state"], shown_as["free"], shown_as["total"], shown_as["power_kw"]) == ("busy", 0, 1, 150.0)
    assert question.is_fit(station)
    assert not MapQuestion(*WORLD, connector="CCS1", min_power_kw=100.0, free_now=True).is_fit(station)
    assert not MapQuestion(*WORLD, network="Other").is_fit(station)


def test_what_is_likely_is_asked_for_and_known() -> None:
    question = MapQuestion(*WORLD, likely_free_in_min=30)
    assert [question.is_likely(chance) for chance in (None, 0.2, 0.5, 1.0)] == [False, False, True, True]
    assert MapQuestion(*WORLD).is_likely(None)


class Found:
    """An Elasticsearch whose stations are all favourites, of which some fit."""

    def __init__(self, documents: Mapping[str, Any], fitting: set[str]) -> None:
        self.hits = [
            {
                "fields": {"listed": [packed(orjson.dumps({**document, "station_id": name}))]},
                "matched_queries": ["fits"] if name in fitting else [],
            }
            for name, document in documents.items()
        ]

    def search(self, query: Mapping[str, Any], **_: Any) -> Any:
        return {"hits": {"hits": self.hits if "should" in query["bool"] else []}}


def test_a_favourite_that_does_not_fit_is_shown_with_all_its_outlets() -> None:
    mixed = document(("J1772COMBO", 150.0, "CHARGING"), ("CHADEMO", 50.0, "AVAILABLE"))
    slow = document(("J1772", 7.2, "AVAILABLE"), ("J1772", 7.2, "CHARGING"))
    client: Any = Found({"mixed": mixed, "slow": slow, "full": mixed}, {"mixed", "full"})

    def chances(stations: Sequence[Station], _: object, __: float) -> list[float | None]:
        return [0.2 if station.station_id == "full" and len(station.outlets) == 1 else 0.8 for station in stations]

    question = MapQuestion(
        *WORLD, zoom=15.0, connector="CCS", likely_free_in_min=30, favourites=("mixed", "slow", "full")
    )
    answer = map_view(client, question, chances, FRESH, SINCE)
    rows = {row["id"]: row for row in (station.to_json() for station in answer.stations)}
    assert {name: (row["fits"], row["state"], row["free"], row["connectors"]) for name, row in rows.items()} == {
        "mixed": (True, "busy", 0, ["J1772COMBO"]),
        "slow": (False, "free", 1, ["J1772"]),
        "full": (False, "free", 1, ["CHADEMO", "J1772COMBO"]),
    }
    # the chance is that of the outlets that are shown
    assert {name: row["likely_free"] for name, row in rows.items()} == {"mixed": 0.8, "slow": 0.8, "full": 0.8}
