"""The simulated feed: runs the simulation, publishes the messages of stations and cars, and remembers how far it is.

The feed's folder has `state.json`, the cursor: parameters, and the instant up to which everything is published and in the
ledger. Beside it are `network.json`, the stations and vehicle models that the feed began with, and a snapshot of the
simulation, taken every few minutes of simulated time. After a kill the feed loads the snapshot, simulates up to the cursor
without publishing, and publishes from there. Equal arguments give equal events, whatever the chunks, so an interrupted
chunk is sent again with the same event ids.
"""

from __future__ import annotations

import gzip
import threading
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Self

import orjson
import pyarrow.compute as pc

from evcharge import lock
from evcharge.connections import ServerDownError
from evcharge.contracts import CONTRACTS, SESSION_EVENTS, STATION_REGISTRY, VEHICLE_TELEMETRY, Contract
from evcharge.errors import UserError
from evcharge.feeds.durable_files import write_durably
from evcharge.feeds.producer import KafkaPublisher, Publisher
from evcharge.feeds.sent_ledger import (
    LedgerTotals,
    chunks,
    ledger_totals,
    merge_chunks,
    publish_chunk,
    read_sent,
)
from evcharge.log import log
from evcharge.settings import Settings
from evcharge.simulated.world import SimulatedWorld, simulated_world
from simulation import Behaviour, Simulation, build_fleet

FEED = "simulation"
FIRST_DAY = timedelta(hours=24)
#: Fewer meter values than chargers send: they are a third of the events, and a small machine runs all the servers.
BEHAVIOUR = Behaviour(ac_meter_s=900.0, dc_meter_s=300.0)
# Only this last part of the first day's telemetry is published: it shows where every car is now. A whole day of 5,000 cars
# is some 1.6 million messages, which would keep a fresh platform busy with the past for minutes.
FIRST_TELEMETRY = timedelta(hours=1)
# Telemetry has smaller ledger files than events: each tick of the live feed rewrites the open one.
TELEMETRY_CHUNK_MINUTES = 10
# A kill costs at most this much simulated time. A snapshot of 5,000 cars is 0.2 MB.
SNAPSHOT_EVERY = timedelta(minutes=5)
LIVE_INTERVAL_S = 5.0
LONGEST_BACKOFF_S = 60.0
# How often the live feed checks for the first day, or for the end of another process that holds the feed.
WAIT_POLL_S = 5.0

OpenPublisher = Callable[[Settings], AbstractContextManager[Publisher]]

#: Rows of a contract, and their chunk of the ledger.
_Part = tuple[Contract, str, list[dict[str, Any]]]


class FeedError(UserError):
    """The feed cannot continue. The message is one line that says what to do."""


@dataclass(frozen=True, slots=True)
class FeedReport:
    """What the feed's ledger holds for an interval of simulated time, by topic."""

    simulated_from: datetime
    simulated_until: datetime
    already_simulated: bool
    totals: Mapping[str, LedgerTotals]
    stations: int

    def metadata(self, topic: str) -> dict[str, Any]:
        """Plain values about one topic, for people to read."""
        of_topic = self.totals[topic]
        values: dict[str, Any] = {
            "simulated_from": self.simulated_from.isoformat(),
            "simulated_until": self.simulated_until.isoformat(),
            "already_simulated": self.already_simulated,
            "messages": of_topic.messages,
        }
        if topic == SESSION_EVENTS.topic:
            values |= {"sessions": of_topic.sessions, "energy_delivered_kwh": of_topic.energy_wh / 1000}
        return values

    def to_json(self) -> dict[str, Any]:
        """The report as JSON-able dict."""
        return {topic: self.metadata(topic) for topic in self.totals}


def simulate_day(settings: Settings, now: datetime, open_publisher: OpenPublisher = KafkaPublisher) -> FeedReport:
    """Registers the stations and publishes the first simulated day, the 24 hours before `now`; once per platform.

    A day that was killed is completed with the same events. Raises ServerDownError that names Kafka. Raises FeedError if the
    feed began with other settings, or if another process holds the feed.
    """
    cursor = _Cursor.read(settings)
    if cursor is not None and cursor.day_is_done:
        return _report(settings, cursor, already_simulated=True)
    with _only_one(settings), open_publisher(settings) as publisher:
        feed = _Feed.open(settings, _Cursor.read(settings) or _Cursor.begin(settings, now))
        feed.publish_stations(publisher)
        feed.publish_until(publisher, feed.cursor.first_day_ends_at)
        feed.snapshot()
    return _report(settings, feed.cursor, already_simulated=False)


def first_day_end(settings: Settings) -> datetime | None:
    """The end of the first simulated day; None until the day is published. Raises FeedError."""
    cursor = _Cursor.read(settings)
    return cursor.first_day_ends_at if cursor is not None and cursor.day_is_done else None


def run_live(
    settings: Settings,
    stop: threading.Event,
    open_publisher: OpenPublisher = KafkaPublisher,
    clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    speed: float | None = None,
) -> None:
    """Feeds at wall-clock speed until `stop` is set. Resumes where the feed stopped, hour by hour if that was long ago.

    With `speed` (simulated seconds a second) the feed catches up at that pace and not at once. It is never ahead of the
    clock: the platform refuses messages from the future.

    Waits until the first day is simulated. While Kafka is down it retries for ever, ever more slowly, at least once a minute,
    and then sends what has happened since. Raises FeedError if the feed began with other settings.
    """
    cursor = _wait_for_first_day(settings, stop)
    if cursor is None:
        return
    with _only_one(settings):
        # another process may have held the feed, and moved the cursor
        feed = _Feed.open(settings, _Cursor.read(settings) or cursor)
        since, begun_at = feed.cursor.published_until, clock()
        log.info("simulated feed resumes", behind_s=round((begun_at - since).total_seconds()))
        backoff_s = 1.0
        while not stop.is_set():
            try:
                with open_publisher(settings) as publisher:
                    while not stop.is_set():
                        now = clock()
                        until = now if speed is None else min(since + (now - begun_at) * speed, now)
                        feed.publish_until(publisher, until, stop)
                        backoff_s = 1.0
                        stop.wait(LIVE_INTERVAL_S)
            except ServerDownError as error:
                log.warning("simulated feed waits", reason=str(error), retry_in_s=backoff_s)
                stop.wait(backoff_s)
                backoff_s = min(2 * backoff_s, LONGEST_BACKOFF_S)
        feed.snapshot()
        log.info("simulated feed stopped", published_until=feed.cursor.published_until.isoformat())


def refuse_other_settings(settings: Settings, **begun_with: int) -> None:
    """Raises FeedError if a feed began with another `simulation_<name>`: its saved state would not fit."""
    for name, begun in begun_with.items():
        wanted = getattr(settings, f"simulation_{name}")
        if begun != wanted:
            raise FeedError(
                f"EVCHARGE_SIMULATION_{name.upper()} is {wanted}, but the simulated feed began with {begun}: "
                "set it back, or start again with another EVCHARGE_HOME"
            )


@dataclass(frozen=True, slots=True)
class _Cursor:
    """The feed's `state.json`."""

    stations: int
    vehicles: int
    seed: int
    start_at: datetime
    published_until: datetime
    stations_published: bool = False
    snapshot: str | None = None

    @property
    def first_day_ends_at(self) -> datetime:
        return self.start_at + FIRST_DAY

    @property
    def telemetry_from(self) -> datetime:
        return self.first_day_ends_at - FIRST_TELEMETRY

    @property
    def day_is_done(self) -> bool:
        return self.published_until >= self.first_day_ends_at

    @classmethod
    def begin(cls, settings: Settings, now: datetime) -> Self:
        start_at = now.astimezone(UTC).replace(microsecond=0) - FIRST_DAY
        return cls(
            settings.simulation_stations,
            settings.simulation_vehicles,
            settings.simulation_seed,
            start_at,
            published_until=start_at,
        )

    @classmethod
    def read(cls, settings: Settings) -> Self | None:
        """The cursor, None if the feed has not begun. Raises FeedError if it began with other settings."""
        path = _folder(settings) / "state.json"
        if not path.exists():
            return None
        try:
            content = orjson.loads(path.read_bytes())
            for name in ("start_at", "published_until"):
                content[name] = datetime.fromisoformat(content[name])
            cursor = cls(**content)
        except (ValueError, TypeError, KeyError) as error:
            raise FeedError(f"{path} is not a state of this version's simulated feed ({error})") from None
        refuse_other_settings(settings, stations=cursor.stations, vehicles=cursor.vehicles, seed=cursor.seed)
        return cursor

    def write(self, settings: Settings) -> None:
        write_durably(_folder(settings) / "state.json", orjson.dumps(asdict(self)))


@dataclass
class _Feed:
    """The simulation, at the cursor or one unacknowledged chunk ahead of it."""

    settings: Settings
    cursor: _Cursor
    simulation: Simulation
    snapshot_at: datetime
    stations: list[dict[str, Any]]
    unacknowledged: tuple[datetime, list[_Part]] | None = field(default=None)

    @classmethod
    def open(cls, settings: Settings, cursor: _Cursor) -> Self:
        world = _world(settings)
        network = world.network
        fleet = build_fleet(network, vehicles=cursor.vehicles, seed=cursor.seed, models=world.models)
        try:
            if cursor.snapshot is None:
                simulation = Simulation(network, fleet, seed=cursor.seed, start_at=cursor.start_at, behaviour=BEHAVIOUR)
            else:
                packed = (_folder(settings) / cursor.snapshot).read_bytes()
                simulation = Simulation.load(network, fleet, orjson.loads(gzip.decompress(packed)), behaviour=BEHAVIOUR)
            simulation.advance(until=cursor.published_until)
        except (ValueError, KeyError, RuntimeError, OSError) as error:
            raise FeedError(
                f"the simulated feed's snapshot {cursor.snapshot} in {_folder(settings)} cannot be used ({error}): "
                "return to the version that wrote it, or start again with another EVCHARGE_HOME"
            ) from error
        return cls(settings, cursor, simulation, cursor.published_until, list(world.records))

    def publish_stations(self, publisher: Publisher) -> None:
        """Registers the stations as of the feed's start, unless they are registered."""
        if self.cursor.stations_published:
            return
        rows = [{**station, "observed_at": self.cursor.start_at} for station in self.stations]
        publish_chunk(self.settings, publisher, FEED, "stations", STATION_REGISTRY, rows)
        self._move(stations_published=True)

    def publish_until(self, publisher: Publisher, until: datetime, stop: threading.Event | None = None) -> None:
        """Simulates and publishes up to `until`, in chunks that end on the hour.

        For each chunk: simulate, publish, wait for all acknowledgements, write the ledger, move the cursor. After an error the
        caller repeats the call.
        """
        while self.cursor.published_until < until and not (stop and stop.is_set()):
            since = self.cursor.published_until
            if self.unacknowledged is None:
                self.unacknowledged = self._simulate(min(until, _next_hour(since)))
            end, parts = self.unacknowledged
            for contract, chunk, rows in parts:
                publish_chunk(self.settings, publisher, FEED, chunk, contract, rows)
            self.unacknowledged = None
            self._move(published_until=end)
            if end - self.snapshot_at >= SNAPSHOT_EVERY:
                self.snapshot()
            if end.date() > since.date():
                self._merge_days(before=end)

    def _simulate(self, end: datetime) -> tuple[datetime, list[_Part]]:
        """Simulates from the cursor to `end`: the messages of stations and cars until then."""
        since, first = self.cursor.published_until, self.cursor.telemetry_from
        events = list(self.simulation.advance(until=end).rows())
        parts: list[_Part] = [(SESSION_EVENTS, f"{since:%Y%m%dT%H}", events)]
        if end > first:
            telemetry = list(self.simulation.telemetry(since=first).rows())
            parts.append((VEHICLE_TELEMETRY, _telemetry_chunk(since), telemetry))
        return end, parts

    def snapshot(self) -> None:
        """Saves the simulation, unless it is ahead of the cursor."""
        if self.unacknowledged is not None:
            return
        former, at = self.cursor.snapshot, self.cursor.published_until
        name = f"simulation-{at:%Y%m%dT%H%M%S.%f}.json.gz"
        if name == former:
            return
        write_durably(
            _folder(self.settings) / name, gzip.compress(orjson.dumps(self.simulation.save()), compresslevel=1)
        )
        self._move(snapshot=name)
        self.snapshot_at = at
        for path in _folder(self.settings).glob("simulation-*.json.gz"):
            if path.name != name:
                path.unlink()

    def _move(self, **changes: Any) -> None:
        self.cursor = replace(self.cursor, **changes)
        self.cursor.write(self.settings)

    def _merge_days(self, before: datetime) -> None:
        """Merges the ledger files of each past day: one of events, one of telemetry."""
        parts: dict[str, list[str]] = {}
        for name in chunks(self.settings, FEED):
            day, is_part, _ = name.partition("T")
            if is_part and day[-8:] < f"{before:%Y%m%d}":
                parts.setdefault(day, []).append(name)
        for day, names in parts.items():
            merge_chunks(self.settings, FEED, day, names)


def _world(settings: Settings) -> SimulatedWorld:
    """The stations and models that the feed began with, kept beside the cursor: to resume takes no reference data."""
    path = _folder(settings) / "network.json"
    try:
        if not (_folder(settings) / "state.json").exists():
            write_durably(path, orjson.dumps(simulated_world(settings).to_json()))
        return SimulatedWorld.from_json(orjson.loads(path.read_bytes()))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise FeedError(
            f"{path}, the stations of the simulated feed, cannot be used ({error}): "
            "start again with another EVCHARGE_HOME"
        ) from error


def _report(settings: Settings, cursor: _Cursor, already_simulated: bool) -> FeedReport:
    ledger = read_sent(settings, FEED, until=cursor.first_day_ends_at)
    totals = {topic: ledger_totals(ledger.filter(pc.equal(ledger["topic"], topic))) for topic in CONTRACTS}
    stations = len(_world(settings).records)
    return FeedReport(cursor.start_at, cursor.first_day_ends_at, already_simulated, totals, stations)


def _wait_for_first_day(settings: Settings, stop: threading.Event) -> _Cursor | None:
    """The cursor, once the first day is done and nobody holds the feed; None if stopped before."""
    logged = ""
    while not stop.is_set():
        cursor = _Cursor.read(settings)
        if cursor is None or not cursor.day_is_done:
            reason = "the first day is not simulated yet: Dagster's job or `evcharge simulate day` does it"
        elif lock.is_held(_lock_file(settings)):
            reason = "another process runs the feed"
        else:
            return cursor
        if reason != logged:
            log.info("simulated feed waits", reason=reason)
            logged = reason
        stop.wait(WAIT_POLL_S)
    return None


def _only_one(settings: Settings) -> AbstractContextManager[None]:
    """Holds the feed: two processes would both move the cursor. Raises FeedError if another process holds it."""
    path = _lock_file(settings)
    return lock.only_one(path, FeedError(f"another process runs the simulated feed ({path} is locked)"))


def _lock_file(settings: Settings) -> Path:
    return _folder(settings) / "lock"


def _telemetry_chunk(since: datetime) -> str:
    minute = since.minute // TELEMETRY_CHUNK_MINUTES * TELEMETRY_CHUNK_MINUTES
    return f"cars-{since:%Y%m%dT%H}{minute:02}"


def _next_hour(at: datetime) -> datetime:
    return at.replace(minute=0, second=0, microsecond=0) + timedelta(hours=1)


def _folder(settings: Settings) -> Path:
    return settings.feeds_dir / FEED
