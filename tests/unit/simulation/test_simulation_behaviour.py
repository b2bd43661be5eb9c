"""What drivers and hardware do: waiting, leaving, rerouting, lingering, failed starts, faults."""

from collections import Counter, defaultdict
from dataclasses import replace
from datetime import timedelta
from math import inf, nan, sqrt
from typing import Any

import numpy as np
import pytest
from small_sites import MONDAY, PLAIN, Event, at_site, by_session, guests, hour_of, patient, site

from simulation import Behaviour, Demand, Fleet, Network, Simulation, SiteKind, build_fleet, build_network
from simulation.clock import HOUR_MS
from simulation.network import CHADEMO, COMBO, J1772
from simulation.roads import CITY_KMH, Surroundings

DAY = timedelta(days=1)
ONE_PLUG = site((J1772, 7.2))
SHARES = ("failed_start", "failed_retry", "balk", "reroute", "fault")


def types(events: list[Event]) -> list[str]:
    return [event["event_type"] for event in events if event["event_type"] != "meter"]


def events_of(simulation: Simulation, days: float = 1.0) -> list[Event]:
    return list(simulation.advance(MONDAY + timedelta(days=days)).rows())


def visit_of(session_id: str) -> str:
    """Further tries of a failed start have a letter after the number of the visit."""
    return session_id.rstrip("bcdefgh")


# --- possible values ---


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *((f"{of}_share", bad) for of in SHARES for bad in (-0.1, 1.1, nan)),
        ("ac_meter_s", 0.5), ("dc_meter_s", nan), ("failed_start_s", (-1.0, 5.0)), ("failed_start_s", (5.0, 1.0)),
        ("move_up_s", (0.0, inf)), ("reroute_km", -1.0), ("most_reroutes", -1), ("repair_median_s", -1.0),
        ("repair_sigma", nan), ("most_tries", 0), ("most_tries", 5),
    ],
)  # fmt: skip
def test_impossible_values_are_refused_by_name(name: str, value: Any) -> None:
    with pytest.raises(ValueError, match=name):
        Behaviour(**{name: value})


@pytest.mark.slow
def test_rates_of_zero_give_none(town: tuple[Network, Fleet]) -> None:
    simulation = Simulation(*town, seed=1, start_at=MONDAY, behaviour=PLAIN, connected=False)
    reasons = Counter(event["reason"] for event in events_of(simulation, 3))
    totals = simulation.totals
    assert (totals.balked.total(), totals.rerouted, totals.failed_starts, totals.without_car) == (0, 0, 0, 0)
    assert totals.events_by_type["faulted"] == 0
    assert totals.events_by_type["queued"] > 50
    assert not reasons.keys() & {"Other", "GroundFault", "PowerLoss"}


# --- the queue ---


def test_a_driver_who_finds_no_plug_waits_and_is_served_in_turn() -> None:
    visits = [(8, 1, 2, 50), (8.25, 1, 2, 50), (8.5, 1, 2, 50)]
    behaviour = replace(PLAIN, move_up_s=(60.0, 60.0))
    sessions = list(
        by_session(events_of(at_site(ONE_PLUG, visits, guests(*["chevrolet-bolt"] * 3), behaviour))).values()
    )
    assert [types(s) for s in sessions] == [
        ["started", "suspended", "stopped"],
        *[["queued", "started", "suspended", "stopped"]] * 2,
    ]
    minute = 1 / 60
    starts = [hour_of(e) for s in sessions for e in s if e["event_type"] == "started"]
    assert starts == pytest.approx([8, 9 + minute, 10 + 2 * minute])
    # The stay begins when the cable is plugged in, however long the wait was.
    assert [s[-1]["queue_wait_s"] for s in sessions] == pytest.approx([0, 45 * 60 + 60, 90 * 60 + 120])
    assert [s[-1]["idle_s"] > 0 for s in sessions] == [True] * 3


def test_patience_ends_the_wait_and_the_next_moves_up() -> None:
    visits = [(8, 4, 2, 50), (8.25, 1, 2, 50)]
    demand = patient(median_s=1800.0)
    sessions = list(
        by_session(events_of(at_site(ONE_PLUG, visits, guests(*["chevrolet-bolt"] * 2), demand=demand))).values()
    )
    assert types(sessions[1]) == ["queued", "abandoned"]
    waited_h = hour_of(sessions[1][1]) - hour_of(sessions[1][0])
    # Four spreads of 0.6 about the median.
    assert 0.5 / 11 < waited_h < 0.5 * 11
    assert sessions[1][1]["evse_id"] is None
    assert sessions[1][1]["energy_delivered_kwh"] is None


@pytest.mark.slow
def test_patience_has_the_given_median() -> None:
    """The plug is taken all day, so cars wait until their patience ends: 20 minutes in the median."""
    visits = [(0.1, 23.5, 2, 50), *((0.2 + n / 20, 0.1, 1, 50) for n in range(400))]
    demand = patient(median_s=1200.0)
    sessions = by_session(events_of(at_site(ONE_PLUG, visits, guests(*["chevrolet-bolt"] * 200), demand=demand)))
    waits = [
        (s[1]["occurred_at"] - s[0]["occurred_at"]).total_seconds()
        for s in sessions.values()
        if types(s)[-1] == "abandoned"
    ]
    assert len(waits) > 350
    # Three standard errors of the median of a log-normal of spread 0.6.
    assert abs(np.log(np.median(waits) / 1200)) < 3 * 0.6 * sqrt(np.pi / 2 / len(waits))


@pytest.mark.parametrize(("share", "left"), [(0.0, 0), (1.0, 2)])
def test_drivers_balk_only_when_plugs_are_taken(share: float, left: int) -> None:
    visits = [(8, 4, 2, 50), (8.25, 1, 2, 50), (8.5, 1, 2, 50)]
    simulation = at_site(ONE_PLUG, visits, guests(*["chevrolet-bolt"] * 3), replace(PLAIN, balk_share=share))
    assert sum(types(s)[0] == "queued" for s in by_session(events_of(simulation)).values()) == 2 - left
    assert simulation.totals.balked == Counter({SiteKind.PUBLIC: left} if left else {})
    assert simulation.totals.visits == 3


@pytest.mark.slow
def test_the_longer_the_queue_the_fewer_join() -> None:
    """With a balk share of 0.3, 70 % of the drivers join an empty queue at a taken plug, and 49 % a queue of one car."""
    joined: dict[int, list[bool]] = defaultdict(list)
    visits = [(0.0, 20, 2, 50), *((n / 10, 0.1, 1, 50) for n in range(1, 20))]
    for seed in range(100):
        fleet = guests(*["chevrolet-bolt"] * 25)
        simulation = at_site(ONE_PLUG, visits, fleet, replace(PLAIN, balk_share=0.3), seed=seed)
        queued = 0
        for n in range(1, 20):
            simulation.advance(MONDAY + timedelta(hours=n / 10 + 0.05))
            joins = simulation.totals.events_by_type["queued"] > queued
            joined[queued].append(joins)
            queued += joins
    for length in (0, 1, 2):
        share, count = np.mean(joined[length]), len(joined[length])
        expected = 0.7 ** (1 + length)
        assert count >= 100
        assert abs(share - expected) < 3.3 * sqrt(expected * (1 - expected) / count), (length, share, count)


def test_a_car_takes_only_plugs_that_fit_its_connector() -> None:
    station = site((CHADEMO, 50.0), (COMBO, 50.0))
    visits = [(8, 1, 5, 50), (8.1, 1, 5, 50), (8.2, 1, 5, 50)]
    simulation = at_site(station, visits, guests("nissan-leaf-40", "nissan-leaf-40", "chevrolet-bolt"))
    events = events_of(simulation)
    plugs = {(e["ev_model_id"], e["evse_id"]) for e in events if e["event_type"] == "started"}
    assert plugs == {("nissan-leaf-40", "site-1-1"), ("chevrolet-bolt", "site-1-2")}
    # The two Leafs had to wait for each other, even while the other plug was free.
    assert simulation.totals.events_by_type["queued"] == 1


def test_a_guest_without_the_connector_makes_no_visit() -> None:
    simulation = at_site(site((CHADEMO, 50.0)), [(8, 1, 5, 50)], guests("chevrolet-bolt"))
    assert events_of(simulation) == []
    assert simulation.totals.without_car == 1


# --- driving on to another station ---


def two_stations(km: float, cars: int = 150, **changes: Any) -> tuple[Network, Simulation]:
    """Cars whose home has one plug, and a station with four such plugs `km` away in a straight line."""
    stations = site((COMBO, 50.0)), site(*[(COMBO, 50.0)] * 4, number=2, east_km=km)
    network = Network(stations)
    fleet = guests(*["volkswagen-id4-77"] * cars)
    behaviour = replace(PLAIN, balk_share=0.5, reroute_share=1.0, **changes)
    return network, Simulation(
        network, fleet, seed=1, start_at=MONDAY, demand=patient(median_s=900.0), behaviour=behaviour, connected=False
    )


@pytest.mark.slow
def test_a_driver_who_leaves_looks_for_a_free_plug_nearby_and_drives_there() -> None:
    network, simulation = two_stations(5.0)
    events = events_of(simulation, 7)
    drive_h = Surroundings(network).drive_km(0, 1) / CITY_KMH
    assert drive_h * 60 > 5
    gave_up: dict[str, Event] = {}
    gaps, came_at_once = [], 0
    for event in events:
        if event["event_type"] == "abandoned":
            gave_up[event["ev_id"]] = event
            continue
        before = gave_up.pop(event["ev_id"], event)
        if event["station_id"] != before["station_id"]:
            assert event["event_type"] in ("queued", "started")
            assert event["session_id"] != before["session_id"]
            gaps.append(hour_of(event) - hour_of(before))
            came_at_once += gaps[-1] < drive_h + 2 / HOUR_MS and event["state_of_charge"] < before["state_of_charge"]
    # Others went home, or found the plugs taken when they came.
    assert came_at_once > 20
    assert min(gaps) == pytest.approx(drive_h, abs=2 / HOUR_MS)
    assert simulation.totals.rerouted >= came_at_once


@pytest.mark.slow
def test_nobody_drives_to_a_station_that_is_full() -> None:
    """Both stations are full most of the time. A driver who gave up and drove to the other one left when it had a free plug."""
    network, simulation = two_stations(5.0, cars=500)
    drive_h = Surroundings(network).drive_km(0, 1) / CITY_KMH
    plugs = {station.station_id: len(station.evses) for station in network.stations}
    taken: Counter[str] = Counter()
    gave_up: dict[str, tuple[Event, Counter[str]]] = {}
    drives, full = 0, 0
    for event in events_of(simulation, 7):
        if event["event_type"] == "abandoned":
            gave_up[event["ev_id"]] = event, taken.copy()
            full += all(taken[station] == count for station, count in plugs.items())
        else:
            left, taken_then = gave_up.pop(event["ev_id"], (event, taken))
            at_once = hour_of(event) < hour_of(left) + drive_h + 2 / HOUR_MS
            if event["station_id"] != left["station_id"] and at_once:
                assert taken_then[event["station_id"]] < plugs[event["station_id"]]
                drives += 1
        taken[event["station_id"]] += {"started": 1, "stopped": -1}.get(event["event_type"], 0)
    assert drives > 10
    assert full > 200


@pytest.mark.parametrize(("km", "changes"), [(9.0, {}), (5.0, {"most_reroutes": 0})])
def test_nobody_drives_on_too_far_or_too_often(km: float, changes: dict[str, Any]) -> None:
    _, simulation = two_stations(km, **changes)
    events_of(simulation, 3)
    assert simulation.totals.rerouted == 0
    assert simulation.totals.balked.total() > 10


@pytest.mark.slow
def test_an_errand_is_one_visit_however_often_it_drives_on() -> None:
    _, simulation = two_stations(5.0)
    events = events_of(simulation, 7)
    firsts = {visit_of(e["session_id"]) for e in events if e["event_type"] in ("queued", "started")}
    totals = simulation.totals
    # Every arrival queued, plugged in or balked. A drive to another station adds an arrival to the visit, once it has ended.
    arrivals = len(firsts) + totals.balked.total()
    assert 0 <= totals.visits + totals.rerouted - arrivals <= 5


# --- after the charge ---


@pytest.mark.slow
def test_drivers_linger_at_fast_chargers_and_block_the_plug() -> None:
    network = Network((site((COMBO, 150.0), (COMBO, 150.0)),))
    demand = Demand({k: replace(v, linger_s=v.linger_s and 600.0) for k, v in patient().kinds.items()})
    fleet = guests(*["volkswagen-id4-77"] * 40)
    simulation = Simulation(
        network, fleet, seed=1, start_at=MONDAY, demand=demand, behaviour=PLAIN, connected=False
    )  # fmt: skip
    events = events_of(simulation, 20)
    stopped = [e for e in events if e["event_type"] == "stopped"]
    idle = np.array([e["idle_s"] for e in stopped if e["idle_s"] > 0])
    assert len(idle) > 200
    # The planned end of the stay cuts some of them short, so the median is near the given one but not above it.
    assert 200 < np.median(idle) < 600 * 1.2
    assert any(e["event_type"] == "queued" for e in events)


def test_a_written_stay_is_kept_after_the_battery_is_full() -> None:
    events = events_of(at_site(ONE_PLUG, [(8, 5, 7.2, 50)], guests("chevrolet-bolt")))
    assert types(events) == ["started", "suspended", "stopped"]
    assert [hour_of(e) for e in events if e["event_type"] != "meter"] == pytest.approx([8, 9, 13], abs=1e-6)
    assert events[-1]["idle_s"] == pytest.approx(4 * 3600, abs=0.002)


# --- failed starts ---


@pytest.fixture(scope="module")
def failing() -> tuple[Simulation, list[list[list[Event]]]]:
    """The tries of each visit, in order, in a network with the usual failures."""
    network = build_network(stations=60, seed=5)
    simulation = Simulation(network, build_fleet(network, 700, seed=5), seed=5, start_at=MONDAY, connected=False)
    visits = defaultdict(list)
    for session_id, events in by_session(events_of(simulation, 7)).items():
        visits[visit_of(session_id)].append(events)
    return simulation, [sorted(tries, key=lambda t: t[0]["session_id"]) for tries in visits.values()]


def is_failed(events: list[Event]) -> bool:
    return events[-1]["reason"] == "Other"


def within_99_9_percent(count: int, of: int, share: float) -> bool:
    """Whether a binomial count lies within the central 99.9 % of its distribution (normal approximation, `of` is large)."""
    return abs(count - of * share) <= 3.2905 * sqrt(of * share * (1 - share)) + 0.5


def test_fourteen_percent_of_first_tries_fail(failing: tuple[Simulation, list[list[list[Event]]]]) -> None:
    _, visits = failing
    plugged = [tries for tries in visits if types(tries[0])[-1] in ("stopped",)]
    assert len(plugged) > 2_000
    assert within_99_9_percent(sum(is_failed(tries[0]) for tries in plugged), len(plugged), 0.14)
    again = [tries for tries in plugged if len(tries) > 1 and types(tries[1])[-1] == "stopped"]
    assert within_99_9_percent(sum(is_failed(tries[1]) for tries in again), len(again), 0.25)


def test_a_failed_try_gives_no_energy_and_is_followed_by_another_or_by_leaving(
    failing: tuple[Simulation, list[list[list[Event]]]],
) -> None:
    simulation, visits = failing
    count, left = 0, 0
    for tries in visits:
        for number, events in enumerate(tries):
            if not is_failed(events):
                assert number == len(tries) - 1
                continue
            count += 1
            assert types(events)[-2:] == ["started", "stopped"]
            assert events[-1]["energy_delivered_kwh"] == 0
            assert events[-1]["state_of_charge"] == events[-1]["state_of_charge_start"]
            assert all(e["power_kw"] in (0, None) for e in events)
            seconds = (events[-1]["occurred_at"] - events[-1]["started_at"]).total_seconds()
            assert 20 <= seconds <= 90
            if number + 1 < len(tries):
                following = tries[number + 1]
                assert following[0]["session_id"].startswith(visit_of(events[0]["session_id"]))
                assert following[0]["station_id"] == events[0]["station_id"]
                assert 20 <= (following[0]["occurred_at"] - events[-1]["occurred_at"]).total_seconds() <= 90
            elif number == 2:
                left += 1
            else:
                # The end of the simulation came before the next try.
                assert events[-1]["occurred_at"] > MONDAY + timedelta(days=7, seconds=-90)
        assert len(tries) <= Behaviour().most_tries
    assert count == simulation.totals.failed_starts
    assert left > 0


def test_after_the_last_try_the_driver_leaves() -> None:
    behaviour = replace(PLAIN, failed_start_share=1.0, failed_retry_share=1.0, most_tries=2)
    simulation = at_site(site((J1772, 7.2), (J1772, 7.2)), [(8, 4, 5, 50)], guests("chevrolet-bolt"), behaviour)
    events = events_of(simulation)
    assert types(events) == ["started", "stopped"] * 2
    first, second = by_session(events).values()
    # Another plug was free.
    assert first[0]["evse_id"] != second[0]["evse_id"]
    assert second[0]["session_id"] == first[0]["session_id"] + "b"
    assert simulation.totals.energy_wh == 0


def test_a_failed_start_keeps_what_the_visit_wants() -> None:
    behaviour = replace(PLAIN, failed_start_share=1.0, failed_retry_share=0.0)
    events = events_of(at_site(ONE_PLUG, [(8, 4, 7.2, 50)], guests("chevrolet-bolt"), behaviour))
    assert events[-1]["energy_delivered_kwh"] == pytest.approx(7.2, abs=0.001)
    assert (events[-1]["occurred_at"] - events[-1]["started_at"]).total_seconds() == 4 * 3600


# --- faults ---


def test_a_fault_ends_the_session_and_its_plug_is_out_until_the_repair() -> None:
    behaviour = replace(PLAIN, fault_share=1.0, repair_median_s=3600.0, repair_sigma=0.0)
    visits = [(8, 2, 99, 10), (8.5, 2, 99, 10)]
    events = events_of(at_site(ONE_PLUG, visits, guests(*["chevrolet-bolt"] * 2), behaviour))
    first, second = by_session(events).values()
    assert types(first) == ["started", "faulted", "stopped"]
    assert first[-1]["reason"] in ("GroundFault", "PowerLoss")
    assert first[-1]["occurred_at"] == first[-2]["occurred_at"]
    assert first[-1]["energy_delivered_kwh"] == first[-2]["energy_delivered_kwh"] > 0
    started = next(e for e in second if e["event_type"] == "started")
    came = MONDAY + timedelta(hours=8.5)
    assert started["occurred_at"] == max(first[-1]["occurred_at"] + timedelta(hours=1), came)


def test_the_given_share_of_sessions_meets_a_fault() -> None:
    network = build_network(stations=60, seed=5)
    simulation = Simulation(
        network,
        build_fleet(network, 700, seed=5),
        seed=5,
        start_at=MONDAY,
        behaviour=replace(PLAIN, fault_share=0.3, repair_median_s=60.0),
        connected=False,
    )
    events_of(simulation, 4)
    counts = simulation.totals.events_by_type
    # A fault that would come after the battery is full does not happen.
    assert 0.12 < counts["faulted"] / counts["stopped"] < 0.3
