"""A world as plain JSON values, and back."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any

from simpy.events import Event

from simulation.cars import CAR_FIELDS, FREE, SESSION_FIELDS, Car, Session
from simulation.events import Totals
from simulation.plugs import OUT_OF_ORDER
from simulation.sessions import ask_for_repair
from simulation.setting import Setting
from simulation.site_visits import ask_for_next, open_day
from simulation.world import World

STATE_VERSION = 3


def save(world: World) -> dict[str, Any]:
    """Everything that `load` needs besides the arguments of the simulation."""
    setting = world.setting
    return {
        "state_version": STATE_VERSION,
        "fingerprint": setting.fingerprint,
        "seed": setting.seed,
        "start_ms": setting.start_ms,
        "now_ms": world.now,
        "order": world.order,
        "cars": [[getattr(car, name) for name in CAR_FIELDS] for car in world.cars],
        "sessions": [
            [index, *(getattr(car.session, name) for name in SESSION_FIELDS)]
            for index, car in enumerate(world.cars)
            if car.session is not None
        ],
        "out_of_order": [[evse, at, order] for evse, (at, order) in world.plugs.repairs.items()],
        "queues": [[station, list(queue)] for station, queue in world.plugs.queues.items() if queue],
        "sites": [[station, site.day, site.next, site.due_at, site.order] for station, site in world.sites.items()],
        "totals": world.totals.to_json(),
    }


def check_version(state: dict[str, Any]) -> None:
    """ValueError if another version saved `state`."""
    if state.get("state_version") != STATE_VERSION:
        raise ValueError(f"state version {state.get('state_version')} is not {STATE_VERSION}")


def load(setting: Setting, state: dict[str, Any], take_step: Callable[[int, int, Event], None]) -> World:
    """The world that was saved as `state`. ValueError if it was saved with other arguments than those of `setting`."""
    if state["fingerprint"] != setting.fingerprint:
        raise ValueError("the state was saved with another network, fleet, demand or behaviour")
    cars = [Car(**dict(zip(CAR_FIELDS, values, strict=True))) for values in state["cars"]]
    totals = Totals.from_json(state["totals"])
    world = World(setting, cars, take_step, now=state["now_ms"], order=state["order"], totals=totals)
    for index, *values in state["sessions"]:
        _restore_session(world, index, Session(**dict(zip(SESSION_FIELDS, values, strict=True))))
    plugs = world.plugs
    plugs.queues = {station: deque(queue) for station, queue in state["queues"]}
    plugs.repairs = {evse: (at, order) for evse, at, order in state["out_of_order"]}
    for evse in plugs.repairs:
        plugs.occupant[evse] = OUT_OF_ORDER
    for station, *values in state["sites"]:
        site = world.sites[station]
        site.day, site.next, site.due_at, site.order = values
        open_day(world, station)
    _ask_for_steps(world)
    return world


def _restore_session(world: World, index: int, session: Session) -> None:
    world.cars[index].session = session
    if session.evse != FREE:
        world.plugs.occupant[session.evse] = index
    if session.started_at:
        world.set_curve(index)
        session.stretch_s = session.known_curve.seconds_at(session.stretch_soc)
    if session.charging and world.power.is_shared[session.station]:
        world.power.add(session.station, session.evse)
        if session.limit_kw < world.plugs.evses[session.evse].power_kw:
            world.power.short.add(session.station)


def _ask_for_steps(world: World) -> None:
    """Ask SimPy for all that is to come, in the order in which it was planned: SimPy keeps that order within an instant."""
    pending: list[tuple[int, Callable[[World, int], None], int]] = [
        *((car.order, World.ask_for_step, index) for index, car in enumerate(world.cars) if car.step),
        *((order, ask_for_repair, evse) for evse, (_, order) in world.plugs.repairs.items()),
        *((site.order, ask_for_next, station) for station, site in world.sites.items()),
    ]
    for _, ask, number in sorted(pending, key=lambda entry: entry[0]):
        ask(world, number)
