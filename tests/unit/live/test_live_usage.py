"""Hourly usage: sums that add up, and the stream's and the lake's hours are the same."""

from __future__ import annotations

from collections import defaultdict

import pytest
from hypothesis import given
from hypothesis import strategies as st
from live_events import MINUTE, NOON, Rows, event, fold_all, folded

from evcharge.clock import HOUR_MS
from evcharge.live.final_usage import folded as folded_in_time_order
from evcharge.live.station_state import HORIZON_MS
from evcharge.live.usage import Usage, pieces


def test_energy_between_two_readings_flows_evenly() -> None:
    usage = Usage()
    usage.add_stretch(NOON + 30 * MINUTE, NOON + 90 * MINUTE, 1.0, 7.0)
    hours = usage.hours
    assert {start: (hour.energy_wh, hour.occupied_ms) for start, hour in hours.items()} == {
        NOON: (3000, 30 * MINUTE),
        NOON + HOUR_MS: (3000, 30 * MINUTE),
    }


@given(
    start=st.integers(0, 5 * HOUR_MS),
    cuts=st.lists(st.integers(1, 3 * HOUR_MS), min_size=1, max_size=6),
    readings=st.lists(st.floats(0, 50, allow_nan=False), min_size=6, max_size=6),
)
def test_no_energy_and_no_time_is_lost_in_the_cuts(start: int, cuts: list[int], readings: list[float]) -> None:
    usage, at, total = Usage(), start, 0.0
    for length, gained in zip(cuts, readings, strict=False):
        usage.add_stretch(at, at + length, total, total + gained)
        at, total = at + length, total + gained
    assert sum(hour.occupied_ms for hour in usage.hours.values()) == at - start
    assert sum(hour.energy_wh for hour in usage.hours.values()) == round(total * 1000)
    assert all(hour.occupied_ms <= HOUR_MS for hour in usage.hours.values())


@given(st.integers(0, 10**12), st.integers(0, 10 * HOUR_MS))
def test_pieces_cover_the_stretch(start: int, length: int) -> None:
    found = list(pieces(start, start + length))
    assert sum(end - begin for begin, end in found) == length
    assert all(begin // HOUR_MS == (end - 1) // HOUR_MS for begin, end in found)


def test_a_falling_meter_adds_nothing() -> None:
    usage = Usage()
    usage.add_stretch(NOON, NOON + MINUTE, 5.0, 0.0)
    assert usage.hours[NOON].energy_wh == 0


def test_the_end_of_an_unseen_session_counts_all_of_it() -> None:
    """Recorded sources have a start and an end; what comes first may even be the end."""
    stop = event(
        "stopped", NOON + 150 * MINUTE, started_at=NOON + 30 * MINUTE, energy_delivered_kwh=12.0, queue_wait_s=300.0
    )
    hours = folded(stop).usage.hours
    assert [hours[NOON + n * HOUR_MS].energy_wh for n in range(3)] == [3000, 6000, 3000]
    assert [hours[NOON + n * HOUR_MS].sessions for n in range(3)] == [1, 0, 0]
    assert hours[NOON].waits == 1
    assert [hours[NOON + n * HOUR_MS].peak_occupancy for n in range(3)] == [1, 1, 1]


def test_waits_are_cars_that_queued_before_they_began_or_gave_up() -> None:
    state = folded(
        event("queued", NOON, "a"),
        event("queued", NOON + 1, "b"),
        event("started", NOON + 2, "a", 1, queue_wait_s=0.002),
        event("abandoned", NOON + 3, "b", 1),
        event("started", NOON + 4, "c", evse_id="st-2", queue_wait_s=0.0),
    )
    hour = state.usage.hours[NOON]
    assert (hour.waits, hour.sessions, hour.peak_occupancy) == (2, 2, 2)


def test_cars_that_stay_count_in_the_hours_in_which_nothing_happens() -> None:
    state = folded(
        event("started", NOON, "a"),
        event("started", NOON, "b", evse_id="st-2"),
        event("stopped", NOON + 3 * HOUR_MS + 1, "a", 1, started_at=NOON, energy_delivered_kwh=1.0),
    )
    assert [state.usage.hours[NOON + n * HOUR_MS].peak_occupancy for n in range(4)] == [2, 2, 2, 2]


def test_old_hours_are_forgotten_and_their_late_events_do_not_count() -> None:
    late = event("stopped", NOON, "a", started_at=NOON - MINUTE, energy_delivered_kwh=9.0)
    state = folded(event("started", NOON + 2 * HORIZON_MS, "b"), late)
    assert min(state.usage.hours) >= NOON + HORIZON_MS
    assert sum(hour.energy_wh for hour in state.usage.hours.values()) == 0


def test_the_lake_and_the_stream_agree_on_the_hours_that_both_have(simulated: tuple[Rows, Rows]) -> None:
    records, events = simulated
    stream = fold_all(records, events)
    by_time = sorted(
        events, key=lambda row: (row["station_id"], row["occurred_at"], row["session_id"], row["sequence"])
    )
    lake = {state.station_id: state.usage.to_json()["hours"] for state in folded_in_time_order(by_time)}
    compared = 0
    for station_id, document in stream.items():
        hours = document["hours"]
        oldest = min(hours, default="0")
        for start, values in hours.items():
            # the oldest hour that is kept may have lost what was forgotten with the hours before it
            if start != oldest:
                assert lake[station_id][start] == values, (station_id, start)
                compared += 1
    assert compared > 100


def test_the_lakes_hours_hold_what_the_simulation_says(simulated: tuple[Rows, Rows]) -> None:
    _, events = simulated
    by_time = sorted(
        events, key=lambda row: (row["station_id"], row["occurred_at"], row["session_id"], row["sequence"])
    )
    energy_wh: dict[str, int] = defaultdict(int)
    for row in events:
        if row["energy_delivered_kwh"] is not None:
            energy_wh[row["session_id"]] = max(energy_wh[row["session_id"]], round(row["energy_delivered_kwh"] * 1000))
    begun = sum(row["event_type"] == "started" for row in events)
    faults = sum(row["event_type"] == "faulted" for row in events)
    hours = [hour for state in folded_in_time_order(by_time) for hour in state.usage.hours.values()]
    assert sum(hour.sessions for hour in hours) == begun
    assert sum(hour.faults for hour in hours) == faults
    assert sum(hour.energy_wh for hour in hours) == pytest.approx(sum(energy_wh.values()), abs=0)
