"""Visits that come to a site by its own demand: one of the site's guests makes each of them.

The guest is a car that is free, near enough in time, and whose battery can take what the visit takes.
"""

from __future__ import annotations

from functools import partial
from itertools import chain
from math import inf

import numpy as np
from simpy.events import Event

from simulation.clock import DAY_MS, HOUR_MS, to_utc_ms
from simulation.draws import Purpose
from simulation.guests import Site, Visit, missing, visits_of_day
from simulation.roads import TRIP_KMH
from simulation.sessions import arrive
from simulation.world import World

# What a socket elsewhere gives (kW), and how many cars are asked. If none of them can take all of a visit, the nearest to it
# comes (assumptions).
_ELSEWHERE_KW = 7.0
_CARS_ASKED = 64


def open_day(world: World, station: int) -> None:
    """Draw the visits of the day that a site is in, without those before the simulation's start."""
    setting, site = world.setting, world.sites[station]
    random = np.random.default_rng([setting.seed, Purpose.SITE, station, site.day])
    visits = visits_of_day(site.demand, site.day, setting.stations[station].time_zone, random)
    site.plan = tuple(visit for visit in visits if visit.at >= setting.start_ms)


def plan_next(world: World, station: int, now: int) -> None:
    """Plan a site's next step: the next visit of its day, or the next day where none is left."""
    site = world.sites[station]
    if site.next < len(site.plan):
        site.due_at = max(site.plan[site.next].at, now)
    else:
        zone = world.setting.stations[station].time_zone
        site.due_at = max(to_utc_ms(zone, (site.day + 1) * DAY_MS), now)
    world.order += 1
    site.order = world.order
    ask_for_next(world, station)


def ask_for_next(world: World, station: int) -> None:
    """Let SimPy call for the next step of a site."""
    world.call_at(world.sites[station].due_at, partial(_take_step, world, station))


def _take_step(world: World, station: int, _: Event) -> None:
    site = world.sites[station]
    now = site.due_at
    if site.next < len(site.plan):
        site.next += 1
        _receive(world, station, site, now)
    else:
        site.day, site.next = site.day + 1, 0
        open_day(world, station)
    plan_next(world, station, now)


def _receive(world: World, station: int, site: Site, now: int) -> None:
    """Let one of the guests make the visit that is due."""
    visit = site.plan[site.next - 1]
    u = world.setting.draws.block(Purpose.GUEST, station, site.day * 1_000_000 + site.next)
    first = int(u[0] * len(site.guests))
    least, chosen, chosen_soc, asked = inf, -1, 0.0, 0
    for index in chain(site.guests[first:], site.guests[:first]):
        car = world.cars[index]
        if car.session is not None or car.step or not world.fits(index, station):
            continue
        lacking, at_soc = _missing(world, index, station, now, visit, u[1])
        asked += 1
        if lacking < least:
            least, chosen, chosen_soc = lacking, index, at_soc
        if not lacking or asked == _CARS_ASKED:
            break
    if chosen < 0:
        world.totals.without_car += 1
        return
    car = world.cars[chosen]
    car.visit += 1
    car.soc_left, car.soc, car.station = car.soc, chosen_soc, station
    car.driven_km = max(car.soc_left - car.soc, 0.0) / world.setting.soc_per_km[chosen]
    arrive(world, chosen, now, visit.stay_ms, visit.energy_kwh)
    car.since_at = now


def _missing(world: World, index: int, station: int, now: int, visit: Visit, u: float) -> tuple[float, float]:
    """How far (0: not at all) a car is from being able to make a visit, and the state of charge with which it would come.

    Since it left it can have driven and charged elsewhere only as much as time allows.
    """
    setting = world.setting
    car, evse = world.cars[index], world.fits(index, station)[0]
    curve, _ = world.curve(index, evse, world.plugs.evses[evse].power_kw)
    lowest, highest = 0.0, 1.0
    if car.visit:
        hours = (now - car.since_at) / HOUR_MS
        lowest = max(car.soc - hours * TRIP_KMH * setting.soc_per_km[index], 0.0)
        highest = min(car.soc + hours * _ELSEWHERE_KW / setting.models[index].usable_kwh, 1.0)
    return missing(visit, curve, lowest, highest, u)
