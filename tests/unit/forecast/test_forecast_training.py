"""Training: kinds of sites, hazards, shrinkage, the past as it was known, and versions."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import numpy as np
import pytest

from evcharge.forecast.model import NO_CALIBRATION, PRIOR, KnownStation, Model
from evcharge.forecast.past_score import forecasts, sampled_times
from evcharge.forecast.power_class import power_class, usual_power_kw
from evcharge.forecast.saved_model import as_saved, model_of, parameters, version_of
from evcharge.forecast.sessions import Sessions, SitePast, Sites
from evcharge.forecast.stays import AGES_MIN, busy_by_hour, lasting, log_normal_hazards, new_stays, stayed
from evcharge.forecast.training import (
    DAY_S,
    calibration_of,
    cohort_end_s,
    counts_of,
    days_between,
    exposures,
    hazards_of,
    learn_kinds,
    train,
)

#: A Monday.
BEGIN_S = datetime(2026, 6, 1, tzinfo=UTC).timestamp()
HOUR_S = 3600.0


def sites(count: int, power_kw: float = 7.2, outlets: int = 4, zone: str = "UTC") -> Sites:
    return Sites(
        tuple(f"s{number:03d}" for number in range(count)),
        (zone,) * count,
        np.full(count, outlets),
        np.full(count, power_kw),
    )


def sessions(of: Sites, rows: list[tuple[int, int, float, float]], **columns: object) -> Sessions:
    """Sessions of (site, outlet, start, hours), starts in hours since BEGIN_S."""
    site, evse, start, hours = (np.array(column) for column in zip(*rows, strict=True))
    start = BEGIN_S + start * HOUR_S
    zero = np.zeros(len(rows))
    made = Sessions(
        of,
        site.astype(np.int64),
        (site * 100 + evse).astype(np.int64),
        start.astype(float),
        start + hours * HOUR_S,
        zero,
        zero,
        zero + np.nan,
        zero + np.nan,
        np.zeros(len(rows), dtype=bool),
    )
    return replace(made, **columns)  # type: ignore[arg-type]


def town(days: int, seed: int = 1) -> Sessions:
    """Ten offices, ten homes and ten shops, each with four sessions a day."""
    random = np.random.default_rng(seed)
    rows = []
    for site in range(30):
        for day in range(days):
            for evse in range(4):
                hour, stay = {
                    0: (random.normal(8.5, 0.7), random.normal(7.5, 0.8)),
                    1: (random.normal(19, 1), random.normal(11.5, 1)),
                    2: (random.uniform(9, 19), random.lognormal(0, 0.4)),
                }[site % 3]
                rows.append((site, evse, day * 24 + hour, max(stay, 0.1)))
    return sessions(sites(30), rows)


def test_kinds_of_sites_are_found_without_being_told() -> None:
    of_town = town(10)
    counts = counts_of(of_town, BEGIN_S, BEGIN_S + 10 * DAY_S)
    kinds, known = learn_kinds(counts, of_town)
    assert [kind.name for kind in kinds] == ["AC day", "AC night", "AC visit", "DC", "fast DC"]
    for number in range(30):
        assert known[f"s{number:03d}"].weights[number % 3] > 0.95
    day, night, visit = (kind.arrivals[0] for kind in kinds[:3])
    assert day.argmax() == 8
    assert 17 <= night.argmax() <= 20
    assert visit[9:19].sum() > 0.9 * visit.sum()


def test_a_site_with_few_sessions_is_near_its_kind() -> None:
    of_town = town(10)
    few = sessions(sites(30), [(0, 0, 8.0, 7.0)])
    counts = counts_of(of_town, BEGIN_S, BEGIN_S + 10 * DAY_S)
    starts = counts.starts.copy()
    starts[0] *= 3
    starts[3] = 0
    starts[3, 0, 8] = 1
    changed = replace(counts, starts=starts)
    kinds, known = learn_kinds(changed, of_town)
    assert known["s000"].rate > 2
    # one session where forty were expected: below its kind, but not as far as a fortieth
    assert 0.1 < known["s003"].rate < 0.5
    assert known["s003"].sessions == len(few)
    assert "s003" in known
    assert kinds[0].arrivals.sum() > 0


def test_without_sessions_the_published_figures_stay() -> None:
    of_town = town(3)
    kinds, _ = learn_kinds(counts_of(of_town, BEGIN_S, BEGIN_S + 3 * DAY_S), of_town)
    assert kinds[-1] is PRIOR.kinds[-1]


def test_exposures_and_departures_are_those_of_the_hours() -> None:
    """A stay from 08:30 to 10:30: its first half hour is in the eighth hour, it ends in the tenth, 120 minutes old."""
    lasts, ends = exposures(sessions(sites(1), [(0, 0, 8.5, 2.0)]), np.ones(1))
    assert lasts.sum() == pytest.approx(2.0)
    assert lasts.sum(axis=1)[[8, 9, 10]] == pytest.approx([0.5, 1.0, 0.5])
    assert ends.sum() == 1
    assert ends[10, int(np.searchsorted(AGES_MIN, 120))] == 1


def test_hazards_are_learned_where_there_is_much_and_the_priors_where_there_is_nothing() -> None:
    prior = np.full((24, len(AGES_MIN)), 0.5)
    lasts, ends = np.full_like(prior, 1000.0), np.full_like(prior, 2000.0)
    assert hazards_of(lasts, ends, prior) == pytest.approx(np.full_like(prior, 2.0), rel=0.02)
    nothing = np.zeros_like(prior)
    assert hazards_of(nothing, nothing, prior) == pytest.approx(prior)


def test_a_log_normal_stay_is_as_long_as_it_says() -> None:
    hazards = np.tile(log_normal_hazards(150.0, 0.9), (24, 1))
    lasts = lasting(hazards, np.zeros(1), 0.0, np.arange(0.0, 600.0, 5.0))[0]
    assert lasts[0] == 1.0
    assert (np.diff(lasts) <= 0).all()
    assert np.interp(150.0, np.arange(0.0, 600.0, 5.0), lasts) == pytest.approx(0.5, abs=0.03)


def test_a_stay_goes_on_as_it_has_lasted() -> None:
    """What a stay survives up to an age and from there on is what it survives in all."""
    random = np.random.default_rng(2)
    hazards = random.uniform(0.1, 1.5, size=(24, len(AGES_MIN)))
    grid = np.arange(0.0, 301.0, 1.0)
    whole = lasting(hazards, np.zeros(1), 600.0, grid)[0]
    rest = lasting(hazards, np.array([60.0]), 660.0, grid[:241])[0]
    assert whole[60] * rest[240] == pytest.approx(whole[300], rel=1e-6)
    assert stayed(np.full_like(hazards, 0.7), np.array([90.0]), 660.0)[0] == pytest.approx(np.exp(-0.7 * 1.5))


def test_new_stays_begin_with_their_arrival() -> None:
    hazards = np.full((24, len(AGES_MIN)), 1.2)
    stays = new_stays(hazards, 0.0, np.arange(0.0, 61.0, 5.0))
    assert np.allclose(np.diag(stays), 1.0)
    assert not np.tril(stays, -1).any()
    assert stays[2, 8] == pytest.approx(np.exp(-1.2 * 0.5))


def test_the_usual_number_of_cars_is_arrivals_times_stay() -> None:
    """Little's law: 0.4 cars an hour that stay half an hour are 0.2 cars."""
    busy = busy_by_hour(np.full((24, len(AGES_MIN)), 2.0), np.full(24, 0.4))
    assert busy == pytest.approx(np.full(24, 0.2), rel=0.1)


def test_a_past_state_knows_nothing_of_what_came_later() -> None:
    rows = [(0, 0, 1.0, 2.0), (0, 1, 2.0, 3.0), (0, 0, 6.0, 1.0)]
    past = SitePast(sessions(sites(1), rows, idle_s=np.array([0.0, HOUR_S, 0.0])))
    at = {hours: past.at(BEGIN_S + hours * HOUR_S) for hours in (0.5, 2.5, 4.5, 5.5)}
    assert (at[0.5].free, len(at[0.5].cars)) == (0, 0)
    assert (at[2.5].free, [car.age_s for car in at[2.5].cars]) == (0, [5400.0, 1800.0])
    assert at[2.5].cars[1].blocked_s is None
    # the last hour of the second stay was idle
    assert at[4.5].cars[0].blocked_s == pytest.approx(1800)
    assert (at[5.5].free, len(at[5.5].cars)) == (2, 0)
    free, heard = past.counts(BEGIN_S + np.array([0.5, 2.5, 4.5, 5.5]) * HOUR_S)
    assert free.tolist() == [0, 0, 1, 2]
    assert heard.tolist() == [0, 2, 2, 2]


def test_a_fault_keeps_an_outlet_until_the_next_car_has_left() -> None:
    rows = [(0, 0, 1.0, 1.0), (0, 0, 5.0, 1.0)]
    past = SitePast(sessions(sites(1), rows, faulted=np.array([True, False])))
    assert [past.at(BEGIN_S + hours * HOUR_S).broken for hours in (1.5, 3.0, 5.5, 7.0)] == [0, 1, 0, 0]
    free, _ = past.counts(BEGIN_S + np.array([1.5, 3.0, 5.5, 7.0]) * HOUR_S)
    assert free.tolist() == [0, 0, 0, 1]


def test_who_waits_is_in_the_queue_until_the_start() -> None:
    past = SitePast(sessions(sites(1), [(0, 0, 1.0, 1.0), (0, 0, 2.0, 1.0)], wait_s=np.array([0.0, 1800.0])))
    assert [past.at(BEGIN_S + hours * HOUR_S).queue for hours in (1.4, 1.6, 2.1)] == [0, 1, 0]


def test_the_cohort_leaves_out_the_last_day_of_a_long_window() -> None:
    assert cohort_end_s(0, 10 * DAY_S) == 9 * DAY_S
    assert cohort_end_s(0, 2 * DAY_S) == 2 * DAY_S
    weekdays, weekend = days_between(BEGIN_S, BEGIN_S + 7 * DAY_S)
    assert (weekdays, weekend) == (5, 2)


def test_the_same_sessions_give_the_same_version() -> None:
    of_town = town(2)
    shuffled = of_town.where(np.random.default_rng(9).permutation(len(of_town)))
    # too short to test a part of it, so that the test is quick
    until_s = BEGIN_S + 1.9 * DAY_S
    one, other = (
        train(counts_of(data, BEGIN_S, cohort_end_s(BEGIN_S, until_s)), data, BEGIN_S, until_s, "test").model
        for data in (of_town, shuffled)
    )
    assert version_of(parameters(one)) == version_of(parameters(other))
    more = town(2, seed=2)
    changed = train(counts_of(more, BEGIN_S, until_s), more, BEGIN_S, until_s, "test").model
    assert version_of(parameters(changed)) != version_of(parameters(one))


def test_a_saved_model_says_the_same_as_the_trained_one() -> None:
    of_town = town(2)
    until_s = BEGIN_S + 1.9 * DAY_S
    trained = train(counts_of(of_town, BEGIN_S, until_s), of_town, BEGIN_S, until_s, "test").model
    saved = as_saved(trained)
    assert saved.version == version_of(parameters(trained))
    times_s = sampled_times(BEGIN_S + DAY_S, until_s, 30, 100)
    one, other = (forecasts(model, of_town, BEGIN_S, times_s) for model in (trained, saved))
    assert one.chances == pytest.approx(other.chances, abs=1e-3)


def test_a_model_of_another_form_is_refused() -> None:
    with pytest.raises(ValueError, match="form 99"):
        model_of({"format": 99}, version="x", source="x")


def test_a_model_that_learned_beats_no_change() -> None:
    of_town = town(12)
    cut_s, until_s = BEGIN_S + 9 * DAY_S, BEGIN_S + 12 * DAY_S
    earlier = of_town.where(of_town.ended_s < cut_s)
    kinds, known = learn_kinds(counts_of(earlier, BEGIN_S, cut_s - DAY_S), earlier)
    found = forecasts(Model("t", "test", kinds, known), of_town, BEGIN_S, sampled_times(cut_s, until_s, 30, 900))
    for horizon in found.scores():
        assert horizon.brier_skill is not None
        assert horizon.brier_skill > 0.1, horizon.minutes


def test_samples_are_thinned_evenly_and_end_before_the_outcome_is_unknown() -> None:
    times_s = sampled_times(0.0, DAY_S, 10, 200)
    assert len(times_s) * 10 <= 200
    assert len(set(np.diff(times_s))) == 1
    assert times_s[-1] <= DAY_S - 7200


def test_calibration_corrects_chances_that_are_too_sure() -> None:
    random = np.random.default_rng(4)
    truth = random.uniform(0.05, 0.95, size=(5_000, 4))
    came_true = random.random(truth.shape) < truth
    odds = np.log(truth / (1 - truth))
    too_sure = 1 / (1 + np.exp(-2 * odds))
    line = calibration_of(too_sure, came_true)
    assert line[1:, 1] == pytest.approx(np.full(4, 0.5), abs=0.06)
    model = replace(PRIOR, calibration=line)
    assert model.calibrated(too_sure, np.array([10.0, 30, 60, 120])) == pytest.approx(truth, abs=0.06)
    assert model.calibrated(np.array([0.0, 1.0]), np.array([10.0, 10.0])).tolist() == [0.0, 1.0]


def test_little_to_test_changes_no_calibration() -> None:
    line = calibration_of(np.full((2, 4), 0.9), np.zeros((2, 4), dtype=bool))
    assert np.abs(line - NO_CALIBRATION).max() < 0.2


def test_power_classes() -> None:
    assert [power_class(kw) for kw in (None, 7.2, 19.2, 50.0, 150.0)] == ["AC", "AC", "AC", "DC", "fast DC"]
    assert power_class(usual_power_kw(["J1772", "CHADEMO"])) == "DC"
    assert usual_power_kw(["J1772", None]) == 0.0


def test_a_known_station_of_another_power_class_is_as_its_class() -> None:
    """The registry says since yesterday that it is a fast charger: what was learned of it as AC does not count."""
    from evcharge.forecast.station_now import StationNow

    model = replace(PRIOR, stations={"s": KnownStation((0.2, 0.8), 1.0, 9)})
    assert [kind.name for _, kind in model.kinds_of(StationNow("s", "UTC", 150.0, 1))] == ["fast DC"]
