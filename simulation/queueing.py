"""Which EVSE a car gets, and what happens to a car that finds none: it waits, or it leaves."""

from __future__ import annotations

from collections import deque
from math import inf

from simulation.cars import FREE, Session
from simulation.demand import log_normal
from simulation.draws import Purpose
from simulation.event_log import ABANDONED, QUEUED
from simulation.reporting import report
from simulation.trips import go_elsewhere
from simulation.world import World

# How patience differs among drivers: the spread of its logarithm (assumption).
_PATIENCE_SIGMA = 0.6


def free_evse(world: World, index: int, session: Session) -> int:
    """One of the free EVSEs that fit a car, FREE if there is none."""
    free = world.plugs.free(session.station, world.setting.models[index].connector_types)
    return free[int(world.stay_draws(index, session)[7] * len(free))] if free else FREE


def wait(world: World, index: int, now: int, session: Session) -> None:
    """Let a car wait for an EVSE, or leave when the driver sees the queue."""
    setting, station = world.setting, session.station
    u = setting.draws.block(Purpose.QUEUE, index, world.cars[index].visit)
    queue = world.plugs.queues.setdefault(station, deque())
    cars_per_plug = len(queue) / max(len(world.fits(index, station)), 1)
    if u[2] >= (1 - setting.behaviour.balk_share) ** (1 + cars_per_plug):
        world.totals.balked[setting.stations[station].site_kind.value] += 1
        go_elsewhere(world, index, now)
        return
    world.cars[index].session, session.queued_at = session, now
    queue.append(index)
    report(world, index, now, QUEUED)
    patience_s = log_normal(setting.demand[station].patience_median_s, _PATIENCE_SIGMA, u[0])
    if patience_s == inf:
        world.cars[index].step = ""
    else:
        world.schedule(index, now + int(patience_s * 1000), "give_up")


def give_up(world: World, index: int, now: int) -> None:
    """Let a car that has waited too long leave the queue."""
    world.plugs.queues[world.cars[index].station].remove(index)
    report(world, index, now, ABANDONED)
    go_elsewhere(world, index, now)


def release(world: World, evse: int, now: int) -> None:
    """Make an EVSE free, for the first car in the queue that it fits."""
    setting, plugs = world.setting, world.plugs
    plugs.occupant[evse] = FREE
    queue = plugs.queues.get(plugs.station[evse])
    if not queue:
        return
    connector_type = plugs.evses[evse].connector_type
    for index in queue:
        if connector_type in setting.models[index].connector_types:
            queue.remove(index)
            plugs.occupant[evse] = index
            world.session(index).evse = evse
            u = setting.draws.block(Purpose.QUEUE, index, world.cars[index].visit)
            least, most = setting.behaviour.move_up_s
            world.schedule(index, now + int((least + u[1] * (most - least)) * 1000), "plug_in")
            return
