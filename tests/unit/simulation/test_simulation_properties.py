"""Rules for any network, fleet, seed, behaviour and cuts: places, plugs, energy, order, names, totals."""

import json
from collections import Counter, defaultdict
from dataclasses import replace
from datetime import timedelta
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from small_sites import MODEL, MONDAY, PLAIN, Event, Written, by_session, charging_kw, guests, patient, site

from simulation import Behaviour, Demand, Fleet, Network, Simulation, SiteKind, build_fleet, build_network
from simulation.charging import AC_EFFICIENCY, DC_EFFICIENCY
from simulation.fleet import MODELS
from simulation.network import CHADEMO, COMBO, J1772, TESLA

shares = st.sampled_from([0.0, 0.05, 0.3, 1.0])
behaviours = st.builds(
    Behaviour,
    failed_start_share=shares,
    failed_retry_share=shares,
    failed_start_s=st.sampled_from([(0.0, 0.0), (20.0, 90.0)]),
    most_tries=st.integers(1, 4),
    balk_share=shares,
    reroute_share=shares,
    reroute_km=st.sampled_from([0.0, 8.0, 40.0]),
    most_reroutes=st.integers(0, 3),
    move_up_s=st.sampled_from([(0.0, 0.0), (30.0, 150.0)]),
    ac_meter_s=st.sampled_from([60.0, 900.0]),
    dc_meter_s=st.sampled_from([1.5, 60.0, 300.0]),
    fault_share=shares,
    repair_median_s=st.sampled_from([0.0, 60.0, 8 * 3600.0]),
)
sockets = st.sampled_from(
    [(J1772, 6.6), (J1772, 11.5), (COMBO, 50.0), (COMBO, 350.0), (CHADEMO, 50.0), (TESLA, 150.0), (TESLA, 250.0)]
)


@st.composite
def towns(draw: st.DrawFn) -> tuple[Network, Fleet]:
    """A few stations near one another, some with a weaker connection than their EVSEs together, and cars for them."""
    stations = []
    for number in range(draw(st.integers(1, 5))):
        plugs = draw(st.lists(sockets, min_size=1, max_size=4))
        plugs.sort(key=lambda socket: -socket[1])
        power_kw = sum(kw for _, kw in plugs) * draw(st.sampled_from([1.0, 0.6, 0.2]))
        dc = plugs[0][0] != J1772
        kind = SiteKind.DC_FAST if dc else draw(st.sampled_from([k for k in SiteKind if k is not SiteKind.DC_FAST]))
        stations.append(
            site(
                *plugs,
                number=number,
                site_power_kw=power_kw,
                kind=kind,
                east_km=draw(st.sampled_from([0.0, 2.0, 50.0])),
            )
        )
    network = Network(tuple(stations))
    there = {evse.connector_type for station in stations for evse in station.evses}
    fitting = [(m, share) for m, share in MODELS if there & set(m.connector_types)]
    whole = sum(share for _, share in fitting)
    models = [(m, share / whole) for m, share in fitting]
    return network, build_fleet(network, draw(st.integers(1, 60)), draw(st.integers(0, 2**31)), models)


def run_and_check(simulation: Simulation, cuts_h: list[float], reload: Any = None) -> list[Event]:
    events: list[Event] = []
    for hours in sorted(cuts_h):
        at = MONDAY + timedelta(hours=hours)
        events.extend(simulation.advance(at).rows())
        for position, station in enumerate(simulation._world.setting.stations):
            assert sum(charging_kw(simulation, position, at)) <= station.site_power_kw + 1e-6
        if reload:
            simulation = reload(json.loads(json.dumps(simulation.save())))
    check(simulation, events)
    return events


def check(simulation: Simulation, events: list[Event]) -> None:
    """Asserts the rules for all events since the start."""
    totals = simulation.totals
    assert totals.events == len(events)
    assert totals.events_by_type == Counter(e["event_type"] for e in events)
    stopped = [e for e in events if e["event_type"] == "stopped"]
    assert totals.energy_wh == sum(round(e["energy_delivered_kwh"] * 1000) for e in stopped)
    assert totals.failed_starts == sum(e["reason"] == "Other" for e in stopped)
    assert len({e["event_id"] for e in events}) == len(events)
    by_station = defaultdict(list)
    for event in events:
        by_station[event["station_id"]].append(event["occurred_at"])
    assert all(times == sorted(times) for times in by_station.values())

    evses = {evse.evse_id: evse for station in simulation._world.setting.stations for evse in station.evses}
    of_car, of_evse = defaultdict(list), defaultdict(list)
    running = {car.session.evse for car in simulation._world.cars if car.session is not None and car.session.started_at}
    positions = {evse_id: position for position, evse_id in enumerate(evses)}
    for session_id, reported in by_session(events).items():
        assert [e["sequence"] for e in reported] == list(range(len(reported)))
        kinds = [e["event_type"] for e in reported]
        assert kinds[0] in ("queued", "started")
        assert len({(e["station_id"], e["ev_id"]) for e in reported}) == 1
        over = kinds[-1] in ("stopped", "abandoned")
        of_car[reported[0]["ev_id"]].append((reported[0]["occurred_at"], reported[-1]["occurred_at"], over))
        if "started" not in kinds:
            continue
        start = kinds.index("started")
        evse = evses[reported[start]["evse_id"]]
        of_evse[evse.evse_id].append((reported[start]["occurred_at"], reported[-1]["occurred_at"], over))
        assert over or positions[evse.evse_id] in running, session_id
        model = MODEL[reported[0]["ev_model_id"]]
        assert evse.connector_type in model.connector_types
        energies = [e["energy_delivered_kwh"] for e in reported[start:]]
        assert energies == sorted(energies)
        assert energies[0] == 0
        efficiency = DC_EFFICIENCY if evse.is_dc else AC_EFFICIENCY
        for event in reported[start:]:
            gain = event["state_of_charge"] - reported[start]["state_of_charge"]
            gain_kwh = gain / 100 * model.usable_kwh
            # Two states of charge are rounded to 0.01 %, the energy to the Wh.
            assert abs(event["energy_delivered_kwh"] * efficiency - gain_kwh) <= 0.000101 * model.usable_kwh + 0.0006
            assert event["power_kw"] <= evse.power_kw
            assert 0 <= event["state_of_charge"] <= 100
    for spans in (*of_car.values(), *of_evse.values()):
        # Of two that begin in the same millisecond, the one that is over comes first.
        for (_, left, over), (came, _, _) in pairwise(sorted(spans, key=lambda span: (*span[:2], not span[2]))):
            assert over
            assert left <= came


worlds = settings(max_examples=60, suppress_health_check=[HealthCheck.too_slow])
cuts = st.lists(st.floats(0.001, 72), max_size=4).map(lambda hours: [*hours, 72.0])


@pytest.mark.slow
@worlds
@given(town=towns(), seed=st.integers(-(2**63), 2**63 - 1), behaviour=behaviours, cuts=cuts, reload=st.booleans())
def test_any_town_keeps_the_rules(
    town: tuple[Network, Fleet], seed: int, behaviour: Behaviour, cuts: list[float], reload: bool
) -> None:
    def load(state: dict[str, Any]) -> Simulation:
        return Simulation.load(*town, state, behaviour=behaviour, connected=False)

    simulation = Simulation(*town, seed=seed, start_at=MONDAY, behaviour=behaviour, connected=False)
    events = run_and_check(simulation, cuts, load if reload else None)
    whole = Simulation(*town, seed=seed, start_at=MONDAY, behaviour=behaviour, connected=False)
    assert list(whole.advance(MONDAY + timedelta(hours=72)).rows()) == events


visits = st.lists(
    st.tuples(
        st.floats(0, 23.9), st.floats(0.01, 8), st.floats(0.1, 90), st.one_of(st.just(float("nan")), st.floats(0, 100))
    ),
    min_size=1,
    max_size=60,
).map(sorted)


@pytest.mark.slow
@worlds
@given(
    plugs=st.lists(sockets, min_size=1, max_size=4),
    share=st.sampled_from([1.0, 0.5, 0.1]),
    visits=visits,
    models=st.lists(st.sampled_from(sorted(MODEL)), min_size=1, max_size=20),
    behaviour=behaviours,
    patience_s=st.sampled_from([60.0, 3600.0, float("inf")]),
    cuts=cuts,
    reload=st.booleans(),
)
def test_any_visits_to_a_site_keep_the_rules(
    plugs: list[tuple[str, float]],
    share: float,
    visits: list[tuple[float, float, float, float]],
    models: list[str],
    behaviour: Behaviour,
    patience_s: float,
    cuts: list[float],
    reload: bool,
) -> None:
    station = site(*plugs, site_power_kw=sum(kw for _, kw in plugs) * share)
    network, fleet = Network((station,)), guests(*models)
    options: dict[str, Any] = {
        "behaviour": behaviour,
        "demand": patient(median_s=patience_s),
        "sites": {station.station_id: Written(tuple(visits))},
        "connected": False,
    }
    simulation = Simulation(network, fleet, seed=3, start_at=MONDAY, **options)

    def load(state: dict[str, Any]) -> Simulation:
        return Simulation.load(network, fleet, state, **options)

    events = run_and_check(simulation, cuts, load if reload else None)
    whole = Simulation(network, fleet, seed=3, start_at=MONDAY, **options)
    assert list(whole.advance(MONDAY + timedelta(hours=72)).rows()) == events
    assert whole.totals.visits + whole.totals.without_car == len(visits)
    assert whole.totals.rerouted == 0


@pytest.mark.parametrize("seed", range(4))
def test_two_sites_with_their_own_guests_do_not_touch(seed: int) -> None:
    """A second site changes nothing at the first one."""
    written = {"site-1": Written(((8, 2, 10, 20), (9, 2, 10, 20))), "site-2": Written(((8.5, 2, 10, 20),))}
    stations = site((J1772, 7.2)), site((J1772, 7.2), number=2)
    fleet = guests(*["chevrolet-bolt"] * 3)
    others = tuple(replace(v, ev_id=f"other-{v.ev_id}", home=1) for v in fleet.vehicles)
    one = Simulation(
        Network(stations), fleet, seed=seed, start_at=MONDAY, behaviour=PLAIN, demand=patient(),
        sites={"site-1": written["site-1"]}, connected=False,
    )  # fmt: skip
    both = Simulation(
        Network(stations), replace(fleet, vehicles=fleet.vehicles + others), seed=seed, start_at=MONDAY,
        behaviour=PLAIN, demand=patient(), sites=written, connected=False,
    )  # fmt: skip
    reported = [
        [
            (e["occurred_at"], e["ev_id"], e["event_type"], e["energy_delivered_kwh"])
            for e in run.advance(MONDAY + timedelta(days=1)).rows()
            if e["station_id"] == "site-1"
        ]
        for run in (one, both)
    ]
    assert reported[0] == reported[1]
    assert len(reported[0]) > 6


@pytest.mark.slow
def test_the_built_in_network_keeps_the_rules_for_a_week() -> None:
    network = build_network(stations=25, seed=9)
    fleet = build_fleet(network, 400, seed=9)
    behaviour = Behaviour(failed_start_share=0.3, fault_share=0.1, repair_median_s=1800.0)
    simulation = Simulation(
        network, fleet, seed=9, start_at=MONDAY, behaviour=behaviour, demand=Demand(), connected=False
    )
    events = run_and_check(simulation, [float(hours) for hours in range(13, 170, 13)])
    assert len(events) > 10_000
