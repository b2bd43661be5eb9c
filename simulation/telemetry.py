"""Connected cars: where each is, how it moves and what its battery holds, at any instant between the engine's steps.

The engine reports spells: a `Journey` from one visit to the next, or a `Standstill` at a station. What a car does in a spell
follows from the spell alone, in closed form. So the messages of any interval are the same in any chunks.

On a journey a car drives home, runs errands from there until it has driven as far as the engine says, and comes to the next
station at the instant of its arrival. Where time is too short for that, it makes a detour. Roads are straight lines, longer
by the circuity. Energy is the engine's: it is spread evenly over the kilometres, and what the car has charged outside the
network is added where it stands.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import atan2, ceil, cos, degrees, pi, radians, sin
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from simulation.charging import ChargeCurve, EvModel
from simulation.clock import HOUR_MS, to_datetime
from simulation.draws import Draws, Purpose
from simulation.fleet import Vehicle
from simulation.network import Station
from simulation.roads import CIRCUITY, CITY_KMH, EARTH_KM, TRIP_KMH, road_km

SCHEMA_VERSION = 1

COLUMNS = (
    "schema_version",
    "vehicle_id",
    "ev_model_id",
    "occurred_at",
    "latitude",
    "longitude",
    "heading",
    "speed_kmh",
    "ignition",
    "state_of_charge",
    "range_km",
    "destination_station_id",
)

#: Stands for no station: a car's first journey begins at home, and most drives lead to no station.
NO_STATION = -1

DRIVING_BEAT_MS = 30_000
PARKED_BEAT_MS = 30 * 60_000

# Assumptions about drivers. A home is this far (km) from the station where its car is based. A drive of this length (km) or
# more is a trip. A driver's speed differs from the mean by at most this share.
_HOME_KM = (0.3, 3.0)
_TRIP_FROM_KM = 25.0
_SPEED_SPREAD = 0.15
# An errand is about this long (km, both ways), and there is at most one in six hours. At its goal a car stands for less time
# than at home. Extra distance below that of the shortest errand becomes part of the other drives.
_ERRAND_KM = 25.0
_ERRAND_EVERY_MS = 6 * HOUR_MS
_SHORTEST_ERRAND_KM = 2.0
_MOST_ERRANDS = 40
_ERRAND_STAY = 0.2
_SHORTEST_STOP_MS = 60_000
# A detour is longer than the straight way by at least this factor and this many km, so that it leads somewhere.
_DETOUR = 1.02
_DETOUR_KM = 0.4
# Nobody drives with less charge.
_LEAST_SOC = 0.02

_KM_PER_DEGREE = EARTH_KM * pi / 180


class Point(NamedTuple):
    """Degrees, WGS 84."""

    latitude: float
    longitude: float


class Journey(NamedTuple):
    """A car between two visits. `visit` is the number of the visit it drives to; stations are positions in the network.

    Times are in ms, states of charge 0 to 1. `driven_km` is how far the car drives on the way.
    """

    vehicle: int
    visit: int
    origin: int
    destination: int
    left_at: int
    arrives_at: int
    soc_left: float
    soc_arrival: float
    driven_km: float


class Standstill(NamedTuple):
    """A car at a station from `since` until before `until` (ms). If it has a `curve`, it charges from `soc` at
    `charging_since` (ms) to `target_soc`; states of charge are 0 to 1."""

    vehicle: int
    station: int
    since: int
    until: int
    soc: float
    curve: ChargeCurve | None = None
    charging_since: int = 0
    target_soc: float = 0.0


Spell = Journey | Standstill


@dataclass(frozen=True, slots=True)
class TelemetryBatch:
    """Messages in time order: `columns` has a list for each field of `COLUMNS`, the fields of the vehicle-telemetry message.

    Times are datetimes in UTC of whole milliseconds. Heading and destination are None where a car has none.
    """

    columns: dict[str, list[Any]]

    def __len__(self) -> int:
        return len(self.columns["vehicle_id"])

    def rows(self) -> Iterator[dict[str, Any]]:
        """The messages one by one, each a dict (field: Python value)."""
        for row in zip(*self.columns.values(), strict=True):
            yield dict(zip(self.columns, row, strict=True))


class _Leg(NamedTuple):
    """A drive or a stop from `start` to `end` (ms). Place and charge change linearly. Only a drive has a speed."""

    start: int
    end: int
    latitude: float
    longitude: float
    north: float
    east: float
    soc: float
    gained: float
    speed_kmh: float
    heading: float
    destination: int


class _Stop(NamedTuple):
    """Where a car stands on its journey, and the weight of the stop when stops share the time. A car can charge at home."""

    place: Point
    weight: float
    is_home: bool


class Telematics:
    """The on-board units of a fleet.

    A parked car reports every half hour and a driving car every 30 s, each at its own beat. Every car also reports when its
    ignition goes on or off.
    """

    def __init__(
        self, stations: Sequence[Station], vehicles: Sequence[Vehicle], models: Sequence[EvModel], draws: Draws
    ) -> None:
        """`models` are the models of the vehicles, in the same order."""
        self._places = [Point(station.latitude, station.longitude) for station in stations]
        self._station_ids = [station.station_id for station in stations]
        self._vehicles = vehicles
        self._soc_per_km = [model.consumption_kwh_per_100km / 100 / model.usable_kwh for model in models]
        self._draws = draws
        self._homes: list[Point] = []
        beats = []
        nearest, farthest = _HOME_KM
        for index, vehicle in enumerate(vehicles):
            u = draws.block(Purpose.TELEMATICS, index)
            beats.append((int(u[0] * PARKED_BEAT_MS), int(u[1] * DRIVING_BEAT_MS)))
            self._homes.append(_at(self._places[vehicle.home], nearest + u[2] * (farthest - nearest), 2 * pi * u[3]))
        self._beats = np.array(beats, dtype=np.int64)
        # The number of each car's visit, and its route to it: every chunk needs the route again while it lasts.
        self._routes: list[tuple[int, list[_Leg], list[int]] | None] = [None] * len(vehicles)

    def batch(self, spells: Iterable[Spell], after: int, until: int) -> TelemetryBatch:
        """The messages of these spells at times t (ms) with `after` < t <= `until`."""
        cars: list[int] = []
        legs: list[_Leg] = []
        charging: dict[int, Standstill] = {}
        for spell in spells:
            if isinstance(spell, Journey):
                if spell.left_at > until or spell.arrives_at <= after:
                    continue
                route, ends = self._route(spell)
                for leg in route[bisect_left(ends, after) :]:
                    if leg.start > until:
                        break
                    cars.append(spell.vehicle)
                    legs.append(leg)
            elif spell.since <= until and spell.until > after:
                if spell.curve is not None:
                    charging[len(legs)] = spell
                cars.append(spell.vehicle)
                place = self._places[spell.station]
                # Messages of a leg come after its start.
                legs.append(_Leg(spell.since - 1, spell.until, *place, 0.0, 0.0, spell.soc, 0.0, 0.0, 0.0, NO_STATION))
        if not legs:
            return TelemetryBatch({name: [] for name in COLUMNS})
        return self._messages(np.array(cars, dtype=np.int64), legs, charging, after, until)

    def _messages(
        self, car: NDArray[np.int64], legs: list[_Leg], charging: dict[int, Standstill], after: int, until: int
    ) -> TelemetryBatch:
        start, end, latitude, longitude, north, east, soc, gained, speed, heading, destination = (
            np.array(column) for column in zip(*legs, strict=True)
        )
        is_drive = speed > 0
        beats = np.where(is_drive, DRIVING_BEAT_MS, PARKED_BEAT_MS)
        which, at = _instants(start, end, is_drive, beats, self._beats[car, is_drive.astype(np.int64)], after, until)
        order = np.lexsort((car[which], at))
        which, at = which[order], at[order]
        car, drives = car[which], is_drive[which]
        # Only sums, products and quotients, so that one message alone has the same values as among many.
        share = (at - start[which]) / (end - start)[which]
        socs = soc[which] + gained[which] * share
        for row in np.flatnonzero(np.isin(which, list(charging))).tolist():
            spell = charging[int(which[row])]
            if spell.curve is not None:
                seconds = (int(at[row]) - spell.charging_since) / 1000
                socs[row] = spell.curve.soc_after(spell.soc, seconds, spell.target_soc)
        longitudes = longitude[which] + east[which] * share
        longitudes = np.where(np.abs(longitudes) > 180, (longitudes + 180) % 360 - 180, longitudes)
        ignition = drives & (at < end[which])
        moving = ignition & (at > start[which])
        vehicles = [self._vehicles[index] for index in car.tolist()]
        to = np.where(ignition, destination[which], NO_STATION).tolist()
        headings = (np.round(heading[which], 1) % 360).tolist()
        columns = (
            [SCHEMA_VERSION] * len(vehicles),
            [vehicle.ev_id for vehicle in vehicles],
            [vehicle.ev_model_id for vehicle in vehicles],
            [to_datetime(ms) for ms in at.tolist()],
            np.round(latitude[which] + north[which] * share, 6).tolist(),
            np.round(longitudes, 6).tolist(),
            [course if drives else None for course, drives in zip(headings, drives.tolist(), strict=True)],
            np.round(np.where(moving, speed[which], 0.0), 1).tolist(),
            ignition.tolist(),
            np.round(socs * 100, 2).tolist(),
            np.round(socs / np.array(self._soc_per_km)[car], 1).tolist(),
            [self._station_ids[station] if station != NO_STATION else None for station in to],
        )
        return TelemetryBatch(dict(zip(COLUMNS, columns, strict=True)))

    # --- routes ---

    def _route(self, journey: Journey) -> tuple[list[_Leg], list[int]]:
        """The legs of a journey and the instants at which they end."""
        known = self._routes[journey.vehicle]
        if known is None or known[0] != journey.visit:
            legs = self._legs(journey)
            known = self._routes[journey.vehicle] = journey.visit, legs, [leg.end for leg in legs]
        return known[1:]

    def _legs(self, journey: Journey) -> list[_Leg]:
        u = self._draws.block(Purpose.DRIVE, journey.vehicle, journey.visit)
        goal = self._places[journey.destination]
        # The first journey of a car begins with a stop at home, any other journey with a drive.
        begin = [] if journey.origin == NO_STATION else [self._places[journey.origin]]
        stops = self._stops(journey, begin, goal, u[0])
        points = [*begin, *(stop.place for stop in stops), goal]
        kms = [road_km(*a, *b) for a, b in pairwise(points)]
        pace = 1 + _SPEED_SPREAD * (2 * u[1] - 1)
        drives_ms, stops_ms = _times(journey.arrives_at - journey.left_at, kms, stops, pace)
        per_km, charges = self._energy(journey, kms, stops, len(begin))

        at, soc = journey.left_at, journey.soc_left
        legs: list[_Leg] = []

        def drive(number: int) -> None:
            nonlocal at, soc
            a, b = points[number], points[number + 1]
            last = number == len(kms) - 1
            end = journey.arrives_at if last else at + drives_ms[number]
            fall = journey.soc_arrival - soc if last else -per_km * kms[number]
            north, east = b.latitude - a.latitude, (b.longitude - a.longitude + 180) % 360 - 180
            heading = degrees(atan2(east * cos(radians((a.latitude + b.latitude) / 2)), north)) % 360
            speed_kmh = kms[number] / (end - at) * HOUR_MS
            destination = journey.destination if last else NO_STATION
            legs.append(_Leg(at, end, *a, north, east, soc, fall, speed_kmh, heading, destination))
            at, soc = end, soc + fall

        if begin:
            drive(0)
        for number, (stop, stop_ms, charge) in enumerate(zip(stops, stops_ms, charges, strict=True)):
            last = number == len(stops) - 1
            end = journey.arrives_at - drives_ms[-1] if last else at + stop_ms
            legs.append(_Leg(at, end, *stop.place, 0.0, 0.0, soc, charge, 0.0, 0.0, NO_STATION))
            at, soc = end, soc + charge
            drive(len(begin) + number)
        return legs

    def _stops(self, journey: Journey, begin: list[Point], goal: Point, u: float) -> list[_Stop]:
        """Home and the errands from there, or a detour where time is too short."""
        home = self._homes[journey.vehicle]
        kms = [road_km(*a, *b) for a, b in pairwise([*begin, home, goal])]
        span_ms = journey.arrives_at - journey.left_at
        if begin and sum(map(_usual_ms, kms)) + 3 * _SHORTEST_STOP_MS > span_ms:
            return [_Stop(_detour(begin[0], goal, journey.driven_km, 2 * pi * u), 1.0, True)]
        stops = [_Stop(home, 1.0, True)]
        errands_km = journey.driven_km - sum(kms)
        if errands_km >= _SHORTEST_ERRAND_KM:
            count = min(ceil(errands_km / _ERRAND_KM), max(span_ms // _ERRAND_EVERY_MS, 1), _MOST_ERRANDS)
            for number in range(count):
                v = self._draws.block(Purpose.ERRAND, journey.vehicle, journey.visit * _MOST_ERRANDS + number)
                place = _at(home, errands_km / count / 2 / CIRCUITY, 2 * pi * v[0])
                stops += [_Stop(place, _ERRAND_STAY * (0.5 + v[1]), False), _Stop(home, 0.5 + v[2], True)]
        return stops

    def _energy(
        self, journey: Journey, kms: list[float], stops: list[_Stop], drives_before: int
    ) -> tuple[float, list[float]]:
        """The charge that a km takes and the charge added at each stop (0 to 1), so that the journey ends as the engine says.

        A km takes what the model says, unless the way is not as long as the engine's or the battery does not allow it.
        """
        total_km, fall = sum(kms), journey.soc_left - journey.soc_arrival
        target = self._vehicles[journey.vehicle].target_soc
        limits = [
            journey.driven_km * self._soc_per_km[journey.vehicle] / total_km,
            (1 - journey.soc_arrival) / kms[-1],
            (target - _LEAST_SOC) / (2 * max(kms)),
        ]
        if drives_before:
            limits.append((journey.soc_left - _LEAST_SOC) / kms[0])
        per_km = max(min(limits), fall / total_km)
        left = max(per_km * total_km - fall, 0.0)
        highest = max(target, journey.soc_arrival + per_km * kms[-1])
        soc, charges = journey.soc_left - per_km * sum(kms[:drives_before]), []
        for number, stop in enumerate(stops):
            last = number == len(stops) - 1
            charge = left if last else min(left, max(highest - soc, 0.0)) if stop.is_home else 0.0
            charges.append(charge)
            left -= charge
            soc += charge - per_km * kms[drives_before + number]
        return per_km, charges


def _instants(
    start: NDArray[np.int64],
    end: NDArray[np.int64],
    is_drive: NDArray[np.bool_],
    beat: NDArray[np.int64],
    phase: NDArray[np.int64],
    after: int,
    until: int,
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Leg and time (ms) of each message: the beats within the legs, and the start and end of each drive."""
    first = (np.maximum(start, after) - phase) // beat + 1
    last = (np.minimum(end - 1, until) - phase) // beat
    counts = np.maximum(last - first + 1, 0)
    which = np.repeat(np.arange(len(start)), counts)
    within = np.arange(len(which)) - np.repeat(np.cumsum(counts) - counts, counts)
    at = phase[which] + (first[which] + within) * beat[which]
    starts = np.flatnonzero(is_drive & (start > after) & (start <= until))
    ends = np.flatnonzero(is_drive & (end > after) & (end <= until))
    return np.concatenate([which, starts, ends]), np.concatenate([at, start[starts], end[ends]])


def _times(span_ms: int, kms: list[float], stops: list[_Stop], pace: float) -> tuple[list[int], list[int]]:
    """How long each drive and each stop takes (ms), within `span_ms`."""
    for_drives_ms = span_ms - len(stops) * _SHORTEST_STOP_MS
    usual_ms = [_usual_ms(km) / pace for km in kms]
    if sum(usual_ms) > for_drives_ms:
        # In a hurry all drives have one speed. It is at most 80 km/h, since the engine leaves enough time for that.
        usual_ms = [for_drives_ms * km / sum(kms) for km in kms]
    drives_ms = [max(int(ms), 1) for ms in usual_ms]
    spare_ms, weights = max(for_drives_ms - sum(drives_ms), 0), sum(stop.weight for stop in stops)
    return drives_ms, [_SHORTEST_STOP_MS + int(spare_ms * stop.weight / weights) for stop in stops]


def _usual_ms(km: float) -> float:
    return km / (TRIP_KMH if km >= _TRIP_FROM_KM else CITY_KMH) * HOUR_MS


def _at(point: Point, km: float, bearing: float) -> Point:
    """The point `km` away in a straight line, in a plane that touches the earth at `point`; bearing in radians from north."""
    latitude = point.latitude + km * cos(bearing) / _KM_PER_DEGREE
    longitude = point.longitude + km * sin(bearing) / (_KM_PER_DEGREE * cos(radians(point.latitude)))
    return Point(latitude, (longitude + 180) % 360 - 180)


def _detour(origin: Point, goal: Point, km: float, angle: float) -> Point:
    """A point that makes the way to `goal` about `km` long: on the ellipse around both, at `angle` from the straight way."""
    straight = road_km(*origin, *goal) / CIRCUITY
    way = max(km / CIRCUITY, _DETOUR * straight + _DETOUR_KM)
    distance = (way**2 - straight**2) / (2 * (way - straight * cos(angle)))
    north = goal.latitude - origin.latitude
    east = ((goal.longitude - origin.longitude + 180) % 360 - 180) * cos(radians(origin.latitude))
    return _at(origin, distance, atan2(east, north) + angle)
