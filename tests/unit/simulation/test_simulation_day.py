"""Rules that every simulated day must keep, whatever the parameters: places, plugs, energy, order."""

from collections import Counter, defaultdict
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest
from simulated_day import START, Day

from evcharge.contracts.model import FieldType
from evcharge.contracts.session_events import EVENT_TYPES, SESSION_EVENTS, event_id
from simulation.charging import AC_EFFICIENCY, DC_EFFICIENCY
from simulation.events import COLUMNS, SCHEMA_VERSION

pytestmark = pytest.mark.slow

HALF_WH = 0.0005 + 1e-9
# Events report states of charge to 0.01 %, so a difference of two is off by at most this fraction of the battery.
SOC_ROUNDING = 0.0001 + 1e-9


def test_columns_are_the_contract() -> None:
    assert SESSION_EVENTS.columns == COLUMNS
    assert SESSION_EVENTS.schema_version == SCHEMA_VERSION


def test_every_event_satisfies_the_contract(day: Day) -> None:
    for field in SESSION_EVENTS.fields:
        values = [event[field.name] for event in day.events]
        present = [value for value in values if value is not None]
        assert len(present) == len(values) or not field.required, field.name
        assert not field.values or set(present) <= set(field.values), field.name
        assert field.minimum is None or min(present) >= field.minimum, field.name
        assert field.maximum is None or max(present) <= field.maximum, field.name
        if field.type is FieldType.TIMESTAMP:
            assert all(value.tzinfo is UTC and value.microsecond % 1000 == 0 for value in present)
        python_type = {FieldType.STRING: str, FieldType.INTEGER: int, FieldType.DOUBLE: float}.get(field.type)
        assert python_type is None or {type(value) for value in present} == {python_type}, field.name
    for event in day.events:
        assert event["event_id"] == event_id(event["session_id"], event["sequence"])


def test_the_day_has_every_event_type_and_enough_sessions(day: Day) -> None:
    counts = Counter(event["event_type"] for event in day.events)
    assert set(counts) == set(EVENT_TYPES)
    assert counts["stopped"] >= 2_000


def test_totals_are_those_of_the_events(day: Day) -> None:
    totals = day.simulation.totals
    assert totals.events == len(day.events)
    assert totals.events_by_type == Counter(event["event_type"] for event in day.events)
    assert totals.sessions == len(day.stopped)
    assert totals.energy_wh == sum(round(event["energy_delivered_kwh"] * 1000) for event in day.stopped)


def test_events_are_in_time_order_within_the_day(day: Day) -> None:
    times = [event["occurred_at"] for event in day.events]
    assert times == sorted(times)
    assert times[0] > START
    assert times[-1] <= START + timedelta(hours=24)


def test_event_ids_are_unique_and_of_letters_digits_and_hyphens(day: Day) -> None:
    ids = [event["event_id"] for event in day.events]
    assert len(set(ids)) == len(ids)
    assert all(character.isascii() and (character.isalnum() or character == "-") for character in "".join(ids))


def test_sequences_have_no_gaps_and_sessions_a_grammar(day: Day) -> None:
    followers = {
        "queued": {"started", "abandoned"},
        "abandoned": set(),
        "started": {"meter", "suspended", "stopped", "faulted"},
        "meter": {"meter", "suspended", "stopped", "faulted"},
        "suspended": {"resumed", "stopped"},
        "resumed": {"meter", "suspended", "stopped", "faulted"},
        "faulted": {"stopped"},
        "stopped": set(),
    }
    for events in day.sessions.values():
        assert [event["sequence"] for event in events] == list(range(len(events)))
        assert events[0]["event_type"] in ("queued", "started")
        for before, after in pairwise(events):
            assert after["event_type"] in followers[before["event_type"]]
            assert before["occurred_at"] <= after["occurred_at"]
            assert (before["station_id"], before["ev_id"]) == (after["station_id"], after["ev_id"])


def test_a_car_is_in_one_place_at_a_time(day: Day) -> None:
    visits = defaultdict(list)
    for events in day.sessions.values():
        visits[events[0]["ev_id"]].append(
            (events[0]["occurred_at"], events[-1]["occurred_at"], events[-1]["event_type"])
        )
    for of_car in visits.values():
        for (_, left, last), (came, _, _) in pairwise(sorted(of_car)):
            assert last in ("stopped", "abandoned")
            assert came > left


def test_visits_are_at_least_five_minutes_apart(day: Day) -> None:
    visits: dict[tuple[str, str], list[datetime]] = defaultdict(list)
    for session_id, events in day.sessions.items():
        # Further tries of a failed start belong to one visit: they have a letter after its number.
        visits[events[0]["ev_id"], session_id.rstrip("bcdefgh")].extend(event["occurred_at"] for event in events)
    of_cars = defaultdict(list)
    for (ev_id, _), times in visits.items():
        of_cars[ev_id].append((min(times), max(times)))
    for spans in of_cars.values():
        for (_, left), (came, _) in pairwise(sorted(spans)):
            assert came >= left + timedelta(minutes=5)


@pytest.mark.slow
def test_an_evse_serves_one_car_at_a_time_and_none_after_a_fault(day: Day) -> None:
    sessions = defaultdict(list)
    for events in day.sessions.values():
        plugged = [event for event in events if event["evse_id"] is not None]
        if plugged:
            sessions[plugged[0]["evse_id"]].append((plugged[0]["occurred_at"], plugged[-1]))
    assert set(sessions) <= {evse.evse_id for station in day.network.stations for evse in station.evses}
    for of_evse in sessions.values():
        for (_, last), (started_at, _) in pairwise(sorted(of_evse, key=lambda session: session[0])):
            assert last["event_type"] == "stopped"
            assert started_at > last["occurred_at"]


def test_cars_plug_into_connectors_that_they_have(day: Day) -> None:
    connector = {evse.evse_id: evse.connector_type for station in day.network.stations for evse in station.evses}
    accepted = {model.ev_model_id: model.connector_types for model in day.fleet.models}
    for event in day.events:
        assert event["evse_id"] is None or connector[event["evse_id"]] in accepted[event["ev_model_id"]]


def test_cumulative_energy_never_falls_and_ends_in_the_cdr(day: Day) -> None:
    for events in day.sessions.values():
        energies = [e["energy_delivered_kwh"] for e in events if e["energy_delivered_kwh"] is not None]
        assert energies == sorted(energies)
        for before, after in pairwise(events):
            if before["event_type"] in ("suspended", "faulted"):
                assert after["energy_delivered_kwh"] == before["energy_delivered_kwh"]


def test_energy_is_conserved_between_meter_and_battery(day: Day) -> None:
    evses = {evse.evse_id: evse for station in day.network.stations for evse in station.evses}
    capacity = {model.ev_model_id: model.usable_kwh for model in day.fleet.models}
    for event in day.stopped:
        efficiency = DC_EFFICIENCY if evses[event["evse_id"]].is_dc else AC_EFFICIENCY
        battery_kwh = capacity[event["ev_model_id"]]
        gain_kwh = (event["state_of_charge"] - event["state_of_charge_start"]) / 100 * battery_kwh
        difference = abs(event["energy_delivered_kwh"] * efficiency - gain_kwh)
        assert difference <= SOC_ROUNDING * battery_kwh + HALF_WH


def test_no_session_takes_more_than_power_times_time(day: Day) -> None:
    power_kw = {evse.evse_id: evse.power_kw for station in day.network.stations for evse in station.evses}
    for event in day.events:
        assert event["power_kw"] is None or event["power_kw"] <= power_kw[event["evse_id"]]
    for event in day.stopped:
        hours = (event["occurred_at"] - event["started_at"]).total_seconds() / 3600
        charging_hours = hours - event["idle_s"] / 3600
        assert event["energy_delivered_kwh"] <= power_kw[event["evse_id"]] * charging_hours + HALF_WH


def test_meter_values_rise_by_no_more_than_the_plug_gives(day: Day) -> None:
    power_kw = {evse.evse_id: evse.power_kw for station in day.network.stations for evse in station.evses}
    for events in day.sessions.values():
        for before, after in pairwise(events):
            if after["event_type"] == "meter":
                hours = (after["occurred_at"] - before["occurred_at"]).total_seconds() / 3600
                increment = after["energy_delivered_kwh"] - before["energy_delivered_kwh"]
                assert increment <= power_kw[after["evse_id"]] * hours + 2 * HALF_WH
                assert increment > 0 or hours < 0.001


def test_stopped_is_a_complete_cdr(day: Day) -> None:
    sessions = day.sessions
    for event in day.stopped:
        assert all(value is not None for value in event.values())
        events = {e["event_type"]: e for e in sessions[event["session_id"]]}
        assert event["started_at"] == events["started"]["occurred_at"]
        assert event["state_of_charge_start"] == events["started"]["state_of_charge"]
        waited = 0.0
        if "queued" in events:
            waited = (event["started_at"] - events["queued"]["occurred_at"]).total_seconds()
            assert waited > 0
        assert event["queue_wait_s"] == events["started"]["queue_wait_s"] == waited
        if event["idle_s"]:
            full_at = event["occurred_at"] - timedelta(seconds=event["idle_s"])
            assert full_at == events["suspended"]["occurred_at"]


def test_no_car_waits_while_a_plug_that_fits_is_free(day: Day) -> None:
    """At each queued event the station's EVSEs that fit are taken, handed over, or out of order after a fault."""
    station = {s.station_id: s for s in day.network.stations}
    accepted = {model.ev_model_id: model.connector_types for model in day.fleet.models}
    plugged: set[str] = set()
    unsure: set[str] = set()
    last_left = {}
    for event in day.events:
        evse = event["evse_id"]
        if event["event_type"] == "started":
            plugged.add(evse)
            unsure.discard(evse)
        elif event["event_type"] == "faulted":
            unsure.add(evse)
        elif event["event_type"] == "stopped":
            plugged.discard(evse)
            last_left[evse] = event["occurred_at"]
        elif event["event_type"] == "queued":
            for candidate in station[event["station_id"]].evses:
                if candidate.connector_type in accepted[event["ev_model_id"]]:
                    # A car that moves up needs at most 150 s.
                    left = last_left.get(candidate.evse_id)
                    moving = left is not None and event["occurred_at"] - left <= timedelta(seconds=150)
                    assert candidate.evse_id in plugged | unsure or moving


def test_workplaces_follow_local_hours(day: Day) -> None:
    """About half of the weekday starts at a campus are from 8 to 11 o'clock, local time (ACN-Data Caltech)."""
    station = {s.station_id: s for s in day.network.stations}
    hours = [
        event["started_at"].astimezone(ZoneInfo(station[event["station_id"]].time_zone)).hour
        for event in day.stopped
        if station[event["station_id"]].site_kind == "workplace"
    ]
    assert 0.35 < sum(8 <= hour < 11 for hour in hours) / len(hours) < 0.75
