"""The simulation without any server: sessions/s and events/s on one core, and a month of a country's size.

Limit of the sessions: SimPy's own way, a process per car and a resource per station, without charging and without
events. Limit of the events: SimPy calling back for as many timeouts as ours took steps. Peer: ACN-Sim with the very
sessions that ours had, see `peers.acn_sim`.
"""

from __future__ import annotations

import gc
import random
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import cycle
from statistics import median
from typing import Any, NamedTuple
from unittest.mock import patch

from simpy import Environment, Resource
from simpy.events import Event, Timeout

from benchmarks.alone import alone, memory_mb
from benchmarks.harness import Report, Result
from benchmarks.peers import ACN_SIM, PeerMissingError, acn_sim, python_with
from evcharge.settings import Settings
from simulation import Fleet, Network, Simulation, build_fleet, build_network

SEED = 7
START_AT = datetime(2026, 11, 15, tzinfo=UTC)
#: The least that one core must reach, and the aim: sessions/s and events/s.
SESSIONS_FLOOR, SESSIONS_AIM = 4_000, 10_000
EVENTS_FLOOR, EVENTS_AIM = 100_000, 250_000
#: The longest that SimPy's cars drive and charge, in ms: on average a visit a day, of four hours, so that few wait.
LONGEST_DRIVE_MS, LONGEST_CHARGE_MS = 48 * 3_600_000, 8 * 3_600_000
#: The month's memory is noted after every so many days.
MEMORY_EVERY_DAYS = 5


@dataclass(frozen=True, slots=True)
class World:
    """So many stations and vehicles, for so many days."""

    stations: int
    vehicles: int
    days: int

    def built(self) -> tuple[Network, Fleet]:
        network = build_network(self.stations, SEED)
        return network, build_fleet(network, self.vehicles, SEED)

    def __str__(self) -> str:
        return f"{self.stations:,} stations, {self.vehicles:,} vehicles, {self.days} days"


WEEK = World(500, 5_000, 7)
MONTH = World(5_000, 50_000, 30)


@dataclass(frozen=True, slots=True)
class Effort:
    """What is simulated, and how often; the month once."""

    week: World = WEEK
    month: World = MONTH
    runs: int = 3


class Simulated(NamedTuple):
    """What one run of a simulation did. The process was on its core for `cpu_s` of the `seconds`."""

    seconds: float
    cpu_s: float
    sessions: int
    events: int


def simulation(settings: Settings, effort: Effort, report: Report) -> list[Result]:
    """Sessions, events and the month."""
    week = effort.week
    sessions = Result(
        "simulated sessions",
        "sessions/s",
        f"One core simulates so many finished sessions a second: {week}.",
        floor=SESSIONS_FLOOR,
        aim=SESSIONS_AIM,
    )
    events = Result(
        "simulated events",
        "events/s",
        f"One core simulates so many session events a second: {week}.",
        floor=EVENTS_FLOOR,
        aim=EVENTS_AIM,
    )
    report("installing the peer: ACN-Sim")
    peer = _peer(settings, week, sessions)
    kernel_events = alone(count_kernel_events, week)
    rates: dict[str, list[float]] = {"ours": [], "timeouts": [], "resources": []}
    # below 1 where something else ran on the core, too
    shares: list[float] = []
    for run in range(1, effort.runs + 1):
        report(f"simulating, run {run} of {effort.runs}")
        ours = alone(simulate, week)
        timeouts_s = alone(simpy_timeouts, kernel_events, week.vehicles)
        resources_s, resource_events = alone(simpy_resources, ours.sessions, week)
        sessions.ours.append(round(ours.sessions / ours.seconds, 1))
        sessions.limit.append(round(ours.sessions / resources_s, 1))
        events.ours.append(round(ours.events / ours.seconds, 1))
        events.limit.append(round(ours.events / timeouts_s, 1))
        shares.append(ours.cpu_s / ours.seconds)
        rates["ours"].append(kernel_events / ours.seconds)
        rates["timeouts"].append(kernel_events / timeouts_s)
        rates["resources"].append(resource_events / resources_s)
        if peer:
            report(f"the peer: ACN-Sim, run {run} of {effort.runs}")
            sessions.peer.append(round(peer(), 1))
        sessions.run_ended()
        events.run_ended()
    per_kernel_event = round(ours.events / kernel_events, 3)
    core_share = round(median(shares), 2)
    sessions.details |= {"sessions": ours.sessions, "core_share": core_share}
    events.details |= {
        "events": ours.events,
        "kernel_events": kernel_events,
        "events_per_kernel_event": per_kernel_event,
    }
    events.details["kernel_events_per_s"] = {name: round(median(values)) for name, values in rates.items()}
    report(f"a month: {effort.month}")
    return [sessions, events, _month(effort.month)]


def _peer(settings: Settings, world: World, result: Result) -> Callable[[], float] | None:
    """A function that returns ACN-Sim's sessions/s; None, and the reason in the result, if it cannot be installed."""
    try:
        python = python_with(settings.cache, ACN_SIM)
    except PeerMissingError as error:
        result.details["no_peer"] = str(error)
        return None
    evses, sessions = alone(recorded, world)
    return lambda: len(sessions) / alone(acn_sim, python, evses, sessions)


def simulate(world: World) -> Simulated:
    """The world hour by hour, as the feed does it, without the cars' telemetry; nothing is kept."""
    network, fleet = world.built()
    ours = Simulation(network, fleet, seed=SEED, start_at=START_AT, connected=False)
    began, began_cpu, events = time.perf_counter(), time.process_time(), 0
    for hour in range(1, world.days * 24 + 1):
        events += len(ours.advance(until=START_AT + timedelta(hours=hour)))
    cpu_s = time.process_time() - began_cpu
    return Simulated(time.perf_counter() - began, cpu_s, ours.totals.sessions, events)


def count_kernel_events(world: World) -> int:
    """How many events our simulation schedules with SimPy in the world's days. Raises RuntimeError if it goes without SimPy."""
    network, fleet = world.built()
    with _counting() as counted:
        Simulation(network, fleet, seed=SEED, start_at=START_AT).advance(until=START_AT + timedelta(days=world.days))
    if not counted():
        raise RuntimeError("the simulation schedules nothing with SimPy")
    return counted()


@contextmanager
def _counting() -> Iterator[Callable[[], int]]:
    """Counts what is scheduled with any SimPy environment meanwhile. Gives a function that returns the count."""
    schedule, count = Environment.schedule, 0

    def counted(environment: Environment, *args: Any, **kwargs: Any) -> None:
        nonlocal count
        count += 1
        schedule(environment, *args, **kwargs)

    with patch.object(Environment, "schedule", counted):
        yield lambda: count


def simpy_timeouts(count: int, actors: int) -> float:
    """Seconds for `count` timeouts with one callback each, which makes the next one; of `actors` at any time."""
    environment = Environment()
    delays, left = _delays(LONGEST_CHARGE_MS), count

    def tick(_: Event | None) -> None:
        nonlocal left
        if left:
            left -= 1
            Timeout(environment, next(delays)).callbacks.append(tick)

    for _ in range(actors):
        tick(None)
    began = time.perf_counter()
    environment.run()
    return time.perf_counter() - began


def simpy_resources(sessions: int, world: World) -> tuple[float, int]:
    """Seconds for so many sessions, and SimPy's events of them: cars are processes, stations resources of their EVSEs."""
    seconds = _simpy_resources(sessions, world)
    with _counting() as counted:
        _simpy_resources(sessions, world)
    return seconds, counted()


def _simpy_resources(sessions: int, world: World) -> float:
    environment = Environment()
    stations = [Resource(environment, len(station.evses)) for station in build_network(world.stations, SEED).stations]
    drives, charges = _delays(LONGEST_DRIVE_MS), _delays(LONGEST_CHARGE_MS)
    chosen, left = random.Random(SEED), sessions

    def car() -> Generator[Event]:
        nonlocal left
        while left:
            left -= 1
            yield environment.timeout(next(drives))
            with chosen.choice(stations).request() as plug:
                yield plug
                yield environment.timeout(next(charges))

    for _ in range(world.vehicles):
        environment.process(car())
    began = time.perf_counter()
    environment.run()
    return time.perf_counter() - began


def _delays(longest_ms: int) -> Iterator[int]:
    source = random.Random(SEED)
    # drawn beforehand: the limit is what SimPy takes, not what a random number does
    return cycle([source.randrange(1, longest_ms) for _ in range(1 << 14)])


def recorded(world: World) -> tuple[list[tuple[str, float]], list[tuple[Any, ...]]]:
    """EVSEs (id, kW), and the finished sessions by their start.

    A session is EVSE, start and end (s), energy (kWh), usable battery (kWh), state of charge at the start (0 to 1), power
    of the EVSE (kW).
    """
    network, fleet = world.built()
    models = {model.ev_model_id: model for model in fleet.models}
    power_kw = {evse.evse_id: evse.power_kw for station in network.stations for evse in station.evses}
    ours = Simulation(network, fleet, seed=SEED, start_at=START_AT, connected=False)
    sessions = [
        (
            row["evse_id"],
            (row["started_at"] - START_AT).total_seconds(),
            (row["occurred_at"] - START_AT).total_seconds(),
            row["energy_delivered_kwh"],
            models[row["ev_model_id"]].usable_kwh,
            row["state_of_charge_start"] / 100,
            power_kw[row["evse_id"]],
        )
        for row in ours.advance(until=START_AT + timedelta(days=world.days)).rows()
        if row["event_type"] == "stopped"
    ]
    return list(power_kw.items()), sorted(sessions, key=lambda session: session[1])


def _month(world: World) -> Result:
    result = Result(
        "simulated month", "s", f"One core simulates a month in this time, day by day and keeping nothing: {world}."
    )
    simulated, memory = alone(simulate_days, world)
    result.ours.append(round(simulated.seconds, 1))
    result.details |= {"sessions": simulated.sessions, "events": simulated.events, **memory}
    result.details["core_share"] = round(simulated.cpu_s / simulated.seconds, 2)
    result.run_ended()
    return result


def simulate_days(world: World) -> tuple[Simulated, dict[str, Any]]:
    """The world day by day, and the memory (MB) that it took: at most, and after some of the days."""
    network, fleet = world.built()
    began, began_cpu, events = time.perf_counter(), time.process_time(), 0
    ours = Simulation(network, fleet, seed=SEED, start_at=START_AT, connected=False)
    resident_mb: dict[str, float] = {}
    for day in range(1, world.days + 1):
        events += len(ours.advance(until=START_AT + timedelta(days=day)))
        if day % MEMORY_EVERY_DAYS == 0:
            gc.collect()
            resident_mb[f"day {day}"] = memory_mb("VmRSS")
    seconds, cpu_s = time.perf_counter() - began, time.process_time() - began_cpu
    simulated = Simulated(seconds, cpu_s, ours.totals.sessions, events)
    return simulated, {"peak_mb": memory_mb("VmHWM"), "resident_mb": resident_mb}
