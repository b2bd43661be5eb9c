"""Fitting a site's demand: the fit finds what the data were drawn from, and comes near days that it has not seen."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from evcharge.errors import UserError
from evcharge.recorded.fitting import Days, Equipment, Sample, fit, fit_sample, score
from evcharge.recorded.readers import read_sessions
from evcharge.settings import PROJECT
from simulation import profiles
from simulation.comparison import dispersion, ks_distance, rank_correlation
from simulation.estimation import distribution as estimated
from simulation.profile import (
    SHIPPED,
    WEEKDAYS,
    Copula,
    DayKind,
    Distribution,
    Floats,
    ProfileError,
    SiteProfile,
    Visits,
    shipped,
)
from simulation.site import site_fleet

FIRST = date(2024, 1, 1)
Counts = NDArray[np.int64]
SITE = Equipment("test", "UTC", 4, 11.0, "J1772")


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
            distribution(1.0, 2.0, 4.0, 6.0, 8.0, 9.0),
            distribution(2.0, 4.0, 6.0, 10.0, 15.0, 30.0),
            Copula(((1, 2, 4), (2, 3, 2), (4, 2, 1))),
            (Copula(((5, 2, 0), (2, 3, 2), (0, 2, 5))), Copula(((3, 2, 2), (2, 3, 2), (2, 2, 3)))),
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


@pytest.mark.slow
def test_odd_days_predict_even_ones(tmp_path: Path) -> None:
    recording = read_sessions(write(tmp_path, 364))
    scores = score(fit(recording, Days.ODD), recording, Days.ODD)
    assert scores.days is Days.EVEN
    # two halves of 2,300 sessions differ by that much in one of twenty cases
    assert all(ours < 0.04 for ours, _ in scores.distances.values()), scores.distances
    assert scores.intervals["day_count_dispersion"].inside


@pytest.mark.slow
def test_weeks_in_which_the_site_was_closed_are_days_without_visits(tmp_path: Path) -> None:
    """Closed for seven of 26 weeks: the fit finds them, and draws as different days as the record has."""
    file = write(tmp_path, 182)
    lines = file.read_text().splitlines()
    closed = {str(FIRST + timedelta(days=day)) for day in (*range(40, 61), *range(100, 128))}
    file.write_text("\n".join(line for line in lines if line.split(",")[3][:10] not in closed) + "\n")
    recording = read_sessions(file)
    profile = fit(recording, Days.ODD)
    assert profile.closed_share == pytest.approx(49 / 182, abs=0.05)
    assert profile.visits[:5] == pytest.approx(TRUTH.visits[:5], rel=0.25)
    assert profile.day_variance < 0.2
    assert score(profile, recording, Days.ODD).intervals["day_count_dispersion"].inside
    assert sum(profile.hourly_visits()) == pytest.approx(sum(TRUTH.visits) * 133 / 182, rel=0.15)
    again = SiteProfile.from_json(json.loads(json.dumps(profile.to_json())))
    assert again.closed_share == pytest.approx(profile.closed_share, abs=1e-6)


def test_empty_days_that_chance_brings_are_not_closures(tmp_path: Path) -> None:
    """Weekends without cars, and a site with a car every other day."""
    assert fit(read_sessions(write(tmp_path, 182))).closed_share == 0
    rare = replace(TRUTH, visits=(0.5,) * 5 + (0.0, 0.0))
    assert fit(read_sessions(write(tmp_path, 700, rare))).closed_share == 0


@pytest.mark.slow
def test_a_profile_of_another_site_is_found_out(tmp_path: Path) -> None:
    mornings = TRUTH.kinds[WEEKDAYS]
    evenings = replace(mornings, start=Distribution(tuple(knot + 6 for knot in mornings.start.knots)))
    other = replace(TRUTH, kinds={WEEKDAYS: evenings}, visits=(4.0, 36.0, 4.0, 36.0, 10.0, 0.0, 0.0))
    scores = score(other, read_sessions(write(tmp_path, 364)), Days.ODD)
    assert scores.distances["start_hour"][0] > 0.5
    assert not scores.intervals["day_count_dispersion"].inside


@pytest.mark.parametrize(
    ("recorded", "simulated"), [("Type 2", "J1772"), ("CCS2", "J1772COMBO"), ("CHAdeMO", "CHADEMO"), ("", "J1772")]
)
def test_a_site_of_european_plugs_gets_cars_that_fit(recorded: str, simulated: str, tmp_path: Path) -> None:
    file = write(tmp_path, 60)
    head, *rows = file.read_text().splitlines()
    file.write_text("\n".join([f"{head},connector_type", *(f"{row},{recorded}" for row in rows)]) + "\n")
    profile = fit(read_sessions(file))
    assert profile.connector_type == simulated
    assert site_fleet(profile, 10).vehicles


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
        ({"site_power_kw": 0}, "site_power_kw: 0 is impossible"),
        ({"sessions": -1}, "sessions: -1 is impossible"),
        ({"day_variance": -2}, "day_variance: -2 is impossible"),
        ({"closed_share": 1.0}, "closed_share: 1.0 is not from 0 to below 1"),
        ({"unheard_of": 1}, "unheard_of"),
    ],
)
def test_an_impossible_profile_is_an_error_that_names_the_field(changed: dict[str, object], said: str) -> None:
    document = {**json.loads(json.dumps(TRUTH.to_json())), **changed}
    with pytest.raises(ProfileError, match=said):
        SiteProfile.from_json(document)


@pytest.mark.parametrize(
    ("quantity", "changed", "said"),
    [
        ("start", {"knots": [9.0, 8.0]}, "weekdays.start: knots must rise"),
        ("stay", {"knots": [1, 2], "levels": [0.0]}, "weekdays.stay: levels must rise within 0 and 1, one for each"),
        ("stay", {"knots": [1, 2], "levels": [0.0, 1.5]}, "weekdays.stay: levels must rise within 0 and 1"),
        ("stay_by_start", {"counts": [[1], [1, 2]]}, "weekdays.stay_by_start: counts must be rows of one length"),
        ("stay_by_start", {"counts": [[1, -2]]}, "weekdays.stay_by_start: counts must be 0 or more"),
    ],
)
def test_an_impossible_distribution_is_named(quantity: str, changed: dict[str, object], said: str) -> None:
    document = json.loads(json.dumps(TRUTH.to_json()))
    document["kinds"][WEEKDAYS][quantity].update(changed)
    with pytest.raises(ProfileError, match=said):
        SiteProfile.from_json(document)


def test_too_few_sessions_and_several_sites_are_reported() -> None:
    examples = PROJECT / "examples"
    with pytest.raises(UserError, match="24 sessions on all days, a fit needs 50"):
        fit(read_sessions(examples / "sessions-acn.csv"))
    with pytest.raises(UserError, match="sessions of 2 sites"):
        fit(read_sessions(examples / "sessions-generic.csv"))


def test_statistics_are_the_textbook_s() -> None:
    assert ks_distance(np.array([1.0, 2.0, 3.0]), np.array([2.5, 3.5])) == pytest.approx(2 / 3)
    assert rank_correlation(np.array([1.0, 2.0, 2.0, 9.0]), np.array([3.0, 2.0, 2.0, 1.0])) == pytest.approx(-1.0)
    assert dispersion(np.array([0.0, 4.0])) == pytest.approx(4.0)


@pytest.mark.parametrize(
    ("name", "sessions", "of"),
    [("campus", 3527, "ACN-Data"), ("dc_fast", 992, "EPFL"), ("public", 0, "made of"), ("residential", 0, "made of")],
)
def test_shipped_profiles_say_what_stands_behind_them(name: str, sessions: int, of: str) -> None:
    profile = shipped(name)
    assert (profile.sessions, profile.source.startswith(of)) == (sessions, True)
    assert len(json.dumps(profile.to_json())) < 50_000
    assert tuple(sorted(SHIPPED)) == SHIPPED
    assert {file.stem for file in Path(profiles.__path__[0]).glob("*.json")} == set(SHIPPED)


def test_shipped_profiles_have_the_published_figures() -> None:
    assert shipped("dc_fast").site_power_kw == 172.5
    public = shipped("public").draw(0, 3_000)
    assert public.energy_kwh.mean() == pytest.approx(8.4, rel=0.03)
    assert public.stay_h.sum() / (3_000 * 24 * 2) == pytest.approx(0.137, rel=0.05)
    weekdays = public.where(public.day % 7 < 5).start_hour
    assert np.argmax(np.bincount((weekdays - 0.35).astype(int), minlength=24)) == 8
    fast = shipped("dc_fast").draw(0, 2_000)
    assert np.quantile(fast.energy_kwh, [0.25, 0.5, 0.75]) == pytest.approx([18, 29, 43], rel=0.07)
    assert rank_correlation(fast.energy_kwh, fast.soc_percent) < -0.3


def test_shipped_profiles_of_figures_are_made_again() -> None:
    making = import_module("simulation.profiles.__main__")
    for name in ("public", "residential"):
        made, kept = getattr(making, name)().draw(1, 2_000), shipped(name).draw(1, 2_000)
        for quantity in ("start_hour", "stay_h", "energy_kwh"):
            assert ks_distance(getattr(made, quantity), getattr(kept, quantity)) < 0.01, (name, quantity)


def test_another_name_is_not_shipped() -> None:
    with pytest.raises(ProfileError, match="'home' is not shipped: campus, dc_fast, public, residential are"):
        shipped("home")


def test_what_the_recording_does_not_say_can_be_said(tmp_path: Path) -> None:
    recording = read_sessions(write(tmp_path, 60))
    assert (fit(recording).evses, fit(recording).site_power_kw, fit(recording).source) == (4, None, "generic")
    said = fit(recording, source="ours", evses=6, power_kw=22.0, site_power_kw=50.0)
    assert (said.source, said.evses, said.power_kw, said.site_power_kw) == ("ours", 6, 22.0, 50.0)


def sampled(day: Counts, start_hour: Floats, stay_h: Floats, energy_kwh: Floats) -> Sample:
    """A sample of whole seconds and Wh, as recordings have them, from a Monday on."""
    whole = (np.minimum(np.round(start_hour * 3600), 86_399) / 3600, np.round(stay_h * 3600) / 3600)
    visits = Visits(day, *whole, np.round(energy_kwh, 3), np.full(len(day), np.nan))
    return Sample(Path("made"), FIRST, visits, np.arange(int(day.max()) + 1))


def workplace(random: np.random.Generator) -> Sample:
    """Growing for two years, closed on weekends and some days, most stay until five."""
    days = 730
    rates = np.array([40, 42, 42, 40, 35, 0, 0])[np.arange(days) % 7] * (0.6 + 0.8 * np.arange(days) / days)
    day = np.repeat(np.arange(days), random.poisson(rates * (random.random(days) > 0.05)))
    start = random.normal(8.5, 1.2, len(day)) % 24
    until = np.maximum(random.normal(17, 1, len(day)) - start, 0.2)
    stay = np.where(random.random(len(day)) < 0.7, until, random.lognormal(1, 0.7, len(day)))
    return sampled(day, start, stay, np.minimum(6.6 * stay, random.lognormal(2.1, 0.7, len(day))))


def dc_fast(random: np.random.Generator) -> Sample:
    """Stays of whole minutes, energies tied to them and capped."""
    day = np.repeat(np.arange(365), random.poisson(4 * random.gamma(6, 1 / 6, 365)))
    stay = np.round(random.lognormal(np.log(27), 0.45, len(day))) / 60
    energy = np.minimum(stay * 60 * random.lognormal(0, 0.25, len(day)), 60)
    return sampled(day, random.normal(15, 4.5, len(day)) % 24, stay, energy)


def public(random: np.random.Generator) -> Sample:
    """With seasons, starts by the quarter of an hour, some left for days, some that took nothing."""
    seasons = 1 + 0.5 * np.sin(np.arange(500) / 58)
    day = np.repeat(np.arange(500), random.poisson(9 * seasons))
    start = np.floor((random.normal(13, 4, len(day)) % 24) * 4) / 4
    long = random.random(len(day)) < 0.1
    stay = np.where(long, random.lognormal(2.6, 0.8, len(day)), random.lognormal(0.5, 0.7, len(day)))
    energy = np.minimum(7.2 * stay, random.gamma(2, 4, len(day))) * (random.random(len(day)) > 0.06)
    return sampled(day, start, stay, energy)


def residential(random: np.random.Generator) -> Sample:
    """Three cars that come home in the evening, each day as many as any: fewer odd days than by chance."""
    day = np.repeat(np.arange(240), random.binomial(3, 0.6, 240))
    start = random.normal(18.5, 2, len(day)) % 24
    stay = (random.normal(7.5, 1, len(day)) - start) % 24
    return sampled(day, start, stay, random.gamma(2, 5, len(day)))


def few(random: np.random.Generator) -> Sample:
    day = np.repeat(np.arange(60), random.poisson(2.5, 60))
    stay = random.lognormal(0.5, 0.8, len(day))
    return sampled(
        day, random.normal(13, 4, len(day)) % 24, stay, 5 * np.sqrt(stay) * random.lognormal(0, 0.4, len(day))
    )


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("site", [workplace, dc_fast, public, residential, few])
def test_any_site_is_drawn_as_its_days_were(site: Callable[[np.random.Generator], Sample]) -> None:
    own = site(np.random.default_rng(11)).on(Days.ODD)
    profile = SiteProfile.from_json(json.loads(json.dumps(fit_sample(own, SITE).to_json())))
    assert len(json.dumps(profile.to_json())) < 50_000
    drawn, apart_by_chance = profile.draw(0, 3_000), 1.23 / np.sqrt(len(own.visits))
    for name in ("start_hour", "stay_h", "energy_kwh"):
        # two samples of one distribution are 1.23 / sqrt(n) apart on average: the profile is to be well within that
        assert ks_distance(getattr(drawn, name), getattr(own.visits, name)) < 0.4 * apart_by_chance, name
        assert getattr(drawn, name).mean() == pytest.approx(getattr(own.visits, name).mean(), rel=0.04), name
    for a, b in (("stay_h", "energy_kwh"), ("start_hour", "stay_h")):
        real = rank_correlation(getattr(own.visits, a), getattr(own.visits, b))
        assert rank_correlation(getattr(drawn, a), getattr(drawn, b)) == pytest.approx(real, abs=0.04), (a, b)
    counts = np.bincount(drawn.day, minlength=3_000).astype(float)
    assert counts.mean() == pytest.approx(own.counts.mean(), rel=0.05)
    assert dispersion(counts) == pytest.approx(dispersion(own.counts), rel=0.12)


@pytest.mark.filterwarnings("error")
def test_a_site_where_nothing_varies_is_fitted_and_scored_without_a_nan(tmp_path: Path) -> None:
    lines = ["session_id,station_id,evse_id,started_at,ended_at,energy_delivered_kwh,latitude,longitude,time_zone"]
    lines += [
        f"s-{day},site,E1,2024-{1 + day // 28:02d}-{1 + day % 28:02d}T08:00:00Z,"
        f"2024-{1 + day // 28:02d}-{1 + day % 28:02d}T10:00:00Z,0,40,-100,UTC"
        for day in range(112)
    ]
    file = tmp_path / "same.csv"
    file.write_text("\n".join(lines) + "\n")
    recording = read_sessions(file)
    profile = fit(recording, Days.ODD)
    drawn = profile.draw(0, 700)
    assert set(drawn.stay_h) == {2.0}
    assert set(drawn.energy_kwh) == {0.0}
    document = json.loads(json.dumps(score(profile, recording, Days.ODD).to_json(), allow_nan=False))
    assert document["stay_energy_correlation"]["profile"] is None
    assert document["ks_distances"]["stay"] == {"profile": 0.0, "fitted_days": 0.0}


@pytest.mark.slow
def test_a_profile_of_many_sessions_is_no_larger() -> None:
    random, count = np.random.default_rng(5), 40_000
    # no smooth distribution, all days alike: as much to keep as there can be
    start, stay, energy = (random.choice(random.random(120) * 20, count) + random.random(count) for _ in range(3))
    visits = Visits(np.arange(count) % 400, start, stay, energy, random.integers(0, 101, count).astype(float))
    profile = fit_sample(Sample(Path("made"), FIRST, visits, np.arange(400)), SITE)
    assert len(json.dumps(profile.to_json())) < 50_000
    assert ks_distance(profile.draw(0, 1_000).stay_h, stay) < 0.02


def test_no_single_session_is_a_knot() -> None:
    values = np.random.default_rng(3).lognormal(1, 1, 80)
    known = estimated(values)
    assert len(known.knots) < 60
    assert known.knots[-1] not in values
    draws = known.at((np.arange(20_000) + 0.5) / 20_000)
    assert draws.mean() == pytest.approx(values.mean(), rel=0.05)


@pytest.mark.slow
@pytest.mark.parametrize("days", [Days.ODD, Days.EVEN])
@pytest.mark.parametrize("name", ["acn_caltech_2019-05-01_2019-08-31.csv.gz", "epfl_dcfast_2022_share.csv"])
def test_real_days_predict_the_others(shared_sessions: Path, name: str, days: Days) -> None:
    recording = read_sessions(shared_sessions / name)
    profile = fit(recording, days)
    assert len(json.dumps(profile.to_json())) < 50_000
    scores = score(profile, recording, days)
    for quantity, (ours, real) in scores.distances.items():
        assert ours <= 1.25 * real, quantity
    for statistic, one in scores.intervals.items():
        assert one.simulated == pytest.approx(scores.fitted[statistic], rel=0.05, abs=0.03), statistic
    # the halves' own correlations are now and then outside each other's interval: all days are the yardstick
    assert all(one.inside for one in score(profile, recording, Days.ALL).intervals.values())
