"""Simulations beside the platform: as fast as possible, into files and figures. Nothing is sent anywhere.

The output folder has `events/` (Parquet, a file per simulated day, the session-events message in columns),
`sessions.parquet`, `ledger.json` and `state.json.gz`, from which `Simulation.load` resumes. With dirt it also has
`messages/`, what would reach Kafka and when, and `injected/`, the ledger of every injected fault.
"""

from __future__ import annotations

import gzip
import json
import resource
import sys
import time
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cached_property
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from evcharge.errors import UserError
from evcharge.reference.bundled import bundled_models
from evcharge.registry.files import read_file
from evcharge.registry.snapshot import Scope
from evcharge.simulated.dirty_feed import encoded
from evcharge.simulated.world import SimulatedWorld, world_of
from simulation import (
    ALL_SERVED,
    AS_RECORDED,
    Behaviour,
    EventBatch,
    Fleet,
    Network,
    Simulation,
    SiteKind,
    Totals,
    build_fleet,
)
from simulation.clock import HOUR_MS, to_datetime, to_local_ms, to_ms, to_utc_ms
from simulation.comparison import concentration, half_from
from simulation.dirt import Delivery, Dirt, DirtRates, Injection
from simulation.profile import SiteProfile, Visits
from simulation.site import STATION_ID, site_fleet, site_network

#: A Monday: profiles describe a local week.
START_AT = datetime(2026, 1, 5, tzinfo=UTC)
# How much simulated time is in memory at once, and how often progress is reported.
_CHUNK = timedelta(hours=6)
_LEVEL_2 = "level_2"
_VEHICLES_PER_STATION = 10

#: One row per session that charged. Failed starts are only in the events. Local times are the station's.
SESSIONS = pa.schema(
    [
        ("session_id", pa.string()),
        ("station_id", pa.string()),
        ("evse_id", pa.string()),
        ("ev_id", pa.string()),
        ("ev_model_id", pa.string()),
        ("site_kind", pa.string()),
        ("time_zone", pa.string()),
        ("started_at", pa.timestamp("ms", "UTC")),
        ("ended_at", pa.timestamp("ms", "UTC")),
        ("local_day", pa.date32()),
        ("local_start_hour", pa.float64()),
        ("stay_h", pa.float64()),
        ("energy_kwh", pa.float64()),
        ("queue_wait_s", pa.float64()),
        ("idle_s", pa.float64()),
        ("soc_start_percent", pa.float64()),
        ("soc_end_percent", pa.float64()),
        ("stop_reason", pa.string()),
    ]
)


@dataclass(frozen=True)
class Scenario:
    """What is simulated: the built-in network, the stations of a registry file, or the one site of a profile.

    `stations` is the number of stations; of a registry file it is the most. `vehicles` None means ten for each station, or
    as many guests as a profile needs. `behaviour` None means the default of the kind: a profile's sessions already include
    faults and failed starts. `dirt` is what happens to messages on their way.
    """

    seed: int
    stations: int = 500
    vehicles: int | None = None
    profile: SiteProfile | None = None
    registry: Path | None = None
    start_at: datetime = START_AT
    behaviour: Behaviour | None = None
    dirt: DirtRates | None = None

    def begin(self) -> Simulation:
        """The simulation at its start. Raises UserError for an impossible scenario."""
        network, fleet = self._world
        return Simulation(network, fleet, seed=self.seed, start_at=self.begins_at, **self._options())

    def resume(self, state: dict[str, Any]) -> Simulation:
        """The simulation from a saved `state`."""
        network, fleet = self._world
        return Simulation.load(network, fleet, state, **self._options())

    @property
    def network(self) -> Network:
        return self._world[0]

    @property
    def begins_at(self) -> datetime:
        """The UTC start. A profile's days are local: `start_at` is what the site's clocks show."""
        if self.profile is None:
            return self.start_at
        return to_datetime(to_utc_ms(self.profile.time_zone, to_ms(self.start_at)))

    @cached_property
    def _world(self) -> tuple[Network, Fleet]:
        try:
            if self.profile is not None:
                return site_network(self.profile), site_fleet(self.profile, self.vehicles)
            if self.registry is None:
                world = SimulatedWorld.built_in(self.stations, self.seed)
            else:
                rows = read_file(self.registry, Scope()).stations.values()
                world = world_of(rows, bundled_models(), self.stations, self.seed)
            vehicles = self.vehicles or _VEHICLES_PER_STATION * len(world.network.stations)
            return world.network, build_fleet(world.network, vehicles, self.seed, models=world.models)
        except ValueError as error:
            raise UserError(str(error)) from error

    def _options(self) -> dict[str, Any]:
        sites = None if self.profile is None else {STATION_ID: self.profile}
        behaviour = self.behaviour or (AS_RECORDED if sites else Behaviour())
        return {"behaviour": behaviour, "sites": sites, "connected": False}


@dataclass
class Result:
    """The result of simulating `scenario` until `end_at`."""

    scenario: Scenario
    end_at: datetime
    totals: Totals
    state: dict[str, Any]
    sessions: pa.Table
    abandoned: Counter[str]
    dirt: dict[str, int]
    wall_s: float
    peak_memory_mb: float

    @property
    def start_at(self) -> datetime:
        return self.scenario.begins_at

    @property
    def network(self) -> Network:
        return self.scenario.network

    @property
    def session_count(self) -> int:
        """Sessions that charged."""
        return self.totals.sessions - self.totals.failed_starts

    def utilisation(self) -> dict[str, float]:
        """Share of the time that EVSEs are plugged in, by kind of site and for all level 2. Only finished sessions count."""
        evses = Counter(station.site_kind.value for station in self.network.stations for _ in station.evses)
        hours = (self.end_at - self.start_at) / timedelta(hours=1)
        plugged = self.sessions.group_by("site_kind").aggregate([("stay_h", "sum")]).to_pydict()
        stay_h = Counter(dict(zip(plugged["site_kind"], plugged["stay_h_sum"], strict=True)))
        for counts in (evses, stay_h):
            if level_2 := sum(count for kind, count in counts.items() if kind != SiteKind.DC_FAST):
                counts[_LEVEL_2] = level_2
        return {kind: round(stay_h[kind] / (count * hours), 4) for kind, count in sorted(evses.items())}

    def half_of_energy(self) -> dict[str, float]:
        """The smallest share of EVSEs that delivered half of the energy, for level 2 and for DC fast sites."""
        by_evse = self.sessions.group_by("evse_id").aggregate([("energy_kwh", "sum")])
        energy = dict(zip(by_evse["evse_id"].to_pylist(), by_evse["energy_kwh_sum"].to_pylist(), strict=True))
        given: dict[str, list[float]] = {}
        for station in self.network.stations:
            kind = SiteKind.DC_FAST.value if station.site_kind is SiteKind.DC_FAST else _LEVEL_2
            given.setdefault(kind, []).extend(energy.get(evse.evse_id, 0.0) for evse in station.evses)
        shares = {kind: concentration(np.array(energies)) for kind, energies in sorted(given.items())}
        return {kind: round(half_from(of_kind), 4) for kind, of_kind in shares.items() if len(of_kind)}

    def to_json(self) -> dict[str, Any]:
        """The figures that `evcharge simulate --json` prints."""
        totals = self.totals
        return {
            "seed": self.scenario.seed,
            "start_at": self.start_at.isoformat(),
            "end_at": self.end_at.isoformat(),
            "stations": len(self.network.stations),
            "sessions": self.session_count,
            "events": totals.events,
            "energy_kwh": round(totals.energy_kwh, 3),
            "wall_s": round(self.wall_s, 3),
            "events_per_s": round(totals.events / self.wall_s),
            "sessions_per_s": round(self.session_count / self.wall_s),
            "peak_memory_mb": round(self.peak_memory_mb, 1),
            "ledger_hash": totals.ledger_hash,
            "visits": totals.visits,
            "queued": totals.events_by_type["queued"],
            "abandoned": totals.events_by_type["abandoned"],
            "balked": totals.balked.total(),
            "rerouted": totals.rerouted,
            "failed_starts": totals.failed_starts,
            "without_car": totals.without_car,
            "utilisation": self.utilisation(),
            "half_of_energy_from_share_of_evses": self.half_of_energy(),
            **({"injected": self.dirt} if self.scenario.dirt else {}),
        }


@dataclass
class _Part:
    """What one process simulated."""

    state: dict[str, Any]
    sessions: dict[str, NDArray[Any]]
    abandoned: Counter[str]
    dirt: dict[str, int]
    peak_memory_mb: float


Progress = Callable[[timedelta], None]


def simulate(
    scenario: Scenario,
    duration: timedelta,
    *,
    resume_at: timedelta | None = None,
    out: Path | None = None,
    on_progress: Progress | None = None,
) -> Result:
    """Simulates `duration`. With `resume_at` the state is saved then, and a new process resumes from it.

    Raises UserError for an impossible duration or scenario, or a folder that cannot be written.
    """
    if duration <= timedelta(0):
        raise UserError(f"{duration} is not a duration: simulate at least an hour")
    if resume_at is not None and not timedelta(0) < resume_at < duration:
        raise UserError(f"--resume-at must lie within the {duration / timedelta(hours=1):g} simulated hours")
    if out is not None:
        _prepare(out, ("events", "messages", "injected") if scenario.dirt else ("events",))
    began = time.perf_counter()
    simulation, dirt = scenario.begin(), None if scenario.dirt is None else Dirt(scenario.dirt, scenario.seed)
    start_at = scenario.begins_at
    parts = [_run(scenario, simulation, dirt, start_at, start_at + (resume_at or duration), out, on_progress)]
    if resume_at is not None:
        # A fresh interpreter, which gets nothing but the scenario and the saved state.
        with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as other:
            saved = json.dumps(parts[0].state)
            rest = other.submit(_resume, scenario, saved, start_at + resume_at, start_at + duration, out)
            parts.append(rest.result())
        if on_progress:
            on_progress(duration - resume_at)
    wall_s = time.perf_counter() - began
    result = Result(
        scenario,
        start_at + duration,
        Totals.from_json(parts[-1].state["simulation"]["totals"]),
        parts[-1].state,
        _table([part.sessions for part in parts]),
        sum((part.abandoned for part in parts), Counter()),
        parts[-1].dirt,
        wall_s,
        max(part.peak_memory_mb for part in parts),
    )
    if out is not None:
        _write(out, result)
    return result


def _resume(scenario: Scenario, saved: str, since: datetime, until: datetime, out: Path | None) -> _Part:
    state = json.loads(saved)
    dirt = None if scenario.dirt is None else Dirt.load(state["dirt"])
    return _run(scenario, scenario.resume(state["simulation"]), dirt, since, until, out, None)


def _run(
    scenario: Scenario,
    simulation: Simulation,
    dirt: Dirt | None,
    since: datetime,
    until: datetime,
    out: Path | None,
    on_progress: Progress | None,
) -> _Part:
    network = scenario.network
    kinds = {station.station_id: station.site_kind.value for station in network.stations}
    zones = {station.station_id: station.time_zone for station in network.stations}
    sessions, abandoned, at = [], Counter[str](), since
    day: list[EventBatch] = []
    deliveries: list[Delivery] = []
    injected: list[Injection] = []
    day_from = since
    while at < until:
        # Chunks end with the day, so that each file holds one day.
        end = min(at + _CHUNK, until, (at + timedelta(days=1)).replace(hour=0, minute=0, second=0, microsecond=0))
        batch = simulation.advance(end)
        sessions.append(_sessions(batch, kinds, zones))
        left = batch.arrays["station_id"][batch.arrays["event_type"] == "abandoned"]
        abandoned.update(kinds[station] for station in left.tolist())
        delivered = [] if dirt is None else dirt.deliver(batch.rows(), end)
        if out is not None:
            day.append(batch)
            deliveries += delivered
            injected += [] if dirt is None else dirt.injected
            if end.date() > at.date() or end == until:
                name = f"{day_from:%Y%m%dT%H%M}.parquet"
                pq.write_table(pa.concat_tables(map(_events, day)), out / "events" / name, compression="zstd")
                if dirt is not None:
                    _write_dirt(out, name, deliveries, injected)
                day, deliveries, injected, day_from = [], [], [], end
        if on_progress:
            on_progress(end - at)
        at = end
    return _Part(
        {"simulation": simulation.save(), **({} if dirt is None else {"dirt": dirt.save()})},
        {name: np.concatenate([part[name] for part in sessions]) for name in SESSIONS.names},
        abandoned,
        {} if dirt is None else dict(sorted(dirt.totals.items())),
        _peak_memory_mb(),
    )


def _sessions(batch: EventBatch, kinds: dict[str, str], zones: dict[str, str]) -> dict[str, NDArray[Any]]:
    arrays = batch.arrays
    # A failed start stops before any energy flows, with a reason that no driver gives.
    chosen = (arrays["event_type"] == "stopped") & ~(
        (arrays["reason"] == "Other") & (arrays["energy_delivered_kwh"] == 0)
    )
    of = {name: values[chosen] for name, values in arrays.items()}
    stations = of["station_id"].tolist()
    started = of["started_at"].astype(np.int64)
    local = [to_local_ms(zones[station], ms) for station, ms in zip(stations, started.tolist(), strict=True)]
    local_ms = np.array(local, dtype=np.int64).view("datetime64[ms]")
    days = local_ms.astype("datetime64[D]")
    return {
        **{name: of[name] for name in ("session_id", "station_id", "evse_id", "ev_id", "ev_model_id")},
        "site_kind": np.array([kinds[station] for station in stations], dtype=object),
        "time_zone": np.array([zones[station] for station in stations], dtype=object),
        "started_at": of["started_at"],
        "ended_at": of["occurred_at"],
        "local_day": days,
        "local_start_hour": (local_ms - days).astype(np.int64) / HOUR_MS,
        "stay_h": (of["occurred_at"].astype(np.int64) - started) / HOUR_MS,
        "energy_kwh": of["energy_delivered_kwh"],
        "queue_wait_s": of["queue_wait_s"],
        "idle_s": of["idle_s"],
        "soc_start_percent": of["state_of_charge_start"],
        "soc_end_percent": of["state_of_charge"],
        "stop_reason": of["reason"],
    }


def _table(parts: list[dict[str, NDArray[Any]]]) -> pa.Table:
    columns = {name: np.concatenate([part[name] for part in parts]) for name in SESSIONS.names}
    return pa.table([pa.array(columns[column.name]).cast(column.type) for column in SESSIONS], schema=SESSIONS)


def _prepare(out: Path, folders: Sequence[str]) -> None:
    """Prepares the folder: removes the files of an earlier simulation and no others."""
    try:
        for name in folders:
            (out / name).mkdir(parents=True, exist_ok=True)
            for path in (out / name).glob("*.parquet"):
                path.unlink()
    except OSError as error:
        raise UserError(f"{out}: {error.strerror or error}") from error


def _events(batch: EventBatch) -> pa.Table:
    columns = {}
    for name, values in batch.arrays.items():
        column = pa.array(values, from_pandas=values.dtype.kind == "f")
        if values.dtype.kind == "M":
            column = column.cast(pa.timestamp("ms", "UTC"))
        # A column of None alone has no type of its own.
        columns[name] = column.cast(pa.string()) if pa.types.is_null(column.type) else column
    return pa.table(columns)


def _write_dirt(out: Path, name: str, deliveries: list[Delivery], injected: list[Injection]) -> None:
    keys, values = zip(*encoded(deliveries), strict=True) if deliveries else ((), ())
    at = pa.array([delivery.delivered_at for delivery in deliveries], pa.timestamp("ms", "UTC"))
    messages = {"delivered_at": at, "key": pa.array(keys, pa.binary()), "value": pa.array(values, pa.binary())}
    pq.write_table(pa.table(messages), out / "messages" / name, compression="zstd")
    lines = {
        "event_id": pa.array([line.event_id for line in injected], pa.string()),
        "fault": pa.array([line.fault.value for line in injected], pa.string()),
        "detail": pa.array([json.dumps(line.detail) for line in injected], pa.string()),
        "delivered_at": pa.array([line.delivered_at for line in injected], pa.timestamp("ms", "UTC")),
    }
    pq.write_table(pa.table(lines), out / "injected" / name, compression="zstd")


def _write(out: Path, result: Result) -> None:
    pq.write_table(result.sessions, out / "sessions.parquet", compression="zstd")
    (out / "state.json.gz").write_bytes(gzip.compress(json.dumps(result.state).encode()))
    ledger = {**result.to_json(), "events_by_type": dict(sorted(result.totals.events_by_type.items()))}
    (out / "ledger.json").write_text(json.dumps(ledger, indent=1) + "\n")


def _peak_memory_mb() -> float:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    # Linux counts in KiB, macOS in bytes.
    return peak / (2**20 if sys.platform == "darwin" else 2**10)


# With so many visits a difference from real ones comes from the model, not from the draw.
_COMPARED_VISITS = 60_000


def simulated_visits(profile: SiteProfile) -> Visits:
    """Visits of a profile after the simulated site has handled them, from a Monday on. Empty days at the end are lost."""
    days = min(max(round(7 * _COMPARED_VISITS / sum(profile.visits)), 28), 5_000)
    scenario = Scenario(seed=0, profile=profile, behaviour=ALL_SERVED)
    sessions = simulate(scenario, timedelta(days=days)).sessions.sort_by("started_at")
    day = sessions["local_day"].cast(pa.int32()).to_numpy()
    return Visits(
        day - day.min(),
        *(sessions[name].to_numpy() for name in ("local_start_hour", "stay_h", "energy_kwh", "soc_start_percent")),
    )
