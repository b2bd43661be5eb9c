"""The simulation: SimPy calls what happens next, everything between two happenings is closed form.

Cars come by their own calendars, or, at sites whose profiles are given, the site's visits come and each is made by a car
that is free, near enough in time and whose battery can take what the visit takes.

Every car has exactly one next step, kept as plain data beside SimPy's queue. A saved state is that data: loading it asks
SimPy for the same steps in the same order, so going on from it is going on without a pause.

The network starts empty: cars are on the road at `start_at`, so the first hours have fewer sessions than later days' same
hours.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping
from datetime import datetime
from hashlib import sha256
from itertools import chain
from math import ceil, inf
from typing import Any

import numpy as np
from simpy import Environment
from simpy.events import Event, Timeout

from simulation.behaviour import Behaviour
from simulation.cars import CAR_FIELDS, FREE, SESSION_FIELDS, Car, Session
from simulation.charging import ChargeCurve, charge_curve
from simulation.clock import DAY_MS, HOUR_MS, to_datetime, to_local_ms, to_ms, to_utc_ms, weekday
from simulation.demand import Calendar, Demand, log_normal, stay_ms
from simulation.draws import Draws, Purpose, Uniforms, normal
from simulation.events import EventBatch, Totals
from simulation.fleet import Fleet
from simulation.guests import Site, SiteDemand, Visit, missing, visits_of_day
from simulation.network import Network, SiteKind
from simulation.power import share_power
from simulation.profile import SiteProfile
from simulation.recording import (
    ABANDONED,
    FAULTED,
    NO_EVSE,
    NONE,
    QUEUED,
    REASON_CODE,
    RESUMED,
    STARTED,
    STOPPED,
    SUSPENDED,
    TRIES,
    Recorder,
)
from simulation.roads import CITY_KMH, TRIP_KMH, Surroundings
from simulation.telemetry import Journey, Spell, Standstill, Telematics, TelemetryBatch

STATE_VERSION = 3

_WITH_WAIT = (STARTED, STOPPED)

_OUT_OF_ORDER = -2

# Assumptions about drivers. Visits are at least some minutes apart; nobody plugs in for a few percent, nor stops at a fast
# charger with a battery that is mostly full. Who charges at home starts from a full battery when a night lies between two
# visits, and has driven a part of the day by the second.
_SHORTEST_TRIP_MS = 5 * 60_000
_SMALLEST_GAIN = 0.04
_NIGHT_H = 10.0
_FAST_ONLY_BELOW = 0.70
_PATIENCE_SIGMA = 0.6
_LINGER_SIGMA = 0.9
_DRIVING_SIGMA = 0.5
# State of charge on arrival at a fast charger and where its charge ends: EPFL fast chargers, medians 31 % and 83 %.
_FAST_ARRIVAL = (0.31, 0.18)
_FAST_TARGET = (0.85, 0.11)
# Below this a driver has found a socket elsewhere: the network need not cover all driving.
_RESERVE = 0.08
# What a socket elsewhere gives (kW), and how many cars are asked before one must come that can not take all of a visit.
_ELSEWHERE_KW = 7.0
_CARS_ASKED = 64


class Simulation:
    """A network and a fleet, simulated from `start_at` on.

    Equal arguments give equal events and telemetry, whatever the chunks in which `advance` is called.
    """

    def __init__(
        self,
        network: Network,
        fleet: Fleet,
        *,
        seed: int,
        start_at: datetime,
        demand: Demand | None = None,
        behaviour: Behaviour | None = None,
        sites: Mapping[str, SiteDemand] | None = None,
        connected: bool = True,
    ) -> None:
        """`sites` are the demand at stations by their ids; then every vehicle is a guest of the one where it has its home.

        The cars of sites are not `connected`, others need not be: then there is no `telemetry`, and events come quicker.

        ValueError if `start_at` has no time zone, a vehicle's model is not in the fleet's table, a site is not in the
        network or a vehicle is at home at none of the sites.
        """
        self._prepare(network, fleet, demand, behaviour, sites, connected, seed, to_ms(start_at))
        self._now = self._start
        self._order = 0
        self.totals = Totals()
        self._cars = [Car(vehicle.first_soc, vehicle.home, since_at=self._now) for vehicle in fleet.vehicles]
        self._occupant = [FREE] * len(self._evse_station)
        self._queues: dict[int, deque[int]] = {}
        self._repairs: dict[int, tuple[int, int]] = {}
        self._environment = Environment(initial_time=self._now)
        for station in self._sites:
            self._open_day(station)
            self._plan_step_of_site(station, self._now)
        if not self._sites:
            for index in range(len(self._cars)):
                self._plan_visit(index, self._now)

    def _prepare(
        self,
        network: Network,
        fleet: Fleet,
        demand: Demand | None,
        behaviour: Behaviour | None,
        sites: Mapping[str, SiteDemand] | None,
        connected: bool,
        seed: int,
        start_ms: int,
    ) -> None:
        """Everything that follows from the arguments alone, and so is never saved."""
        demand, self._behaviour = demand or Demand(), behaviour or Behaviour()
        self._meter_ms = (round(self._behaviour.ac_meter_s * 1000), round(self._behaviour.dc_meter_s * 1000))
        self._stations = network.stations
        self._vehicles = fleet.vehicles
        self._seed = seed
        self._start = start_ms
        self._draws = Draws(seed)
        self._surroundings = Surroundings(network)
        models = {model.ev_model_id: model for model in fleet.models}
        unknown = sorted({vehicle.ev_model_id for vehicle in fleet.vehicles} - models.keys())
        if unknown:
            raise ValueError(f"the fleet has no model {', '.join(unknown)}")
        self._models = [models[vehicle.ev_model_id] for vehicle in fleet.vehicles]
        self._soc_per_km = [model.consumption_kwh_per_100km / 100 / model.usable_kwh for model in self._models]
        self._demand = [demand.kinds[station.site_kind] for station in network.stations]
        self._sites = self._guests(sites or {})
        self._tells_positions = connected and not self._sites
        if not self._sites:
            self._calendars = [self._calendar(index, demand) for index in range(len(fleet.vehicles))]
        self._first_evse: list[int] = []
        self._evse_station: list[int] = []
        for index, station in enumerate(network.stations):
            self._first_evse.append(len(self._evse_station))
            self._evse_station.extend([index] * len(station.evses))
        self._evses = [evse for station in network.stations for evse in station.evses]
        self._evse_is_dc = [evse.is_dc for evse in self._evses]
        self._shares_power = [
            sum(evse.power_kw for evse in station.evses) > station.site_power_kw for station in network.stations
        ]
        # Of stations that share: the power (whole W, so that sums are exact) of the EVSEs that charge, and those where that is
        # too much.
        self._evse_w = [round(evse.power_kw * 1000) for evse in self._evses]
        self._given_w = [0] * len(network.stations)
        self._short_of_power: set[int] = set()
        self._fitting: dict[tuple[int, tuple[str, ...]], tuple[int, ...]] = {}
        self._curves: dict[tuple[str, float, bool], tuple[ChargeCurve, int]] = {}
        arguments = (network, fleet, demand.kinds, self._behaviour, sorted((sites or {}).items()), start_ms)
        self._fingerprint = sha256(repr(arguments).encode()).hexdigest()
        start = to_datetime(start_ms)
        # The fingerprint keeps runs apart that share seed and second but not the network, fleet or demand.
        prefix = f"{seed}-{start:%y%m%dT%H%M%S}-{self._fingerprint[:6]}"
        vehicles = [(vehicle.ev_id, vehicle.ev_model_id) for vehicle in fleet.vehicles]
        self._recorder = Recorder(network.stations, vehicles, prefix)
        self._telematics = Telematics(network.stations, fleet.vehicles, self._models, self._draws)
        # What ended in the last `advance`, which began at `_advanced_from`.
        self._spells: list[Spell] = []
        self._advanced_from: int | None = None
        self._steps: dict[str, Callable[[int, int], None]] = {
            "arrive": self._arrive,
            "give_up": self._give_up,
            "plug_in": self._plug_in,
            "try_again": self._try_again,
            "pause": self._pause,
            "resume": self._resume,
            "full": self._full,
            "fault": self._fault,
            "leave": self._leave,
        }

    def _guests(self, sites: Mapping[str, SiteDemand]) -> dict[int, Site]:
        position = {station.station_id: index for index, station in enumerate(self._stations)}
        unknown = sorted(sites.keys() - position.keys())
        if unknown:
            raise ValueError(f"the network has no station {', '.join(unknown)}")
        told: dict[int, Site] = {}
        for station_id, demand in sites.items():
            station = position[station_id]
            local_day = to_local_ms(self._stations[station].time_zone, self._start) // DAY_MS
            told[station] = Site(demand, [], local_day)
        if told:
            for index, vehicle in enumerate(self._vehicles):
                if vehicle.home not in told:
                    raise ValueError(f"{vehicle.ev_id} is at home at none of the sites that have a demand of their own")
                told[vehicle.home].guests.append(index)
        return told

    def _calendar(self, index: int, demand: Demand) -> Calendar:
        vehicle = self._vehicles[index]
        connector_types = self._models[index].connector_types
        kinds = [
            kind
            for kind in (SiteKind.PUBLIC, SiteKind.DC_FAST)
            if self._surroundings.near(vehicle.home, kind, connector_types)
        ]
        if vehicle.workplace is not None:
            kinds.append(SiteKind.WORKPLACE)
        if vehicle.residence is not None:
            kinds.append(SiteKind.RESIDENTIAL)
        # Whoever has nothing else uses the site that it is based at, of whatever kind.
        return demand.calendar(tuple(kinds) or (self._stations[vehicle.home].site_kind,))

    # --- time ---

    def advance(self, until: datetime) -> EventBatch:
        """Simulate on to `until` (inclusive, to the millisecond) and tell what happened since the last call.

        ValueError if `until` has no time zone or lies before the time already reached.
        """
        until_ms = to_ms(until)
        if until_ms < self._now:
            raise ValueError(f"{until.isoformat()} is before {to_datetime(self._now).isoformat()}, already simulated")
        self._spells.clear()
        self._advanced_from = self._now
        environment = self._environment
        while environment.peek() <= until_ms:
            environment.step()
        for index in self._occupant:
            if index >= 0:
                self._read_meter(index, until_ms + 1)
        self._now = until_ms
        return self._recorder.batch(self.totals)

    def telemetry(self, since: datetime | None = None) -> TelemetryBatch:
        """What the cars told in the last `advance`, or in that part of it that comes after `since` (exclusive).

        Asking changes nothing, and costs nothing if it is not done. ValueError if nothing was simulated since the start or
        since `load`, if `since` has no time zone, or if the cars are not connected.
        """
        if not self._tells_positions:
            raise ValueError("the cars are not connected, or guests of sites: nobody knows where these drive")
        if self._advanced_from is None:
            raise ValueError("there is telemetry of what was simulated last: call `advance` first")
        after = self._advanced_from if since is None else max(to_ms(since), self._advanced_from)
        running = (self._spell(index, self._now + 1) for index in range(len(self._cars)))
        return self._telematics.batch(chain(self._spells, running), after, self._now)

    def _schedule(self, index: int, at_ms: int, step: str) -> None:
        """Make `step` the one next step of a car; a step that was planned before is void."""
        self._order = order = self._order + 1
        car = self._cars[index]
        car.due_at, car.order, car.step = at_ms, order, step
        self._call_at(at_ms, self._take_step, (index, order))

    def _ask_for_step(self, index: int) -> None:
        car = self._cars[index]
        self._call_at(car.due_at, self._take_step, (index, car.order))

    def _call_at(self, at_ms: int, call: Callable[[Event], None], value: Any) -> None:
        """Let SimPy call `call` with an event that has `value`."""
        environment = self._environment
        Timeout(environment, at_ms - environment.now, value).callbacks.append(call)

    def _take_step(self, event: Event) -> None:
        index, order = event.value  # type: ignore[misc]  # SimPy's events are typed as without a value
        car = self._cars[index]
        if car.order == order:
            now = car.due_at
            if self._tells_positions:
                self._spells.append(self._spell(index, now))
            # An arrival is told of by the drive that ends with it.
            since = now + 1 if car.step == "arrive" else now
            self._steps[car.step](index, now)
            car.since_at = since

    def _spell(self, index: int, until: int) -> Spell:
        """How the car has been since its last step, for as long as it stays so before `until`."""
        car, session = self._cars[index], self._cars[index].session
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

    # --- between visits ---

    def _plan_visit(self, index: int, now: int) -> None:
        """Decide when and where the car charges next, and how much it drives until then."""
        car, vehicle = self._cars[index], self._vehicles[index]
        car.soc_left, car.driven_km = car.soc, 0.0
        calendar, zone = self._calendars[index], self._stations[vehicle.home].time_zone
        soc_per_km = self._soc_per_km[index]
        while True:
            car.visit += 1
            u = self._draws.block(Purpose.PLAN, index, car.visit)
            local_ms, kind = calendar.next_visit(to_local_ms(zone, now), u[0], u[1])
            station = self._choose_station(index, kind, u[2])
            distance_km = self._surroundings.drive_km(car.station, station)
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
            if soc <= (_FAST_ONLY_BELOW if fast else vehicle.target_soc - _SMALLEST_GAIN):
                self._schedule(index, arrive_at, "arrive")
                return
            now = arrive_at

    def _choose_station(self, index: int, kind: SiteKind, uniform: float) -> int:
        vehicle = self._vehicles[index]
        if kind is SiteKind.WORKPLACE and vehicle.workplace is not None:
            return vehicle.workplace
        if kind is SiteKind.RESIDENTIAL and vehicle.residence is not None:
            return vehicle.residence
        near = self._surroundings.near(vehicle.home, kind, self._models[index].connector_types)
        station = near.pick(uniform)
        return vehicle.home if station is None else station

    def _go_elsewhere(self, index: int, now: int) -> None:
        """Drive on to a station nearby that has a free plug, if the driver looks for one and there is one."""
        car, behaviour = self._cars[index], self._behaviour
        u = self._draws.block(Purpose.QUEUE, index, car.visit)
        if not self._sites and car.reroutes < behaviour.most_reroutes and u[3] < behaviour.reroute_share:
            connector_types = self._models[index].connector_types
            for station, km in self._surroundings.alternatives(car.station, connector_types, behaviour.reroute_km):
                soc = car.soc - km * self._soc_per_km[index]
                if soc > 0 and any(self._occupant[evse] == FREE for evse in self._fits(index, station)):
                    car.visit += 1
                    car.reroutes += 1
                    self.totals.rerouted += 1
                    car.session, car.origin, car.station = None, car.station, station
                    car.soc_left, car.soc, car.driven_km = car.soc, soc, km
                    drive_ms = max(int(km / CITY_KMH * HOUR_MS), _SHORTEST_TRIP_MS)
                    self._schedule(index, now + drive_ms, "arrive")
                    return
        self._depart(index, now)

    def _depart(self, index: int, now: int) -> None:
        car = self._cars[index]
        car.session, car.origin, car.reroutes = None, car.station, 0
        if self._sites:
            car.soc_left, car.step = car.soc, ""
        else:
            self._plan_visit(index, now)

    # --- visits that come to a site ---

    def _open_day(self, station: int) -> None:
        site, zone = self._sites[station], self._stations[station].time_zone
        random = np.random.default_rng([self._seed, Purpose.SITE, station, site.day])
        site.plan = tuple(
            visit for visit in visits_of_day(site.demand, site.day, zone, random) if visit.at >= self._start
        )

    def _plan_step_of_site(self, station: int, now: int) -> None:
        site = self._sites[station]
        if site.next < len(site.plan):
            site.due_at = max(site.plan[site.next].at, now)
        else:
            site.due_at = max(to_utc_ms(self._stations[station].time_zone, (site.day + 1) * DAY_MS), now)
        self._order += 1
        site.order = self._order
        self._ask_for_step_of_site(station)

    def _ask_for_step_of_site(self, station: int) -> None:
        self._call_at(self._sites[station].due_at, self._take_step_of_site, station)

    def _take_step_of_site(self, event: Event) -> None:
        station = _entity(event)
        site = self._sites[station]
        now = site.due_at
        if site.next < len(site.plan):
            site.next += 1
            self._receive(station, site, now)
        else:
            site.day, site.next = site.day + 1, 0
            self._open_day(station)
        self._plan_step_of_site(station, now)

    def _receive(self, station: int, site: Site, now: int) -> None:
        """Let one of the guests make the visit that is due."""
        visit = site.plan[site.next - 1]
        u = self._draws.block(Purpose.GUEST, station, site.day * 1_000_000 + site.next)
        first = int(u[0] * len(site.guests))
        least, chosen, chosen_soc, asked = inf, -1, 0.0, 0
        for index in chain(site.guests[first:], site.guests[:first]):
            car = self._cars[index]
            if car.session is not None or car.step or not self._fits(index, station):
                continue
            missing, at_soc = self._missing(index, station, now, visit, u[1])
            asked += 1
            if missing < least:
                least, chosen, chosen_soc = missing, index, at_soc
            if not missing or asked == _CARS_ASKED:
                break
        if chosen < 0:
            self.totals.without_car += 1
            return
        car = self._cars[chosen]
        car.visit += 1
        car.soc_left, car.soc, car.station = car.soc, chosen_soc, station
        car.driven_km = max(car.soc_left - car.soc, 0.0) / self._soc_per_km[chosen]
        self._arrive(chosen, now, visit.stay_ms, visit.energy_kwh)
        car.since_at = now

    def _missing(self, index: int, station: int, now: int, visit: Visit, u: float) -> tuple[float, float]:
        """How far (0: not at all) a car is from being able to make a visit, and the state of charge with which it would come.

        It can have driven and charged elsewhere since it left only as much as time allows.
        """
        car, evse = self._cars[index], self._fits(index, station)[0]
        curve, _ = self._curve(index, evse, self._evses[evse].power_kw)
        lowest, highest = 0.0, 1.0
        if car.visit:
            hours = (now - car.since_at) / HOUR_MS
            lowest = max(car.soc - hours * TRIP_KMH * self._soc_per_km[index], 0.0)
            highest = min(car.soc + hours * _ELSEWHERE_KW / self._models[index].usable_kwh, 1.0)
        return missing(visit, curve, lowest, highest, u)

    # --- at the station ---

    def _arrive(self, index: int, now: int, wanted_ms: int = -1, wanted_kwh: float = -1.0) -> None:
        car, station = self._cars[index], self._cars[index].station
        self.totals.visits += not car.reroutes
        session = Session(station, wanted_ms=wanted_ms, wanted_kwh=wanted_kwh)
        evse = self._free_evse(index, session)
        if evse != FREE:
            car.session, session.evse = session, evse
            self._occupant[evse] = index
            self._plug_in(index, now)
            return
        u = self._draws.block(Purpose.QUEUE, index, car.visit)
        queue = self._queues.setdefault(station, deque())
        if u[2] >= (1 - self._behaviour.balk_share) ** (1 + len(queue) / max(len(self._fits(index, station)), 1)):
            self.totals.balked[self._stations[station].site_kind.value] += 1
            self._go_elsewhere(index, now)
            return
        car.session, session.queued_at = session, now
        queue.append(index)
        self._tell(index, now, QUEUED)
        patience_s = log_normal(self._demand[station].patience_median_s, _PATIENCE_SIGMA, u[0])
        if patience_s == inf:
            car.step = ""
        else:
            self._schedule(index, now + int(patience_s * 1000), "give_up")

    def _fits(self, index: int, station: int) -> tuple[int, ...]:
        """The EVSEs of a station that fit a car."""
        connector_types = self._models[index].connector_types
        fitting = self._fitting.get((station, connector_types))
        if fitting is None:
            first = self._first_evse[station]
            fitting = self._fitting[station, connector_types] = tuple(
                evse
                for evse in range(first, first + len(self._stations[station].evses))
                if self._evses[evse].connector_type in connector_types
            )
        return fitting

    def _free_evse(self, index: int, session: Session) -> int:
        occupant = self._occupant
        free = [evse for evse in self._fits(index, session.station) if occupant[evse] == FREE]
        return free[int(self._stay_draws(index, session)[7] * len(free))] if free else FREE

    def _stay_draws(self, index: int, session: Session) -> Uniforms:
        if session.draws is None:
            session.draws = self._draws.block(Purpose.STAY, index, self._cars[index].visit)
        return session.draws

    def _give_up(self, index: int, now: int) -> None:
        self._queues[self._cars[index].station].remove(index)
        self._tell(index, now, ABANDONED)
        self._go_elsewhere(index, now)

    def _release(self, evse: int, now: int) -> None:
        """Give a free EVSE to the first car in the queue that it fits."""
        self._occupant[evse] = FREE
        station = self._evse_station[evse]
        queue = self._queues.get(station, ())
        for index in queue:
            if self._evses[evse].connector_type in self._models[index].connector_types:
                self._queues[station].remove(index)
                self._occupant[evse] = index
                session = self._session(index)
                session.evse = evse
                u = self._draws.block(Purpose.QUEUE, index, self._cars[index].visit)
                self._schedule(index, now + _between_ms(self._behaviour.move_up_s, u[1]), "plug_in")
                return

    def _plug_in(self, index: int, now: int) -> None:
        car, session = self._cars[index], self._session(index)
        session.started_at, session.soc_start = now, car.soc
        session.limit_kw = self._evses[session.evse].power_kw
        self._set_curve(index)
        if self._start_fails(index, now):
            return
        demand = self._demand[session.station]
        dc = self._evse_is_dc[session.evse]
        u = self._stay_draws(index, session)
        if session.wanted_ms >= 0:
            length = session.wanted_ms
            session.target_soc = min(car.soc + session.wanted_kwh / self._curve_of(session).kwh_per_soc, 1.0)
        else:
            local_ms = to_local_ms(self._stations[session.station].time_zone, now)
            if isinstance(demand.stay, SiteProfile):
                length, session.target_soc = self._as_profiled(index, demand.stay, local_ms)
            else:
                length = stay_ms(demand.stay, local_ms, u)
                session.target_soc = self._target_soc(index, dc, u)
            if u[3] < demand.pause_share:
                # Inside the first half of the stay, for up to a third of it.
                session.pause_at = now + int(length * (0.1 + 0.4 * u[3] / demand.pause_share))
                session.resume_at = session.pause_at + int(length * (0.05 + 0.28 * u[4]))
        session.leave_at = now + length
        if u[5] < self._behaviour.fault_share:
            session.fault_at = now + int(length * u[5] / self._behaviour.fault_share)
        session.next_meter_at = now + self._meter_ms[dc]
        self._charge_from(index, now)
        self._tell(index, now, STARTED)

    def _as_profiled(self, index: int, profile: SiteProfile, local_ms: int) -> tuple[int, float]:
        """How long (ms) a driver of the profile's site stays, and up to where the car is charged."""
        day, into_day_ms = divmod(local_ms, DAY_MS)
        u = self._draws.block(Purpose.PROFILE, index, self._cars[index].visit)
        stay_h, energy_kwh = profile.visit_at(weekday(day), into_day_ms / HOUR_MS, u)
        gain = energy_kwh / self._curve_of(self._session(index)).kwh_per_soc
        return max(int(stay_h * HOUR_MS), 1), min(self._cars[index].soc + gain, 1.0)

    def _target_soc(self, index: int, dc: bool, u: Uniforms) -> float:
        soc = self._cars[index].soc
        target = self._vehicles[index].target_soc
        if dc:
            target = min(max(_FAST_TARGET[0] + _FAST_TARGET[1] * normal(u[2]), 0.5), 1.0)
        return min(max(target, soc + _SMALLEST_GAIN), 1.0)

    def _start_fails(self, index: int, now: int) -> bool:
        """Whether this try ends before any energy flows; then it is told of, and when it will be noticed is planned."""
        session, behaviour = self._session(index), self._behaviour
        share = behaviour.failed_retry_share if session.attempt else behaviour.failed_start_share
        if not share:
            return False
        u = self._draws.block(Purpose.START, index, self._cars[index].visit)
        if u[session.attempt] >= share:
            return False
        self._tell(index, now, STARTED)
        self._schedule(index, now + _between_ms(behaviour.failed_start_s, u[-1 - session.attempt]), "try_again")
        return True

    def _try_again(self, index: int, now: int) -> None:
        car, failed = self._cars[index], self._session(index)
        self.totals.failed_starts += 1
        self._tell(index, now, STOPPED, "Other")
        if failed.attempt + 1 == self._behaviour.most_tries:
            self._release(failed.evse, now)
            self._go_elsewhere(index, now)
            return
        session = Session(failed.station, failed.attempt + 1, wanted_ms=failed.wanted_ms, wanted_kwh=failed.wanted_kwh)
        session.evse = self._free_evse(index, session)
        car.session = session
        if session.evse == FREE:
            session.evse = failed.evse
        else:
            self._occupant[session.evse] = index
            self._release(failed.evse, now)
        u = self._draws.block(Purpose.START, index, car.visit)
        self._schedule(index, now + _between_ms(self._behaviour.failed_start_s, u[4]), "plug_in")

    def _charge_from(self, index: int, now: int) -> None:
        """Begin a stretch of charging and plan how it ends."""
        session = self._session(index)
        session.charging = True
        if self._shares_power[session.station]:
            self._given_w[session.station] += self._evse_w[session.evse]
            self._share_power(session.station, now, newcomer=index)
        self._begin_stretch(index, now)

    def _begin_stretch(self, index: int, now: int) -> None:
        car, session = self._cars[index], self._session(index)
        curve = self._curve_of(session)
        session.stretch_at, session.stretch_soc = now, car.soc
        session.stretch_s = curve.seconds_at(car.soc)
        full_at = now + max(ceil((curve.seconds_at(session.target_soc) - session.stretch_s) * 1000), 1)
        at, step = (session.leave_at, "leave") if session.leave_at <= full_at else (full_at, "full")
        if now <= session.pause_at < at:
            at, step = session.pause_at, "pause"
        if now <= session.fault_at < at:
            at, step = session.fault_at, "fault"
        self._schedule(index, at, step)

    def _end_stretch(self, index: int, now: int) -> None:
        self._read_meter(index, now)
        session = self._session(index)
        self._cars[index].soc = self._soc(session, now)
        session.charging = False
        if self._shares_power[session.station]:
            self._given_w[session.station] -= self._evse_w[session.evse]
            self._share_power(session.station, now)

    def _share_power(self, station: int, now: int, newcomer: int = -1) -> None:
        """Limit every car that charges at a site whose connection is weaker than its EVSEs together.

        Who charges already and gets another limit begins a new stretch; the newcomer has none yet.
        """
        site_power_kw = self._stations[station].site_power_kw
        is_short = self._given_w[station] > site_power_kw * 1000
        if not is_short and station not in self._short_of_power:
            return
        first = self._first_evse[station]
        charging = []
        for evse in range(first, first + len(self._stations[station].evses)):
            index = self._occupant[evse]
            if index >= 0 and (session := self._session(index)).charging:
                charging.append((evse, index, session))
        given = [self._evses[evse].power_kw for evse, _, _ in charging]
        if not is_short:
            self._short_of_power.discard(station)
            limits = given
        else:
            self._short_of_power.add(station)
            wanted = []
            for (evse, index, session), power_kw in zip(charging, given, strict=True):
                soc = self._cars[index].soc if index == newcomer else self._soc(session, now)
                wanted.append(self._curve(index, evse, power_kw)[0].highest_kw(soc))
            limits = share_power(site_power_kw, wanted, given)
        for (_, index, session), limit_kw in zip(charging, limits, strict=True):
            if session.limit_kw == limit_kw:
                continue
            if index != newcomer:
                if self._tells_positions:
                    self._spells.append(self._spell(index, now))
                self._read_meter(index, now)
                self._cars[index].soc = self._soc(session, now)
                self._cars[index].since_at = now
            session.limit_kw = limit_kw
            self._set_curve(index)
            if index != newcomer:
                self._begin_stretch(index, now)

    def _pause(self, index: int, now: int) -> None:
        self._end_stretch(index, now)
        session = self._session(index)
        session.pause_at = 0
        self._tell(index, now, SUSPENDED)
        self._schedule(index, *min((session.resume_at, "resume"), (session.leave_at, "leave")))

    def _resume(self, index: int, now: int) -> None:
        self._charge_from(index, now)
        self._tell(index, now, RESUMED)

    def _full(self, index: int, now: int) -> None:
        self._end_stretch(index, now)
        car, session = self._cars[index], self._session(index)
        car.soc = session.target_soc
        session.full_at = now
        self._tell(index, now, SUSPENDED)
        linger_s = self._demand[session.station].linger_s
        if linger_s is not None and session.wanted_ms < 0:
            u = self._stay_draws(index, session)
            session.leave_at = min(session.leave_at, now + int(log_normal(linger_s, _LINGER_SIGMA, u[6]) * 1000))
        self._schedule(index, session.leave_at, "leave")

    def _leave(self, index: int, now: int) -> None:
        session = self._session(index)
        u = self._stay_draws(index, session)
        if session.full_at:
            reason = "SOCLimitReached" if session.target_soc < 1.0 else "StoppedByEV"
        else:
            # Half unplug without a word, the others stop at the EVSE or in an app first (assumption).
            reason = "EVDisconnected" if u[6] < 0.5 else "Local" if u[6] < 0.8 else "Remote"
        if session.charging:
            self._end_stretch(index, now)
        self._tell(index, now, STOPPED, reason)
        self._release(session.evse, now)
        self._depart(index, now)

    def _fault(self, index: int, now: int) -> None:
        session = self._session(index)
        self._end_stretch(index, now)
        u = self._draws.block(Purpose.FAULT, index, self._cars[index].visit)
        reason = "GroundFault" if u[0] < 0.5 else "PowerLoss"
        self._tell(index, now, FAULTED, reason)
        self._tell(index, now, STOPPED, reason)
        self._occupant[session.evse] = _OUT_OF_ORDER
        behaviour = self._behaviour
        repaired_at = now + int(log_normal(behaviour.repair_median_s, behaviour.repair_sigma, u[1]) * 1000)
        self._order += 1
        self._repairs[session.evse] = (repaired_at, self._order)
        self._ask_for_repair(session.evse)
        self._depart(index, now)

    def _ask_for_repair(self, evse: int) -> None:
        self._call_at(self._repairs[evse][0], self._repair, evse)

    def _repair(self, event: Event) -> None:
        evse = _entity(event)
        repaired_at, _ = self._repairs.pop(evse)
        self._release(evse, repaired_at)

    # --- physics ---

    def _session(self, index: int) -> Session:
        session = self._cars[index].session
        if session is None:
            raise RuntimeError(f"{self._vehicles[index].ev_id} is not at a station")
        return session

    def _curve(self, index: int, evse: int, limit_kw: float) -> tuple[ChargeCurve, int]:
        """How a car charges at an EVSE that gives `limit_kw`, and the number of that curve."""
        model, is_dc = self._models[index], self._evse_is_dc[evse]
        key = (model.ev_model_id, limit_kw, is_dc)
        known = self._curves.get(key)
        if known is None:
            curve = charge_curve(model, limit_kw, is_dc)
            known = self._curves[key] = curve, self._recorder.curve(curve)
        return known

    def _set_curve(self, index: int) -> None:
        session = self._session(index)
        session.curve, session.curve_number = self._curve(index, session.evse, session.limit_kw)

    @staticmethod
    def _curve_of(session: Session) -> ChargeCurve:
        if session.curve is None:
            raise RuntimeError("a session has a curve once it is plugged in")
        return session.curve

    def _soc(self, session: Session, at_ms: int) -> float:
        """State of charge at `at_ms`, not before the current stretch of charging, from its begin in one step."""
        soc = self._curve_of(session).soc_at(session.stretch_s + (at_ms - session.stretch_at) / 1000)
        return min(max(soc, session.stretch_soc), session.target_soc)

    def _read_meter(self, index: int, before_ms: int) -> None:
        """Tell the meter values that fall due before `before_ms`; their clock starts when the car is plugged in."""
        session = self._session(index)
        if not session.charging or session.next_meter_at >= before_ms:
            return
        interval = self._meter_ms[self._evse_is_dc[session.evse]]
        if session.next_meter_at < session.stretch_at:
            missed = (session.stretch_at - session.next_meter_at - 1) // interval + 1
            session.next_meter_at += missed * interval
        count = (before_ms - session.next_meter_at - 1) // interval + 1
        if count <= 0:
            return
        self._recorder.meter(
            (
                session.next_meter_at,
                index,
                session.station,
                session.evse,
                self._cars[index].visit * TRIES + session.attempt,
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

    # --- telling ---

    def _tell(self, index: int, at_ms: int, event_type: int, reason: str | None = None) -> None:
        """Note one event of the session of a car."""
        car, session = self._cars[index], self._session(index)
        evse, power_kw, energy_kwh = NO_EVSE, NONE, NONE
        started_at, idle_ms, wait_ms, soc_start = NONE, NONE, NONE, NONE
        if session.started_at:
            evse, curve = session.evse, self._curve_of(session)
            power_kw = curve.power_kw(car.soc) if session.charging else 0.0
            energy_kwh = (car.soc - session.soc_start) * curve.kwh_per_soc
            if event_type in _WITH_WAIT:
                wait_ms = session.started_at - session.queued_at if session.queued_at else 0
            if event_type == STOPPED:
                started_at, soc_start = session.started_at, session.soc_start
                idle_ms = at_ms - session.full_at if session.full_at else 0
        self._recorder.note(
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

    # --- state ---

    def save(self) -> dict[str, Any]:
        """Everything that `load` needs to go on, as plain JSON values."""
        return {
            "state_version": STATE_VERSION,
            "fingerprint": self._fingerprint,
            "seed": self._seed,
            "start_ms": self._start,
            "now_ms": self._now,
            "order": self._order,
            "cars": [[getattr(car, name) for name in CAR_FIELDS] for car in self._cars],
            "sessions": [
                [index, *(getattr(car.session, name) for name in SESSION_FIELDS)]
                for index, car in enumerate(self._cars)
                if car.session is not None
            ],
            "out_of_order": [[evse, at, order] for evse, (at, order) in self._repairs.items()],
            "queues": [[station, list(queue)] for station, queue in self._queues.items() if queue],
            "sites": [[index, s.day, s.next, s.due_at, s.order] for index, s in self._sites.items()],
            "totals": self.totals.to_json(),
        }

    @classmethod
    def load(
        cls,
        network: Network,
        fleet: Fleet,
        state: dict[str, Any],
        *,
        demand: Demand | None = None,
        behaviour: Behaviour | None = None,
        sites: Mapping[str, SiteDemand] | None = None,
        connected: bool = True,
    ) -> Simulation:
        """Go on where `state` was saved. ValueError if it was saved by another version or with other arguments."""
        if state.get("state_version") != STATE_VERSION:
            raise ValueError(f"state version {state.get('state_version')} is not {STATE_VERSION}")
        simulation = cls.__new__(cls)
        simulation._prepare(network, fleet, demand, behaviour, sites, connected, state["seed"], state["start_ms"])
        if state["fingerprint"] != simulation._fingerprint:
            raise ValueError("the state was saved with another network, fleet, demand or behaviour")
        simulation._restore(state)
        return simulation

    def _restore(self, state: dict[str, Any]) -> None:
        self._now = state["now_ms"]
        self._order = state["order"]
        self.totals = Totals.from_json(state["totals"])
        self._cars = [Car(**dict(zip(CAR_FIELDS, values, strict=True))) for values in state["cars"]]
        self._occupant = [FREE] * len(self._evses)
        for index, *values in state["sessions"]:
            session = Session(**dict(zip(SESSION_FIELDS, values, strict=True)))
            self._cars[index].session = session
            if session.evse != FREE:
                self._occupant[session.evse] = index
            if session.started_at:
                self._set_curve(index)
                session.stretch_s = self._curve_of(session).seconds_at(session.stretch_soc)
            if session.charging and self._shares_power[session.station]:
                self._given_w[session.station] += self._evse_w[session.evse]
                if session.limit_kw < self._evses[session.evse].power_kw:
                    self._short_of_power.add(session.station)
        self._queues = {station: deque(queue) for station, queue in state["queues"]}
        self._repairs = {evse: (at, order) for evse, at, order in state["out_of_order"]}
        for evse in self._repairs:
            self._occupant[evse] = _OUT_OF_ORDER
        for station, *values in state["sites"]:
            site = self._sites[station]
            site.day, site.next, site.due_at, site.order = values
            self._open_day(station)
        self._environment = Environment(initial_time=self._now)
        # SimPy takes steps of one instant in the order in which they were asked for.
        pending: list[tuple[int, Callable[[int], None], int]] = [
            *((car.order, self._ask_for_step, index) for index, car in enumerate(self._cars) if car.step),
            *((order, self._ask_for_repair, evse) for evse, (_, order) in self._repairs.items()),
            *((site.order, self._ask_for_step_of_site, station) for station, site in self._sites.items()),
        ]
        for _, ask, entity in sorted(pending, key=lambda entry: entry[0]):
            ask(entity)


def _entity(event: Event) -> int:
    """What a step is of, as `_call_at` was told."""
    entity: int = event.value  # type: ignore[assignment]
    return entity


def _between_ms(seconds: tuple[float, float], uniform: float) -> int:
    least, most = seconds
    return int((least + uniform * (most - least)) * 1000)
