"""The planner against every plan there is, on small networks."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evcharge.trips.planner import STOP_S, Limits, Network, Plan, best_for, plan

BUCKETS = 8
LIMITS = Limits(0.75, 0.125, 0.25)


@st.composite
def networks(draw: st.DrawFn, most: int = 3) -> Network:
    """Up to `most` stations with any ways between them: also such as no road has. Energies are whole buckets."""
    count = draw(st.integers(0, most))
    size = (count + 1, count + 1)
    seconds = draw(st.lists(st.integers(60, 9_000), min_size=size[0] ** 2, max_size=size[0] ** 2))
    energy = draw(st.lists(st.integers(0, BUCKETS + 3), min_size=size[0] ** 2, max_size=size[0] ** 2))
    steps = draw(st.lists(st.integers(10, 2_000), min_size=count * BUCKETS, max_size=count * BUCKETS))
    waits = draw(st.lists(st.integers(0, 4_000), min_size=count, max_size=count))
    charge_s = np.zeros((count, BUCKETS + 1))
    charge_s[:, 1:] = np.cumsum(np.array(steps, dtype=float).reshape(count, BUCKETS), axis=1)
    return Network(
        np.array(seconds, dtype=float).reshape(size),
        np.array(energy, dtype=float).reshape(size) / BUCKETS,
        charge_s,
        np.array(waits, dtype=float),
    )


def every_time(network: Network, limits: Limits, avoid: int = -1) -> Iterator[float]:
    """The time of every plan that reaches the destination within five stops, by trying all."""
    needs = np.ceil(network.energy * BUCKETS - 1e-9).astype(int)
    stop, end = round(limits.stop * BUCKETS), round(limits.destination * BUCKETS)
    count = network.stations
    best = [np.inf]

    def onwards(row: int, bucket: int, spent_s: float, stops: int) -> Iterator[float]:
        if bucket - needs[row, count] >= end:
            best[0] = min(best[0], spent_s + network.drive_s[row, count])
            yield spent_s + network.drive_s[row, count]
        for station in range(count):
            arrives = bucket - needs[row, station]
            at_s = spent_s + network.drive_s[row, station] + network.wait_s[station] + STOP_S
            if arrives < stop or stops == 5 or at_s >= best[0] or station == avoid:
                continue
            for leaves in range(arrives + 1, BUCKETS + 1):
                charge_s = network.charge_s[station, leaves] - network.charge_s[station, arrives]
                yield from onwards(station, leaves, at_s + charge_s, stops + 1)

    yield from onwards(count, round(limits.departure * BUCKETS), 0.0, 0)


def check_adds_up(made: Plan, network: Network, limits: Limits) -> None:
    assert made.legs[0].soc_start == limits.departure
    assert len(made.legs) == len(made.stops) + 1
    for leg, stop, after in zip(made.legs, made.stops, made.legs[1:], strict=False):
        assert leg.end == stop.station == after.start
        assert leg.soc_end == pytest.approx(leg.soc_start - leg.energy)
        assert after.soc_start == stop.soc_leave <= 1
        assert stop.soc_leave > stop.soc_arrive
        if leg.is_feasible:
            assert stop.soc_arrive == leg.soc_end >= limits.stop - 1e-9
    assert not made.legs[-1].is_feasible or made.legs[-1].soc_end >= limits.destination - 1e-9
    driven = sum(leg.drive_s for leg in made.legs)
    stood = sum(stop.wait_s + stop.charge_s + STOP_S for stop in made.stops)
    assert made.total_s == pytest.approx(driven + stood)
    energy = sum(leg.energy for leg in made.legs)
    charged = sum(stop.soc_leave - stop.soc_arrive for stop in made.stops)
    if made.is_feasible:
        assert made.legs[-1].soc_end == pytest.approx(limits.departure - energy + charged)


@pytest.mark.slow
@given(networks())
@settings(max_examples=150)
def test_no_other_plan_is_quicker(network: Network) -> None:
    made = plan(network, LIMITS)
    times = list(every_time(network, LIMITS))
    check_adds_up(made, network, LIMITS)
    assert made.is_feasible == bool(times)
    if times and len(made.stops) <= 5:
        assert made.total_s == pytest.approx(min(times))


@pytest.mark.slow
@given(networks(), st.floats(0.0, 0.124))
@settings(max_examples=60)
def test_energy_between_buckets_is_rounded_up(network: Network, less: float) -> None:
    """Such a plan is as quick as one in whole buckets, or a little quicker, because its car arrives with more."""
    thriftier = replace(network, energy=np.maximum(network.energy - less, 0.0))
    made = plan(thriftier, LIMITS)
    check_adds_up(made, thriftier, LIMITS)
    times = list(every_time(thriftier, LIMITS))
    # The departure is a whole bucket. So only the first leg may reach a bucket more than the search of all plans says.
    if times and len(made.stops) <= 5:
        assert made.total_s <= min(times) + 1e-6


@pytest.mark.slow
@given(networks())
@settings(max_examples=60)
def test_an_alternative_is_the_best_other_station_for_its_stop(network: Network) -> None:
    made = plan(network, LIMITS)
    if not made.is_feasible:
        return
    stations = [stop.station for stop in made.stops]
    for number, stop in enumerate(made.stops):
        others = [other for other in range(network.stations) if other not in stations]
        ways = [best_for(network, LIMITS, [*stations[:number], other, *stations[number + 1 :]]) for other in others]
        times = [way.total_s for way in ways if way]
        if stop.alternative is None:
            assert not times
        else:
            assert stop.alternative.stop.station in others
            assert made.total_s + stop.alternative.extra_s == pytest.approx(min(times))
            assert stop.alternative.extra_s >= -1e-6


def line(kms: list[float], end_km: float, wait_s: list[float] | None = None, range_km: float = 400.0) -> Network:
    """Stations on a straight road at 100 km/h, all with the same charger: an hour for a whole battery."""
    rows, columns = np.array([*kms, 0.0]), np.array([*kms, end_km])
    apart = np.abs(rows[:, None] - columns)
    charge_s = np.tile(np.linspace(0.0, 3600.0, 101), (len(kms), 1))
    return Network(np.maximum(apart * 36, 1.0), apart / range_km, charge_s, np.array(wait_s or [0.0] * len(kms)))


def test_a_trip_within_the_range_does_not_stop() -> None:
    made = plan(line([100.0], 250.0), Limits(0.8, 0.1, 0.1))
    assert made.stops == ()
    assert made.total_s == 250 * 36


def test_a_long_wait_sends_the_car_to_the_next_station() -> None:
    limits = Limits(0.8, 0.1, 0.1)
    assert [stop.station for stop in plan(line([200.0, 230.0], 450.0), limits).stops] == [0]
    waits = plan(line([200.0, 230.0], 450.0, [1_200.0, 0.0]), limits)
    assert [stop.station for stop in waits.stops] == [1]
    assert waits.stops[0].alternative is not None
    assert waits.stops[0].alternative.stop.station == 0
    assert waits.stops[0].alternative.extra_s == pytest.approx(1_200, abs=60)


def test_a_station_where_nobody_can_charge_is_left_out() -> None:
    made = plan(line([200.0, 230.0], 450.0, [np.inf, 0.0]), Limits(0.8, 0.1, 0.1))
    assert [stop.station for stop in made.stops] == [1]
    assert made.stops[0].alternative is None


def test_a_leg_beyond_the_range_is_named_and_the_plan_goes_on() -> None:
    made = plan(line([100.0, 700.0], 900.0), Limits(0.5, 0.1, 0.1))
    assert [leg.is_feasible for leg in made.legs] == [True, False, True]
    assert made.stops[0].soc_leave == 1.0
    assert made.legs[1].soc_end == pytest.approx(1 - 600 / 400)
    assert made.stops[1].soc_arrive == 0.1


def test_a_car_with_nothing_left_goes_nowhere() -> None:
    made = plan(line([], 900.0), Limits(0.01, 0.1, 0.1))
    assert [leg.is_feasible for leg in made.legs] == [False]


def test_best_for_refuses_stations_out_of_reach() -> None:
    network = line([100.0, 390.0], 450.0)
    assert best_for(network, Limits(0.5, 0.1, 0.1), [1]) is None
    assert best_for(network, Limits(0.5, 0.1, 0.1), []) is None
    found = best_for(network, Limits(0.5, 0.1, 0.1), [0])
    assert found is not None
    assert found.stops[0].soc_leave == pytest.approx(350 / 400 + 0.1, abs=0.011)
