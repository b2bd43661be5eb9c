"""Sites of profiles: a model, not a replay. Its sessions keep the distributions of the profile in spite of the physics."""

from collections import defaultdict
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from functools import cache
from itertools import groupby, pairwise

import numpy as np
import pytest
from small_sites import MODEL, MONDAY, PLAIN, patient

from evcharge.simulated.offline_run import Result, Scenario, simulate
from simulation import ALL_SERVED, AS_RECORDED, Behaviour, Simulation
from simulation.charging import AC_EFFICIENCY, DC_EFFICIENCY
from simulation.comparison import ks_distance
from simulation.profile import SHIPPED, WEEKDAYS, Distribution, SiteProfile, Visits, shipped
from simulation.roads import TRIP_KMH
from simulation.site import STATION_ID, site_fleet, site_network

DAYS = 200
# The two-sample Kolmogorov-Smirnov bound of 99.9 %: sqrt(-ln(0.001 / 2) / 2).
_KS_99_9 = 1.949
# What a socket elsewhere gives (kW).
_ELSEWHERE_KW = 7.0
# Two states of charge are compared, each rounded to 0.01 %.
_SOC_ROUNDING = 0.01 + 1e-9


@cache
def days_of(name: str) -> Result:
    return simulate(Scenario(11, profile=shipped(name), vehicles=None), timedelta(days=DAYS))


def column(result: Result, name: str) -> np.ndarray:
    return np.array(result.sessions[name].to_pylist(), dtype=float)


def bound(a: np.ndarray, b: np.ndarray) -> float:
    return float(_KS_99_9 * np.sqrt((len(a) + len(b)) / (len(a) * len(b))))


# --- the profile's distributions ---


@pytest.mark.slow
@pytest.mark.parametrize("name", SHIPPED)
@pytest.mark.parametrize(
    ("of_session", "of_visit"),
    [
        ("local_start_hour", lambda visits: visits.start_hour),
        ("stay_h", lambda visits: visits.stay_h),
        ("energy_kwh", lambda visits: visits.energy_kwh),
    ],
)
def test_physics_keeps_what_the_profile_draws(
    name: str, of_session: str, of_visit: Callable[[Visits], np.ndarray]
) -> None:
    drawn = of_visit(shipped(name).draw(12, 2 * DAYS))
    simulated = column(days_of(name), of_session)
    assert ks_distance(simulated, drawn) < bound(simulated, drawn)


@pytest.mark.slow
def test_at_a_site_that_fills_up_cars_make_room() -> None:
    """Half of the cars come within 45 minutes, on many days more of them than there are plugs."""
    starts = Distribution((6.0, 8.0, 8.4, 8.8, 12.0, 17.0), (0.0, 0.2, 0.45, 0.7, 0.85, 1.0))
    kind = replace(shipped("campus").kinds[WEEKDAYS], start=starts)
    profile = replace(shipped("campus"), evses=12, visits=(16.0,) * 5 + (0.0, 0.0), kinds={WEEKDAYS: kind})
    drawn = profile.draw(12, 1_400)

    def simulated(behaviour: Behaviour) -> tuple[float, float, int]:
        result = simulate(Scenario(11, profile=profile, behaviour=behaviour), timedelta(days=700))
        started, stay = column(result, "local_start_hour"), column(result, "stay_h")
        distances = ks_distance(started, drawn.start_hour), ks_distance(stay, drawn.stay_h)
        return *distances, result.totals.events_by_type["abandoned"]

    (start, stay, refused), (start_before, stay_before, refused_before) = simulated(ALL_SERVED), simulated(AS_RECORDED)
    assert start < 0.8 * start_before
    assert stay < stay_before
    assert refused < 0.75 * refused_before


@pytest.mark.slow
def test_known_states_of_charge_are_kept() -> None:
    drawn = shipped("dc_fast").draw(12, 2 * DAYS).soc_percent
    simulated = column(days_of("dc_fast"), "soc_start_percent")
    assert ks_distance(simulated, drawn) < bound(simulated, drawn)


@pytest.mark.slow
def test_more_guests_than_needed_change_no_distribution() -> None:
    """Among thousands of guests too, the few that are asked include a car that can make the visit."""
    profile = shipped("dc_fast")
    many = simulate(Scenario(11, profile=profile, vehicles=5_000), timedelta(days=DAYS))
    drawn, simulated = profile.draw(12, 2 * DAYS).energy_kwh, column(many, "energy_kwh")
    assert ks_distance(simulated, drawn) < bound(simulated, drawn)


@pytest.mark.slow
@pytest.mark.parametrize("name", SHIPPED)
def test_as_many_visits_come_as_the_profile_means(name: str) -> None:
    profile, totals = shipped(name), days_of(name).totals
    expected = sum(profile.visits) * DAYS / 7
    # A day's count has the variance mean + day_variance mean^2.
    variance = expected + profile.day_variance * sum(mean**2 for mean in profile.visits) * DAYS / 7
    assert abs(totals.visits - expected) < 3.3 * np.sqrt(variance) + max(profile.visits)
    assert totals.without_car == 0
    # A visit without a finished session waited in vain, or is still there.
    others = totals.visits - totals.sessions - totals.events_by_type["abandoned"]
    assert 0 <= others <= profile.evses * 2


@pytest.mark.slow
@pytest.mark.parametrize("name", SHIPPED)
def test_guests_are_in_one_place_and_come_as_driving_and_charging_allow(name: str) -> None:
    result, profile = days_of(name), shipped(name)
    rows = sorted(result.sessions.to_pylist(), key=lambda row: (row["ev_id"], row["started_at"]))
    seen = 0
    for _, visits in groupby(rows, key=lambda row: row["ev_id"]):
        for before, after in pairwise(visits):
            model = MODEL[after["ev_model_id"]]
            hours = (after["started_at"] - before["ended_at"]).total_seconds() / 3600
            assert hours > 0
            assert profile.connector_type in model.connector_types
            driven = hours * TRIP_KMH * model.consumption_kwh_per_100km / model.usable_kwh
            charged = hours * _ELSEWHERE_KW / model.usable_kwh * 100
            assert after["soc_start_percent"] >= before["soc_end_percent"] - driven - _SOC_ROUNDING
            assert after["soc_start_percent"] <= before["soc_end_percent"] + charged + _SOC_ROUNDING
            seen += 1
    assert seen > 100


@pytest.mark.parametrize("name", SHIPPED)
def test_a_visit_takes_what_it_wants_and_no_more(name: str) -> None:
    """Energy is the battery's gain over the efficiency, no battery is more than full, and no more EVSEs are used than exist."""
    result, profile = days_of(name), shipped(name)
    efficiency = DC_EFFICIENCY if profile.connector_type == "J1772COMBO" else AC_EFFICIENCY
    usable = np.array([MODEL[model].usable_kwh for model in result.sessions["ev_model_id"].to_pylist()])
    start, end = (column(result, f"soc_{of}_percent") for of in ("start", "end"))
    gain_kwh = (end - start) / 100 * usable
    assert np.abs(column(result, "energy_kwh") * efficiency - gain_kwh).max() <= 2 * 0.00005 * usable.max() + 0.0006
    assert end.max() <= 100
    by_evse = defaultdict(list)
    for row in result.sessions.to_pylist():
        by_evse[row["evse_id"]].append((row["started_at"], row["ended_at"]))
    assert len(by_evse) <= profile.evses
    for spans in by_evse.values():
        assert all(left <= came for (_, left), (came, _) in pairwise(sorted(spans)))


# --- a model, not a replay ---


@cache
def campus(power_kw: float) -> Result:
    return simulate(
        Scenario(11, profile=replace(shipped("campus"), power_kw=power_kw), vehicles=None), timedelta(days=60)
    )


@pytest.mark.slow
def test_other_power_brings_the_same_arrivals_and_energy_in_other_time() -> None:
    slow, fast = campus(6.6), campus(11.0)
    assert sorted(slow.sessions["started_at"].to_pylist()) == sorted(fast.sessions["started_at"].to_pylist())
    assert fast.totals.energy_kwh == pytest.approx(slow.totals.energy_kwh, rel=0.02)
    charging_h = [(column(of, "stay_h") - column(of, "idle_s") / 3600).mean() for of in (slow, fast)]
    # About three in ten of the cars with J1772 take no more than 7.2 kW.
    assert 0.6 < charging_h[1] / charging_h[0] < 0.85


@pytest.mark.slow
@pytest.mark.parametrize("power_kw", [6.6, 11.0])
def test_charging_takes_as_long_as_the_curve_says(power_kw: float) -> None:
    """Below the taper AC power is constant: the lower of the onboard charger's and the EVSE's."""
    result = campus(power_kw)
    rows = [row for row in result.sessions.to_pylist() if row["idle_s"] > 0 and row["soc_end_percent"] < 96.9]
    assert len(rows) > 1_000
    for row in rows:
        took_s = (row["ended_at"] - row["started_at"]).total_seconds() - row["idle_s"]
        kw = min(MODEL[row["ev_model_id"]].ac_kw, power_kw)
        # Energies are rounded to the Wh.
        assert took_s == pytest.approx(row["energy_kwh"] / kw * 3600, abs=0.0006 / kw * 3600 + 0.002)
    powers = {min(MODEL[row["ev_model_id"]].ac_kw, power_kw) for row in rows}
    assert powers == ({6.6} if power_kw == 6.6 else {6.6, 7.2, 11.0})


def mean_wait_s(profile: SiteProfile) -> float:
    """The mean wait (s) of drivers whose patience has no end."""
    simulation = Simulation(
        site_network(profile),
        site_fleet(profile),
        seed=11,
        start_at=MONDAY,
        demand=patient(),
        behaviour=PLAIN,
        sites={STATION_ID: profile},
        connected=False,
    )
    arrays = simulation.advance(MONDAY + timedelta(days=61)).arrays
    return float(arrays["queue_wait_s"][arrays["event_type"] == "stopped"].mean())


@pytest.mark.slow
def test_half_the_plugs_raise_the_waits() -> None:
    few = replace(shipped("campus"), evses=26)
    waits = [mean_wait_s(few), mean_wait_s(replace(few, evses=13))]
    assert 0 < waits[0] < 600
    assert waits[1] > 10 * waits[0]


def test_waits_end_with_patience_when_plugs_are_few() -> None:
    profile = replace(shipped("campus"), evses=13)
    result = simulate(Scenario(11, profile=profile, vehicles=None), timedelta(days=30))
    counts = result.totals.events_by_type
    assert counts["abandoned"] > 100
    assert counts["queued"] > counts["abandoned"]
    assert result.utilisation()["public"] > campus(6.6).utilisation()["public"] * 2
