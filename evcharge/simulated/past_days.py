"""Simulated days, each resumed from the day before: Dagster's partitions of `feeds/simulated_sessions`.

A day is [00:00, 24:00) UTC. The first requested day begins with an empty network. Every other day resumes from the state in
which the day before ended, so that the days together equal one long simulation.

The feed's folder has `feed.json`, the parameters that the feed began with, and for each day `<day>.state.json.gz`: the
simulation at the day's end, and the hash of the day's ledger. This file is written last: a day without it is published
again, with the same event ids. Every state is kept (0.2 MB for 5,000 cars), so that any day can be simulated again.

The feed has built-in stations and cars of its own, because those of the live feed have their own past and present.
"""

from __future__ import annotations

import gzip
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass
from datetime import UTC, date, datetime, time, timedelta
from hashlib import sha256
from pathlib import Path
from typing import Any, Self

import orjson
import pyarrow as pa

from evcharge import lock
from evcharge.contracts import SESSION_EVENTS, STATION_REGISTRY
from evcharge.feeds.durable_files import write_durably
from evcharge.feeds.producer import KafkaPublisher, Publisher
from evcharge.feeds.sent_ledger import (
    LedgerTotals,
    chunks,
    ledger_totals,
    publish_chunk,
    read_chunk,
)
from evcharge.settings import Settings
from evcharge.simulated.live_feed import BEHAVIOUR, FeedError, OpenPublisher, refuse_other_settings
from simulation import Fleet, Network, Simulation, build_fleet, build_network

FEED = "simulated-days"
STATION_PREFIX, VEHICLE_PREFIX = "simday", "ev-simday"

_STATIONS_CHUNK = "stations"
_DAY = timedelta(days=1)
# `advance` goes up to an instant and includes it, and simulated time is whole milliseconds.
_MILLISECOND = timedelta(milliseconds=1)


@dataclass(frozen=True, slots=True)
class DayReport:
    """What the feed's ledger holds for a simulated day. `ledger_hash` does not depend on Kafka's partitions and offsets."""

    day: date
    already_simulated: bool
    totals: LedgerTotals
    ledger_hash: str
    state_bytes: int

    def metadata(self) -> dict[str, Any]:
        """Plain values for people to read."""
        return {
            "already_simulated": self.already_simulated,
            "events": self.totals.messages,
            "sessions": self.totals.sessions,
            "energy_kwh": self.totals.energy_wh / 1000,
            "ledger_hash": self.ledger_hash,
            "state_bytes": self.state_bytes,
        }


def simulate_past_day(
    settings: Settings, day: date, now: datetime, *, open_publisher: OpenPublisher = KafkaPublisher
) -> DayReport:
    """Simulates a UTC day from the state in which the day before ended, and publishes its session events.

    The feed's first day registers the stations. A finished day stays as it is. A day that was killed is published again with
    the same event ids. Raises ServerDownError that names Kafka. Raises FeedError if the day is not over at `now`, lies before
    the first event day, or follows a missing day, if the feed began with other settings, or if another process holds it.
    """
    _refuse_impossible(settings, day, now)
    with _only_one(settings):
        feed = _Feed.read(settings) or _Feed.begin(settings, day)
        done, ledger = _State.read(settings, day), read_chunk(settings, FEED, _chunk(day))
        already_simulated = done is not None and done.ledger_hash == _ledger_hash(ledger)
        if done is None or not already_simulated:
            done, ledger = feed.simulate(settings, day, open_publisher)
        state_bytes = _state_file(settings, day).stat().st_size
        return DayReport(day, already_simulated, ledger_totals(ledger), done.ledger_hash, state_bytes)


@dataclass(frozen=True, slots=True)
class _Feed:
    """The feed's `feed.json`."""

    first_day: date
    stations: int
    vehicles: int
    seed: int

    @classmethod
    def begin(cls, settings: Settings, day: date) -> Self:
        """Begins the feed with `day`. No other day can be the first from then on."""
        feed = cls(day, settings.simulation_stations, settings.simulation_vehicles, settings.simulation_seed)
        write_durably(_folder(settings) / "feed.json", orjson.dumps(asdict(feed)))
        return feed

    @classmethod
    def read(cls, settings: Settings) -> Self | None:
        """The feed, None if it has not begun. Raises FeedError if it began with other settings."""
        path = _folder(settings) / "feed.json"
        if not path.exists():
            return None
        try:
            content = orjson.loads(path.read_bytes())
            feed = cls(**content | {"first_day": date.fromisoformat(content["first_day"])})
        except (ValueError, TypeError, KeyError) as error:
            raise FeedError(f"{path} is not a file of this version's simulated days ({error})") from None
        refuse_other_settings(settings, stations=feed.stations, vehicles=feed.vehicles, seed=feed.seed)
        return feed

    def simulate(self, settings: Settings, day: date, open_publisher: OpenPublisher) -> tuple[_State, pa.Table]:
        """Simulates and publishes hour by hour, then writes the state, which marks the day as done.

        Returns the state and the day's ledger.
        """
        network, fleet = self._world()
        simulation = self._as_of_midnight(settings, day, network, fleet)
        with open_publisher(settings) as publisher:
            self._publish_stations(settings, publisher, network)
            for hour in range(1, 25):
                until = _midnight(day) + timedelta(hours=hour) - _MILLISECOND
                events = list(simulation.advance(until=until).rows())
                publish_chunk(settings, publisher, FEED, _chunk(day), SESSION_EVENTS, events)
        ledger = read_chunk(settings, FEED, _chunk(day))
        state = _State(_ledger_hash(ledger), simulation.save())
        state.write(settings, day)
        return state, ledger

    def _world(self) -> tuple[Network, Fleet]:
        seed = _own_seed(self.seed)
        network = build_network(self.stations, seed, STATION_PREFIX)
        return network, build_fleet(network, self.vehicles, seed, id_prefix=VEHICLE_PREFIX)

    def _as_of_midnight(self, settings: Settings, day: date, network: Network, fleet: Fleet) -> Simulation:
        """The simulation as `day` begins. Raises FeedError if the state of the day before is missing or broken."""
        if day == self.first_day:
            return Simulation(network, fleet, seed=_own_seed(self.seed), start_at=_midnight(day), behaviour=BEHAVIOUR)
        if day < self.first_day:
            raise FeedError(
                f"{day} cannot be simulated: simulated days began with {self.first_day}; "
                "an earlier first day needs another EVCHARGE_HOME"
            )
        before = _State.read(settings, day - _DAY)
        if before is None:
            missing = self._first_missing(settings, day)
            raise FeedError(
                f"{day} resumes from the day before, but {missing} is not simulated: "
                f"launch the backfill from {missing} to {day}"
            )
        try:
            return Simulation.load(network, fleet, before.simulation, behaviour=BEHAVIOUR)
        except (ValueError, KeyError, TypeError) as error:
            raise FeedError(
                f"{_state_file(settings, day - _DAY)} cannot be resumed ({error}): "
                "return to the version that wrote it, or start again with another EVCHARGE_HOME"
            ) from error

    def _first_missing(self, settings: Settings, day: date) -> date:
        """The first of the missing days directly before `day`."""
        missing = day - _DAY
        while missing > self.first_day and not _state_file(settings, missing - _DAY).exists():
            missing -= _DAY
        return missing

    def _publish_stations(self, settings: Settings, publisher: Publisher, network: Network) -> None:
        """Registers the stations as of the first day, unless the ledger has them."""
        if _STATIONS_CHUNK in chunks(settings, FEED):
            return
        observed_at = _midnight(self.first_day)
        rows = [{**record, "observed_at": observed_at} for record in network.registry_records()]
        publish_chunk(settings, publisher, FEED, _STATIONS_CHUNK, STATION_REGISTRY, rows)


@dataclass(frozen=True, slots=True)
class _State:
    """The simulation at a day's end, and the hash of the day's ledger."""

    ledger_hash: str
    simulation: dict[str, Any]

    @classmethod
    def read(cls, settings: Settings, day: date) -> Self | None:
        """None if the day is not simulated. Raises FeedError if the file is broken."""
        path = _state_file(settings, day)
        if not path.exists():
            return None
        try:
            return cls(**orjson.loads(gzip.decompress(path.read_bytes())))
        except (OSError, EOFError, ValueError, TypeError) as error:
            raise FeedError(
                f"{path} cannot be read ({error}): delete it and launch {day} again; the day comes out the same"
            ) from None

    def write(self, settings: Settings, day: date) -> None:
        # without a time in gzip's header equal states are equal files
        write_durably(_state_file(settings, day), gzip.compress(orjson.dumps(asdict(self)), mtime=0))


def _refuse_impossible(settings: Settings, day: date, now: datetime) -> None:
    today = now.astimezone(UTC).date()
    if day >= today:
        raise FeedError(f"{day} cannot be simulated: only UTC days that are over can, up to {today - _DAY}")
    if day < date.fromisoformat(settings.event_days_from):
        raise FeedError(
            f"{day} cannot be simulated: event days begin with {settings.event_days_from} (EVCHARGE_EVENT_DAYS_FROM)"
        )


def _only_one(settings: Settings) -> AbstractContextManager[None]:
    path = _folder(settings) / "lock"
    return lock.only_one(path, FeedError(f"another process simulates days ({path} is locked)"))


def _ledger_hash(ledger: pa.Table) -> str:
    content = ledger.select(["event_id", "station_id", "event_type", "occurred_at", "energy_wh"]).to_pydict()
    return sha256(orjson.dumps(content)).hexdigest()[:16]


def _own_seed(seed: int) -> int:
    """A seed that differs from the live feed's: with the same seed the stations would stand in the same places."""
    return seed + 1


def _midnight(day: date) -> datetime:
    return datetime.combine(day, time(), UTC)


def _chunk(day: date) -> str:
    return f"{day:%Y%m%d}"


def _state_file(settings: Settings, day: date) -> Path:
    return _folder(settings) / f"{day}.state.json.gz"


def _folder(settings: Settings) -> Path:
    return settings.feeds_dir / FEED
