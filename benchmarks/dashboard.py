"""The dashboard: its map in a browser, its API, how soon a change is drawn, and what open pages cost.

Everything runs on this machine at once: servers, the live stream, the dashboard, the browser and the questions, while as
many events come in as so many stations have. Limit of a question: the dashboard's smallest answer, which asks no store.
Peer: Elasticsearch asked for the same and no more. Limit of the map: the smallest answer in the same browser.
"""

from __future__ import annotations

import json
import os
import random
import selectors
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from http.client import HTTPConnection
from itertools import count, cycle
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from elasticsearch import Elasticsearch
from kafka import KafkaProducer
from playwright.sync_api import Browser, Page

from benchmarks.browser import calm, chromium, drawn_at, jump_ms, opened, pan_ms, smallest_s, usable_s, watch
from benchmarks.harness import Report, Result, percentile, percentiles
from benchmarks.live import SEED, running_stream
from benchmarks.queries import CONNECTOR, PREFIX, paced, places_of, updates, write_stations
from benchmarks.ten_million import NETWORKS, write_ten_million
from benchmarks.traffic import register, sending, session_event
from evcharge.connections import elasticsearch, kafka_options
from evcharge.contracts import SESSION_EVENTS
from evcharge.feeds.messages import message
from evcharge.live.indices import STATION_STATE
from evcharge.places import distance_km
from evcharge.queries.client import Queries
from evcharge.queries.network import NetworkQuestion
from evcharge.settings import Settings
from evcharge.stack.stack import Stack
from evcharge.stack.supervisor import Supervisor
from simulation import Network, Station, build_network

#: What 85,000 stations send: the simulation's 715,742 events of 500 stations in a week, times 170.
UPDATES_PER_S = 200
#: Longer than everything takes; it ends with the measuring.
UPDATES_S = 4 * 3600.0
#: EVSEs of each station of which something is known: a site has at most twelve.
EVSES = 12
#: Half a degree is what a screen shows of a town at zoom 11.
TOWN_DEGREES, TOWN_ZOOM = 0.25, 11
#: More than the half of what a screen shows at `browser.TOWN_ZOOM`, with what the page asks beyond it.
SCREEN_DEGREES, SCREEN_ZOOM = 0.03, 14
#: Far more than a screen and what a page asks around it.
FAR_DEGREES = 0.5
#: Trips that need a stop or two.
TRIP_KM = (200.0, 900.0)
#: What a station shows when a car has come and when it has left: it has one outlet.
STATES = ("busy", "free")
CHANGED, CHANGED_STATIONS = "drawn", 10
#: Below the 225 of 250 that one address may have.
STREAMS = 200


@dataclass(frozen=True, slots=True)
class Effort:
    """How much there is, and how often or how long each thing is measured in each round."""

    stations: int = 85_000
    sessions: int = 10_000_000
    #: Before anything is measured: the stream writes the hours of all stations once, and Java compiles.
    settle_s: float = 240.0
    #: Of each question and side.
    seconds: float = 10.0
    warm_up_s: float = 20.0
    loads: int = 8
    pans: int = 20
    changes: int = 30
    streams_s: float = 20.0
    rounds: int = 3


@dataclass(frozen=True, slots=True)
class World:
    """What is asked: the running dashboard, and where its stations are."""

    settings: Settings
    client: Elasticsearch
    address: str
    network: Network
    effort: Effort
    report: Report

    def answer(self, question: str, **parameters: Any) -> bytes:
        """An answer of the API as it was sent, over a connection of its own. Raises RuntimeError for an error."""
        path = f"/api/v1/{question}?{urlencode(parameters)}" if parameters else f"/api/v1/{question}"
        with closing(HTTPConnection(self.address, timeout=60)) as connection:
            connection.request("GET", path)
            response = connection.getresponse()
            body = response.read()
        if response.status != 200:
            raise RuntimeError(f"{path} was answered with {response.status}: {body[:300].decode(errors='replace')}")
        return body


def dashboard(settings: Settings, effort: Effort, report: Report) -> list[Result]:
    """The map, the API, changes, and open pages."""
    # as in `queries`: the asking threads stand for programs that would not wait for each other
    sys.setswitchinterval(0.0005)
    report(f"writing {effort.sessions:,} sessions")
    write_ten_million(settings, effort.sessions, stations=max(effort.sessions // 1000, 1))
    report(f"writing {effort.stations:,} stations")
    network = build_network(effort.stations, SEED)
    with ExitStack() as running:
        client = running.enter_context(elasticsearch(settings))
        write_stations(settings, client, network, EVSES)
        _register_changed(settings)
        report("starting stream and dashboard")
        running.enter_context(running_stream(settings, client))
        running.enter_context(sending(settings, updates(network), UPDATES_PER_S, UPDATES_S))
        running.enter_context(_served(settings))
        world = World(settings, client, f"127.0.0.1:{settings.dashboard_port}", network, effort, report)
        _wait_until_current(world)
        report("settling")
        time.sleep(effort.settle_s)
        results = [*_api(world), _first_network(world)]
        # the browser comes after the questions, and goes before the streams are counted
        with chromium() as browser:
            results += [_usable(world, browser), *_pans(world, browser), _changes(world, browser)]
        results.append(_streams(world))
    report("ready")
    return results


@contextmanager
def _served(settings: Settings) -> Iterator[None]:
    stack = Stack(settings)
    stack.up(["dashboard"])
    try:
        yield
    finally:
        stack.stop("dashboard")


def _wait_until_current(world: World, within_s: float = 120.0) -> None:
    """Waits until the dashboard says that it knows the stations' state, and has the warehouse's figures."""
    begun = time.monotonic()
    while json.loads(world.answer("stations", **_view(world.network.stations[0])))["stale"]:
        if time.monotonic() - begun > within_s:
            raise RuntimeError(f"the dashboard's state is not fresh after {within_s:.0f} s")
        time.sleep(0.5)
    if not json.loads(world.answer("network"))["summary"]["sessions"]:
        raise RuntimeError("the dashboard knows no sessions")


# --- the API ---


@dataclass(frozen=True, slots=True)
class Question:
    """What is asked `rate` times a second: ours, and of Elasticsearch alone if that can be compared. Times in ms."""

    result: Result
    rate: float
    ask: Callable[[], object]
    bare: Callable[[], object] | None = None


def _api(world: World) -> list[Result]:
    questions = _questions(world)
    for question in questions:
        _measure(world, question)
    return [question.result for question in questions]


def _measure(world: World, question: Question) -> None:
    effort, result = world.effort, question.result
    sides: dict[str, Callable[[], object]] = {"ours": question.ask, "limit": lambda: world.answer("config")}
    if question.bare:
        sides["peer"] = question.bare
    taken: dict[str, list[float]] = {side: [] for side in sides}
    world.report(f"warming up: {result.name}")
    for side, ask in sides.items():
        paced(ask, question.rate, effort.warm_up_s if side == "ours" else effort.warm_up_s / 4)
    for number in range(effort.rounds):
        world.report(f"{result.name}, round {number + 1} of {effort.rounds}")
        for side, ask in sides.items():
            of_round = paced(ask, question.rate, effort.seconds)
            getattr(result, side).append(round(percentile(of_round, 95), 2))
            taken[side] += of_round
        result.run_ended()
    result.details |= {**percentiles(taken.pop("ours"), 2), "questions_per_s": question.rate}
    result.details |= {side: percentiles(values, 2) for side, values in taken.items()}


def _questions(world: World) -> list[Question]:
    draw = random.Random(SEED)
    stations = cycle(draw.choices(world.network.stations, k=2_000))
    places = cycle(places_of(world.network))
    trips = cycle(_trips(world.network, json.loads(world.answer("ev-models"))["models"], draw))
    networks = cycle(_network_questions())

    def name() -> str:
        return _name(next(stations))

    def view() -> dict[str, Any]:
        latitude, longitude = next(places)
        return {**_box(latitude, longitude, TOWN_DEGREES / 2), "zoom": TOWN_ZOOM + 1}

    def result(question: str, what: str, floor: float, aim: float) -> Result:
        return Result(
            f"api {question}",
            "ms",
            f"{what} comes within this time in 95 of 100 cases, over {world.effort.stations:,} stations.",
            floor=floor,
            aim=aim,
        )

    return [
        Question(
            result("nearby", "A map's view of a town, with the stations that have a free CCS outlet,", 60, 30),
            10,
            lambda: world.answer("stations", **view(), connector="CCS", free_now="true"),
            lambda: world.client.search(index=STATION_STATE, **_bare_search(view())),
        ),
        Question(
            result("station", "A station with its day and the cars that head for it", 100, 50),
            10,
            lambda: world.answer(f"stations/{name()}"),
            lambda: world.client.get(index=STATION_STATE, id=name()),
        ),
        Question(
            result("forecast", "The forecast of a station's next four hours", 50, 20),
            10,
            lambda: world.answer(f"stations/{name()}/forecast"),
            lambda: world.client.get(index=STATION_STATE, id=name()),
        ),
        Question(
            result("trip", f"A trip of {TRIP_KM[0]:.0f} to {TRIP_KM[1]:.0f} km as the crow flies", 600, 250),
            2,
            lambda: world.answer("trip", **next(trips)),
        ),
        Question(
            result(
                "network", f"An operator's page on {world.effort.sessions:,} sessions, each time another one,", 500, 250
            ),
            2,
            lambda: world.answer("network", **next(networks)),
        ),
    ]


def _first_network(world: World) -> Result:
    """The operator's page by a process that has asked nothing before: it reads the sessions of twelve months.

    The dashboard does this when it starts, so nobody waits for it, and it has neither floor nor aim.
    """
    result = Result(
        "network, nothing kept",
        "ms",
        f"A process that has just started gives the operator's page on {world.effort.sessions:,} sessions within this time.",
    )
    world.report(result.name)
    for _ in range(world.effort.rounds):
        with Queries(world.settings) as asked:
            begun = time.monotonic()
            asked.network(NetworkQuestion())
            result.ours.append(round((time.monotonic() - begun) * 1000, 1))
        result.run_ended()
    return result


def _bare_search(view: dict[str, Any]) -> dict[str, Any]:
    edges = {"top": view["north"], "left": view["west"], "bottom": view["south"], "right": view["east"]}
    return {
        "query": {
            "bool": {
                "filter": [
                    {"term": {"is_current": True}},
                    {"range": {f"free_power_kw.{CONNECTOR}": {"gte": 0}}},
                    {"geo_bounding_box": {"location": edges}},
                ]
            }
        },
        "size": 1_000,
        "source_includes": ["station_id", "station_name", "location", "outlets"],
        "track_total_hits": False,
    }


def _trips(network: Network, models: Sequence[dict[str, Any]], draw: random.Random) -> list[dict[str, Any]]:
    """Between stations of the contiguous states."""
    inside = [s for s in network.stations if 25 < s.latitude < 49.5 and -125 < s.longitude < -66]
    found: list[dict[str, Any]] = []
    while len(found) < 200:
        start, end = draw.choices(inside, k=2)
        if TRIP_KM[0] <= distance_km(start.latitude, start.longitude, end.latitude, end.longitude) <= TRIP_KM[1]:
            model, soc = draw.choice(models)["ev_model_id"], draw.randint(50, 100)
            found.append({"from": _text(start), "to": _text(end), "model": model, "soc": soc})
    return found


def _network_questions() -> list[dict[str, Any]]:
    """Of all networks and each one, over each number of months: none is asked twice in a minute."""
    networks = [{}, *({"network": f"Network {number}"} for number in range(1, NETWORKS + 1))]
    return [{**network, "months": months} for months in range(12, 0, -1) for network in networks]


def _name(station: Station) -> str:
    """What `write_stations` calls it."""
    return station.station_id.replace("sim", PREFIX, 1)


def _text(station: Station) -> str:
    return f"{station.latitude},{station.longitude}"


def _box(latitude: float, longitude: float, degrees: float) -> dict[str, float]:
    west, east = longitude - degrees, longitude + degrees
    return {"west": west, "south": latitude - degrees, "east": east, "north": latitude + degrees}


def _view(station: Station) -> dict[str, float]:
    return {**_box(station.latitude, station.longitude, TOWN_DEGREES), "zoom": TOWN_ZOOM}


# --- the browser ---


def _usable(world: World, browser: Browser) -> Result:
    result = Result(
        "map usable",
        "s",
        f"The map of {world.effort.stations:,} stations is usable within this time in half of the cases, with nothing cached.",
        floor=2.5,
        aim=1.5,
    )
    url = f"http://{world.address}"
    usable_s(browser, url)
    taken: list[float] = []
    for number in range(world.effort.rounds):
        world.report(f"{result.name}, round {number + 1} of {world.effort.rounds}")
        of_round = [usable_s(browser, url) for _ in range(world.effort.loads)]
        result.ours.append(round(percentile(of_round, 50), 3))
        result.limit.append(round(percentile([smallest_s(browser, url) for _ in range(world.effort.loads)], 50), 3))
        taken += of_round
        result.run_ended()
    result.details |= percentiles(taken, 3)
    return result


def _pans(world: World, browser: Browser) -> list[Result]:
    result = Result(
        "map pan",
        "ms",
        "After a pan by a screen a station that was not on it is drawn within this time in 95 of 100 cases. The page has "
        "rested for two seconds before, and asked what lies around the screen.",
        floor=400,
        aim=200,
    )
    jumps = Result(
        "map jump",
        "ms",
        "p95 from a jump to a town far away, of which the page knows nothing, until its stations are drawn",
    )
    towns = _towns(world)
    sides = {result.name: (result, pan_ms), jumps.name: (jumps, jump_ms)}
    taken: dict[str, list[float]] = {name: [] for name in sides}
    with opened(browser, f"http://{world.address}/") as page:

        def move(by: Callable[[Page, str, float, float], float]) -> float:
            town = next(towns)
            return by(page, _name(town), town.latitude, town.longitude)

        move(pan_ms)
        for number in range(world.effort.rounds):
            for name, (side, by) in sides.items():
                world.report(f"{name}, round {number + 1} of {world.effort.rounds}")
                of_round = [move(by) for _ in range(world.effort.pans)]
                side.ours.append(round(percentile(of_round, 95), 1))
                taken[name] += of_round
                side.run_ended()
    for name, (side, _) in sides.items():
        side.details |= {**percentiles(taken[name], 1), "moves": len(taken[name])}
    return [result, jumps]


def _towns(world: World) -> Iterator[Station]:
    """Stations drawn by chance, each far from the one before.

    Those that a page shows in a cluster are left out: more than a thousand are in one screen.
    """
    before: Station | None = None
    for station in cycle(random.Random(SEED).choices(world.network.stations, k=1_000)):
        if (
            before
            and max(abs(station.latitude - before.latitude), abs(station.longitude - before.longitude)) < FAR_DEGREES
        ):
            continue
        view = _box(station.latitude, station.longitude, SCREEN_DEGREES)
        if json.loads(world.answer("stations", **view, zoom=SCREEN_ZOOM))["mode"] == "stations":
            before = station
            yield station


def _register_changed(settings: Settings) -> None:
    """Stations with one outlet each, some steps from each other, in the middle of the first town."""
    (record,) = build_network(1, SEED).registry_records()
    outlet = record["evses"][0]
    names = [f"sim-{number:02d}" for number in range(CHANGED_STATIONS)]
    records = [
        {
            **record,
            "station_id": name,
            "latitude": record["latitude"] + number / 5_000,
            "total_outlets": 1,
            "connectors": None,
            "connector_types": [outlet["connector_type"]],
            "evses": [{**outlet, "evse_id": f"{name}-1"}],
        }
        for number, name in enumerate(names)
    ]
    register(settings, records, CHANGED)


def _changes(world: World, browser: Browser) -> Result:
    result = Result(
        "change drawn",
        "s",
        "An open page draws a station's new state within this time after the event was sent, in 95 of 100 cases.",
        floor=3,
        aim=1.5,
    )
    place, draw = world.network.stations[0], random.Random(SEED)
    producer = KafkaProducer(**kafka_options(world.settings), acks="all", metrics_enabled=False, linger_ms=0)
    own, visits = f"{int(time.time()):x}", count()
    taken: list[float] = []

    def change() -> float:
        turn, number = divmod(next(visits), CHANGED_STATIONS)
        session, sequence = divmod(turn, 2)
        station_id = f"{CHANGED}-{number:02d}"
        watch(page, station_id, STATES[sequence])
        sent_at = time.time()
        row = session_event(station_id, f"{own}-{station_id}-{session}", sequence, datetime.now(UTC))
        producer.send(SESSION_EVENTS.topic, message(SESSION_EVENTS, row), station_id.encode())
        seconds = drawn_at(page) - sent_at
        # so that the next one meets any moment of the stream's batches and of the dashboard's reading
        page.wait_for_timeout(draw.uniform(0, 700))
        return seconds

    with closing(producer), opened(browser, f"http://{world.address}/?at={_text(place)},14") as page:
        calm(page)
        for _ in range(2 * CHANGED_STATIONS):
            change()
        for number in range(world.effort.rounds):
            world.report(f"{result.name}, round {number + 1} of {world.effort.rounds}")
            of_round = [change() for _ in range(world.effort.changes)]
            result.ours.append(round(percentile(of_round, 95), 3))
            taken += of_round
            result.run_ended()
    result.details |= {**percentiles(taken, 3), "changes": len(taken)}
    return result


# --- open pages ---


@dataclass
class Open:
    """Streams that are open, read by a thread: what they told."""

    sockets: list[socket.socket] = field(default_factory=list)
    told: int = 0
    refused: int = 0
    ended: int = 0


def _streams(world: World) -> Result:
    result = Result(
        f"{STREAMS} streams",
        "cores",
        f"The dashboard keeps so many cores busy for {STREAMS} open pages of towns, beyond what it takes with none.",
        floor=0.2,
    )
    pid = Supervisor(world.settings).processes()["dashboard"].pid
    none: list[float] = []
    told = 0
    for number in range(world.effort.rounds):
        world.report(f"{result.name}, round {number + 1} of {world.effort.rounds}")
        none.append(_cores(pid, world.effort.streams_s))
        with _open_streams(world) as streams:
            before = streams.told
            cores = _cores(pid, world.effort.streams_s)
            told += streams.told - before
            if streams.refused or streams.ended:
                raise RuntimeError(f"{streams.refused} streams were refused, {streams.ended} ended")
        result.ours.append(round(cores - none[-1], 3))
        result.run_ended()
    result.details |= {
        "cores_with_none": none,
        "stations_told_per_s": round(told / world.effort.rounds / world.effort.streams_s, 1),
    }
    return result


@contextmanager
def _open_streams(world: World) -> Iterator[Open]:
    """Pages that show towns all over the country, and read what they are told."""
    streams, done = Open(), threading.Event()
    host, port = world.address.split(":")
    with selectors.DefaultSelector() as selector:
        for station in random.Random(SEED).choices(world.network.stations, k=STREAMS):
            opening = socket.create_connection((host, int(port)), timeout=30)
            query = urlencode(_view(station))
            opening.sendall(f"GET /api/v1/events?{query} HTTP/1.1\r\nHost: {world.address}\r\n\r\n".encode())
            streams.refused += b" 200 " not in opening.recv(4_096).split(b"\r\n")[0]
            selector.register(opening, selectors.EVENT_READ)
            streams.sockets.append(opening)

        def read() -> None:
            while not done.is_set():
                for key, _ in selector.select(0.2):
                    data = key.fileobj.recv(65_536)  # type: ignore[union-attr]
                    streams.told += data.count(b"event: station")
                    if not data:
                        streams.ended += 1
                        selector.unregister(key.fileobj)

        reader = threading.Thread(target=read)
        reader.start()
        try:
            # opening them is not what is measured
            time.sleep(3)
            yield streams
        finally:
            done.set()
            reader.join()
            for opening in streams.sockets:
                opening.close()
    # the server notices with its next word to them
    time.sleep(6)


def _cores(pid: int, seconds: float) -> float:
    """The mean number of cores that a process and its children keep busy for so long."""
    begun, before = time.monotonic(), _processor_s(pid)
    time.sleep(seconds)
    return round((_processor_s(pid) - before) / (time.monotonic() - begun), 3)


def _processor_s(pid: int) -> float:
    """proc(5): the user and system time of a process and its living children."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    own_s = (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    return own_s + sum(_processor_s(int(child)) for child in children)
