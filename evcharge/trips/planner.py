"""Where to charge on a trip: the quickest plan over stations and states of charge.

A plan is found by label setting. A label is the least time at which the car stands at a station, with a state of charge, after
it waited there. Labels are settled in the order of their time and the least time that is still to go, which no plan undercuts
(A*). Labels of nearly the same order are settled together; one that is bettered later is settled again. The search ends when
no open label can beat the best arrival. States of charge are buckets, and energy is rounded up to them: a plan never promises
what the battery does not have.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

#: Buckets of the state of charge that trips are planned with: 1 % each.
BUCKETS = 100
#: What a stop costs beside charging and waiting: to leave the road, plug in and pay.
STOP_S = 300.0
#: The time that a leg beyond the car's range counts, for each tenth of the battery that it lacks. It is more than any trip
#: takes, so such a leg is only in a plan if there is no other way.
_BEYOND_RANGE_S = 1e8
_TINY = 1e-9
#: Labels within this time are settled together: 30 ms for a trip of 1,500 km among 120 stations. With 15 s a search takes three
#: times as long, with 1,200 s twice as long.
_TOGETHER_S = 300.0


@dataclass(frozen=True, slots=True)
class Network:
    """Start, stations and destination, with the ways between them.

    Rows of `drive_s` (s) and `energy` (shares of the battery) are the n stations and then the start; columns are the n stations
    and then the destination. `charge_s`, of shape (n, buckets + 1), is the time to charge from empty to a bucket; `wait_s`, of
    shape (n,), the expected wait. Every way takes some time.
    """

    drive_s: Floats
    energy: Floats
    charge_s: Floats
    wait_s: Floats

    @property
    def stations(self) -> int:
        return len(self.wait_s)

    @property
    def buckets(self) -> int:
        return self.charge_s.shape[1] - 1


@dataclass(frozen=True, slots=True)
class Limits:
    """States of charge (0 to 1): at departure, and the least on arrival at a stop and at the destination."""

    departure: float
    stop: float
    destination: float


@dataclass(frozen=True, slots=True)
class Stop:
    """A stop at a station (a row of the network). States of charge are 0 to 1; `alternative` stands in for this stop."""

    station: int
    soc_arrive: float
    soc_leave: float
    wait_s: float
    charge_s: float
    alternative: Alternative | None = None


@dataclass(frozen=True, slots=True)
class Alternative:
    """The best other station for a stop, with all other stations of the plan; `extra_s` is what the trip takes longer."""

    stop: Stop
    extra_s: float


@dataclass(frozen=True, slots=True)
class Leg:
    """A leg between two rows and columns of the network, with states of charge. `is_feasible`: the battery suffices.

    On a leg that is not feasible, `soc_end` is what the battery would be below empty or below what was asked.
    """

    start: int
    end: int
    drive_s: float
    energy: float
    soc_start: float
    soc_end: float
    is_feasible: bool


@dataclass(frozen=True, slots=True)
class Plan:
    """Legs and the stops between them. `total_s` is drive, wait, charge and STOP_S per stop."""

    legs: tuple[Leg, ...]
    stops: tuple[Stop, ...]
    total_s: float
    settled: int = 0

    @property
    def is_feasible(self) -> bool:
        return all(leg.is_feasible for leg in self.legs)


def plan(network: Network, limits: Limits) -> Plan:
    """The quickest plan. If no plan reaches the destination, the one that lacks least.

    A leg beyond the range begins at the start or with a full battery, and the plan goes on as if it had been made.
    """
    found = None
    if _is_reachable(network, limits):
        found = _search(network, limits, beyond_range=False)
    found = found or _search(network, limits, beyond_range=True)
    assert found is not None  # beyond its range, a car gets from everywhere to everywhere
    stations, leaving, settled = found
    made = replace(replay(network, limits, stations, leaving), settled=settled)
    if not made.is_feasible:
        return made
    return replace(made, stops=_with_alternatives(network, limits, made))


def best_for(network: Network, limits: Limits, stations: Sequence[int]) -> Plan | None:
    """The quickest plan that stops at these stations in this order; None if the car cannot."""
    chain = _Chain(network, limits, stations)
    leaving = chain.leaving()
    return None if leaving is None else replay(network, limits, stations, leaving)


def replay(network: Network, limits: Limits, stations: Sequence[int], leaving: Sequence[int]) -> Plan:
    """The plan that stops at `stations` and leaves them with the buckets `leaving`, with exact states of charge.

    Legs round energy up to buckets while a plan is searched. So the car arrives with a little more than searched, and charges a
    little less.
    """
    legs, stops = [], []
    row, soc, total_s = network.stations, limits.departure, 0.0
    places = [*stations, network.stations]
    for number, column in enumerate(places):
        drive_s, energy = float(network.drive_s[row, column]), float(network.energy[row, column])
        is_last = number == len(stations)
        least = limits.destination if is_last else limits.stop
        feasible = soc - energy >= least - _TINY
        legs.append(Leg(row, column, drive_s, energy, soc, soc - energy, feasible))
        total_s += drive_s
        if is_last:
            break
        soc = soc - energy if feasible else least
        leave = max(leaving[number] / network.buckets, soc)
        grid = np.arange(network.buckets + 1) / network.buckets
        charge_s = float(np.subtract(*np.interp([leave, soc], grid, network.charge_s[column])))
        wait_s = float(network.wait_s[column])
        stops.append(Stop(column, soc, leave, wait_s, charge_s))
        total_s += wait_s + STOP_S + charge_s
        row, soc = column, leave
    return Plan(tuple(legs), tuple(stops), total_s)


def _needs(network: Network) -> Ints:
    """Energy in buckets, rounded up."""
    return np.ceil(network.energy * network.buckets - _TINY).astype(np.int64)


def _least(network: Network, limits: Limits) -> tuple[int, int]:
    """The least buckets on arrival at a stop and at the destination."""
    return tuple(int(np.ceil(soc * network.buckets - _TINY)) for soc in (limits.stop, limits.destination))  # type: ignore[return-value]


def _from_start(network: Network, limits: Limits) -> Ints:
    """The buckets with which the car comes from the start to each column; below zero where it does not."""
    return np.floor((limits.departure - network.energy[-1]) * network.buckets + _TINY).astype(np.int64)


def _is_reachable(network: Network, limits: Limits) -> bool:
    """Whether full batteries reach the destination. If not, no search has to find that out."""
    count = network.stations
    least_stop, least_end = _least(network, limits)
    least = np.append(np.full(count, least_stop), least_end)
    reached = _from_start(network, limits) >= least
    connected = network.buckets - _needs(network)[:count] >= least
    while not reached[-1]:
        further = reached | connected[reached[:count]].any(axis=0)
        if (further == reached).all():
            return False
        reached = further
    return True


def _search(network: Network, limits: Limits, *, beyond_range: bool) -> tuple[list[int], list[int], int] | None:
    """The stations of the best plan, the buckets with which the car leaves them, and the number of settled labels.

    None if there is no plan. With `beyond_range`, a leg that a full battery does not suffice for ends with the least charge, at
    a price that outweighs everything else.
    """
    count, size = network.stations, network.buckets + 1
    least_stop, least_end = _least(network, limits)
    needs = _needs(network)
    least = np.full(count + 1, least_stop)
    least[-1] = least_end
    # What a way costs: its drive and, if it ends at a station, the stop there.
    ways = network.drive_s + np.append(network.wait_s + STOP_S, 0.0)
    to_go = _to_go(network, needs, least_stop, least_end)
    labels = np.full((count, size), np.inf)
    is_open = np.zeros((count, size), dtype=bool)
    before = np.full(
        count * size, -1, dtype=np.int64
    )  # station * size + bucket at which the car left for here; -1: start
    # The least of label minus charging time so far, by station and by the bucket to which it may charge.
    offsets = np.full((count, size), np.inf)
    flat = labels.reshape(-1)
    best_s, best_before, settled = np.inf, -2, 0

    def relax(sources: Ints, bucket: Ints, cost: Floats) -> None:
        """Takes arrivals at every column, of shape (sources, columns), into the labels and the best plan."""
        nonlocal best_s, best_before
        lacks = least - bucket
        if beyond_range:
            is_full = (sources < 0) | (sources % size == size - 1)
            price = np.where(is_full[:, None], _BEYOND_RANGE_S * np.ceil(lacks * 10 / network.buckets), np.inf)
            cost = np.where(lacks > 0, cost + price, cost)
            bucket = np.maximum(bucket, least)
        else:
            cost = np.where(lacks > 0, np.inf, cost)
        end = int(np.argmin(cost[:, -1]))
        if cost[end, -1] < best_s:
            best_s, best_before = float(cost[end, -1]), int(sources[end])
        rows, targets = np.nonzero(cost[:, :count] < best_s)
        found, at = cost[rows, targets], targets * size + bucket[rows, targets]
        improving = found < flat[at] - _TINY
        rows, found, at = rows[improving], found[improving], at[improving]
        np.minimum.at(flat, at, found)
        made = found == flat[at]
        before[at[made]] = sources[rows[made]]
        is_open.reshape(-1)[at[made]] = True

    relax(np.array([-1]), _from_start(network, limits)[None, :], ways[-1][None, :])
    while is_open.any():
        expected = np.where(is_open, labels + to_go.arrived, np.inf)
        first_s = expected.min()
        if first_s >= best_s:
            break
        now = expected < first_s + _TOGETHER_S
        settled += int(now.sum())
        is_open &= ~now
        stations = np.flatnonzero(now.any(axis=1))
        charging = network.charge_s[stations]
        better = np.full((len(stations), size), np.inf)
        # A stop charges at least one bucket.
        better[:, 1:] = np.minimum.accumulate(np.where(now[stations], labels[stations], np.inf) - charging, axis=1)[
            :, :-1
        ]
        is_better = (better < offsets[stations] - _TINY) & (better + charging + to_go.left[stations] < best_s)
        row, bucket = np.nonzero(is_better)
        if not len(row):
            continue
        offsets[stations[row], bucket] = better[row, bucket]
        station = stations[row]
        leave_s = better[row, bucket] + charging[row, bucket]
        relax(station * size + bucket, bucket[:, None] - needs[station], leave_s[:, None] + ways[station])
    if best_before == -2:
        return None
    return (*_traced(network, labels, before, best_before), settled)


@dataclass(frozen=True, slots=True)
class _ToGo:
    """Times that no plan undercuts, of shape (n, buckets + 1): from where the car arrived, and from where it leaves."""

    arrived: Floats
    left: Floats


def _to_go(network: Network, needs: Ints, least_stop: int, least_end: int) -> _ToGo:
    """The quickest way without regard to the battery, and at further stops the best rate at which a stop gives energy."""
    quickest, thriftiest = network.drive_s[:-1, -1].copy(), needs[:-1, -1].copy()
    among, energy = network.drive_s[:-1, :-1], needs[:-1, :-1]
    while len(quickest):
        quicker = np.minimum(quickest, (among + quickest).min(axis=1))
        thriftier = np.minimum(thriftiest, (energy + thriftiest).min(axis=1))
        if (quicker >= quickest - _TINY).all() and (thriftier >= thriftiest).all():
            break
        quickest, thriftiest = quicker, thriftier
    lacks = np.maximum(thriftiest[:, None] + least_end - np.arange(network.buckets + 1), 0)
    at_stops_s = lacks * _best_rate(network, least_stop)
    # Where the car stands, it has paid for the stop: what it charges there costs so much less.
    paid_s = (STOP_S + network.wait_s)[:, None]
    return _ToGo(quickest[:, None] + np.maximum(at_stops_s - paid_s, 0.0), quickest[:, None] + at_stops_s)


def _best_rate(network: Network, least_stop: int) -> float:
    """Seconds per bucket at the best stop there can be, its wait and what it costs included."""
    least_wait_s: dict[bytes, tuple[float, Floats]] = {}
    for charge_s, wait_s in zip(network.charge_s, network.wait_s, strict=True):
        key = charge_s.tobytes()
        if key not in least_wait_s or wait_s < least_wait_s[key][0]:
            least_wait_s[key] = (float(wait_s), charge_s)
    rate_s = np.inf
    for wait_s, charge_s in least_wait_s.values():
        charging = charge_s[least_stop:]
        gained = np.arange(len(charging)) - np.arange(len(charging))[:, None]
        whole = STOP_S + wait_s + charging - charging[:, None]
        rate_s = min(
            rate_s, float(np.min(whole / np.where(gained > 0, gained, np.nan), where=gained > 0, initial=np.inf))
        )
    return rate_s if np.isfinite(rate_s) else 0.0


def _traced(network: Network, labels: Floats, before: Ints, left: int) -> tuple[list[int], list[int]]:
    """Stations and leaving buckets of a plan, from the last station and bucket that the car left; -1: the start."""
    size = network.buckets + 1
    stations, leaving = [], []
    while left >= 0:
        station, bucket = divmod(left, size)
        stations.append(station)
        leaving.append(bucket)
        # The label from which the car charged: the least of label minus charging time below the bucket.
        arrived = labels[station, :bucket] - network.charge_s[station, :bucket]
        left = int(before[station * size + int(np.argmin(arrived))])
    return stations[::-1], leaving[::-1]


class _Chain:
    """The best way through given stations: costs after each leg and stop by bucket, from the start and to the end."""

    def __init__(self, network: Network, limits: Limits, stations: Sequence[int]) -> None:
        self._network, self._limits = network, limits
        self._needs = _needs(network)
        self._least_stop, self._least_end = _least(network, limits)
        self._stations = list(stations)
        #: Of each station, and before them of the start: the cost when the car leaves with a bucket.
        self.left: list[Floats | None] = [None]
        for station in self._stations:
            arrived = self.arrived(self.left[-1], self._row(len(self.left) - 1), np.array([station]))
            self.left.append(self._charged(arrived, np.array([station]))[0])
        #: The cost to the end from where the car arrives at a stop with a bucket, its wait included.
        self.to_go: list[Floats] = [np.zeros(0)] * len(self._stations)
        for number in reversed(range(len(self._stations))):
            station = self._stations[number]
            after = self.after(np.array([station]), number + 1)[0] + network.charge_s[station]
            # A stop charges at least one bucket.
            best = np.append(np.minimum.accumulate(after[::-1])[::-1][1:], np.inf)
            self.to_go[number] = best - network.charge_s[station]

    def leaving(self) -> list[int] | None:
        """The buckets with which the car leaves each station; None if it cannot make it."""
        if not self._stations:
            ends = _from_start(self._network, self._limits)[-1]
            return [] if ends >= self._least_end else None
        buckets = []
        arrived = self.arrived(None, self._network.stations, np.array([self._stations[0]]))[0]
        for number, station in enumerate(self._stations):
            at = int(np.argmin(arrived + self.to_go[number]))
            if not np.isfinite(arrived[at] + self.to_go[number][at]):
                return None
            after = self.after(np.array([station]), number + 1)[0] + self._network.charge_s[station]
            bucket = at + 1 + int(np.argmin(after[at + 1 :]))
            buckets.append(bucket)
            if number + 1 < len(self._stations):
                left = np.full(self._network.buckets + 1, np.inf)
                left[bucket] = 0.0
                arrived = self.arrived(left, station, np.array([self._stations[number + 1]]))[0]
        return buckets

    def replaced(self, number: int) -> tuple[int, float] | None:
        """The best other station for a stop and the cost of the whole trip by it; None if there is none."""
        network = self._network
        others = np.array([s for s in range(network.stations) if s not in self._stations], dtype=np.int64)
        if not len(others):
            return None
        arrived = self.arrived(self.left[number], self._row(number), others)
        total = (self._charged(arrived, others) + self.after(others, number + 1)).min(axis=1)
        best = int(np.argmin(total))
        return (int(others[best]), float(total[best])) if np.isfinite(total[best]) else None

    def arrived(self, left: Floats | None, row: int, stations: Ints) -> Floats:
        """Costs by arrival bucket, of shape (stations, buckets + 1), with the wait. `left` is None for the start."""
        network = self._network
        costs = np.full((len(stations), network.buckets + 1), np.inf)
        ways = network.drive_s[row, stations] + network.wait_s[stations] + STOP_S
        if left is None:
            bucket = _from_start(network, self._limits)[stations]
            there = np.flatnonzero(bucket >= self._least_stop)
            costs[there, bucket[there]] = ways[there]
            return costs
        bucket = np.arange(network.buckets + 1) + self._needs[row, stations][:, None]
        reached = (bucket <= network.buckets) & (np.arange(network.buckets + 1) >= self._least_stop)
        found = np.where(reached, left[np.minimum(bucket, network.buckets)], np.inf)
        return found + ways[:, None]

    def after(self, stations: Ints, number: int) -> Floats:
        """The cost from where the car leaves `stations` with a bucket to the end by the stop `number`, of their shape."""
        network = self._network
        is_last = number >= len(self._stations)
        column = network.stations if is_last else self._stations[number]
        bucket = np.arange(network.buckets + 1) - self._needs[stations, column][:, None]
        ways = network.drive_s[stations, column][:, None]
        if is_last:
            return np.where(bucket >= self._least_end, ways, np.inf)
        ways = ways + network.wait_s[column] + STOP_S
        return np.where(bucket >= self._least_stop, ways + self.to_go[number][np.maximum(bucket, 0)], np.inf)

    def _charged(self, arrived: Floats, stations: Ints) -> Floats:
        """Costs by leaving bucket. A stop charges at least one bucket."""
        charging = self._network.charge_s[stations]
        before = np.minimum.accumulate(arrived - charging, axis=1)
        charged = np.full_like(arrived, np.inf)
        charged[:, 1:] = before[:, :-1] + charging[:, 1:]
        return charged

    def _row(self, number: int) -> int:
        """The row of the network from which the leg to the stop `number` begins."""
        return self._stations[number - 1] if number else self._network.stations


def _with_alternatives(network: Network, limits: Limits, made: Plan) -> tuple[Stop, ...]:
    stations = [stop.station for stop in made.stops]
    chain = _Chain(network, limits, stations)
    stops = []
    for number, stop in enumerate(made.stops):
        found = chain.replaced(number)
        if found is not None:
            other = best_for(network, limits, [*stations[:number], found[0], *stations[number + 1 :]])
            if other is not None:
                extra_s = other.total_s - made.total_s
                stop = replace(stop, alternative=Alternative(other.stops[number], extra_s))
        stops.append(stop)
    return tuple(stops)
