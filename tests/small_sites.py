"""Sites, guests and visits that a test writes itself, and the engine's notes before they are rounded."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

import numpy as np
from numpy.typing import NDArray

from simulation import Behaviour, Demand, Evse, Fleet, Network, Simulation, SiteKind, Station, Vehicle
from simulation.demand import KindDemand
from simulation.fleet import MODELS
from simulation.profile import Visits

#: A Monday, 00:00 at the sites below.
MONDAY = datetime(2026, 1, 5, tzinfo=UTC)
MODEL = {model.ev_model_id: model for model, _ in MODELS}
#: Nothing but plugging in, charging and leaving.
PLAIN = Behaviour(failed_start_share=0.0, balk_share=0.0, reroute_share=0.0, move_up_s=(0.0, 0.0), fault_share=0.0)

Event = dict[str, Any]


def site(
    *sockets: tuple[str, float],
    number: int = 1,
    site_power_kw: float | None = None,
    kind: SiteKind | None = None,
    east_km: float = 0.0,
) -> Station:
    """A station at the equator, whose clocks show UTC."""
    station_id = f"site-{number}"
    evses = tuple(Evse(f"{station_id}-{n}", "1", *socket) for n, socket in enumerate(sockets, start=1))
    default = SiteKind.DC_FAST if evses[0].is_dc else SiteKind.PUBLIC
    power_kw = sum(evse.power_kw for evse in evses) if site_power_kw is None else site_power_kw
    place = ("", "", "", "", "UTC", east_km / 111.19, 0.0)
    return Station(station_id, station_id, *place, kind or default, evses, power_kw, "")


def guests(*model_ids: str, home: int = 0) -> Fleet:
    vehicles = [Vehicle(f"ev-{n}", model, home, None, None, False, 1.0, 0.0, 0.5) for n, model in enumerate(model_ids)]
    return Fleet(tuple(MODEL.values()), tuple(vehicles))


@dataclass(frozen=True)
class Written:
    """The visits of every Monday, as written: (start hour, stay h, energy kWh, state of charge %)."""

    visits: tuple[tuple[float, float, float, float], ...]

    def visits_on(self, weekday: int, random: np.random.Generator) -> Visits:
        rows = np.array(self.visits if weekday == 0 else (), dtype=float).reshape(-1, 4)
        return Visits(np.zeros(len(rows), dtype=np.int64), *rows.T)


def patient(demand: Demand | None = None, median_s: float = float("inf")) -> Demand:
    """The built-in demand with another patience."""
    kinds: dict[SiteKind, KindDemand] = (demand or Demand()).kinds
    return Demand({kind: replace(of_kind, patience_median_s=median_s) for kind, of_kind in kinds.items()})


def at_site(
    station: Station,
    visits: Sequence[tuple[float, float, float, float]],
    fleet: Fleet,
    behaviour: Behaviour = PLAIN,
    demand: Demand | None = None,
    seed: int = 1,
) -> Simulation:
    """A simulation of the station's written visits that begins at `MONDAY`."""
    return Simulation(
        Network((station,)),
        fleet,
        seed=seed,
        start_at=MONDAY,
        demand=demand or patient(),
        behaviour=behaviour,
        sites={station.station_id: Written(tuple(visits))},
        connected=False,
    )


def by_session(events: Iterable[Event]) -> dict[str, list[Event]]:
    """Events by session, each in the order in which they were reported."""
    sessions: dict[str, list[Event]] = defaultdict(list)
    for event in events:
        sessions[event["session_id"]].append(event)
    return sessions


def hour_of(event: Event) -> float:
    """Hours since `MONDAY`."""
    hours: float = (event["occurred_at"] - MONDAY).total_seconds() / 3600
    return hours


def keep_notes(simulation: Simulation) -> list[NDArray[np.float64]]:
    """The notes that the recorder turns into messages from now on, not yet rounded: arrays of `simulation.event_log.Note`."""
    kept: list[NDArray[np.float64]] = []
    recorder = simulation._world.recorder
    columns = recorder._columns

    def keep(notes: NDArray[np.float64]) -> dict[str, NDArray[Any]]:
        kept.append(notes.copy())
        return columns(notes)

    recorder._columns = keep  # type: ignore[method-assign]
    return kept


def charging_kw(simulation: Simulation, station: int, at: datetime) -> list[float]:
    """The power (kW) of each car that charges at a station (its position) at the time that the simulation has reached."""
    at_ms = round(at.timestamp() * 1000)
    powers = []
    for car in simulation._world.cars:
        session = car.session
        if session is not None and session.charging and session.station == station:
            powers.append(session.known_curve.power_kw(session.soc_at(at_ms)))
    return powers
