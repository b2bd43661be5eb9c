"""Where a car goes: to its next visit, or on to another station when it finds no plug."""

from __future__ import annotations

from simulation.cars import FREE
from simulation.clock import HOUR_MS, to_local_ms, to_utc_ms
from simulation.demand import log_normal
from simulation.draws import Purpose, normal
from simulation.network import SiteKind
from simulation.roads import CITY_KMH, TRIP_KMH
from simulation.world import World

# Assumptions about drivers. Visits are at least some minutes apart. Nobody plugs in for a few percent, nor stops at a fast
# charger with a battery that is mostly full. A driver who charges at home starts from a full battery when a night lies
# between two visits, and has driven a part of the day by the second one.
SMALLEST_GAIN = 0.04
_SHORTEST_TRIP_MS = 5 * 60_000
_NIGHT_H = 10.0
_FAST_ONLY_BELOW = 0.70
_DRIVING_SIGMA = 0.5
# State of charge on arrival at a fast charger: median and spread of the EPFL fast chargers, median 31 %.
_FAST_ARRIVAL = (0.31, 0.18)
# Below this state of charge a driver has found a socket elsewhere: the network need not cover all driving.
_RESERVE = 0.08


def depart(world: World, index: int, now: int) -> None:
    """Let a car leave its station. A guest of a site then waits for a visit, any other car plans one."""
    car = world.cars[index]
    car.session, car.origin, car.reroutes = None, car.station, 0
    if world.sites:
        car.soc_left, car.step = car.soc, ""
    else:
        plan_visit(world, index, now)


def plan_visit(world: World, index: int, now: int) -> None:
    """Decide when and where a car charges next, and how far it drives until then."""
    setting = world.setting
    car, vehicle = world.cars[index], setting.vehicles[index]
    car.soc_left, car.driven_km = car.soc, 0.0
    calendar, zone = setting.calendars[index], setting.stations[vehicle.home].time_zone
    soc_per_km = setting.soc_per_km[index]
    while True:
        car.visit += 1
        u = setting.draws.block(Purpose.PLAN, index, car.visit)
        local_ms, kind = calendar.next_visit(to_local_ms(zone, now), u[0], u[1])
        station = _choose_station(world, index, kind, u[2])
        distance_km = setting.surroundings.drive_km(car.station, station)
        soonest = now + _SHORTEST_TRIP_MS + int(distance_km / CITY_KMH * HOUR_MS)
        arrive_at = max(to_utc_ms(zone, local_ms), soonest)
        hours = (arrive_at - now) / HOUR_MS
        days = hours / 24
        if vehicle.charges_at_home and hours > _NIGHT_H:
            car.soc, days = max(car.soc, vehicle.target_soc), 0.3 + 0.7 * u[5]
        driven_km = min(log_normal(vehicle.daily_km * days, _DRIVING_SIGMA, u[3]), hours * CITY_KMH)
        driven_km = max(driven_km, distance_km)
        fast = kind is SiteKind.DC_FAST
        if fast:
            wanted = max(_FAST_ARRIVAL[0] + _FAST_ARRIVAL[1] * normal(u[4]), _RESERVE)
            driven_km = max(driven_km, min((car.soc - wanted) / soc_per_km, hours * TRIP_KMH))
        soc = car.soc - driven_km * soc_per_km
        if soc < _RESERVE:
            soc = _RESERVE if fast else _RESERVE + 0.5 * u[5]
        car.soc, car.station = soc, station
        car.driven_km += driven_km
        if soc <= (_FAST_ONLY_BELOW if fast else vehicle.target_soc - SMALLEST_GAIN):
            world.schedule(index, arrive_at, "arrive")
            return
        now = arrive_at


def _choose_station(world: World, index: int, kind: SiteKind, uniform: float) -> int:
    setting = world.setting
    vehicle = setting.vehicles[index]
    if kind is SiteKind.WORKPLACE and vehicle.workplace is not None:
        return vehicle.workplace
    if kind is SiteKind.RESIDENTIAL and vehicle.residence is not None:
        return vehicle.residence
    near = setting.surroundings.near(vehicle.home, kind, setting.models[index].connector_types)
    station = near.pick(uniform)
    return vehicle.home if station is None else station


def go_elsewhere(world: World, index: int, now: int) -> None:
    """Drive on to a station nearby that has a free plug, if the driver looks for one and there is one."""
    setting = world.setting
    car, behaviour = world.cars[index], setting.behaviour
    u = setting.draws.block(Purpose.QUEUE, index, car.visit)
    if not world.sites and car.reroutes < behaviour.most_reroutes and u[3] < behaviour.reroute_share:
        connector_types = setting.models[index].connector_types
        occupant = world.plugs.occupant
        for station, km in setting.surroundings.alternatives(car.station, connector_types, behaviour.reroute_km):
            soc = car.soc - km * setting.soc_per_km[index]
            if soc > 0 and any(occupant[evse] == FREE for evse in world.plugs.fits(station, connector_types)):
                car.visit += 1
                car.reroutes += 1
                world.totals.rerouted += 1
                car.session, car.origin, car.station = None, car.station, station
                car.soc_left, car.soc, car.driven_km = car.soc, soc, km
                drive_ms = max(int(km / CITY_KMH * HOUR_MS), _SHORTEST_TRIP_MS)
                world.schedule(index, now + drive_ms, "arrive")
                return
    depart(world, index, now)
