"""Which places of a car the live state leaves out."""

from __future__ import annotations

import pytest

from evcharge.live.vehicle_positions import Place, is_jump

MINUTE_MS = 60_000
HOME = Place(40.0, -74.0, 0)


def north(km: float, minutes: float) -> Place:
    """So far north of home after so many minutes."""
    return Place(HOME.latitude + km / 111.195, HOME.longitude, round(minutes * MINUTE_MS))


@pytest.mark.parametrize(
    ("place", "jumps"),
    [
        (north(500, 60), True),
        (north(349, 60), False),
        (north(351, 60), True),
        (north(0.9, 0), False),
        (north(1.1, 0), True),
        # late, and as far away as a car gets in that time
        (north(349, -60), False),
    ],
)
def test_a_place_that_no_car_gets_to_in_that_time_is_a_jump(place: Place, jumps: bool) -> None:
    assert is_jump(place, [HOME]) is jumps


def test_the_first_place_of_a_car_is_believed() -> None:
    assert not is_jump(north(5_000, 0), [])


def test_one_outlier_does_not_take_the_next_good_place_with_it() -> None:
    outlier = north(500, 1)
    assert is_jump(outlier, [HOME])
    assert not is_jump(north(1, 2), [HOME, outlier])
