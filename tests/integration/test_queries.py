"""The drivers' questions on a real Elasticsearch and Cassandra, on state that the live path's own functions wrote."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from secrets import token_hex
from typing import Any

import pytest
from elasticsearch import Elasticsearch
from support import evcharge, meter, station, stopped

from evcharge.connections import ServerDownError, cassandra, elasticsearch
from evcharge.contracts import SESSION_EVENTS, STATION_REGISTRY, VEHICLE_TELEMETRY
from evcharge.errors import UserError
from evcharge.live import cassandra_schema, indices
from evcharge.live.cassandra_statements import execute_all
from evcharge.live.indices import STATION_STATE, STREAM_STATUS, VEHICLE_POSITION
from evcharge.live.registered import MAX_EVSES
from evcharge.live.station_folder import fold_into
from evcharge.live.stream_status import QueryStatus, write_status
from evcharge.live.usage import Hour
from evcharge.live.usage_tables import FINAL, PROVISIONAL, StationHour, write_final, write_provisional
from evcharge.live.vehicle_positions import write_positions
from evcharge.queries.availability import Availability
from evcharge.queries.client import Queries
from evcharge.queries.freshness import utc_text
from evcharge.queries.nearby import NearbyAnswer, NearbyQuestion
from evcharge.queries.traffic import TrafficQuestion
from evcharge.settings import Settings, load_settings

NOW = datetime.now(UTC)
#: Far from everything else that tests put on the map: on the ice east of Ross Island.
PLACE = (-78.5, 172.0)
KM = 1 / 111.195
PREFIX = f"q-{token_hex(3)}"
#: Monday and Tuesday before the Wednesday of the day's comparison.
SETTLED = (date(2026, 5, 18), date(2026, 5, 19))


@dataclass
class World:
    """Stations a kilometre apart on a line to the north of PLACE, and what they sent."""

    settings: Settings
    client: Elasticsearch
    offset: int = 0

    def register(self, name: str, km: float, **fields: Any) -> str:
        """A station `km` north of PLACE; its id."""
        station_id = f"{PREFIX}-{name}"
        row = station(
            station_id,
            **{"latitude": PLACE[0] + km * KM, "longitude": PLACE[1]}
            | {"connector_types": sorted({evse["connector_type"] for evse in fields.get("evses") or ()}) or None}
            | {"total_outlets": len(fields.get("evses") or ()) or 2, "status_code": "E"}
            | fields,
        )
        self._fold(STATION_REGISTRY, row | {"observed_at": fields.get("observed_at", NOW - timedelta(days=30))})
        return station_id

    def send(self, *events: dict[str, Any]) -> None:
        for event in events:
            self._fold(SESSION_EVENTS, event)

    def _fold(self, contract: Any, row: dict[str, Any]) -> None:
        self.offset += 1
        record = {name: _in_ms(row.get(name)) for name in contract.columns}
        record |= {"kafka_partition": 0, "kafka_offset": self.offset}
        fold_into(self.client, STATION_STATE, contract.topic, {row["station_id"]: [record]})

    def drive(self, *cars: dict[str, Any]) -> None:
        rows = [{name: _in_ms(car.get(name)) for name in VEHICLE_TELEMETRY.columns} for car in cars]
        write_positions(self.client, VEHICLE_POSITION, rows)

    def says(self, query: str, as_of: datetime | None) -> None:
        """The status that the stream stores; None: it never ran."""
        if as_of is None:
            self.client.options(ignore_status=404).delete(index=STREAM_STATUS, id=query)
        else:
            write_status(self.client, QueryStatus(query, "test", "test", utc_text(as_of), utc_text(as_of)))
        self.show()

    def show(self) -> None:
        for alias in indices.ALIASES:
            self.client.indices.refresh(index=alias)

    def nearby(self, radius_km: float = 100, **asked: Any) -> NearbyAnswer:
        with Queries(self.settings, self.client) as queries:
            return queries.nearby(NearbyQuestion(*PLACE, radius_km, **asked), NOW)


def _in_ms(value: Any) -> Any:
    return int(value.timestamp() * 1000) if isinstance(value, datetime) else value


def evses(station: str, *kinds: tuple[str, float]) -> list[dict[str, Any]]:
    return [
        {"evse_id": f"{station}-{n}", "connector_id": "1", "connector_type": kind, "power_kw": power}
        for n, (kind, power) in enumerate(kinds, start=1)
    ]


def began(station_id: str, number: int, ago: timedelta = timedelta(minutes=10), **fields: Any) -> dict[str, Any]:
    """A car plugs in at an EVSE of the station."""
    session = f"{station_id}-{number}-{token_hex(2)}"
    evse_id = f"{station_id}-{number}"
    return meter(session, station_id, occurred_at=NOW - ago, evse_id=evse_id, event_type="started", **fields)


def left(station_id: str, number: int, ago: timedelta = timedelta(minutes=10)) -> dict[str, Any]:
    return stopped(f"{station_id}-{number}-{token_hex(2)}", station_id, NOW - ago, evse_id=f"{station_id}-{number}")


@pytest.fixture(scope="module")
def world(platform: Settings) -> Iterator[World]:
    """free (1 km): CCS 150 free, CCS 50 free, J1772 busy. busy (2 km): its CCS. silent (3 km): free two days ago.
    new (4 km): sent nothing. planned (5 km). gone (6 km): free once. broken (7 km). half (8 km): one busy, one unknown."""
    indices.ensure(platform)
    cassandra_schema.ensure(platform)
    with elasticsearch(platform) as client:
        world = World(platform, client)
        ccs, slow, ac = ("J1772COMBO", 150.0), ("J1772COMBO", 50.0), ("J1772", 7.2)
        for name, km, kinds in (
            ("free", 1.0, (ccs, slow, ac)),
            ("busy", 2.0, (ccs,)),
            ("silent", 3.0, (ccs,)),
            ("new", 4.0, (ccs,)),
            ("broken", 7.0, (("CHADEMO", 50.0),)),
            ("half", 8.0, (ac, ac)),
        ):
            world.register(name, km, evses=evses(f"{PREFIX}-{name}", *kinds))
        world.register("planned", 5.0, status_code="P", connector_types=["J1772"])
        gone = evses(f"{PREFIX}-gone", ccs)
        world.register("gone", 6.0, evses=gone)
        world.send(
            *(left(f"{PREFIX}-free", n) for n in (1, 2)),
            began(f"{PREFIX}-free", 3, state_of_charge=20.0),
            began(f"{PREFIX}-busy", 1),
            left(f"{PREFIX}-silent", 1, timedelta(days=2)),
            left(f"{PREFIX}-gone", 1),
            {**began(f"{PREFIX}-broken", 1), "event_type": "faulted"},
            began(f"{PREFIX}-half", 1),
        )
        removed = {"observed_at": NOW - timedelta(days=1), "removed_at": NOW - timedelta(days=1)}
        world.register("gone", 6.0, evses=gone, **removed)
        world.says("stations", NOW - timedelta(seconds=2))
        world.says("vehicles", NOW - timedelta(seconds=1))
        yield world
        _forget(world)


def _forget(world: World) -> None:
    """Nothing that is in no lake may stay: other tests compare the stores."""
    for alias, field in ((STATION_STATE, "station_id"), (VEHICLE_POSITION, "vehicle_id")):
        found = world.client.search(index=alias, query={"prefix": {field: PREFIX}}, size=100, source=False)
        gone = [{"delete": {"_id": hit["_id"]}} for hit in found["hits"]["hits"]]
        if gone:
            world.client.bulk(index=alias, operations=gone, refresh=True)
    for query in ("stations", "vehicles"):
        world.says(query, None)
    keyspace = world.settings.cassandra_keyspace
    with cassandra(world.settings) as session:
        execute_all(
            session, f"DELETE FROM {keyspace}.usage_days WHERE year = ? AND day = ?", [(2026, d) for d in SETTLED]
        )
        for table in (PROVISIONAL, FINAL):
            rows = [(f"{PREFIX}-free", (SETTLED[1] + timedelta(days=n))) for n in range(-4, 2)]
            execute_all(session, f"DELETE FROM {keyspace}.{table} WHERE station_id = ? AND day = ?", rows)


def names(answer: NearbyAnswer) -> list[str]:
    return [found.station.station_id.removeprefix(f"{PREFIX}-") for found in answer.stations]


def counts(answer: NearbyAnswer) -> dict[str, int]:
    return {kind.value: count for kind, count in answer.counts.items() if count}


def test_the_nearest_come_first_with_distance_and_state(world: World) -> None:
    answer = world.nearby()
    assert names(answer) == ["free", "busy", "silent", "new", "planned", "broken", "half"]
    assert [round(found.distance_km, 2) for found in answer.stations] == [1, 2, 3, 4, 5, 7, 8]
    assert [found.station.availability.value for found in answer.stations] == [
        *("free", "busy", "unknown", "unknown", "out_of_service", "out_of_service", "unknown")
    ]
    assert (answer.fresh.age_s, answer.fresh.stale, answer.note) == (pytest.approx(2, abs=0.01), False, None)
    assert answer.stations[0].station.last_event_at == utc_text(NOW - timedelta(minutes=10))


def test_all_in_the_radius_are_counted(world: World) -> None:
    expected = {"free": 1, "busy": 1, "unknown": 3, "out_of_service": 2}
    assert counts(world.nearby()) == counts(world.nearby(limit=1)) == counts(world.nearby(free_only=True)) == expected
    assert counts(world.nearby(2.5)) == {"free": 1, "busy": 1}


def test_what_lies_in_the_box_but_beyond_the_circle_is_neither_listed_nor_counted(world: World) -> None:
    # across the line where the date changes, three kilometres north and east each
    place = (-70.0, 179.99)
    world.register("corner", 0, latitude=place[0] + 3 * KM, longitude=-179.93126)
    world.register("inside", 0, latitude=place[0] + 3 * KM, longitude=179.99)
    world.show()
    with Queries(world.settings, world.client) as queries:
        inside = queries.nearby(NearbyQuestion(*place, 3.5), NOW)
        both = queries.nearby(NearbyQuestion(*place, 4.5), NOW)
    assert (names(inside), counts(inside)) == (["inside"], {"unknown": 1})
    assert (names(both), counts(both)) == (["inside", "corner"], {"unknown": 2})
    assert both.stations[1].distance_km == pytest.approx(4.24, abs=0.01)


def test_a_connector_is_found_by_all_its_names(world: World) -> None:
    place = (-70.0, 100.0)
    kinds = {
        "nacs": "NACS",
        "j3400": "SAE J3400",
        "tesla": "TESLA",
        "ccs": "CCS",
        "ccs1": "IEC_62196_T1_COMBO",
        "ccs2": "CCS2",
        "type2": "Type 2 (max. 22 kW)",
        "lower": "chademo",
        "none": "n.a.",
        "dot": ".",
    }
    for km, (name, kind) in enumerate(kinds.items()):
        listed = evses(f"{PREFIX}-{name}", (kind, 22.0))
        world.register(name, 0, latitude=place[0] + km * KM, longitude=place[1], evses=listed)
        world.send(left(f"{PREFIX}-{name}", 1))
    world.says("stations", NOW)
    expected: dict[str | None, list[str]] = {
        **{word: ["nacs", "j3400", "tesla"] for word in ("NACS", "j3400", "Tesla")},
        "CCS": ["ccs", "ccs1", "ccs2"],
        "CCS1": ["ccs", "ccs1"],
        "CCS Type 2": ["ccs", "ccs2"],
        **{word: ["type2"] for word in ("Type 2", "Mennekes", "IEC_62196_T2")},
        "CHADEMO": ["lower"],
        None: [*kinds],
    }
    with Queries(world.settings, world.client) as queries:
        for power_kw, free_only in ((None, False), (None, True), (11.0, True)):
            found = {
                name: names(queries.nearby(NearbyQuestion(*place, 100, name, power_kw, free_only), NOW))
                for name in expected
            }
            assert found == expected


def test_the_largest_document_is_written_and_read(world: World) -> None:
    """As many EVSEs as a document may have, each in a group of its own with a long name that nobody knows."""
    place, name = (-70.0, 130.0), f"{PREFIX}-huge"
    listed = [
        {"evse_id": f"{n}" * 100, "connector_id": "1", "connector_type": f"{n}.{'x' * 500}", "power_kw": n / 10}
        for n in range(1_000, 1_000 + MAX_EVSES)
    ]
    world.register("huge", 0, latitude=place[0], longitude=place[1], evses=listed, total_outlets=2**31 - 1)
    world.send(*(left(name, number) for number in range(3)))
    world.show()
    with Queries(world.settings, world.client) as queries:
        (found,) = queries.nearby(NearbyQuestion(*place, 1), NOW).stations
    assert (found.station.total, found.station.count(Availability.FREE)) == (2**31 - 1, 3)


def test_only_what_is_known_to_be_free_is_free(world: World) -> None:
    assert names(world.nearby(free_only=True)) == ["free"]
    assert names(world.nearby(free_only=True, connector="CCS", min_power_kw=150)) == ["free"]
    taken = world.nearby(2.5, free_only=True, connector="Type 1")
    assert (names(taken), counts(taken)) == ([], {"busy": 1})
    assert taken.note == "none is known to be free; stations with Type 1 within 2.5 km: 1 busy"


def test_power_is_that_of_the_connector(world: World) -> None:
    assert names(world.nearby(min_power_kw=100)) == ["free", "busy", "silent", "new"]
    assert names(world.nearby(connector="Type 1", min_power_kw=10)) == []
    assert names(world.nearby(connector="chademo")) == ["broken"]
    (found,) = world.nearby(1.5, connector="CCS", min_power_kw=100).stations
    assert (found.station.total, found.station.count(Availability.FREE)) == (1, 1)


def test_an_unknown_state_is_distinguished_from_all_busy(world: World) -> None:
    with Queries(world.settings, world.client) as queries:
        unknown = queries.nearby(NearbyQuestion(PLACE[0] + 3.5 * KM, PLACE[1], 0.6, free_only=True), NOW)
        busy = queries.nearby(NearbyQuestion(PLACE[0] + 2 * KM, PLACE[1], 0.5, free_only=True), NOW)
    assert unknown.note == "whether anything is free is unknown: none of 2 stations reports its state"
    assert busy.note == "none is known to be free; stations within 0.5 km: 1 busy"
    assert (counts(unknown), counts(busy)) == ({"unknown": 2}, {"busy": 1})


def test_a_note_says_that_nothing_is_near(world: World) -> None:
    answer = world.nearby(0.5, connector="CCS", min_power_kw=50)
    assert (answer.stations, answer.note) == ((), "no station with CCS of at least 50 kW within 0.5 km")


@pytest.mark.parametrize(
    ("ago", "why"), [(None, "has not reported yet how current"), (timedelta(hours=1), "the live state is 60 min old")]
)
def test_a_stream_that_is_down_leaves_nothing_free(world: World, ago: timedelta | None, why: str) -> None:
    world.says("stations", None if ago is None else NOW - ago)
    try:
        answer = world.nearby()
        document = answer.to_json()
        assert counts(answer) == {"unknown": 6, "out_of_service": 1}
        assert {found.station.availability.value for found in answer.stations} == {"unknown", "out_of_service"}
        assert (document["stale"], document["age_s"]) == (True, None if ago is None else pytest.approx(3600, abs=0.01))
        assert why in document["note"]
        assert world.nearby(free_only=True).stations == ()
    finally:
        world.says("stations", NOW - timedelta(seconds=2))


def test_the_status_is_read_once_a_second(world: World) -> None:
    with Queries(world.settings, world.client) as queries:
        question = NearbyQuestion(*PLACE, 1)
        first = queries.nearby(question, NOW)
        world.says("stations", NOW - timedelta(hours=1))
        try:
            assert queries.nearby(question, NOW).fresh == first.fresh
        finally:
            world.says("stations", NOW - timedelta(seconds=2))


def test_a_station_shows_its_evses_and_its_day(world: World) -> None:
    station_id = f"{PREFIX}-free"
    ten = datetime(2026, 5, 20, 17, tzinfo=UTC)  # a Wednesday, ten o'clock in Los Angeles
    now = ten + timedelta(minutes=30)

    def hour(at: datetime, sessions: int) -> StationHour:
        return StationHour(station_id, int(at.timestamp() * 1000), Hour(sessions, 5000 * sessions, 1_800_000))

    yesterday, friday = ten - timedelta(days=1), ten - timedelta(days=5)
    with cassandra(world.settings) as session:
        write_provisional(world.settings, session, [hour(ten, 2), hour(friday, 9), hour(ten - timedelta(hours=1), 1)])
        write_final(world.settings, session, [hour(friday, 4), hour(yesterday, 2)], "commit")
        insert = f"INSERT INTO {world.settings.cassandra_keyspace}.usage_days (year, day, hours_to) VALUES (?, ?, ?)"
        execute_all(session, insert, [(2026, day, _end(day)) for day in SETTLED])
    with Queries(world.settings, world.client) as queries:
        day = queries.station(station_id, now).today
    assert day is not None
    # Friday, Monday (nothing, but computed) and Tuesday
    assert (day.typical_days, day.date, day.kind) == (3, date(2026, 5, 20), "weekday")
    assert day.hours[10].today is not None
    assert (day.hours[10].today.sessions, day.hours[10].is_final) == (2, False)
    assert day.hours[10].typical is not None
    assert (day.hours[10].typical.sessions, day.hours[10].typical.energy_kwh) == (2, 10.0)
    assert day.hours[9].today is not None
    assert day.hours[9].today.sessions == 1
    assert day.hours[11].today is None


def _end(day: date) -> datetime:
    return datetime.combine(day + timedelta(days=1), datetime.min.time(), UTC)


def test_an_unknown_station_is_an_error(world: World) -> None:
    with Queries(world.settings, world.client) as queries:
        for station_id in ("nowhere", "", "x" * 600, "a/b c?"):
            with pytest.raises(UserError, match="no station "):
                queries.station(station_id)
            with pytest.raises(UserError, match="no station "):
                queries.traffic(TrafficQuestion(station_id, 1))


def car(name: str, km: float, **fields: Any) -> dict[str, Any]:
    """A car `km` south of PLACE, driving north."""
    return {
        "vehicle_id": f"{PREFIX}-{name}",
        "ev_model_id": "model",
        "occurred_at": NOW - timedelta(minutes=1),
        "latitude": PLACE[0] - km * KM,
        "longitude": PLACE[1],
        "heading": 0.0,
        "speed_kmh": 50.0,
        "ignition": True,
        "state_of_charge": 30.0,
        "range_km": 100.0,
        **fields,
    }


def test_traffic_shows_cars_near_and_inbound(world: World) -> None:
    target = f"{PREFIX}-free"
    world.drive(
        car("heads", 4),
        car("turns", 4, heading=180.0),
        car("parked", 3, ignition=False, speed_kmh=0.0, heading=None),
        car("comes", 49, destination_station_id=target),
        car("empty", 49, destination_station_id=target, range_km=40.0),
        car("elsewhere", 4, destination_station_id=f"{PREFIX}-busy"),
        car("far", 49),
        car("expired", 4, occurred_at=NOW - timedelta(hours=2)),
    )
    world.show()
    with Queries(world.settings, world.client) as queries:
        answer = queries.traffic(TrafficQuestion(target, 10), NOW)
    # straight distance 5 and 50 km, on roads a fifth longer
    assert [
        (c.vehicle_id.removeprefix(f"{PREFIX}-"), c.by, round(c.distance_km, 1), round(c.eta_minutes, 1))
        for c in answer.inbound
    ] == [("heads", "heading", 5.0, 7.2), ("comes", "destination", 50.0, 72.0)]
    assert (answer.cars_near, answer.cars_near_driving, answer.note) == (4, 3, None)
    assert answer.station.availability is Availability.FREE
    document = answer.to_json()
    assert (document["age_s"], document["vehicles"]["age_s"]) == (
        pytest.approx(2, abs=0.01),
        pytest.approx(1, abs=0.01),
    )


def test_cars_of_an_old_state_are_unknown(world: World) -> None:
    world.says("vehicles", None)
    try:
        with Queries(world.settings, world.client) as queries:
            answer = queries.traffic(TrafficQuestion(f"{PREFIX}-free", 10), NOW)
    finally:
        world.says("vehicles", NOW - timedelta(seconds=1))
    assert (answer.cars_near, answer.inbound, answer.to_json()["vehicles"]["stale"]) == (None, (), True)
    assert answer.note is not None
    assert answer.note.startswith("where cars are is unknown: ")


def test_the_commands_answer_for_people_and_for_programs(world: World) -> None:
    world.says("stations", datetime.now(UTC))
    world.says("vehicles", datetime.now(UTC))
    place = ("--lat", str(PLACE[0]), "--lon", str(PLACE[1]), "--radius-km", "20")
    document = json.loads(_ok("nearby", *place, "--free", "--connector", "CCS", "--min-power-kw", "100", "--json"))
    assert [found["station_id"] for found in document["stations"]] == [f"{PREFIX}-free"]
    assert 0 <= document["age_s"] < 60
    assert f"{PREFIX}-planned" in _ok("nearby", *place)
    assert "none is known to be free" in _ok("nearby", *place, "--free", "--connector", "CHAdeMO")
    document = json.loads(_ok("station", f"{PREFIX}-free", "--json"))
    assert [evse["status"] for evse in document["evses"]] == ["AVAILABLE", "AVAILABLE", "CHARGING"]
    assert len(document["today"]["hours"]) == 24
    assert "gone from the registry since" in _ok("station", f"{PREFIX}-gone")
    assert "planned, not open yet" in _ok("station", f"{PREFIX}-planned")
    assert json.loads(_ok("traffic", f"{PREFIX}-free", "--radius-km", "5", "--json"))["station"]["station_id"]
    assert "inbound" in _ok("traffic", f"{PREFIX}-free", "--radius-km", "5")


def _ok(*arguments: str) -> str:
    done = evcharge(*arguments)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("nearby", "--lat", "91", "--lon", "0", "--radius-km", "1"), "latitude 91 is off the globe"),
        (("nearby", "--lat", "0", "--lon", "0", "--radius-km", "-1"), "radius -1 km"),
        (("nearby", "--lat", "0", "--lon", "0", "--radius-km", "1", "--connector", "x"), "connector 'x' is not known"),
        (("station", "nowhere"), "no station 'nowhere'"),
        (("traffic", "nowhere", "--radius-km", "1"), "no station 'nowhere'"),
    ],
)
def test_errors_are_one_line(world: World, arguments: tuple[str, ...], said: str) -> None:
    done = evcharge(*arguments)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith(f"evcharge: {said}")
    assert len(done.stderr.splitlines()) == 1


def test_a_server_that_does_not_answer_is_named(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("evcharge.connections.CONNECT_TIMEOUT_S", 1)
    down = load_settings(elasticsearch_url="http://127.0.0.1:9")
    with Queries(down) as queries, pytest.raises(ServerDownError, match=r"^elasticsearch at http://127.0.0.1:9 "):
        queries.nearby(NearbyQuestion(*PLACE, 1))
    down = load_settings(cassandra_contact_points="127.0.0.1:9")
    with Queries(down) as queries, pytest.raises(ServerDownError, match=r"^cassandra at 127.0.0.1:9 "):
        queries.station(f"{PREFIX}-free")


def test_a_platform_without_live_state_says_so(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("evcharge.queries.nearby.STATION_STATE", "station-state-that-is-not-there")
    with pytest.raises(UserError, match="there is no live state yet"):
        world.nearby()
