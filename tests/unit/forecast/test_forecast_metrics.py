"""The figures of a score against values computed by hand."""

from __future__ import annotations

import numpy as np
import pytest

from evcharge.forecast.metrics import brier, calibration_error, score_horizon, skill


def test_the_brier_score_is_the_mean_squared_distance() -> None:
    # (.2² + .3² + .4² + 1²) / 4
    assert brier([0.8, 0.3, 0.6, 0.0], [1, 0, 1, 1]) == pytest.approx((0.04 + 0.09 + 0.16 + 1.0) / 4)


def test_skill_is_what_is_saved_of_the_reference() -> None:
    assert skill(0.03, 0.04) == pytest.approx(0.25)
    assert skill(0.05, 0.04) == pytest.approx(-0.25)
    assert skill(0.0, 0.0) is None


def test_the_calibration_error_weighs_each_bin_by_its_samples() -> None:
    # bin of .8: three forecasts with mean .85, of which two came true; bin of .1: one with .15, which did not
    chance, outcome = [0.82, 0.85, 0.88, 0.15], [1, 1, 0, 0]
    assert calibration_error(chance, outcome) == pytest.approx(3 / 4 * (0.85 - 2 / 3) + 1 / 4 * 0.15)


def test_a_certain_forecast_is_in_the_last_bin() -> None:
    assert calibration_error([1.0, 0.95], [1, 1]) == pytest.approx(0.025)


def test_equal_gaps_of_opposite_sign_in_one_bin_cancel_out() -> None:
    assert calibration_error([0.5] * 4, [1, 0, 1, 0]) == 0.0


def test_a_horizon_is_scored_against_both_references_and_where_nothing_was_free() -> None:
    found = score_horizon(
        30,
        probability=[0.9, 0.4, 0.2, 1.0],
        persistence=[1, 0, 0, 1],
        climatology=[0.5] * 4,
        outcome=[1, 1, 0, 0],
        full_now=[False, True, True, False],
    )
    assert (found.minutes, found.samples, found.samples_full_now) == (30, 4, 2)
    assert found.brier == pytest.approx((0.01 + 0.36 + 0.04 + 1.0) / 4)
    assert found.brier_persistence == pytest.approx(2 / 4)
    assert found.brier_climatology == pytest.approx(0.25)
    assert found.brier_skill == pytest.approx(1 - 0.3525 / 0.5)
    assert found.brier_skill_climatology == pytest.approx(1 - 0.3525 / 0.25)
    assert found.brier_full_now == pytest.approx((0.36 + 0.04) / 2)
    assert found.brier_persistence_full_now == pytest.approx(0.5)


def test_a_site_that_was_never_full_has_no_figure_for_it() -> None:
    found = score_horizon(10, [0.9, 0.9], [1, 1], [1, 1], [1, 1], np.zeros(2))
    assert found.brier_full_now is None
    assert found.brier_persistence_full_now is None
    assert found.brier_skill is None


def test_nothing_cannot_be_scored() -> None:
    with pytest.raises(ValueError, match="no samples"):
        score_horizon(10, [], [], [], [], [])
