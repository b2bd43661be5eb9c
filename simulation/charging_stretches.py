"""Stretches of charging, each along one curve, and how a change of a site's limits ends them and begins new ones."""

from __future__ import annotations

from math import ceil

from simulation.power_sharing import share_power
from simulation.reporting import read_meter, spell
from simulation.world import World

_NOBODY = -1


def begin_charging(world: World, index: int, now: int) -> None:
    """Let a car charge and plan how that ends."""
    session = world.session(index)
    session.charging = True
    if world.power.is_shared[session.station]:
        world.power.add(session.station, session.evse)
        _share(world, session.station, now, newcomer=index)
    _begin_stretch(world, index, now)


def end_charging(world: World, index: int, now: int) -> None:
    """Let a car charge no longer; its state of charge is then that of `now`."""
    read_meter(world, index, now)
    session = world.session(index)
    world.cars[index].soc = session.soc_at(now)
    session.charging = False
    if world.power.is_shared[session.station]:
        world.power.remove(session.station, session.evse)
        _share(world, session.station, now)


def _begin_stretch(world: World, index: int, now: int) -> None:
    car, session = world.cars[index], world.session(index)
    curve = session.known_curve
    session.stretch_at, session.stretch_soc = now, car.soc
    session.stretch_s = curve.seconds_at(car.soc)
    full_at = now + max(ceil((curve.seconds_at(session.target_soc) - session.stretch_s) * 1000), 1)
    at, step = (session.leave_at, "leave") if session.leave_at <= full_at else (full_at, "full")
    if now <= session.pause_at < at:
        at, step = session.pause_at, "pause"
    if now <= session.fault_at < at:
        at, step = session.fault_at, "fault"
    world.schedule(index, at, step)


def _share(world: World, station: int, now: int, newcomer: int = _NOBODY) -> None:
    """Limit every car that charges at a site that shares its power.

    A car that charges already and gets another limit begins a new stretch. The newcomer has no stretch yet.
    """
    power, plugs = world.power, world.plugs
    is_short = power.is_too_little(station)
    if not is_short and station not in power.short:
        return
    charging = []
    for evse in plugs.at_station[station]:
        index = plugs.occupant[evse]
        if index >= 0 and (session := world.session(index)).charging:
            charging.append((evse, index, session))
    evse_kw = [plugs.evses[evse].power_kw for evse, _, _ in charging]
    if not is_short:
        power.short.discard(station)
        limits = evse_kw
    else:
        power.short.add(station)
        wanted_kw = []
        for (evse, index, session), power_kw in zip(charging, evse_kw, strict=True):
            soc = world.cars[index].soc if index == newcomer else session.soc_at(now)
            wanted_kw.append(world.curve(index, evse, power_kw)[0].highest_kw(soc))
        limits = share_power(world.setting.stations[station].site_power_kw, wanted_kw, evse_kw)
    for (_, index, session), limit_kw in zip(charging, limits, strict=True):
        if session.limit_kw == limit_kw:
            continue
        if index != newcomer:
            if world.setting.sends_telemetry:
                world.spells.append(spell(world, index, now))
            read_meter(world, index, now)
            world.cars[index].soc = session.soc_at(now)
            world.cars[index].since_at = now
        session.limit_kw = limit_kw
        world.set_curve(index)
        if index != newcomer:
            _begin_stretch(world, index, now)
