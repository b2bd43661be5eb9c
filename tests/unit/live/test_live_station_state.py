"""The station state: what each kind of event does to it, and that the events alone decide the result."""

from __future__ import annotations

import random
from collections import Counter

import pytest
from live_events import MINUTE, NOON, Rows, event, fold_all, folded, record

from evcharge.clock import HOUR_MS
from evcharge.contracts.session_events import EVENT_TYPES
from evcharge.live.station_state import HORIZON_MS, StationState


def statuses(state: StationState) -> dict[str, str]:
    return {evse["evse_id"]: evse["status"] for evse in state.document()["evses"]}


def test_a_station_without_events_is_unknown() -> None:
    document = folded().document()
    assert {evse["status"] for evse in document["evses"]} == {"UNKNOWN"}
    assert (document["free_outlets"], document["unknown_outlets"], document["total_outlets"]) == (0, 2, 2)
    assert document["free_power_kw"] == {}
    assert document["last_event_at"] is None


@pytest.mark.parametrize(
    ("kind", "status"),
    [
        ("started", "CHARGING"),
        ("meter", "CHARGING"),
        ("suspended", "BLOCKED"),
        ("resumed", "CHARGING"),
        ("faulted", "OUTOFORDER"),
    ],
)
def test_an_event_sets_the_status_of_its_evse(kind: str, status: str) -> None:
    assert statuses(folded(event(kind, NOON))) == {"st-1": status, "st-2": "UNKNOWN"}


def test_every_event_type_is_understood() -> None:
    for kind in EVENT_TYPES:
        folded(event(kind, NOON, started_at=NOON - HOUR_MS, energy_delivered_kwh=1.0))


def test_a_stopped_session_frees_its_evse() -> None:
    state = folded(
        event("started", NOON), event("stopped", NOON + MINUTE, sequence=1, started_at=NOON, energy_delivered_kwh=1.0)
    )
    document = state.document()
    assert statuses(state)["st-1"] == "AVAILABLE"
    assert document["free_outlets"] == 1
    assert document["free_power_kw"] == {"any": 150.0, "J1772COMBO": 150.0, "CCS": 150.0}
    assert document["sessions"] == []


def test_a_fault_stays_until_the_evse_is_used_again() -> None:
    fault = [event("started", NOON), event("faulted", NOON + 1, sequence=1)]
    stop = event("stopped", NOON + 1, sequence=2, started_at=NOON, energy_delivered_kwh=0.0)
    state = folded(*fault, stop)
    assert statuses(state)["st-1"] == "OUTOFORDER"
    state.apply(event("started", NOON + HOUR_MS, session="s2"))
    assert statuses(state)["st-1"] == "CHARGING"


def test_the_queue_is_counted_and_left() -> None:
    state = folded(event("queued", NOON, "a"), event("queued", NOON, "b"), event("queued", NOON, "c"))
    assert state.document()["queue_length"] == 3
    state.apply(event("started", NOON + MINUTE, "a", 1, queue_wait_s=60.0))
    state.apply(event("abandoned", NOON + MINUTE, "b", 1))
    assert state.document()["queue_length"] == 1
    # nobody waits for as long as the horizon: the car has left without a word
    state.apply(event("meter", NOON + HORIZON_MS + MINUTE, "a", 2))
    assert state.document()["queue_length"] == 0


@pytest.mark.parametrize(("code", "status"), [("P", "PLANNED"), ("T", "INOPERATIVE")])
def test_what_the_registry_says_of_the_station_outweighs_its_evses(code: str, status: str) -> None:
    stop = event("stopped", NOON, started_at=NOON - HOUR_MS, energy_delivered_kwh=1.0)
    document = folded(stop, registry=record(status_code=code)).document()
    assert {evse["status"] for evse in document["evses"]} == {status}
    assert document["free_outlets"] == 0


def test_outlets_without_known_evses_are_counted_by_connector_and_power() -> None:
    connectors = [
        {"connector_type": "J1772", "power_kw": None, "ports": 2},
        {"connector_type": "TESLA", "power_kw": 250.0, "ports": 4},
    ]
    registry = record(evses=None, connectors=connectors, connector_types=["CHADEMO"], total_outlets=7)
    document = folded(registry=registry).document()
    outlets = {(o["connector_type"], o["power_kw"]): (o["total"], o["unknown"]) for o in document["outlets"]}
    assert outlets == {(None, None): (1, 1), ("J1772", None): (2, 2), ("TESLA", 250.0): (4, 4)}
    assert document["power_kw"] == {"any": 250.0, "J1772": 0.0, "TESLA": 250.0, "CHADEMO": 0.0}


def test_a_removed_station_is_not_current() -> None:
    state = folded()
    assert state.document()["is_current"]
    state.register(record(observed_at=NOON + 1, removed_at=NOON + 1))
    assert not state.document()["is_current"]
    # an older record, arriving late, does not bring it back
    state.register(record(observed_at=NOON))
    assert not state.document()["is_current"]


def test_the_expected_end_follows_from_how_fast_it_charged() -> None:
    state = folded(
        event("started", NOON, state_of_charge=20.0),
        event("meter", NOON + 10 * MINUTE, sequence=1, state_of_charge=50.0, power_kw=100.0),
    )
    (session,) = state.document()["sessions"]
    # 30 points in ten minutes: another 30 to the 80 % at which fast charging slows down
    assert session["expected_end_at"] == "2026-03-04T12:20:00.000Z"
    state.apply(event("suspended", NOON + 11 * MINUTE, sequence=2, state_of_charge=50.0))
    assert state.document()["sessions"][0]["expected_end_at"] is None


def test_an_evse_serves_one_car() -> None:
    state = folded(event("started", NOON, "a"), event("started", NOON + HOUR_MS, "b"))
    assert [session["session_id"] for session in state.document()["sessions"]] == ["b"]


def test_a_late_event_does_not_turn_the_clock_back() -> None:
    state = folded(event("started", NOON, "b"), event("started", NOON - HOUR_MS, "a"))
    stop = event("stopped", NOON - MINUTE, "a", 1, started_at=NOON - HOUR_MS, energy_delivered_kwh=2.0)
    state.apply(stop)
    assert statuses(state)["st-1"] == "CHARGING"


@pytest.mark.slow
def test_it_does_not_matter_where_the_state_was_saved(simulated: tuple[Rows, Rows]) -> None:
    records, events = simulated
    assert fold_all(records, events, save_every=3) == fold_all(records, events)


def test_events_that_are_sent_again_change_nothing(simulated: tuple[Rows, Rows]) -> None:
    records, events = simulated
    chance = random.Random(5)
    again: Rows = []
    for number, row in enumerate(events):
        again.append(row)
        if chance.random() < 0.3:
            again.append(events[chance.randrange(number + 1)])
    assert len(again) > 1.2 * len(events)
    assert fold_all(records, again) == fold_all(records, events)


def test_offsets_that_are_applied_are_not_applied_again() -> None:
    state = StationState("st")
    assert state.is_new("session-events", 0, 5)
    assert not state.is_new("session-events", 0, 5)
    assert not state.is_new("session-events", 0, 3)
    assert state.is_new("session-events", 0, 9)
    assert state.is_new("session-events", 1, 0)
    assert state.is_new("station-registry", 0, 0)


def test_the_simulated_stations_never_have_more_cars_than_outlets(simulated: tuple[Rows, Rows]) -> None:
    records, events = simulated
    documents = fold_all(records, events).values()
    for document in documents:
        parts = ("free_outlets", "busy_outlets", "unknown_outlets", "out_of_order_outlets")
        assert sum(document[part] for part in parts) == document["total_outlets"] == len(document["evses"])
        assert len(document["sessions"]) == document["busy_outlets"]
    assert Counter(evse["status"] for d in documents for evse in d["evses"]).keys() >= {
        "AVAILABLE",
        "BLOCKED",
        "UNKNOWN",
    }
