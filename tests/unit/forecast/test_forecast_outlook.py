"""A station's outlook: what must hold for every station, and the chances against a drawn queue."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import numpy as np
import pytest

from evcharge.forecast.at_a_glance import Counts, chances_free
from evcharge.forecast.model import PRIOR, KnownStation, Model, SiteKind
from evcharge.forecast.outlook import MINUTES, never_free, outlook_of
from evcharge.forecast.station_now import Car, StationNow
from evcharge.forecast.stays import AGES_MIN

#: A Wednesday afternoon in New York.
NOW = datetime(2026, 6, 3, 18, 0, tzinfo=UTC)


def station(free: int, cars: int, **fields: object) -> StationNow:
    at_outlets = tuple(Car(600.0 * (number + 1)) for number in range(cars))
    made = StationNow("s", "America/New_York", 150.0, free, at_outlets)
    return replace(made, **fields)  # type: ignore[arg-type]


def constant(leaves_per_h: float, comes_per_h: float) -> Model:
    """A model whose cars leave and come at the same rate at all times."""
    kind = SiteKind(
        "c", "fast DC", 1.0, np.full((24, len(AGES_MIN)), leaves_per_h), np.full((2, 24), float(comes_per_h))
    )
    return Model("c", "a test", (kind,))


def test_now_is_certain() -> None:
    assert outlook_of(PRIOR, station(1, 3), NOW).at(0).probability_free == 1.0
    full = outlook_of(PRIOR, station(0, 4), NOW).at(0)
    assert full.probability_free == 0.0
    assert full.expected_free == 0.0
    assert full.expected_wait_s > 0
    assert outlook_of(PRIOR, station(1, 3), NOW).at(0).expected_wait_s == 0.0


@pytest.mark.parametrize(("free", "cars"), [(0, 1), (0, 6), (2, 2), (5, 0), (0, 40)])
def test_every_chance_and_its_range_are_chances(free: int, cars: int) -> None:
    found = outlook_of(PRIOR, station(free, cars, queue=1 if not free else 0), NOW)
    for low, middle, high in zip(found.low, found.probability_free, found.high, strict=True):
        assert 0.0 <= low <= middle <= high <= 1.0
    assert (found.expected_wait_s >= 0).all()
    assert (found.expected_free <= free + cars + 1e-9).all()


def test_more_cars_ahead_never_help() -> None:
    free_first = outlook_of(PRIOR, station(1, 3), NOW)
    full = outlook_of(PRIOR, station(0, 4), NOW)
    behind_two = outlook_of(PRIOR, station(0, 4, queue=2), NOW)
    inbound = outlook_of(PRIOR, station(1, 3, inbound=((5.0, 0.9),)), NOW)
    assert (free_first.probability_free >= full.probability_free - 1e-9).all()
    assert (full.probability_free >= behind_two.probability_free - 1e-9).all()
    assert (full.expected_wait_s <= behind_two.expected_wait_s + 1e-6).all()
    assert inbound.chance(30) < free_first.chance(30)
    assert inbound.wait_s(20) > free_first.wait_s(20)


def test_a_car_that_comes_later_takes_nothing_before() -> None:
    early = outlook_of(PRIOR, station(1, 3), NOW)
    late = outlook_of(PRIOR, station(1, 3, inbound=((120.0, 0.9),)), NOW)
    assert late.chance(30) == pytest.approx(early.chance(30), abs=0.01)
    assert late.chance(140) < early.chance(140) - 0.01


def test_the_chance_is_that_of_a_drawn_site() -> None:
    """Cars leave and come at constant rates: the chance against a simulation in steps of half a minute."""
    outlets, taken, comes, leaves = 3, 3, 1.5, 1.2
    model = constant(leaves, comes / outlets)
    random = np.random.default_rng(3)
    busy = np.full(20_000, taken)
    waiting = np.zeros(20_000, dtype=int)
    step_h = 1 / 120
    seen = {}
    for step in range(1, 241):
        left = random.binomial(busy, 1 - np.exp(-leaves * step_h))
        came = random.random(20_000) < 1 - np.exp(-comes * step_h)
        busy = busy - left
        moved = np.minimum(waiting, outlets - busy)
        busy, waiting = busy + moved, waiting - moved
        fits = came & (busy < outlets)
        stays = came & ~fits & (random.random(20_000) >= 0.4)
        busy, waiting = busy + fits, waiting + stays
        if step in (20, 60, 120, 240):
            seen[step // 2] = float((busy < outlets).mean())
    found = outlook_of(model, station(0, taken), NOW)
    for minutes, drawn in seen.items():
        assert found.chance(minutes) == pytest.approx(drawn, abs=0.04), minutes


def test_the_wait_at_once_is_the_first_departure() -> None:
    """Three cars that leave at 2 an hour each: the first of them leaves after ten minutes in the mean."""
    found = outlook_of(constant(2.0, 0.0), station(0, 3), NOW)
    assert found.at(0).expected_wait_s == pytest.approx(600, rel=0.05)
    behind_one = outlook_of(constant(2.0, 0.0), station(0, 3, queue=1), NOW)
    assert behind_one.at(0).expected_wait_s == pytest.approx(600 + 900, rel=0.2)


def test_unknown_outlets_make_the_range_wide_and_are_not_free() -> None:
    known = outlook_of(PRIOR, station(3, 0), NOW)
    unknown = outlook_of(PRIOR, station(0, 0, unknown=3), NOW)
    assert unknown.at(0).probability_free < 1.0
    assert unknown.low[0] == 0.0
    assert unknown.high[0] == 1.0
    assert (unknown.high - unknown.low > known.high - known.low).all()


def test_a_broken_outlet_is_taken_for_a_long_time() -> None:
    found = outlook_of(PRIOR, station(0, 0, broken=1), NOW)
    assert found.at(0).probability_free == 0.0
    assert 0.0 < found.chance(60) < 0.1


def test_a_station_that_nobody_can_charge_at_is_never_free() -> None:
    found = never_free("s", "closed for now")
    assert not found.probability_free.any()
    assert not found.high.any()
    assert np.isinf(found.expected_wait_s).all()


def test_a_busier_station_is_less_likely_free() -> None:
    busy = replace(PRIOR, stations={"s": KnownStation((1.0,), 3.0, 500)})
    quiet = replace(PRIOR, stations={"s": KnownStation((1.0,), 0.3, 500)})
    one, other = (outlook_of(model, station(1, 3), NOW) for model in (busy, quiet))
    assert (one.probability_free[1:] < other.probability_free[1:]).all()


def test_between_two_instants_it_is_interpolated() -> None:
    found = outlook_of(PRIOR, station(0, 4), NOW)
    assert found.chance(15) == pytest.approx((found.chance(10) + found.chance(20)) / 2)
    assert found.chance(500) == found.chance(MINUTES[-1])


def test_the_map_agrees_with_the_station() -> None:
    """From counts alone the map's chance is near that of a station whose cars nobody looked at."""
    model = constant(1.2, 0.5)
    shown = chances_free(
        model, [Counts("s", 14, False, "fast DC", free, cars) for free, cars in ((0, 3), (1, 2), (3, 0))], 30
    )
    for chance, (free, cars) in zip(shown, ((0, 3), (1, 2), (3, 0)), strict=True):
        assert chance == pytest.approx(outlook_of(model, station(free, cars), NOW).chance(30), abs=0.05)
    assert shown == sorted(shown)


def test_the_map_shows_a_station_with_many_outlets() -> None:
    full, nearly, broken = chances_free(
        PRIOR,
        [
            Counts("s", 14, False, "AC", 0, 60),
            Counts("s", 14, False, "AC", 30, 30),
            Counts("s", 14, False, "AC", 0, 0, 2),
        ],
        30,
    )
    assert 0 < full <= 1
    assert nearly > 0.99
    assert broken == 0.0
