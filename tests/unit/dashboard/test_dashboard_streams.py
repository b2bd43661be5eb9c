"""What open pages are told: what they show and nothing else, the newest state only, and at most so many of them."""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from dashboard import streams as module
from dashboard.streams import Streams, TooManyStreamsError, View
from evcharge.connections import ServerDownError
from evcharge.live.station_state import StationState
from evcharge.queries.box import Box
from evcharge.queries.changes import Changes, Cursor, Mark
from evcharge.queries.freshness import Freshness
from evcharge.queries.map import MapQuestion
from evcharge.queries.vehicles import Vehicle

NOW = datetime(2026, 5, 20, 18, 30, tzinfo=UTC)
FRESH = Freshness(NOW, NOW - timedelta(seconds=2), None)
CURSOR = Cursor(Mark("stations", 0), Mark("cars", 0))
LOS_ANGELES = (34.0, -118.2)
FIJI = (-17.8, 179.5)


def station(
    name: str = "s", place: tuple[float, float] | None = LOS_ANGELES, power_kw: float = 150.0
) -> dict[str, Any]:
    """The document of a station with a CCS outlet and a CHAdeMO outlet of 50 kW, never heard of."""
    state = StationState(name)
    state.register(
        {
            "observed_at": int((NOW - timedelta(days=9)).timestamp() * 1000),
            "station_id": name,
            "station_name": f"Station {name}",
            "time_zone": "America/Los_Angeles",
            "latitude": place and place[0],
            "longitude": place and place[1],
            "status_code": "E",
            "connector_types": ["CHADEMO", "J1772COMBO"],
            "total_outlets": 2,
            "evses": [
                {"evse_id": "e1", "connector_id": "1", "connector_type": "J1772COMBO", "power_kw": power_kw},
                {"evse_id": "e2", "connector_id": "1", "connector_type": "CHADEMO", "power_kw": 50.0},
            ],
            "removed_at": None,
        }
    )
    return state.document()


def car(name: str = "car", place: tuple[float, float] = LOS_ANGELES) -> Vehicle:
    return Vehicle(name, None, *place, 90.0, 50.0, True, 60.0, 200.0, None, "2026-05-20T18:29:00.000Z")


def changed(*documents: dict[str, Any], cars: Iterable[Vehicle] = (), reset: bool = False) -> Changes:
    return Changes(CURSOR, documents, tuple(cars), FRESH, FRESH, NOW - timedelta(days=1), reset)


class Source:
    """Says what it was given, one thing a read, and then that nothing changed. Notes what it is asked."""

    def __init__(self) -> None:
        self.next: list[Changes | Exception] = []
        self.asked: list[tuple[list[Box], set[str], set[str]]] = []

    def changes(
        self, cursor: Cursor | None, boxes: Iterable[Box], station_ids: Iterable[str], vehicle_ids: Iterable[str]
    ) -> Changes:
        self.asked.append((list(boxes), set(station_ids), set(vehicle_ids)))
        answer = self.next.pop(0) if self.next else changed()
        if isinstance(answer, Exception):
            raise answer
        return answer


@pytest.fixture
def source() -> Source:
    return Source()


@pytest.fixture
def streams(source: Source, monkeypatch: pytest.MonkeyPatch) -> Iterator[Streams]:
    monkeypatch.setattr(module, "READ_EVERY_S", 0.01)
    monkeypatch.setattr(module, "RETRY_EVERY_S", 0.01)
    monkeypatch.setattr(module, "HEARTBEAT_S", 0.05)
    opened = Streams(source, limit=5)
    yield opened
    opened.close()


def around(place: tuple[float, float], **filters: Any) -> MapQuestion:
    return MapQuestion(place[1] - 1, place[0] - 1, place[1] + 1, place[0] + 1, 12.0, **filters)


def until(condition: Any) -> None:
    deadline = time.monotonic() + 5
    while not condition():
        assert time.monotonic() < deadline, "it did not happen within 5 s"
        time.sleep(0.005)


def events(stream: Iterator[bytes]) -> Iterator[tuple[str, dict[str, Any]]]:
    """The events of a stream but its first word, which says when to connect again."""
    for body in stream:
        for block in body.decode().split("\n\n"):
            fields = dict(line.split(": ", 1) for line in block.splitlines())
            if "event" in fields:
                yield fields["event"], json.loads(fields["data"])


def waiting(page: module.Subscription) -> set[tuple[str, str]]:
    return set(page.waiting)


def test_a_page_is_told_what_it_shows_and_nothing_else(streams: Streams, source: Source) -> None:
    here = streams.subscribe(View(around(LOS_ANGELES)), "a")
    there = streams.subscribe(View(around(FIJI)), "a")
    by_name = streams.subscribe(View(around((0.0, 0.0)), False, frozenset({"nowhere"}), frozenset({"c2"})), "a")
    zoomed_out = streams.subscribe(View(around(LOS_ANGELES), cars=False), "a")
    until(lambda: len(source.asked) and source.asked[-1][1] == {"nowhere"})
    # beyond the antimeridian, seen from Fiji
    source.next = [
        changed(
            station("la"),
            station("tonga", (-17.9, -179.7)),
            station("nowhere", None),
            cars=[car("c1"), car("c2", FIJI)],
        )
    ]
    until(lambda: waiting(here))
    assert waiting(here) == {("station", "la"), ("vehicle", "c1")}
    assert waiting(there) == {("station", "tonga"), ("vehicle", "c2")}
    assert waiting(by_name) == {("station", "nowhere"), ("vehicle", "c2")}
    assert waiting(zoomed_out) == {("station", "la")}


def test_a_station_has_the_outlets_that_the_page_asked_for(streams: Streams, source: Source) -> None:
    every = streams.subscribe(View(around(LOS_ANGELES)), "a")
    fast = streams.subscribe(View(around(LOS_ANGELES, min_power_kw=100.0)), "a")
    other = streams.subscribe(View(around(LOS_ANGELES, network="another")), "a")
    until(lambda: len(source.asked) > 1)
    source.next = [changed(station("la"))]
    until(lambda: waiting(every))
    told = {
        name: next(one for kind, one in events(iter(page.waiting.values())) if kind == "station")
        for name, page in (("every", every), ("fast", fast), ("other", other))
    }
    assert (told["every"]["total"], told["fast"]["total"]) == (2, 1)
    assert told["fast"]["connectors"] == ["J1772COMBO"]
    assert [told[name]["fits"] for name in told] == [True, True, False]


def test_the_reader_asks_for_all_pages_together(streams: Streams, source: Source) -> None:
    streams.subscribe(View(around(LOS_ANGELES), True, frozenset({"s1"}), frozenset({"c1"})), "a")
    streams.subscribe(View(around(LOS_ANGELES), True, frozenset({"s2"})), "b")
    until(lambda: source.asked and source.asked[-1][1:] == ({"s1", "s2"}, {"c1"}))
    assert source.asked[-1][0] == [around(LOS_ANGELES).box]


def test_many_different_views_are_asked_for_as_one(source: Source, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "READ_EVERY_S", 0.01)
    streams = Streams(source, limit=200)
    for number in range(module.BOXES_ASKED + 1):
        streams.subscribe(View(around((number / 2, 0.0))), f"address {number}")
    until(lambda: source.asked and source.asked[-1][0] == [Box(-180.0, -90.0, 180.0, 90.0)])
    streams.close()


def test_a_slow_page_gets_the_newest_state_once(streams: Streams, source: Source) -> None:
    page = streams.subscribe(View(around(LOS_ANGELES)), "a")
    stream = streams.events(page)
    next(stream)
    source.next = [changed(station("la", power_kw=power_kw)) for power_kw in (50.0, 100.0, 350.0)]
    until(lambda: not source.next)
    until(lambda: b"350" in page.waiting.get(("station", "la"), b""))
    told = [one for kind, one in events(iter([next(stream)])) if kind == "station"]
    assert [one["power_kw"] for one in told] == [350.0]
    stream.close()  # type: ignore[attr-defined]


def test_a_page_that_takes_nothing_is_cut_off(
    streams: Streams, source: Source, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "WAITING_LIMIT", 2)
    page = streams.subscribe(View(around(LOS_ANGELES)), "a")
    stream = streams.events(page)
    next(stream)
    source.next = [changed(cars=[car(f"c{number}") for number in range(3)])]
    until(lambda: page.ended)
    assert [kind for kind, _ in events(stream) if kind == "vehicle"] == []
    assert len(streams) == 0


def test_a_quiet_page_hears_how_old_the_state_is(streams: Streams) -> None:
    stream = streams.events(streams.subscribe(View(around(LOS_ANGELES)), "a"))
    told = events(stream)
    began = time.monotonic()
    assert [next(told) for _ in range(3)] == [
        ("fresh", {"state_as_of": "2026-05-20T18:29:58.000Z", "age_s": 2.0, "stale": False, "note": None})
    ] * 3
    assert time.monotonic() - began < 2
    stream.close()  # type: ignore[attr-defined]


def test_the_number_of_streams_is_limited_for_all_and_for_each_address(streams: Streams) -> None:
    pages = [streams.subscribe(View(around(LOS_ANGELES)), "one address") for _ in range(4)]
    with pytest.raises(TooManyStreamsError):
        streams.subscribe(View(around(LOS_ANGELES)), "one address")
    streams.subscribe(View(around(LOS_ANGELES)), "another address")
    with pytest.raises(TooManyStreamsError):
        streams.subscribe(View(around(LOS_ANGELES)), "a third address")
    stream = streams.events(pages[0])
    next(stream)
    stream.close()  # type: ignore[attr-defined]
    streams.subscribe(View(around(LOS_ANGELES)), "one address")


def test_pages_hear_that_a_server_is_down_and_that_it_is_back(streams: Streams, source: Source) -> None:
    stream = streams.events(streams.subscribe(View(around(LOS_ANGELES)), "a"))
    told = events(stream)
    assert next(told)[0] == "fresh"
    source.next = [ServerDownError("elasticsearch at http://10.0.0.1:9200 does not answer", "elasticsearch")] * 3
    until(lambda: next(told) == ("error", {"detail": "elasticsearch does not answer"}))
    until(lambda: next(told)[0] == "fresh")
    stream.close()  # type: ignore[attr-defined]


def test_an_error_of_our_own_ends_no_stream(streams: Streams, source: Source) -> None:
    stream = streams.events(streams.subscribe(View(around(LOS_ANGELES)), "a"))
    told = events(stream)
    source.next = [RuntimeError("a secret")]
    until(lambda: next(told) == ("error", {"detail": "changes cannot be read"}))
    until(lambda: next(told)[0] == "fresh")
    stream.close()  # type: ignore[attr-defined]


def test_pages_load_their_view_anew_when_the_state_was_computed_anew(streams: Streams, source: Source) -> None:
    page = streams.subscribe(View(around(LOS_ANGELES)), "a")
    stream = streams.events(page)
    next(stream)
    source.next = [changed(reset=True)]
    until(lambda: page.ended)
    assert "station" not in {kind for kind, _ in events(stream)}


def test_a_page_that_was_away_is_told_first(streams: Streams) -> None:
    stream = streams.events(streams.subscribe(View(around(LOS_ANGELES)), "a", was_away=True))
    assert next(events(stream)) == ("error", {"detail": "changes were missed: load the view again"})
    stream.close()  # type: ignore[attr-defined]


def test_nobody_is_asked_while_no_page_is_open(streams: Streams, source: Source) -> None:
    for _ in range(2):
        page = streams.subscribe(View(around(LOS_ANGELES)), "a")
        until(lambda: source.asked)
        streams.unsubscribe(page)
        until(lambda: streams._reader is None)
        source.asked.clear()
        time.sleep(0.05)
        assert not source.asked


def test_every_stream_ends_when_the_server_stops(streams: Streams) -> None:
    opened = [streams.events(streams.subscribe(View(around(LOS_ANGELES)), "a")) for _ in range(3)]
    for stream in opened:
        next(stream)
    streams.close()
    for stream in opened:
        list(stream)
    assert len(streams) == 0
    with pytest.raises(TooManyStreamsError):
        streams.subscribe(View(around(LOS_ANGELES)), "a")
