"""Counting taken outlets and waits, against enumeration and against drawing."""

from __future__ import annotations

from itertools import product
from math import exp, factorial

import numpy as np
import pytest

from evcharge.forecast.occupancy import count_of_independent, poisson, sum_of, waits_for


def test_a_count_of_independent_events_is_what_enumeration_gives() -> None:
    chances = np.array([0.1, 0.5, 0.9, 0.3])
    expected = np.zeros(5)
    for happened in product((0, 1), repeat=4):
        expected[sum(happened)] += np.prod([c if h else 1 - c for c, h in zip(chances, happened, strict=True)])
    assert count_of_independent(chances) == pytest.approx(expected)


def test_the_count_of_no_events_is_none() -> None:
    assert count_of_independent(np.zeros((3, 0))).tolist() == [[1.0]] * 3


def test_a_poisson_distribution_keeps_what_is_above_in_its_last_count() -> None:
    found = poisson(np.array([0.0, 1.7]), 3)
    of_two = [exp(-1.7) * 1.7**k / factorial(k) for k in range(3)]
    assert found[0].tolist() == [1.0, 0.0, 0.0, 0.0]
    assert found[1, :3] == pytest.approx(of_two)
    assert found.sum(axis=1) == pytest.approx([1.0, 1.0])


@pytest.mark.parametrize("most", [2, 4, 9])
def test_a_sum_is_what_enumeration_gives_and_loses_nothing(most: int) -> None:
    one, other = np.array([[0.2, 0.5, 0.3]]), np.array([[0.1, 0.2, 0.3, 0.4]])
    expected = np.zeros(most + 1)
    for (a, chance_a), (b, chance_b) in product(enumerate(one[0]), enumerate(other[0])):
        expected[min(a + b, most)] += chance_a * chance_b
    assert sum_of(one, other, most)[0] == pytest.approx(expected)


def test_the_waits_are_the_order_statistics_of_the_remaining_times() -> None:
    after_min = np.linspace(0, 600, 3001)
    drawn = np.random.default_rng(5).exponential(20, size=(40_000, 4))
    drawn.sort(axis=1)
    found = waits_for(3, np.exp(-after_min / 20)[None, :], 4, after_min * 60)
    assert found.shape == (1, 3)
    assert found[0] == pytest.approx(drawn[:, :3].mean(axis=0) * 60, rel=0.03)


def test_the_wait_for_one_car_is_its_stay() -> None:
    after_s = np.array([0.0, 60.0, 120.0])
    assert waits_for(1, np.array([1.0, 0.5, 0.0]), 1, after_s) == pytest.approx([60.0])


def test_what_stays_for_ever_counts_half_of_the_grid_more() -> None:
    after_s = np.array([0.0, 60.0, 120.0])
    assert waits_for(1, np.ones(3), 1, after_s) == pytest.approx([180.0])
