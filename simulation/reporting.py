"""What the engine reports while it runs: the events and meter values of sessions, and the spells of connected cars."""

from __future__ import annotations

from simulation.event_log import NO_EVSE, NONE, REASON_CODE, STARTED, STOPPED, TRIES
from simulation.telemetry import Journey, Spell, Standstill
from simulation.world import World

_WITH_WAIT = (STARTED, STOPPED)


def report(world: World, index: int, at_ms: int, event_type: int, reason: str | None = None) -> None:
    """Note an event of a car's session."""
    car, session = world.cars[index], world.session(index)
    evse, power_kw, energy_kwh = NO_EVSE, NONE, NONE
    started_at, idle_ms, wait_ms, soc_start = NONE, NONE, NONE, NONE
    if session.started_at:
        evse, curve = session.evse, session.known_curve
        power_kw = curve.power_kw(car.soc) if session.charging else 0.0
        energy_kwh = (car.soc - session.soc_start) * curve.kwh_per_soc
        if event_type in _WITH_WAIT:
            wait_ms = session.started_at - session.queued_at if session.queued_at else 0
        if event_type == STOPPED:
            started_at, soc_start = session.started_at, session.soc_start
            idle_ms = at_ms - session.full_at if session.full_at else 0
    world.recorder.note(
        (
            at_ms,
            index,
            session.station,
            evse,
            car.visit * TRIES + session.attempt,
            session.sequence,
            event_type,
            REASON_CODE[reason],
            power_kw,
            energy_kwh,
            car.soc,
            started_at,
            idle_ms,
            wait_ms,
            soc_start,
        )
    )
    session.sequence += 1


def read_meter(world: World, index: int, before_ms: int) -> None:
    """Note a car's meter values that are due before `before_ms`. Their clock starts when the car is plugged in."""
    session = world.session(index)
    if not session.charging or session.next_meter_at >= before_ms:
        return
    interval = world.setting.meter_ms[world.plugs.is_dc[session.evse]]
    if session.next_meter_at < session.stretch_at:
        missed = (session.stretch_at - session.next_meter_at - 1) // interval + 1
        session.next_meter_at += missed * interval
    count = (before_ms - session.next_meter_at - 1) // interval + 1
    if count <= 0:
        return
    world.recorder.meter(
        (
            session.next_meter_at,
            index,
            session.station,
            session.evse,
            world.cars[index].visit * TRIES + session.attempt,
            session.sequence,
            interval,
            count,
            session.curve_number,
            session.stretch_at,
            session.stretch_s,
            session.target_soc,
            session.soc_start,
        )
    )
    session.sequence += count
    session.next_meter_at += count * interval


def spell(world: World, index: int, until: int) -> Spell:
    """What a car does from its last step until before `until` (ms)."""
    car = world.cars[index]
    session = car.session
    if session is None:
        return Journey(
            index,
            car.visit,
            car.origin,
            car.station,
            car.since_at,
            car.due_at,
            car.soc_left,
            car.soc,
            car.driven_km,
        )
    if not session.charging:
        return Standstill(index, session.station, car.since_at, until, car.soc)
    return Standstill(
        index,
        session.station,
        car.since_at,
        until,
        session.stretch_soc,
        session.curve,
        session.stretch_at,
        session.target_soc,
    )
