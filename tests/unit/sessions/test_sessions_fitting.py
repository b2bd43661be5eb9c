"""Fitting a site's demand: the fit finds what the data were drawn from, and comes near days that it has not seen."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest

from evcharge.errors import UserError
from evcharge.sessions.fitting import Days, fit, score
from evcharge.sessions.readers import read_sessions
from evcharge.settings import PROJECT
from simulation.profile import WEEKDAYS, Conditional, DayKind, Distribution, ProfileError, SiteProfile
from simulation.realism import dispersion, ks_distance, rank_correlation

FIRST = date(2024, 1, 1)


def distribution(*knots: float) -> Distribution:
    return Distribution(knots)


#: Mornings on weekdays; who stays longer takes more, who comes later stays less.
TRUTH = SiteProfile(
    source="test",
    sessions=0,
    time_zone="UTC",
    evses=4,
    power_kw=11.0,
    connector_type="J1772",
    visits=(20.0, 20.0, 20.0, 20.0, 10.0, 0.0, 0.0),
    day_variance=0.05,
    kinds={
        WEEKDAYS: DayKind(
            distribution(6.5, 8.0, 8.5, 9.0, 12.0),
            Conditional((7.0, 12.0), (distribution(6.0, 8.0, 9.0), distribution(1.0, 2.0, 4.0))),
            (6.0,),
            (Conditional((1.0, 9.0), (distribution(2.0, 4.0, 6.0), distribution(10.0, 15.0, 30.0))),),
        )
    },
)


def write(folder: Path, days: int, profile: SiteProfile = TRUTH, seed: int = 7) -> Path:
    """The visits that `profile` draws, as a generic file of sessions."""
    drawn = profile.draw(seed, days)
    lines = ["session_id,station_id,evse_id,started_at,ended_at,energy_delivered_kwh,latitude,longitude,time_zone"]
    for number in range(len(drawn)):
        start = datetime(FIRST.year, FIRST.month, FIRST.day, tzinfo=UTC) + timedelta(
            days=int(drawn.day[number]), hours=float(drawn.start_hour[number])
        )
        end = start + timedelta(hours=float(drawn.stay_h[number]))
        lines.append(
            f"s-{number},site,E{number % 4},{start:%Y-%m-%dT%H:%M:%SZ},{end:%Y-%m-%dT%H:%M:%SZ},"
            f"{drawn.energy_kwh[number]:.3f},40.0,-100.0,UTC"
        )
    file = folder / "sessions.csv"
    file.write_text("\n".join(lines) + "\n")
    return file


def test_the_fit_finds_what_the_data_were_drawn_from(tmp_path: Path) -> None:
    profile = fit(read_sessions(write(tmp_path, 364)))
    assert profile.visits[5:] == (0.0, 0.0)
    assert profile.visits[:5] == pytest.approx(TRUTH.visits[:5], rel=0.12)
    assert profile.day_variance == pytest.approx(TRUTH.day_variance, abs=0.03)
    ours, truth = profile.draw(1, 2_000), TRUTH.draw(2, 2_000)
    for name in ("start_hour", "stay_h", "energy_kwh"):
        assert ks_distance(getattr(ours, name), getattr(truth, name)) < 0.04, name
    for a, b in (("stay_h", "energy_kwh"), ("start_hour", "stay_h")):
        assert rank_correlation(getattr(ours, a), getattr(ours, b)) == pytest.approx(
            rank_correlation(getattr(truth, a), getattr(truth, b)), abs=0.04
        )


def test_odd_days_tell_of_even_ones(tmp_path: Path) -> None:
    recording = read_sessions(write(tmp_path, 364))
    told = score(fit(recording, Days.ODD), recording, Days.ODD)
    assert told.days is Days.EVEN
    # two halves of 2,300 sessions differ by that much in one of twenty cases
    assert all(ours < 0.04 for ours, _ in told.distances.values()), told.distances
    assert told.intervals["day_count_dispersion"].inside


def test_a_profile_of_another_site_is_found_out(tmp_path: Path) -> None:
    mornings = TRUTH.kinds[WEEKDAYS]
    evenings = replace(mornings, start=Distribution(tuple(knot + 6 for knot in mornings.start.knots)))
    other = replace(TRUTH, kinds={WEEKDAYS: evenings}, visits=(4.0, 36.0, 4.0, 36.0, 10.0, 0.0, 0.0))
    told = score(other, read_sessions(write(tmp_path, 364)), Days.ODD)
    assert told.distances["start_hour"][0] > 0.5
    assert not told.intervals["day_count_dispersion"].inside


def test_a_profile_survives_its_file_and_holds_no_session(tmp_path: Path) -> None:
    recording = read_sessions(write(tmp_path, 364))
    profile = fit(recording)
    text = json.dumps(profile.to_json())
    again = SiteProfile.from_json(json.loads(text))
    assert json.dumps(again.to_json()) == text
    assert len(text) < 50_000
    assert "s-1" not in text
    first, second = again.draw(5, 30), again.draw(5, 30)
    assert np.array_equal(first.energy_kwh, second.energy_kwh)
    assert (np.diff(first.day * 24 + first.start_hour) >= 0).all()


def test_a_day_alone_is_distributed_as_a_day_among_many() -> None:
    alone = [TRUTH.visits_on(4, np.random.default_rng([3, number])) for number in range(1_000)]
    among = TRUTH.draw(5, 7_000)
    among = among.where(among.day % 7 == 4)
    assert all((one.day == 0).all() and (np.diff(one.start_hour) >= 0).all() for one in alone)
    assert np.mean([len(one) for one in alone]) == pytest.approx(len(among) / 1_000, rel=0.05)
    for name in ("start_hour", "stay_h", "energy_kwh"):
        assert ks_distance(np.concatenate([getattr(one, name) for one in alone]), getattr(among, name)) < 0.025, name
    again = TRUTH.visits_on(4, np.random.default_rng([3, 0]))
    assert np.array_equal(again.energy_kwh, alone[0].energy_kwh)
    assert len(TRUTH.visits_on(6, np.random.default_rng(0))) == 0


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"profile_version": 9}, "profile_version is 9"),
        ({"visits": [1, 2, 3]}, "visits: seven means"),
        ({"visits": [0] * 7}, "visits: seven means"),
        ({"visits": [1] * 7}, "weekday 5, of a kind that is missing"),
        ({"kinds": {"holiday": None}}, "of another type"),
        ({"power_kw": 0}, "power_kw: 0 is impossible"),
        ({"day_variance": -1}, "day_variance: -1 is impossible"),
        ({"unheard_of": 1}, "unheard_of"),
    ],
)
def test_an_impossible_profile_is_an_error_that_names_the_field(changed: dict[str, object], said: str) -> None:
    told = {**json.loads(json.dumps(TRUTH.to_json())), **changed}
    with pytest.raises(ProfileError, match=said):
        SiteProfile.from_json(told)


def test_knots_must_rise() -> None:
    told = json.loads(json.dumps(TRUTH.to_json()))
    told["kinds"][WEEKDAYS]["start"]["knots"] = [9.0, 8.0]
    with pytest.raises(ProfileError, match=r"weekdays.start: knots must rise"):
        SiteProfile.from_json(told)


def test_too_few_sessions_and_several_sites_are_told() -> None:
    examples = PROJECT / "examples"
    with pytest.raises(UserError, match="24 sessions on all days, a fit needs 50"):
        fit(read_sessions(examples / "sessions-acn.csv"))
    with pytest.raises(UserError, match="sessions of 2 sites"):
        fit(read_sessions(examples / "sessions-generic.csv"))


def test_statistics_are_the_textbook_s() -> None:
    assert ks_distance(np.array([1.0, 2.0, 3.0]), np.array([2.5, 3.5])) == pytest.approx(2 / 3)
    assert rank_correlation(np.array([1.0, 2.0, 2.0, 9.0]), np.array([3.0, 2.0, 2.0, 1.0])) == pytest.approx(-1.0)
    assert dispersion(np.array([0.0, 4.0])) == pytest.approx(4.0)


@pytest.mark.parametrize("name", ["acn_caltech_2019-05-01_2019-08-31.csv.gz", "epfl_dcfast_2022_share.csv"])
def test_real_odd_days_tell_of_the_even_ones(shared_sessions: Path, name: str) -> None:
    recording = read_sessions(shared_sessions / name)
    profile = fit(recording, Days.ODD)
    assert len(json.dumps(profile.to_json())) < 50_000
    told = score(profile, recording, Days.ODD)
    for quantity, (ours, real) in told.distances.items():
        assert ours <= 1.25 * real, quantity
    assert all(one.inside for one in told.intervals.values()), told
