"""The simulation: SimPy calls what happens next, everything between two happenings is closed form.

Every car has exactly one next step, kept as plain data beside SimPy's queue. A saved state is that data: loading it asks
SimPy for the same steps in the same order, so going on from it is going on without a pause.

The network starts empty: cars are on the road at `start_at`, so the first hours have fewer sessions than later days' same
hours.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass, fields
from datetime import datetime
from hashlib import sha256
from itertools import chain
from math import ceil
from typing import Any

import numpy as np
from simpy import Environment
from simpy.events import Timeout

from simulation.charging import ChargeCurve, charge_curve
from simulation.clock import HOUR_MS, to_datetime, to_local_ms, to_ms, to_utc_ms
from simulation.demand import Calendar, Demand, log_normal, stay_ms
from simulation.draws import Draws, Purpose, Uniforms, normal
from simulation.events import SCHEMA_VERSION, EventBatch, Row, Totals
from simulation.fleet import Fleet
from simulation.network import Network, SiteKind
from simulation.roads import CITY_KMH, TRIP_KMH, Surroundings
from simulation.telemetry import NO_STATION, Journey, Spell, Standstill, Telematics, TelemetryBatch

STATE_VERSION = 2

_FREE = -1
_OUT_OF_ORDER = -2

_AC_METER_MS = 15 * 60_000
_DC_METER_MS = 5 * 60_000

# Assumptions about drivers. A car moves up when a plug is free; visits are at least some minutes apart; nobody plugs in for
# a few percent, nor stops at a fast charger with a battery that is mostly full. Who charges at home starts from a full
# battery when a night lies between two visits, and has driven a part of the day by the second.
_MOVE_UP_MS = (30_000, 150_000)
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

# Assumptions about hardware: sessions that an EVSE's fault may hit, and how long it then is out of order.
_FAULT_SHARE = 0.012
_REPAIR_MEDIAN_S = 8 * 3600
_REPAIR_SIGMA = 1.0


@dataclass(slots=True)
class Session:
    """One visit to a station, from the queue to the unplugged cable. Times in ms, 0 where not planned or not yet."""

    session_id: str
    station: int
    sequence: int = 0
    evse: int = _FREE
    queued_at: int = 0
    started_at: int = 0
    leave_at: int = 0
    pause_at: int = 0
    resume_at: int = 0
    fault_at: int = 0
    full_at: int = 0
    charging: bool = False
    target_soc: float = 0.0
    soc_start: float = 0.0
    # The running stretch of charging: since when, at which level.
    stretch_at: int = 0
    stretch_soc: float = 0.0
    next_meter_at: int = 0


@dataclass(slots=True)
class Car:
    """A car between and during visits. `order` numbers its next `step`, which comes at `due_at` (ms).

    It has been as it is since `since_at` (ms). Between visits it comes from station `origin`, which it left with `soc_left`,
    and drives `driven_km`; `soc` and `station` are then those of its arrival.
    """

    soc: float
    station: int
    visit: int = 0
    due_at: int = 0
    order: int = 0
    step: str = ""
    since_at: int = 0
    origin: int = NO_STATION
    soc_left: float = 0.0
    driven_km: float = 0.0
    session: Session | None = None


_CAR_FIELDS = tuple(f.name for f in fields(Car) if f.name != "session")
_SESSION_FIELDS = tuple(f.name for f in fields(Session))


class Simulation:
    """A network and a fleet, simulated from `start_at` on.

    Equal arguments give equal events and telemetry, whatever the chunks in which `advance` is called.
    """

    def __init__(
        self, network: Network, fleet: Fleet, *, seed: int, start_at: datetime, demand: Demand | None = None
    ) -> None:
        """ValueError if `start_at` has no time zone or a vehicle's model is not in the fleet's table."""
        self._prepare(network, fleet, demand or Demand(), seed, to_ms(start_at))
        self._now = self._start
        self._order = 0
        self.totals = Totals()
        self._cars = [Car(vehicle.first_soc, vehicle.home, since_at=self._now) for vehicle in fleet.vehicles]
        self._occupant = [_FREE] * len(self._evse_station)
        self._queues: dict[int, deque[int]] = {}
        self._repairs: dict[int, tuple[int, int]] = {}
        self._environment = Environment(initial_time=self._now)
        for index in range(len(self._cars)):
            self._plan_visit(index, self._now)

    def _prepare(self, network: Network, fleet: Fleet, demand: Demand, seed: int, start_ms: int) -> None:
        """Everything that follows from the arguments alone, and so is never saved."""
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
        self._demand = [demand.kinds[station.site_kind] for station in network.stations]
        self._calendars = [self._calendar(index, demand) for index in range(len(fleet.vehicles))]
        self._first_evse: list[int] = []
        self._evse_station: list[int] = []
        for index, station in enumerate(network.stations):
            self._first_evse.append(len(self._evse_station))
            self._evse_station.extend([index] * len(station.evses))
        self._evses = [evse for station in network.stations for evse in station.evses]
        self._curves: dict[tuple[str, float, bool], ChargeCurve] = {}
        self._fingerprint = sha256(repr((network, fleet, demand.kinds, start_ms)).encode()).hexdigest()
        start = to_datetime(start_ms)
        # The fingerprint keeps runs apart that share seed and second but not the network, fleet or demand.
        self._session_prefix = f"{seed}-{start:%y%m%dT%H%M%S}-{self._fingerprint[:6]}"
        self._rows: list[Row] = []
        self._sort_keys: list[int] = []
        self._telematics = Telematics(network.stations, fleet.vehicles, self._models, self._draws)
        # What ended in the last `advance`, which began at `_advanced_from`.
        self._spells: list[Spell] = []
        self._advanced_from: int | None = None
        self._steps: dict[str, Callable[[int, int], None]] = {
            "arrive": self._arrive,
            "give_up": self._give_up,
            "plug_in": self._plug_in,
            "pause": self._pause,
            "resume": self._resume,
            "full": self._full,
            "fault": self._fault,
            "leave": self._leave,
        }

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
        # Unique keys but for steps of one millisecond, which stand in the order in which they were taken.
        order = np.argsort(np.array(self._sort_keys, dtype=np.int64), kind="stable").tolist()
        rows = [self._rows[position] for position in order]
        self._rows.clear()
        self._sort_keys.clear()
        return EventBatch.of(rows)

    def telemetry(self, since: datetime | None = None) -> TelemetryBatch:
        """What the cars told in the last `advance`, or in that part of it that comes after `since` (exclusive).

        Asking changes nothing, and costs nothing if it is not done. ValueError if nothing was simulated since the start or
        since `load`, or if `since` has no time zone.
        """
        if self._advanced_from is None:
            raise ValueError("there is telemetry of what was simulated last: call `advance` first")
        after = self._advanced_from if since is None else max(to_ms(since), self._advanced_from)
        running = (self._spell(index, self._now + 1) for index in range(len(self._cars)))
        return self._telematics.batch(chain(self._spells, running), after, self._now)

    def _schedule(self, index: int, at_ms: int, step: str) -> None:
        """Make `step` the one next step of a car; a step that was planned before is void."""
        self._order += 1
        car = self._cars[index]
        car.due_at, car.order, car.step = at_ms, self._order, step
        self._ask_for_step(index)

    def _ask_for_step(self, index: int) -> None:
        car = self._cars[index]
        order = car.order
        self._call_at(car.due_at, lambda: self._take_step(index, order))

    def _call_at(self, at_ms: int, call: Callable[[], None]) -> None:
        timeout = Timeout(self._environment, at_ms - self._environment.now)
        timeout.callbacks.append(lambda _: call())

    def _take_step(self, index: int, order: int) -> None:
        car = self._cars[index]
        if car.order == order:
            now = car.due_at
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
            self._curve(index),
            session.stretch_at,
            session.target_soc,
        )

    # --- between visits ---

    def _plan_visit(self, index: int, now: int) -> None:
        """Decide when and where the car charges next, and how much it drives until then."""
        car, vehicle, model = self._cars[index], self._vehicles[index], self._models[index]
        car.soc_left, car.driven_km = car.soc, 0.0
        calendar, zone = self._calendars[index], self._stations[vehicle.home].time_zone
        while True:
            car.visit += 1
            u = self._draws.block(Purpose.PLAN, index, car.visit)
            local_ms, kind = calendar.next_visit(to_local_ms(zone, now), u[0], u[1])
            station = self._choose_station(index, kind, u[2])
            distance_km = self._surroundings.drive_km(car.station, station)
            soonest = now + _SHORTEST_TRIP_MS + int(distance_km / CITY_KMH * HOUR_MS)
            arrive_at = max(to_utc_ms(zone, local_ms), soonest)
            hours = (arrive_at - now) / HOUR_MS
            soc_per_km = model.consumption_kwh_per_100km / 100 / model.usable_kwh
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

    # --- at the station ---

    def _arrive(self, index: int, now: int) -> None:
        car = self._cars[index]
        session = Session(f"{self._session_prefix}-{index + 1:05d}-{car.visit}", car.station)
        car.session = session
        evse = self._free_evse(index, car.station)
        if evse != _FREE:
            self._occupant[evse] = index
            session.evse = evse
            self._plug_in(index, now)
            return
        session.queued_at = now
        self._queues.setdefault(car.station, deque()).append(index)
        self._tell(index, now, "queued")
        u = self._draws.block(Purpose.QUEUE, index, car.visit)
        patience_s = log_normal(self._demand[car.station].patience_median_s, _PATIENCE_SIGMA, u[0])
        self._schedule(index, now + int(patience_s * 1000), "give_up")

    def _free_evse(self, index: int, station: int) -> int:
        connector_types = self._models[index].connector_types
        first = self._first_evse[station]
        free = [
            evse
            for evse in range(first, first + len(self._stations[station].evses))
            if self._occupant[evse] == _FREE and self._evses[evse].connector_type in connector_types
        ]
        if not free:
            return _FREE
        u = self._draws.block(Purpose.STAY, index, self._cars[index].visit)
        return free[int(u[7] * len(free))]

    def _give_up(self, index: int, now: int) -> None:
        self._queues[self._cars[index].station].remove(index)
        self._tell(index, now, "abandoned")
        self._depart(index, now)

    def _release(self, evse: int, now: int) -> None:
        """Give a free EVSE to the first car in the queue that it fits."""
        self._occupant[evse] = _FREE
        station = self._evse_station[evse]
        queue = self._queues.get(station, ())
        for index in queue:
            if self._evses[evse].connector_type in self._models[index].connector_types:
                self._queues[station].remove(index)
                self._occupant[evse] = index
                session = self._session(index)
                session.evse = evse
                u = self._draws.block(Purpose.QUEUE, index, self._cars[index].visit)
                fastest, slowest = _MOVE_UP_MS
                self._schedule(index, now + fastest + int(u[1] * (slowest - fastest)), "plug_in")
                return

    def _plug_in(self, index: int, now: int) -> None:
        car, session = self._cars[index], self._session(index)
        demand = self._demand[session.station]
        station, dc = self._stations[session.station], self._evses[session.evse].is_dc
        u = self._draws.block(Purpose.STAY, index, car.visit)
        length = stay_ms(demand.stay, to_local_ms(station.time_zone, now), u)
        session.started_at, session.leave_at = now, now + length
        session.soc_start = car.soc
        session.target_soc = self._target_soc(index, dc, u)
        if u[3] < demand.pause_share:
            # Inside the first half of the stay, for up to a third of it.
            session.pause_at = now + int(length * (0.1 + 0.4 * u[3] / demand.pause_share))
            session.resume_at = session.pause_at + int(length * (0.05 + 0.28 * u[4]))
        if u[5] < _FAULT_SHARE:
            session.fault_at = now + int(length * u[5] / _FAULT_SHARE)
        session.next_meter_at = now + (_DC_METER_MS if dc else _AC_METER_MS)
        self._charge_from(index, now)
        self._tell(index, now, "started")

    def _target_soc(self, index: int, dc: bool, u: Uniforms) -> float:
        soc = self._cars[index].soc
        target = self._vehicles[index].target_soc
        if dc:
            target = min(max(_FAST_TARGET[0] + _FAST_TARGET[1] * normal(u[2]), 0.5), 1.0)
        return min(max(target, soc + _SMALLEST_GAIN), 1.0)

    def _charge_from(self, index: int, now: int) -> None:
        """Begin a stretch of charging and plan how it ends."""
        car, session = self._cars[index], self._session(index)
        session.charging = True
        session.stretch_at, session.stretch_soc = now, car.soc
        curve = self._curve(index)
        needed_s = curve.seconds_at(session.target_soc) - curve.seconds_at(car.soc)
        ends = [(session.leave_at, "leave"), (now + max(ceil(needed_s * 1000), 1), "full")]
        if session.pause_at > now:
            ends.append((session.pause_at, "pause"))
        if session.fault_at > now:
            ends.append((session.fault_at, "fault"))
        self._schedule(index, *min(ends))

    def _end_stretch(self, index: int, now: int) -> None:
        self._read_meter(index, now)
        car, session = self._cars[index], self._session(index)
        car.soc = self._soc(index, now)
        session.charging = False

    def _pause(self, index: int, now: int) -> None:
        self._end_stretch(index, now)
        session = self._session(index)
        self._tell(index, now, "suspended")
        self._schedule(index, *min((session.resume_at, "resume"), (session.leave_at, "leave")))

    def _resume(self, index: int, now: int) -> None:
        self._charge_from(index, now)
        self._tell(index, now, "resumed")

    def _full(self, index: int, now: int) -> None:
        self._end_stretch(index, now)
        car, session = self._cars[index], self._session(index)
        car.soc = session.target_soc
        session.full_at = now
        self._tell(index, now, "suspended")
        linger_s = self._demand[session.station].linger_s
        if linger_s is not None:
            u = self._draws.block(Purpose.STAY, index, car.visit)
            session.leave_at = min(session.leave_at, now + int(log_normal(linger_s, _LINGER_SIGMA, u[6]) * 1000))
        self._schedule(index, session.leave_at, "leave")

    def _leave(self, index: int, now: int) -> None:
        session = self._session(index)
        u = self._draws.block(Purpose.STAY, index, self._cars[index].visit)
        if session.full_at:
            reason = "SOCLimitReached" if session.target_soc < 1.0 else "StoppedByEV"
        else:
            # Half unplug without a word, the others stop at the EVSE or in an app first (assumption).
            reason = "EVDisconnected" if u[6] < 0.5 else "Local" if u[6] < 0.8 else "Remote"
        if session.charging:
            self._end_stretch(index, now)
        self._stop(index, now, reason)
        self._release(session.evse, now)
        self._depart(index, now)

    def _fault(self, index: int, now: int) -> None:
        session = self._session(index)
        self._end_stretch(index, now)
        u = self._draws.block(Purpose.FAULT, index, self._cars[index].visit)
        reason = "GroundFault" if u[0] < 0.5 else "PowerLoss"
        self._tell(index, now, "faulted", reason)
        self._stop(index, now, reason)
        self._occupant[session.evse] = _OUT_OF_ORDER
        repaired_at = now + int(log_normal(_REPAIR_MEDIAN_S, _REPAIR_SIGMA, u[1]) * 1000)
        self._order += 1
        self._repairs[session.evse] = (repaired_at, self._order)
        self._ask_for_repair(session.evse)
        self._depart(index, now)

    def _ask_for_repair(self, evse: int) -> None:
        self._call_at(self._repairs[evse][0], lambda: self._repair(evse))

    def _repair(self, evse: int) -> None:
        repaired_at, _ = self._repairs.pop(evse)
        self._release(evse, repaired_at)

    def _depart(self, index: int, now: int) -> None:
        car = self._cars[index]
        car.session, car.origin = None, car.station
        self._plan_visit(index, now)

    # --- physics ---

    def _session(self, index: int) -> Session:
        session = self._cars[index].session
        if session is None:
            raise RuntimeError(f"{self._vehicles[index].ev_id} is not at a station")
        return session

    def _curve(self, index: int) -> ChargeCurve:
        model, evse = self._models[index], self._evses[self._session(index).evse]
        key = (model.ev_model_id, evse.power_kw, evse.is_dc)
        curve = self._curves.get(key)
        if curve is None:
            curve = self._curves[key] = charge_curve(model, evse.power_kw, evse.is_dc)
        return curve

    def _soc(self, index: int, at_ms: int) -> float:
        """State of charge at `at_ms`, not before the current stretch of charging, from its begin in one step."""
        session = self._session(index)
        seconds = (at_ms - session.stretch_at) / 1000
        return self._curve(index).soc_after(session.stretch_soc, seconds, session.target_soc)

    def _read_meter(self, index: int, before_ms: int) -> None:
        """Tell the meter values that fall due before `before_ms`; their clock starts when the car is plugged in."""
        session = self._session(index)
        if not session.charging or session.next_meter_at >= before_ms:
            return
        interval = _DC_METER_MS if self._evses[session.evse].is_dc else _AC_METER_MS
        if session.next_meter_at <= session.stretch_at:
            missed = (session.stretch_at - session.next_meter_at) // interval + 1
            session.next_meter_at += missed * interval
        while session.next_meter_at < before_ms:
            self._tell(index, session.next_meter_at, "meter")
            session.next_meter_at += interval

    # --- telling ---

    def _stop(self, index: int, now: int, reason: str) -> None:
        self.totals.energy_wh += self._tell(index, now, "stopped", reason)

    def _tell(self, index: int, at_ms: int, event_type: str, reason: str | None = None) -> int:
        """Note one event; the energy delivered so far, in Wh."""
        car, session = self._cars[index], self._session(index)
        vehicle, station = self._vehicles[index], self._stations[session.station]
        evse_id = connector_id = power_kw = energy_kwh = None
        started_at = idle_s = queue_wait_s = soc_start = None
        soc, energy_wh = car.soc, 0
        if session.started_at:
            evse = self._evses[session.evse]
            evse_id, connector_id = evse.evse_id, evse.connector_id
            curve = self._curve(index)
            power_kw = 0.0
            if session.charging:
                soc = self._soc(index, at_ms)
                power_kw = round(curve.power_kw(soc), 3)
            energy_wh = round((soc - session.soc_start) * curve.kwh_per_soc * 1000)
            energy_kwh = energy_wh / 1000
            if event_type == "started" or event_type == "stopped":
                queue_wait_s = (session.started_at - session.queued_at) / 1000 if session.queued_at else 0.0
            if event_type == "stopped":
                started_at = to_datetime(session.started_at)
                idle_s = (at_ms - session.full_at) / 1000 if session.full_at else 0.0
                soc_start = round(session.soc_start * 100, 2)
        self._rows.append(
            (
                SCHEMA_VERSION,
                f"{session.session_id}-{session.sequence}",
                session.session_id,
                session.sequence,
                station.station_id,
                evse_id,
                connector_id,
                vehicle.ev_id,
                vehicle.ev_model_id,
                event_type,
                to_datetime(at_ms),
                power_kw,
                energy_kwh,
                round(soc * 100, 2),
                reason,
                started_at,
                idle_s,
                queue_wait_s,
                soc_start,
            )
        )
        # Meter values are noted when a stretch ends or time is up, so they are put in their place by time; within one
        # millisecond the steps come first, then meter values by EVSE.
        place = (at_ms - self._start) * 2 * len(self._evses)
        self._sort_keys.append(place + len(self._evses) + session.evse if event_type == "meter" else place)
        session.sequence += 1
        self.totals.events_by_type[event_type] += 1
        return energy_wh

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
            "cars": [[getattr(car, name) for name in _CAR_FIELDS] for car in self._cars],
            "sessions": [
                [index, *(getattr(car.session, name) for name in _SESSION_FIELDS)]
                for index, car in enumerate(self._cars)
                if car.session is not None
            ],
            "out_of_order": [[evse, at, order] for evse, (at, order) in self._repairs.items()],
            "queues": [[station, list(queue)] for station, queue in self._queues.items() if queue],
            "events_by_type": dict(self.totals.events_by_type),
            "energy_wh": self.totals.energy_wh,
        }

    @classmethod
    def load(cls, network: Network, fleet: Fleet, state: dict[str, Any], *, demand: Demand | None = None) -> Simulation:
        """Go on where `state` was saved. ValueError if it was saved by another version or with other arguments."""
        if state.get("state_version") != STATE_VERSION:
            raise ValueError(f"state version {state.get('state_version')} is not {STATE_VERSION}")
        simulation = cls.__new__(cls)
        simulation._prepare(network, fleet, demand or Demand(), state["seed"], state["start_ms"])
        if state["fingerprint"] != simulation._fingerprint:
            raise ValueError("the state was saved with another network, fleet or demand")
        simulation._restore(state)
        return simulation

    def _restore(self, state: dict[str, Any]) -> None:
        self._now = state["now_ms"]
        self._order = state["order"]
        self.totals = Totals(Counter(state["events_by_type"]), state["energy_wh"])
        self._cars = [Car(**dict(zip(_CAR_FIELDS, values, strict=True))) for values in state["cars"]]
        self._occupant = [_FREE] * len(self._evses)
        for index, *values in state["sessions"]:
            session = Session(**dict(zip(_SESSION_FIELDS, values, strict=True)))
            self._cars[index].session = session
            if session.evse != _FREE:
                self._occupant[session.evse] = index
        self._queues = {station: deque(queue) for station, queue in state["queues"]}
        self._repairs = {evse: (at, order) for evse, at, order in state["out_of_order"]}
        for evse in self._repairs:
            self._occupant[evse] = _OUT_OF_ORDER
        self._environment = Environment(initial_time=self._now)
        # SimPy takes steps of one instant in the order in which they were asked for.
        pending: list[tuple[int, Callable[[int], None], int]] = [
            *((car.order, self._ask_for_step, index) for index, car in enumerate(self._cars)),
            *((order, self._ask_for_repair, evse) for evse, (_, order) in self._repairs.items()),
        ]
        for _, ask, entity in sorted(pending, key=lambda entry: entry[0]):
            ask(entity)
