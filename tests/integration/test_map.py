"""The map on a real Elasticsearch: clusters count as single stations are shown, and every change is told once."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from secrets import token_hex
from typing import Any

import pytest
from elasticsearch import Elasticsearch
from support import meter, position, station, stopped

from evcharge.connections import elasticsearch
from evcharge.contracts import SESSION_EVENTS, STATION_REGISTRY, VEHICLE_TELEMETRY
from evcharge.errors import UserError
from evcharge.live import indices
from evcharge.live.indices import STATION_STATE, STREAM_STATUS, VEHICLE_POSITION
from evcharge.live.station_folder import fold_into
from evcharge.live.stream_status import QueryStatus, write_status
from evcharge.live.vehicle_positions import write_positions
from evcharge.queries import map as map_module
from evcharge.queries.availability import MapState
from evcharge.queries.box import Box
from evcharge.queries.changes import Changes
from evcharge.queries.client import Queries
from evcharge.queries.freshness import utc_text
from evcharge.queries.map import MapAnswer, MapQuestion
from evcharge.queries.vehicles import VehiclesQuestion
from evcharge.settings import Settings

NOW = datetime.now(UTC)
PREFIX = f"map-{token_hex(3)}"
#: The Southern Ocean on both sides of the antimeridian: no other test has stations there.
BOX = Box(174.0, -64.0, -176.0, -60.0)
STATIONS = 300
KINDS = (("J1772COMBO", 350.0), ("J1772COMBO", 50.0), ("CHADEMO", 50.0), ("J1772", 7.2), ("TESLA", 150.0))


@dataclass
class World:
    settings: Settings
    client: Elasticsearch
    queries: Queries
    offset: int = 0

    def fold(self, contract: Any, row: dict[str, Any]) -> None:
        self.offset += 1
        record = {name: _in_ms(row.get(name)) for name in contract.columns}
        record |= {"kafka_partition": 0, "kafka_offset": self.offset}
        assert not fold_into(self.client, STATION_STATE, contract.topic, {row["station_id"]: [record]})

    def event(self, station_id: str, evse: int, kind: str, ago: timedelta) -> None:
        session, at = f"{station_id}-{evse}-{token_hex(3)}", NOW - ago
        evse_id = f"{station_id}-{evse}"
        if kind == "stopped":
            self.fold(SESSION_EVENTS, stopped(session, station_id, at, evse_id=evse_id))
        else:
            self.fold(SESSION_EVENTS, meter(session, station_id, occurred_at=at, evse_id=evse_id, event_type=kind))

    def drive(self, vehicle_id: str, latitude: float, longitude: float, at: datetime) -> None:
        row = position(vehicle_id, at, latitude=latitude, longitude=longitude, speed_kmh=30.0, ignition=True)
        record = {name: _in_ms(row.get(name)) for name in VEHICLE_TELEMETRY.columns}
        assert not write_positions(self.client, VEHICLE_POSITION, [record])

    def says(self, as_of: datetime) -> None:
        for query in ("stations", "vehicles"):
            write_status(self.client, QueryStatus(query, "test", "test", utc_text(as_of), utc_text(as_of)))
        self.show()

    def show(self) -> None:
        for alias in (STATION_STATE, VEHICLE_POSITION, STREAM_STATUS):
            self.client.indices.refresh(index=alias)
        self.queries._statuses.clear()

    def ask(self, **asked: Any) -> MapAnswer:
        edges = {"west": BOX.west, "south": BOX.south, "east": BOX.east, "north": BOX.north}
        return self.queries.map(MapQuestion(**{**edges, "zoom": 6.0, **asked}), NOW)


def _in_ms(value: Any) -> Any:
    return int(value.timestamp() * 1000) if isinstance(value, datetime) else value


@pytest.fixture(scope="module")
def world(platform: Settings) -> Iterator[World]:
    """Stations of all states and kinds, some silent, planned, closed or gone."""
    indices.ensure(platform)
    draw = random.Random(18)
    with elasticsearch(platform) as client, Queries(platform, client) as queries:
        world = World(platform, client, queries)
        for number in range(STATIONS):
            station_id = f"{PREFIX}-{number:04d}"
            kinds = draw.choices(KINDS, k=draw.randrange(1, 5))
            world.fold(
                STATION_REGISTRY,
                station(
                    station_id,
                    observed_at=NOW - timedelta(days=30),
                    latitude=draw.uniform(BOX.south, BOX.north),
                    longitude=(draw.uniform(174.0, 184.0) + 180) % 360 - 180,
                    status_code=draw.choice("EEEEEEEEPT"),
                    network=draw.choice(("North", "South", None)),
                    connector_types=sorted({kind for kind, _ in kinds}),
                    total_outlets=len(kinds) + (draw.random() < 0.2),
                    evses=[
                        {"evse_id": f"{station_id}-{n}", "connector_id": "1", "connector_type": kind, "power_kw": power}
                        for n, (kind, power) in enumerate(kinds, start=1)
                    ],
                ),
            )
            ago = draw.choice((timedelta(minutes=5), timedelta(minutes=5), timedelta(hours=2), timedelta(days=3)))
            alike = draw.choice(("stopped", "started", "suspended", "faulted", None))
            for n in range(1, len(kinds) + 1):
                if (kind := alike or draw.choice(("stopped", "started", "suspended", "faulted", ""))) and ago:
                    world.event(station_id, n, kind, ago)
        world.says(NOW - timedelta(seconds=1))
        yield world
        lines = [{"delete": {"_id": f"{PREFIX}-{number:04d}"}} for number in range(STATIONS)]
        client.bulk(index=STATION_STATE, operations=lines, refresh=True)
        cars = [{"delete": {"_id": f"{PREFIX}-{name}"}} for name in ("car", "away")]
        client.bulk(index=VEHICLE_POSITION, operations=cars, refresh=True)
        world.says(NOW)


ASKED: tuple[dict[str, Any], ...] = (
    {},
    {"network": "North"},
    {"connector": "CCS"},
    {"connector": "CCS", "min_power_kw": 100.0},
    {"min_power_kw": 50.0},
    {"max_power_kw": 60.0},
    {"connector": "CCS", "min_power_kw": 20.0, "max_power_kw": 60.0, "network": "South"},
    {"free_now": True},
    {"min_free": 2},
    {"connector": "CCS", "free_now": True},
    {"connector": "CCS", "min_free": 2, "min_power_kw": 50.0},
    {"max_power_kw": 60.0, "min_free": 2},
)


@pytest.mark.parametrize("asked", ASKED, ids=str)
@pytest.mark.parametrize("is_stale", [False, True], ids=["fresh", "stale"])
def test_clusters_count_as_stations_are_shown(world: World, asked: dict[str, Any], is_stale: bool) -> None:
    world.says(NOW - timedelta(hours=2 if is_stale else 0, seconds=1))
    single = world.ask(**asked)
    assert single.mode == "stations"
    crowd = world.ask(**asked, most_stations=0)
    # every station fits by the rule in Python too, and no other one does
    every = {shown.station.station_id: shown.station for shown in world.ask().stations}
    question = MapQuestion(BOX.west, BOX.south, BOX.east, BOX.north, **asked)
    assert all(question.is_fit(shown.station) for shown in single.stations)
    assert len(every) == STATIONS
    counts = Counter(shown.station.map_state for shown in single.stations)
    assert {state: count for state, count in crowd.counts.items() if count} == dict(counts)
    assert {state: count for state, count in single.counts.items() if count} == dict(counts)
    for cluster in crowd.clusters:
        inside = [
            s.station for s in single.stations if cluster.box.has(s.station.latitude or 0, s.station.longitude or 0)
        ]
        assert Counter(one.map_state for one in inside) == {s: n for s, n in cluster.counts.items() if n}
        assert cluster.box.has(cluster.latitude, cluster.longitude)
    if not asked:
        wanted = {MapState.PLANNED, MapState.BROKEN, MapState.UNKNOWN} if is_stale else set(MapState)
        assert set(counts) == wanted


def test_free_outlets_between_two_powers_are_counted(world: World) -> None:
    """The search subtracts: those from the least power on, without those above the most."""
    world.says(NOW - timedelta(seconds=1))
    found = {shown.station.station_id for shown in world.ask(max_power_kw=60.0, min_free=2).stations}
    expected = {
        shown.station.station_id
        for shown in world.ask(max_power_kw=60.0).stations
        if sum(outlets.free for outlets in shown.station.outlets) >= 2
    }
    assert found == expected
    assert found


def test_a_favourite_stays_that_does_not_fit(world: World) -> None:
    world.says(NOW - timedelta(seconds=1))
    fitting = {shown.station.station_id for shown in world.ask(free_now=True).stations}
    busy = next(s.station.station_id for s in world.ask().stations if s.station.station_id not in fitting)
    free = next(iter(fitting))
    answer = world.ask(free_now=True, favourites=(busy, free, "no-such-station"))
    shown = {one.station.station_id: one.fits for one in answer.stations}
    assert shown == {**dict.fromkeys(fitting, True), busy: False}
    assert answer.total == len(fitting)


def test_a_favourite_without_a_fitting_outlet_is_shown_whole(world: World) -> None:
    """Its state is known: it has outlets, though not of the connector that is asked for."""
    world.says(NOW - timedelta(seconds=1))
    every = {shown.station.station_id: shown for shown in world.ask().stations}
    fitting = {shown.station.station_id for shown in world.ask(connector="CHAdeMO").stations}
    other = next(name for name, one in every.items() if name not in fitting and one.station.map_state is MapState.FREE)
    answer = world.ask(connector="CHAdeMO", favourites=(other,))
    (favourite,) = (shown for shown in answer.stations if not shown.fits)
    assert favourite.to_json() == {**every[other].to_json(), "fits": False}
    assert favourite.to_json()["connectors"]


def test_an_empty_box_and_hostile_texts_find_nothing(world: World) -> None:
    assert world.ask(south=-60.0, north=-60.0).total == 0
    for text in ('North" OR 1=1', "*", "{}", "\u202e\x00"):
        assert world.ask(network=text).total == 0
    assert world.ask(favourites=("*", "_all", "../x")).total == STATIONS


def changes(world: World, before: Changes, *boxes: Box, ids: tuple[str, ...] = ()) -> Changes:
    world.show()
    return world.queries.changes(before.cursor, boxes or (BOX,), ids, now=NOW)


def test_every_change_is_told_once(world: World) -> None:
    world.says(NOW - timedelta(seconds=1))
    begun = world.queries.changes(None, now=NOW)
    assert not changes(world, begun).documents
    first, second, other = (f"{PREFIX}-{n:04d}" for n in (1, 2, 3))
    world.event(first, 1, "started", timedelta(minutes=1))
    one = changes(world, begun)
    assert [shown.station.station_id for shown in one.stations] == [first]
    world.event(second, 1, "started", timedelta(minutes=1))
    two = changes(world, one)
    assert [shown.station.station_id for shown in two.stations] == [second]
    assert not changes(world, two).documents
    # the same change for a cursor that has not seen it, elsewhere, and by id
    world.event(other, 1, "started", timedelta(minutes=1))
    assert not changes(world, two, Box(0, 0, 1, 1)).documents
    assert len(changes(world, two, Box(0, 0, 1, 1), ids=(other,)).documents) == 1
    # a change that became visible late, behind one that was seen, is told
    numbers = [two.cursor.stations.settled, *two.cursor.stations.seen]
    missed = max(two.cursor.stations.seen)
    forgetful = two.cursor.stations.__class__(
        two.cursor.stations.index,
        min(numbers),
        frozenset(two.cursor.stations.seen - {missed}),
        two.cursor.stations.highs,
    )
    again = world.queries.changes(two.cursor.__class__(forgetful, two.cursor.vehicles), (BOX,), now=NOW)
    assert [shown.station.station_id for shown in again.stations] == [second, other]


def test_changes_beyond_one_answer_come_next(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("evcharge.queries.changes.MAX_CHANGES", 3)
    last = world.queries.changes(None, now=NOW)
    wanted = [f"{PREFIX}-{n:04d}" for n in range(10, 20)]
    for station_id in wanted:
        world.event(station_id, 1, "started", timedelta(minutes=1))
    told: list[str] = []
    for _ in range(6):
        last = changes(world, last)
        told += [shown.station.station_id for shown in last.stations]
        if not last.more:
            break
    assert told == wanted


def test_an_index_that_was_replaced_resets_the_pages(world: World) -> None:
    last = world.queries.changes(None, now=NOW)
    gone = last.cursor.stations.__class__("station-state-20200101t000000000000", 0)
    answer = world.queries.changes(last.cursor.__class__(gone, last.cursor.vehicles), (BOX,), now=NOW)
    assert answer.reset
    assert answer.cursor.stations.index == last.cursor.stations.index
    assert not changes(world, answer).reset


def test_cars_of_the_view_and_those_that_moved(world: World) -> None:
    world.says(NOW - timedelta(seconds=1))
    here, away = f"{PREFIX}-car", f"{PREFIX}-away"
    world.drive(here, -62.0, 179.9, NOW - timedelta(minutes=2))
    world.drive(away, 10.0, 10.0, NOW - timedelta(minutes=2))
    world.show()
    view = VehiclesQuestion(BOX.west, BOX.south, BOX.east, BOX.north)
    seen = [car.vehicle_id for car in world.queries.vehicles(view, NOW).vehicles]
    assert here in seen
    assert away not in seen
    assert world.queries.vehicle(away, NOW).latitude == 10.0
    last = world.queries.changes(None, now=NOW)
    world.drive(here, -62.0, -179.9, NOW - timedelta(minutes=1))
    world.drive(away, 10.1, 10.0, NOW - timedelta(minutes=1))
    moved = changes(world, last)
    assert [(car.vehicle_id, car.longitude) for car in moved.vehicles] == [(here, -179.9)]
    with pytest.raises(UserError, match="no car 'nobody'"):
        world.queries.vehicle("nobody", NOW)
    later = NOW + timedelta(hours=2)
    world.says(later)
    with pytest.raises(UserError, match="within the last hour"):
        world.queries.vehicle(here, later)
    assert not world.queries.vehicles(view, later).vehicles


def test_an_index_of_an_older_format_says_what_happens(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """While the stream computes the state anew, questions still read the old index: it has no column of networks."""
    name = f"{PREFIX}-old"
    old = {"is_current": {"type": "boolean", "index": False}, "location": {"type": "geo_point"}}
    world.client.indices.create(
        index=name, mappings={"properties": old | {"network": {"type": "keyword", "index": False, "doc_values": False}}}
    )
    monkeypatch.setattr(map_module, "STATION_STATE", name)
    try:
        assert world.ask().total == 0
        for ask in (world.queries.networks, lambda: world.ask(network="North")):
            with pytest.raises(UserError, match="older version: the live stream computes it anew"):
                ask()
    finally:
        world.client.indices.delete(index=name)


def test_networks_have_their_number_of_stations(world: World) -> None:
    found = dict(world.queries.networks())
    assert found["North"] + found["South"] > STATIONS / 2
