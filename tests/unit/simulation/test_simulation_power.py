"""Physics: how batteries fill, what meters count, and how a site's connection is shared."""

import random
from datetime import timedelta
from itertools import pairwise
from math import inf

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from small_sites import MODEL, MONDAY, PLAIN, Event, at_site, by_session, charging_kw, guests, hour_of, keep_notes, site

from simulation import Behaviour, EvModel, Fleet, Network, Simulation, build_fleet, build_network
from simulation.charging import AC_EFFICIENCY, DC_EFFICIENCY, ChargeCurve, CurveTable, charge_curve
from simulation.event_log import FAULTED, METER, RESUMED, STARTED, STOPPED, SUSPENDED
from simulation.network import COMBO, J1772, TESLA
from simulation.power_sharing import share_power

_NODES, _WEIGHTS = np.polynomial.legendre.leggauss(24)
# The values of simulation.charging, which gives their sources.
_AC_TAPER = ((0.97, 1.0), (1.0, 0.25))
_LEAST_KW = 1.0


def power_at(model: EvModel, evse_kw: float, is_dc: bool, soc: np.ndarray) -> np.ndarray:
    """Power (kW) at the connector, from the model's table alone; no point is below the least power."""
    if is_dc:
        socs, powers = np.array(model.dc_curve).T
        return np.minimum(np.interp(soc, socs, np.maximum(powers, _LEAST_KW)), evse_kw)
    return min(model.ac_kw, evse_kw) * np.interp(soc, *np.array(_AC_TAPER).T)


def charging_s(model: EvModel, evse_kw: float, is_dc: bool, low: float, high: float) -> float:
    """Seconds from `low` to `high`: Gauss-Legendre quadrature of dt = C ds / (efficiency P) between the table's kinks."""
    points = model.dc_curve if is_dc else ((0.0, 0.0), *_AC_TAPER)
    kinks = {low, high, *(soc for soc, _ in points)}
    for (soc, kw), (next_soc, next_kw) in pairwise((soc, max(kw, _LEAST_KW)) for soc, kw in points):
        if is_dc and (kw - evse_kw) * (next_kw - evse_kw) < 0:
            kinks.add(soc + (evse_kw - kw) / (next_kw - kw) * (next_soc - soc))
    # Halves make the quadrature exact enough where power falls steeply.
    fine = np.array(sorted(k for k in kinks if low <= k <= high))
    for _ in range(3):
        fine = np.sort(np.concatenate([fine, (fine[1:] + fine[:-1]) / 2]))
    middle, half = (fine[1:] + fine[:-1]) / 2, (fine[1:] - fine[:-1]) / 2
    soc = middle[:, None] + half[:, None] * _NODES
    inverse = (_WEIGHTS / power_at(model, evse_kw, is_dc, soc)).sum(axis=1)
    kwh = model.usable_kwh / (DC_EFFICIENCY if is_dc else AC_EFFICIENCY)
    return float((inverse * half).sum() * kwh * 3600)


@pytest.mark.parametrize("model", MODEL.values(), ids=MODEL)
@pytest.mark.parametrize(
    ("evse_kw", "is_dc"), [(6.6, False), (19.2, False), (50.0, True), (86.25, True), (350.0, True)]
)
def test_the_taper_is_integrated_exactly(model: EvModel, evse_kw: float, is_dc: bool) -> None:
    curve = charge_curve(model, evse_kw, is_dc)
    for low, high in ((0.0, 1.0), (0.1, 0.8), (0.55, 0.97), (0.96, 1.0), (0.3123, 0.3124)):
        taken_s = curve.seconds_at(high) - curve.seconds_at(low)
        expected_s = charging_s(model, evse_kw, is_dc, low, high)
        assert taken_s == pytest.approx(expected_s, rel=1e-9, abs=1e-7)
        assert curve.soc_after(low, expected_s, 1.0) == pytest.approx(high, rel=1e-9)


@settings(max_examples=50)
@given(seed=st.integers(0, 2**32), count=st.integers(1, 80))
def test_many_curves_at_once_are_each_curve_alone(seed: int, count: int) -> None:
    chance = random.Random(seed)
    table = CurveTable()
    curves: list[ChargeCurve] = []
    for _ in range(count):
        limit_kw = chance.choice([3.75, 6.6, 50.0, 86.25, 172.5, 350.0])
        curve = charge_curve(chance.choice(list(MODEL.values())), limit_kw, chance.random() < 0.7)
        assert table.add(curve) == len(curves)
        curves.append(curve)
    numbers = np.array([chance.randrange(count) for _ in range(40)])
    seconds = np.array([curves[n].seconds_at(1.0) * chance.choice([0, 1, 1.5, chance.random()]) for n in numbers])
    targets = np.array([chance.choice([0.5, 1.0]) for _ in numbers])
    socs, powers = table.after(numbers, seconds, targets)
    for n, at, target, soc, power in zip(numbers, seconds, targets, socs, powers, strict=True):
        expected = min(curves[n].soc_at(at), target)
        assert soc == pytest.approx(expected, abs=1e-12)
        # Where the target limits the level, the power is of a later time.
        if expected < target:
            assert power == pytest.approx(curves[n].power_kw(expected), rel=1e-9)
    assert table.kwh_per_soc(numbers).tolist() == [curves[n].kwh_per_soc for n in numbers]


def test_a_curve_that_ends_without_power_still_ends() -> None:
    curve = ChargeCurve(((0.0, 50.0), (1.0, 0.0)), 60.0, 0.95)
    assert curve.power_kw(1.0) == _LEAST_KW
    assert curve.seconds_at(1.0) < inf


def test_a_limit_below_the_least_power_holds() -> None:
    """A site whose share is below 1 kW gives its share, not the least power of a curve."""
    for is_dc in (False, True):
        curve = charge_curve(MODEL["chevrolet-bolt"], 0.25, is_dc)
        assert max(curve.power_kw(soc) for soc in (0.0, 0.5, 0.97, 1.0)) <= 0.25


@pytest.mark.parametrize(("model", "evse_kw", "expected_kw"), [
    ("nissan-leaf-40", 19.2, 6.6), ("ford-mustang-mach-e", 19.2, 11.0), ("ford-mustang-mach-e", 7.2, 7.2),
])  # fmt: skip
def test_on_ac_the_onboard_charger_or_the_evse_is_the_limit(model: str, evse_kw: float, expected_kw: float) -> None:
    events = list(
        at_site(site((J1772, evse_kw)), [(8, 2, 99, 20)], guests(model)).advance(MONDAY + timedelta(days=1)).rows()
    )
    assert {e["power_kw"] for e in events if e["event_type"] in ("started", "meter")} == {expected_kw}
    assert events[-1]["energy_delivered_kwh"] == pytest.approx(2 * expected_kw, abs=0.0005)
    gain_kwh = (events[-1]["state_of_charge"] - 20) / 100 * MODEL[model].usable_kwh
    assert gain_kwh == pytest.approx(2 * expected_kw * AC_EFFICIENCY, rel=0.001)


@pytest.mark.slow
def test_energy_is_conserved_before_anything_is_rounded() -> None:
    """Meter increments add up to the session, and the battery gains as much as power, by its table, gives in that time.

    The time is integrated by quadrature, apart from the engine's closed form. Sites here do not share their power.
    """
    network = build_network(stations=40, seed=3)
    alone = [s for s in network.stations if sum(e.power_kw for e in s.evses) <= s.site_power_kw]
    fast = [site((COMBO, 150.0), (COMBO, 50.0), number=n, east_km=n / 10) for n in range(20)]
    network = Network((*alone, *fast))
    fleet = build_fleet(network, vehicles=600, seed=3)
    simulation = Simulation(network, fleet, seed=3, start_at=MONDAY, connected=False)
    kept = keep_notes(simulation)
    for hours in range(5, 61, 5):
        simulation.advance(MONDAY + timedelta(hours=hours))
    notes = np.concatenate(kept)
    evses = [evse for station in network.stations for evse in station.evses]
    models = {model.ev_model_id: model for model in fleet.models}
    checked = {False: 0, True: 0}
    for key in np.unique(notes[:, [1, 4]], axis=0):
        session = notes[(notes[:, 1:5:3] == key).all(axis=1)]
        session = session[np.argsort(session[:, 5])]
        session = session[~np.isnan(session[:, 9])]
        if not len(session) or session[-1, 6] != STOPPED:
            continue
        types, energies, socs = session[:, 6], session[:, 9], session[:, 10]
        evse, model = evses[int(session[0, 3])], models[fleet.vehicles[int(key[0])].ev_model_id]
        efficiency = DC_EFFICIENCY if evse.is_dc else AC_EFFICIENCY
        assert np.diff(energies).min(initial=0.0) >= -1e-12
        gain_kwh = (socs - session[-1, 14]) * model.usable_kwh
        assert energies * efficiency == pytest.approx(gain_kwh, rel=1e-9, abs=1e-9)
        assert np.diff(energies).sum() == pytest.approx(energies[-1], rel=1e-9, abs=1e-9)
        if energies[-1] == 0:
            continue
        charging_ms, since = 0.0, None
        for at_ms, event_type in session[:, [0, 6]]:
            if event_type in (STARTED, RESUMED):
                since = at_ms
            elif event_type in (SUSPENDED, FAULTED, STOPPED) and since is not None:
                charging_ms, since = charging_ms + at_ms - since, None
        expected_s = charging_s(model, evse.power_kw, evse.is_dc, socs[0], socs[-1])
        is_full = session[-1, 12] > 0
        # The event for a full battery comes at the next whole millisecond.
        slack_s = 0.001 if is_full else 0.0
        assert -1e-6 <= charging_ms / 1000 - expected_s <= slack_s + 1e-6
        assert (types == METER).any() or charging_ms < 900_000 * 2
        checked[evse.is_dc] += 1
    assert checked[False] > 200
    assert checked[True] > 50


def test_two_cars_halve_the_sites_power_and_the_one_that_stays_has_it_all_again() -> None:
    """The site has 172 kW: the first car has all of it, then both cars have 86 kW, then one has all again."""
    station = site((TESLA, 172.0), (TESLA, 172.0), site_power_kw=172.0)
    fleet = guests(*["tesla-model-y-lr"] * 2)
    behaviour = Behaviour(**{f: getattr(PLAIN, f) for f in PLAIN.__slots__} | {"dc_meter_s": 60.0})
    simulation = at_site(station, [(10, 0.2, 60, 5), (10.055, 0.06, 60, 10)], fleet, behaviour)
    events = list(simulation.advance(MONDAY + timedelta(days=1)).rows())
    first, second = by_session(events).values()
    assert [e["power_kw"] for e in first if e["event_type"] == "started"] == [172.0]
    assert [e["power_kw"] for e in second if e["event_type"] == "started"] == [86.0]
    for event in events:
        if event["event_type"] == "meter":
            together = 10.055 < hour_of(event) < 10.115
            assert event["power_kw"] == (86.0 if together else 172.0), event
    assert {e["power_kw"] for e in second if e["event_type"] == "meter"} == {86.0}
    energy = [events[-1]["energy_delivered_kwh"] for events in (first, second)]
    assert energy == pytest.approx([0.14 * 172 + 0.06 * 86, 0.06 * 86], abs=0.001)


def test_the_fast_car_takes_what_the_slow_one_leaves() -> None:
    station = site((COMBO, 150.0), (COMBO, 150.0), site_power_kw=150.0)
    fleet = guests("chevrolet-bolt", "ford-mustang-mach-e")
    simulation = at_site(station, [(10, 1, 40, 10), (10.01, 1, 60, 10)], fleet)
    sessions = by_session(simulation.advance(MONDAY + timedelta(hours=10.02)).rows())
    powers = {s[0]["ev_model_id"]: s[-1]["power_kw"] for s in sessions.values()}
    simulation.advance(MONDAY + timedelta(hours=10.03))
    bolt_kw, mach_kw = sorted(charging_kw(simulation, 0, MONDAY + timedelta(hours=10.03)))
    assert powers["chevrolet-bolt"] == pytest.approx(bolt_kw, rel=0.05)
    assert 50 < bolt_kw <= 55
    # The Bolt takes at most 55 kW, which leaves 95 kW; limits are whole quarters.
    assert 94.75 <= mach_kw <= 98


@pytest.mark.slow
def test_a_busy_site_never_draws_more_than_its_connection() -> None:
    """Checks the powers every 20 s until all cars have left, and those of the meter values of every minute."""
    station = site((COMBO, 150.0), (COMBO, 350.0), (COMBO, 150.0), (COMBO, 50.0), site_power_kw=180.0)
    models = [m for m in MODEL if COMBO in MODEL[m].connector_types]
    chance = np.random.default_rng(4)
    visits = sorted(
        (float(start), float(stay), float(kwh), float(soc))
        for start, stay, kwh, soc in zip(
            chance.uniform(0, 23, 110), chance.uniform(0.1, 1.2, 110), chance.uniform(5, 60, 110),
            chance.uniform(5, 60, 110), strict=True,
        )
    )  # fmt: skip
    behaviour = Behaviour(**{f: getattr(PLAIN, f) for f in PLAIN.__slots__} | {"dc_meter_s": 60.0})
    simulation = at_site(station, visits, guests(*(models * 20)), behaviour)
    at, drawn_kwh = MONDAY, 0.0
    reported: list[Event] = []
    sums, counts = [], []
    while at < MONDAY + timedelta(hours=30):
        at += timedelta(seconds=20)
        reported.extend(simulation.advance(at).rows())
        powers = charging_kw(simulation, 0, at)
        sums.append(sum(powers))
        counts.append(len(powers))
        drawn_kwh += sum(powers) * 20 / 3600
    assert max(sums) <= 180.0 + 1e-9
    assert max(counts) == 4
    # The limit is not only kept but used: rounding leaves at most a quarter of a kW per car.
    assert np.quantile([s for s, n in zip(sums, counts, strict=True) if n == 4], 0.9) > 165
    minutes: dict[int, dict[str, float]] = {}
    for event in reported:
        if event["power_kw"] is not None and event["event_type"] in ("meter", "started", "resumed"):
            minutes.setdefault(round(hour_of(event) * 3600), {})[event["session_id"]] = event["power_kw"]
    assert max(sum(of.values()) for of in minutes.values()) <= 180.0 + 1e-6
    # The energy drawn, summed over steps of 20 s, is the energy of the sessions.
    given_kwh = sum(events[-1]["energy_delivered_kwh"] or 0.0 for events in by_session(reported).values())
    assert drawn_kwh == pytest.approx(given_kwh, rel=0.01)


cars_kw = st.lists(
    st.tuples(st.floats(1, 350), st.floats(1, 350)).map(lambda pair: (min(pair), max(pair))), min_size=1, max_size=12
)


@pytest.mark.slow
@settings(max_examples=300)
@given(site_power_kw=st.floats(25, 700), cars=cars_kw, order=st.randoms())
def test_sharing_is_max_min_fair(site_power_kw: float, cars: list[tuple[float, float]], order: random.Random) -> None:
    wanted, given_kw = [w for w, _ in cars], [g for _, g in cars]
    limits = share_power(site_power_kw, wanted, given_kw)
    taken = [min(limit, want) for limit, want in zip(limits, wanted, strict=True)]
    limited = [limit < want for limit, want in zip(limits, wanted, strict=True)]
    assert all(0 < limit <= most for limit, most in zip(limits, given_kw, strict=True))
    assert sum(taken) <= site_power_kw + 1e-6 or not any(limited)
    assert any(limited) == (sum(wanted) > site_power_kw + 1e-6) or abs(sum(wanted) - site_power_kw) < 0.3 * len(cars)
    for want, is_limited in zip(wanted, limited, strict=True):
        assert not (is_limited and want <= site_power_kw / len(cars) - 1e-9)
    if any(limited):
        # All limited cars have the same power. It is less than a quarter kW below that of any other car, and less than a
        # quarter kW per car is left over.
        same = {take for take, is_limited in zip(taken, limited, strict=True) if is_limited}
        assert len(same) == 1
        assert same.pop() > max(taken) - 0.25
        assert site_power_kw - sum(taken) < 0.25 * len(cars) + 1e-6
    places = list(range(len(cars)))
    order.shuffle(places)
    shuffled = share_power(site_power_kw, [wanted[i] for i in places], [given_kw[i] for i in places])
    assert shuffled == [limits[i] for i in places]


def test_a_fleet_of_unknown_models_is_refused() -> None:
    fleet = Fleet((), guests("nissan-leaf-40").vehicles)
    with pytest.raises(ValueError, match="nissan-leaf-40"):
        Simulation(Network((site((J1772, 7.2)),)), fleet, seed=1, start_at=MONDAY)
