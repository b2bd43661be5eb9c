"""A trip by electric car: its legs, where it charges and how long it waits there, and what else it could do."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
from elasticsearch import Elasticsearch

from evcharge.errors import UserError
from evcharge.forecast.model import Model
from evcharge.forecast.outlook import LONGEST_MIN, Outlook
from evcharge.queries.availability import Availability, MapState
from evcharge.queries.ev_models import EvModels
from evcharge.queries.forecast import likely_free, waits_of
from evcharge.queries.freshness import Freshness, duration_text, utc_text
from evcharge.queries.places import find_place
from evcharge.queries.routing import RoutingEngine, RoutingError
from evcharge.queries.trip_stations import Candidate, Found, stations_beside
from evcharge.trips import planner
from evcharge.trips.charging import Car, seconds_by_bucket
from evcharge.trips.corridor import Beside, chosen, ways
from evcharge.trips.energy import MILD_C, Consumption
from evcharge.trips.gazetteer import Found as FoundPlace
from evcharge.trips.gazetteer import Place
from evcharge.trips.planner import Limits, Network, Plan, Stop
from evcharge.trips.roads import Route, great_circle_km, is_connected, route

#: A trip that is shorter than this is none.
LEAST_KM = 1.0
MOST_AVOIDED = 100
_LONGEST_ID = 512
#: A departure may lie so far ahead, and a little behind: the clock went on since it was typed in.
_FURTHEST_DEPARTURE, _JUST_NOW = timedelta(days=366), timedelta(minutes=10)
#: How long a car stays (s), for the waits that a search begins with. The median stay at a fast charger is half an hour
#: (EPFL's recording of 2022), one at Level 2 some hours.
_STAY_S = {True: 1_800.0, False: 3 * 3_600.0}
#: The share of the time that an outlet is taken, where nothing is known of a station (fast: Paren, first quarter of 2025;
#: Level 2: Stable, 2023 to 2025).
_TAKEN = {True: 0.16, False: 0.13}
#: A plan is searched again while the forecast of a stop that it has not asked for yet changes it.
_ROUNDS = 4
#: A forecast that differs by less than this (s) from the one searched with changes nothing.
_SAME_WAIT_S = 60.0
#: Beyond any wait, yet finite: nobody can charge there.
_NEVER_S = 1e8


@dataclass(frozen=True, slots=True)
class TripQuestion:
    """A trip from `start` to `to`: coordinates, a ZIP, a US place name or a station's id.

    `model` is an EV model's id or its make and model. `soc`, `arrive_with` and `stop_with` are percent of the battery: at
    departure, and the least on arrival at the destination and at stops. `reference_consumption` is kWh per 100 km at a steady
    110 km/h; without it the model's own counts. `temperature_c` is outside (without it 20 °C). `depart_at` is an instant, now
    if None. `avoid` has ids of stations to leave out. Raises UserError for values out of range.
    """

    start: str
    to: str
    model: str
    soc: float
    arrive_with: float = 10.0
    stop_with: float = 10.0
    reference_consumption: float | None = None
    temperature_c: float | None = None
    depart_at: datetime | None = None
    avoid: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for name, value, least in (
            ("soc", self.soc, 1.0),
            ("arrive_with", self.arrive_with, 0.0),
            ("stop_with", self.stop_with, 0.0),
        ):
            most = 100.0 if name == "soc" else 90.0
            if not least <= value <= most:
                raise UserError(f"{name} {value:g} %: it must be between {least:g} and {most:g} percent")
        Consumption(
            20.0 if self.reference_consumption is None else self.reference_consumption,
            MILD_C if self.temperature_c is None else self.temperature_c,
        )
        if self.depart_at is not None and self.depart_at.tzinfo is None:
            raise UserError(f"departure {self.depart_at}: it needs a time zone, such as the Z at the end of UTC")
        try:
            _ = self.depart_at and self.depart_at.astimezone(UTC)
        except OverflowError:
            raise UserError(f"departure {self.depart_at}: the calendar of UTC does not have it") from None
        if len(self.avoid) > MOST_AVOIDED:
            raise UserError(f"{len(self.avoid):,} stations to avoid: there can be at most {MOST_AVOIDED}")
        if any(not station_id or len(station_id.encode()) > _LONGEST_ID for station_id in self.avoid):
            raise UserError(f"a station to avoid is named by its id, of at most {_LONGEST_ID} bytes")

    def to_json(self) -> dict[str, Any]:
        return {
            "from": self.start,
            "to": self.to,
            "model": self.model,
            "soc": self.soc,
            "arrive_with": self.arrive_with,
            "stop_with": self.stop_with,
            "reference_consumption": self.reference_consumption,
            "temperature_c": self.temperature_c,
            "depart_at": None if self.depart_at is None else utc_text(self.depart_at),
            "avoid": list(self.avoid),
        }


@dataclass(frozen=True, slots=True)
class Visit:
    """A station and what happens there. States of charge are percent, `energy_kwh` is what the battery takes up.

    `state` is the station's state now, as the map shows it; where it is `unknown`, wait and probability are what such stations
    usually have.
    """

    candidate: Candidate
    arrive_at: datetime
    soc_arrive: float
    soc_leave: float
    charge_s: float
    expected_wait_s: float
    probability_free: float
    energy_kwh: float
    state: MapState

    def to_json(self) -> dict[str, Any]:
        station, plug = self.candidate.station, self.candidate.plug
        return {
            "station_id": station.station_id,
            "name": station.station_name,
            "city": station.city,
            "state_code": station.state_code,
            "network": station.network,
            "lat": station.latitude,
            "lon": station.longitude,
            "connector_type": plug.connector_type,
            "power_kw": plug.power_kw,
            "state": self.state.value,
            "is_known": station.is_known,
            "free": station.count(Availability.FREE),
            "total": station.total,
            "remark": station.remark,
            "arrive_at": utc_text(self.arrive_at),
            "soc_arrive": round(self.soc_arrive, 1),
            "soc_leave": round(self.soc_leave, 1),
            "charge_s": round(self.charge_s),
            "expected_wait_s": round(self.expected_wait_s),
            "probability_free": round(self.probability_free, 4),
            "energy_kwh": round(self.energy_kwh, 2),
        }


@dataclass(frozen=True, slots=True)
class TripAlternative:
    """The best other station for a stop; `extra_s` is what it makes the trip longer by."""

    visit: Visit
    extra_s: float

    def to_json(self) -> dict[str, Any]:
        return {**self.visit.to_json(), "extra_s": round(self.extra_s)}


@dataclass(frozen=True, slots=True)
class TripStop:
    """A stop to charge, and the station that can stand in for it."""

    visit: Visit
    alternative: TripAlternative | None = None

    def to_json(self) -> dict[str, Any]:
        return {**self.visit.to_json(), "alternative": self.alternative and self.alternative.to_json()}


@dataclass(frozen=True, slots=True)
class TripLeg:
    """A leg between the start, stops and the destination. States of charge are percent; `path` is [longitude, latitude].

    `soc_needed` is the least with which it has to end. If it is not feasible, `reason` says why, and `soc_end` is 0 where the
    battery would be empty before.
    """

    start: str
    to: str
    distance_km: float
    drive_s: float
    energy_kwh: float
    soc_start: float
    soc_end: float
    soc_needed: float
    is_feasible: bool
    path: list[list[float]]
    reason: str | None = None

    def to_json(self) -> dict[str, Any]:
        return {
            "from": self.start,
            "to": self.to,
            "distance_km": round(self.distance_km, 1),
            "drive_s": round(self.drive_s),
            "energy_kwh": round(self.energy_kwh, 2),
            "soc_start": round(self.soc_start, 1),
            "soc_end": round(max(self.soc_end, 0.0), 1),
            "soc_needed": round(self.soc_needed, 1),
            "feasible": self.is_feasible,
            "path": self.path,
        }


@dataclass(frozen=True, slots=True)
class TripAnswer:
    """The quickest plan. `total_s` is drive, charge, wait and five minutes a stop. `note` says what a driver has to know."""

    question: TripQuestion
    fresh: Freshness
    start: Place
    to: Place
    car: Car
    consumption: Consumption
    road_source: str
    departs_at: datetime
    legs: tuple[TripLeg, ...]
    stops: tuple[TripStop, ...]
    notes: tuple[str, ...]

    @property
    def distance_km(self) -> float:
        return sum(leg.distance_km for leg in self.legs)

    @property
    def drive_s(self) -> float:
        return sum(leg.drive_s for leg in self.legs)

    @property
    def charge_s(self) -> float:
        return sum(stop.visit.charge_s for stop in self.stops)

    @property
    def wait_s(self) -> float:
        return sum(stop.visit.expected_wait_s for stop in self.stops)

    @property
    def total_s(self) -> float:
        return self.drive_s + self.charge_s + self.wait_s + planner.STOP_S * len(self.stops)

    @property
    def energy_kwh(self) -> float:
        return sum(leg.energy_kwh for leg in self.legs)

    @property
    def arrives_at(self) -> datetime:
        return self.departs_at + timedelta(seconds=self.total_s)

    @property
    def failing_leg(self) -> TripLeg | None:
        """The first leg that the battery does not suffice for."""
        return next((leg for leg in self.legs if not leg.is_feasible), None)

    @property
    def is_estimate(self) -> bool:
        return self.road_source not in ("osrm", "valhalla")

    @property
    def note(self) -> str | None:
        return "; ".join(self.notes) or None

    def to_json(self) -> dict[str, Any]:
        failing = self.failing_leg
        joined = [point for leg in self.legs for point in leg.path]
        return {
            **self.fresh.to_json(),
            "question": self.question.to_json(),
            "from": self.start.to_json(),
            "to": self.to.to_json(),
            "model": self.car.to_json(),
            "reference_consumption_kwh_per_100km": self.consumption.reference_kwh_per_100km,
            "temperature_c": self.consumption.temperature_c,
            "distance_km": round(self.distance_km, 1),
            "distance_is_estimate": self.is_estimate,
            "road_source": self.road_source,
            "departs_at": utc_text(self.departs_at),
            "arrives_at": utc_text(self.arrives_at),
            "drive_s": round(self.drive_s),
            "charge_s": round(self.charge_s),
            "wait_s": round(self.wait_s),
            "total_s": round(self.total_s),
            "energy_kwh": round(self.energy_kwh, 2),
            "feasible": failing is None,
            "failing_leg": failing
            and {"number": self.legs.index(failing) + 1, **failing.to_json(), "reason": failing.reason},
            "path": [point for number, point in enumerate(joined) if number == 0 or point != joined[number - 1]],
            "legs": [leg.to_json() for leg in self.legs],
            "stops": [stop.to_json() for stop in self.stops],
            "note": self.note,
        }


def trip(
    client: Elasticsearch,
    question: TripQuestion,
    models: EvModels,
    model: Model,
    engine: RoutingEngine | None,
    fresh: Freshness,
    heard_since: datetime,
) -> TripAnswer:
    """Answers with two or three searches and the forecasts of the stations that the plan stops at.

    `model` is the forecast's. Raises UserError for places, a model or a departure that are of no use.
    """
    car = models.named(question.model)
    ends = [_named(find_place, client, name, text) for name, text in (("from", question.start), ("to", question.to))]
    start, to = (end.place for end in ends)
    departs_at = _departure(question, fresh.now)
    notes = [note for note in (_ambiguous("from", ends[0]), _ambiguous("to", ends[1]), models.note) if note]
    straight_km = float(great_circle_km(start.latitude, start.longitude, to.latitude, to.longitude))
    if straight_km < LEAST_KM:
        raise UserError(
            f"{start.name} and {to.name} are {straight_km:.1f} km apart: a trip has at least {LEAST_KM:g} km"
        )
    way, engine_note = _way(engine, start, to)
    consumption = Consumption(
        car.consumption_kwh_per_100km if question.reference_consumption is None else question.reference_consumption,
        MILD_C if question.temperature_c is None else question.temperature_c,
    )
    planning = _Planning(client, question, car, consumption, model, way, fresh, heard_since, departs_at)
    plan = planning.plan()
    exact: list[Route] | None = None
    if engine is not None and engine_note is None and plan.stops:
        plan, exact, engine_note = planning.by_engine(engine, start, to, plan)
    if engine_note:
        notes.append(engine_note)
    notes += planning.notes(plan)
    legs = planning.legs(plan, start, to, exact)
    source = way.source if way.source in ("osrm", "valhalla") else f"estimate: {way.source}"
    stops = planning.stops(plan)
    return TripAnswer(
        question, fresh, start, to, car, consumption, source, departs_at, legs, stops, tuple(dict.fromkeys(notes))
    )


class _Planning:
    """One trip's way, the stations beside it and what is known of their waits."""

    def __init__(
        self,
        client: Elasticsearch,
        question: TripQuestion,
        car: Car,
        consumption: Consumption,
        model: Model,
        way: Route,
        fresh: Freshness,
        heard_since: datetime,
        departs_at: datetime,
    ) -> None:
        self._client, self._question, self._car, self._consumption = client, question, car, consumption
        self._model, self._way, self._fresh, self._heard_since = model, way, fresh, heard_since
        self._departs_at = departs_at
        self._limits = Limits(question.soc / 100, question.stop_with / 100, question.arrive_with / 100)
        self._candidates: tuple[Candidate, ...] = ()
        self._near = Beside(np.zeros(0), np.zeros(0))
        self._ways = ways(way, np.zeros(0), np.zeros(0), self._near, consumption)
        self._outlooks: dict[int, Outlook] = {}
        self._wait_s = np.zeros(0)
        self._chances = np.zeros(0)

    def plan(self) -> Plan:
        direct = planner.plan(self._network(), self._limits)
        if direct.is_feasible:
            return direct
        per_km = self._ways.kwh[-1, -1] / self._ways.km[-1, -1]
        range_km = self._car.usable_kwh * (1 - self._limits.stop) / per_km
        found = stations_beside(
            self._client, self._way, self._car, range_km, self._fresh, self._heard_since, self._question.avoid
        )
        self._choose(found)
        made = planner.plan(self._network(), self._limits)
        for _ in range(_ROUNDS):
            # A plan that cannot be driven is shown with its waits, and is not worth another search.
            if not self._forecast(made) or not made.is_feasible:
                break
            made = planner.plan(self._network(), self._limits)
        return made

    def by_engine(
        self, engine: RoutingEngine, start: Place, to: Place, plan: Plan
    ) -> tuple[Plan, list[Route] | None, str | None]:
        """The plan with the engine's ways through its stops, these ways, and a note if the estimates remain."""
        stations = [stop.station for stop in plan.stops]
        places = [(self._candidates[s].station.latitude, self._candidates[s].station.longitude) for s in stations]
        through = [(start.latitude, start.longitude), *places, (to.latitude, to.longitude)]
        try:
            routes = engine.routes(through)  # type: ignore[arg-type]
        except RoutingError as error:
            return plan, None, f"{error}: the ways to the stops are estimates"
        network = self._network()
        km, drive_s, kwh = self._ways.km.copy(), network.drive_s.copy(), self._ways.kwh.copy()
        for row, column, leg in zip([-1, *stations], [*stations, -1], routes, strict=True):
            km[row, column], drive_s[row, column] = leg.distance_km, leg.drive_s
            parts = self._consumption.kwh(np.diff(leg.km_at), np.diff(leg.seconds_at))
            kwh[row, column] = float(parts.sum())
        exact = replace(network, drive_s=np.maximum(drive_s, 1.0), energy=kwh / self._car.usable_kwh)
        made = planner.best_for(exact, self._limits, stations)
        if made is None:
            return (
                plan,
                None,
                "by the routing engine the battery does not suffice between these stops: use more reserve",
            )
        self._ways = replace(self._ways, km=km, drive_s=drive_s, kwh=kwh)
        stops = tuple(
            replace(stop, alternative=former.alternative) for stop, former in zip(made.stops, plan.stops, strict=True)
        )
        return replace(made, stops=stops), routes, None

    def legs(self, plan: Plan, start: Place, to: Place, exact: Sequence[Route] | None) -> tuple[TripLeg, ...]:
        names = [start.name, *(self._name(stop.station) for stop in plan.stops), to.name]
        found = []
        for number, leg in enumerate(plan.legs):
            row, column = leg.start, leg.end
            is_last = number == len(plan.legs) - 1
            found.append(
                TripLeg(
                    names[number],
                    names[number + 1],
                    float(self._ways.km[row, column]),
                    leg.drive_s,
                    float(self._ways.kwh[row, column]),
                    leg.soc_start * 100,
                    leg.soc_end * 100,
                    (self._limits.destination if is_last else self._limits.stop) * 100,
                    leg.is_feasible,
                    exact[number].line() if exact else self._line(row, column),
                )
            )
        return tuple(leg if leg.is_feasible else replace(leg, reason=self._reason(leg)) for leg in found)

    def stops(self, plan: Plan) -> tuple[TripStop, ...]:
        found, at_s = [], 0.0
        for leg, stop in zip(plan.legs, plan.stops, strict=False):
            at_s += leg.drive_s
            alternative = None
            if stop.alternative is not None:
                # The alternative is reached by a leg of its own.
                other = stop.alternative.stop
                other_s = at_s - leg.drive_s + float(self._ways.drive_s[leg.start, other.station])
                alternative = TripAlternative(self._visit(other, other_s), stop.alternative.extra_s)
            found.append(TripStop(self._visit(stop, at_s), alternative))
            at_s += stop.wait_s + planner.STOP_S + stop.charge_s
        return tuple(found)

    def notes(self, plan: Plan) -> list[str]:
        """What a driver has to know of the plan."""
        notes = []
        if self._fresh.stale and plan.stops:
            notes.append(f"the stations' state is unknown: {self._fresh.reason}")
        elif any(not self._candidates[stop.station].station.is_known for stop in plan.stops):
            notes.append("stops of unknown state have the wait that such stations usually have")
        ahead_min = max((self._minutes(at_s) for at_s in _arrivals(plan)), default=0.0)
        if ahead_min > LONGEST_MIN and plan.stops:
            notes.append(f"waits later than {LONGEST_MIN // 60} h from now are those in {LONGEST_MIN // 60} h")
        if not plan.is_feasible and not self._candidates:
            notes.append(f"no station beside the way has an outlet for {' or '.join(self._car.connector_types)}")
        return notes

    def _choose(self, found: Found) -> None:
        """Takes the stations that are worth looking at, with the waits that the search begins with."""
        if not found.candidates:
            return
        # from 10 to 60 %: a usual stop
        charging = np.array([_charging(self._car, candidate) for candidate in found.candidates])
        stop_s = charging[:, 60] - charging[:, 10]
        drive_s = np.interp(found.near.at_km, self._way.km_at, self._way.seconds_at)
        chances, wait_s = self._at_a_glance(found.candidates, drive_s)
        kept = chosen(self._way, found.near, stop_s + wait_s)
        self._candidates = tuple(found.candidates[number] for number in kept.tolist())
        self._near = Beside(found.near.at_km[kept], found.near.off_km[kept])
        self._charge_s, self._wait_s, self._chances = charging[kept], wait_s[kept], chances[kept]
        self._ways = ways(self._way, found.latitudes[kept], found.longitudes[kept], self._near, self._consumption)

    def _at_a_glance(self, candidates: Sequence[Candidate], drive_s: Any) -> tuple[Any, Any]:
        """The chance that an outlet is free on arrival and the expected wait, from the counts of outlets alone."""
        chances = np.empty(len(candidates))
        in_min = np.array([min(self._minutes(at_s), LONGEST_MIN) for at_s in drive_s])
        # Every half hour is near enough for a beginning.
        for half_hour in np.unique(np.rint(in_min / 30)):
            rows = np.flatnonzero(np.rint(in_min / 30) == half_hour).tolist()
            stations = [candidates[row].station for row in rows]
            zones = [candidates[row].time_zone for row in rows]
            known = likely_free(self._model, stations, zones, float(half_hour * 30), self._fresh.now)
            for row, chance in zip(rows, known, strict=True):
                candidate = candidates[row]
                usual = 1 - _TAKEN[candidate.plug.is_dc] ** max(candidate.station.total, 1)
                chances[row] = usual if chance is None else chance
        stay_s = np.array([_STAY_S[c.plug.is_dc] / max(c.station.total, 1) for c in candidates])
        return chances, (1 - chances) * stay_s

    def _forecast(self, plan: Plan) -> bool:
        """Asks for the forecasts of the plan's stations and their alternatives; whether that changes a wait."""
        at_s = {}
        for stop, arrives_s in zip(plan.stops, _arrivals(plan), strict=True):
            at_s[stop.station] = arrives_s
            if stop.alternative is not None:
                at_s.setdefault(stop.alternative.stop.station, arrives_s)
        new = {number: self._candidates[number] for number in at_s if number not in self._outlooks}
        if new:
            wanted = {
                candidate.station.station_id: (candidate.plug.connector_type, candidate.min_power_kw)
                for candidate in new.values()
            }
            outlooks = waits_of(self._client, self._model, wanted, self._fresh, self._heard_since)
            for number, candidate in new.items():
                if candidate.station.station_id in outlooks:
                    self._outlooks[number] = outlooks[candidate.station.station_id]
        changed = False
        for number, arrives_s in at_s.items():
            if number in self._outlooks:
                outlook, in_min = self._outlooks[number], self._minutes(arrives_s)
                wait_s = min(outlook.wait_s(in_min), _NEVER_S)
                changed |= abs(wait_s - self._wait_s[number]) > _SAME_WAIT_S
                self._wait_s[number], self._chances[number] = wait_s, outlook.chance(in_min)
        return changed

    def _network(self) -> Network:
        count = len(self._candidates)
        return Network(
            np.maximum(self._ways.drive_s, 1.0),
            self._ways.kwh / self._car.usable_kwh,
            self._charge_s if count else np.zeros((0, planner.BUCKETS + 1)),
            self._wait_s,
        )

    def _visit(self, stop: Stop, at_s: float) -> Visit:
        candidate = self._candidates[stop.station]
        return Visit(
            candidate,
            self._departs_at + timedelta(seconds=at_s),
            stop.soc_arrive * 100,
            stop.soc_leave * 100,
            stop.charge_s,
            stop.wait_s,
            float(self._chances[stop.station]),
            (stop.soc_leave - stop.soc_arrive) * self._car.usable_kwh,
            candidate.station.map_state,
        )

    def _line(self, row: int, column: int) -> list[list[float]]:
        """The way from a row to a column of the network, as [longitude, latitude]."""
        first, last = row == len(self._candidates), column == len(self._candidates)
        a = None if first else self._place(row)
        b = None if last else self._place(column)
        if not self._ways.follows[row, column]:
            start, end = (np.round(self._way.points[n], 5).tolist()[::-1] for n in (0, -1))
            return [a or start, b or end]
        at = 0.0 if first else float(self._near.at_km[row])
        to = self._way.distance_km if last else float(self._near.at_km[column])
        return [*([a] if a else []), *self._way.line(at, to), *([b] if b else [])]

    def _place(self, number: int) -> list[float]:
        station = self._candidates[number].station
        return [round(station.longitude or 0.0, 5), round(station.latitude or 0.0, 5)]

    def _name(self, number: int) -> str:
        station = self._candidates[number].station
        return station.station_name or station.station_id

    def _minutes(self, at_s: float) -> float:
        """Minutes from now until so many seconds after the departure."""
        return max((self._departs_at - self._fresh.now).total_seconds() + at_s, 0.0) / 60

    def _reason(self, leg: TripLeg) -> str:
        needed_kwh = leg.energy_kwh + leg.soc_needed / 100 * self._car.usable_kwh
        has_kwh = leg.soc_start / 100 * self._car.usable_kwh
        whole = (1 - leg.soc_needed / 100) * self._car.usable_kwh
        reason = (
            f"{leg.start} to {leg.to} is {leg.distance_km:.0f} km and needs {leg.energy_kwh:.1f} kWh with "
            f"{leg.soc_needed:g} % left at its end: {needed_kwh:.1f} kWh, and the car leaves with {has_kwh:.1f} kWh"
        )
        if leg.energy_kwh > whole:
            reason += (
                f"; a full battery of {self._car.usable_kwh:g} kWh is not enough, and no station for it lies between"
            )
        start, end = self._way.points[0], self._way.points[-1]
        if not is_connected(*start.tolist(), *end.tolist()):
            reason += "; no US freeway leads all the way, and ferries are not planned"
        return reason


def _charging(car: Car, candidate: Candidate) -> Any:
    return seconds_by_bucket(car, candidate.plug.power_kw, candidate.plug.is_dc, planner.BUCKETS)


def _arrivals(plan: Plan) -> Iterable[float]:
    """Seconds from the departure to the arrival at each stop."""
    at_s = 0.0
    for leg, stop in zip(plan.legs, plan.stops, strict=False):
        at_s += leg.drive_s
        yield at_s
        at_s += stop.wait_s + planner.STOP_S + stop.charge_s


def _way(engine: RoutingEngine | None, start: Place, to: Place) -> tuple[Route, str | None]:
    """The way, and a note if the engine has none."""
    ends = (start.latitude, start.longitude), (to.latitude, to.longitude)
    if engine is not None:
        try:
            return engine.routes(ends)[0], None
        except RoutingError as error:
            return route(*ends[0], *ends[1]), f"{error}: distances are estimates"
    return route(*ends[0], *ends[1]), None


def _departure(question: TripQuestion, now: datetime) -> datetime:
    if question.depart_at is None:
        return now
    departs_at = question.depart_at.astimezone(UTC)
    if departs_at < now - _JUST_NOW:
        raise UserError(f"departure {utc_text(departs_at)} is {duration_text(now - departs_at)} ago")
    if departs_at > now + _FURTHEST_DEPARTURE:
        raise UserError(f"departure {utc_text(departs_at)} is more than a year ahead")
    return max(departs_at, now)


def _named(find: Callable[[Elasticsearch, str], FoundPlace], client: Elasticsearch, name: str, text: str) -> FoundPlace:
    try:
        return find(client, text)
    except UserError as error:
        raise UserError(f"{name}: {error}") from None


def _ambiguous(name: str, found: FoundPlace) -> str | None:
    if not found.others:
        return None
    others = ", ".join(place.name for place in found.others)
    return f"{name} is {found.place.name}; there is also {others}"
