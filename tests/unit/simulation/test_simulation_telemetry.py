"""Telemetry: where a car can be, how fast it drives, its charge; and any chunks give the same messages."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import groupby, pairwise
from math import asin, cos, radians, sin, sqrt
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from simulated_day import START

from evcharge.contracts import VEHICLE_TELEMETRY
from simulation import EventBatch, Fleet, Network, Simulation, TelemetryBatch
from simulation.roads import CIRCUITY

SPAN_S = 20 * 3600
#: Homes are within 3 km of a station; roads are longer than the straight lines that positions lie on.
HOME_KM = 3.0
IMPLAUSIBLE_KMH = 250.0

Message = dict[str, Any]


def straight_km(a: Message, b: Message) -> float:
    half_latitude = radians(b["latitude"] - a["latitude"]) / 2
    half_longitude = radians(b["longitude"] - a["longitude"]) / 2
    middle = cos(radians(a["latitude"])) * cos(radians(b["latitude"]))
    return 2 * 6371.0 * asin(sqrt(sin(half_latitude) ** 2 + middle * sin(half_longitude) ** 2))


def by_car(*batches: TelemetryBatch) -> dict[str, list[Message]]:
    """Messages of each car in the order in which it sent them."""
    rows = sorted((row for batch in batches for row in batch.rows()), key=lambda row: row["vehicle_id"])
    return {vehicle_id: list(messages) for vehicle_id, messages in groupby(rows, lambda row: row["vehicle_id"])}


@dataclass(frozen=True)
class Run:
    """Two simulated days of the town, and the telemetry of its cars."""

    network: Network
    fleet: Fleet
    events: EventBatch
    batch: TelemetryBatch
    cars: dict[str, list[Message]]
    balked: int

    @property
    def pairs(self) -> Iterator[tuple[Message, Message]]:
        return (pair for messages in self.cars.values() for pair in pairwise(messages))


@pytest.fixture(scope="module")
def run(town: tuple[Network, Fleet]) -> Run:
    simulation = Simulation(*town, seed=1, start_at=START)
    events = simulation.advance(until=START + timedelta(hours=48))
    batch = simulation.telemetry()
    return Run(*town, events, batch, by_car(batch), simulation.totals.balked.total())


def test_columns_are_those_of_the_message(run: Run) -> None:
    assert tuple(run.batch.columns) == VEHICLE_TELEMETRY.columns
    assert len(run.cars) == len(run.fleet.vehicles)
    assert all(len(column) == len(run.batch) for column in run.batch.columns.values())


def test_every_value_is_within_the_contract(run: Run) -> None:
    for field in VEHICLE_TELEMETRY.fields:
        values = run.batch.columns[field.name]
        present = [value for value in values if value is not None]
        assert not field.required or len(present) == len(values)
        assert field.minimum is None or min(present) >= field.minimum
        assert field.maximum is None or max(present) <= field.maximum


def test_time_goes_forward(run: Run) -> None:
    assert run.batch.columns["occurred_at"] == sorted(run.batch.columns["occurred_at"])
    assert all(a["occurred_at"] < b["occurred_at"] for a, b in run.pairs)
    assert all(at.microsecond % 1000 == 0 for at in run.batch.columns["occurred_at"])


@pytest.mark.slow
def test_no_car_jumps(run: Run) -> None:
    for a, b in run.pairs:
        # Positions are rounded to about a metre.
        km, hours = straight_km(a, b) - 0.001, (b["occurred_at"] - a["occurred_at"]) / timedelta(hours=1)
        assert km <= IMPLAUSIBLE_KMH * hours
        assert max(a["speed_kmh"], b["speed_kmh"]) < IMPLAUSIBLE_KMH


@pytest.mark.slow
def test_a_car_moves_with_its_ignition_on_and_at_the_speed_it_reports(run: Run) -> None:
    for a, b in run.pairs:
        km, hours = straight_km(a, b), (b["occurred_at"] - a["occurred_at"]) / timedelta(hours=1)
        if not a["ignition"]:
            assert (a["latitude"], a["longitude"]) == (b["latitude"], b["longitude"])
        elif a["speed_kmh"] and b["speed_kmh"]:
            assert a["speed_kmh"] == b["speed_kmh"]
            assert km * CIRCUITY / hours == pytest.approx(a["speed_kmh"], rel=0.02, abs=1.0)
            assert a["heading"] == b["heading"]


def test_how_often_cars_report(run: Run) -> None:
    for a, b in run.pairs:
        longest = timedelta(seconds=30) if a["ignition"] else timedelta(minutes=30)
        assert b["occurred_at"] - a["occurred_at"] <= longest
        # A car reports at once that its ignition went on or off, and it stands then.
        if a["ignition"] != b["ignition"]:
            assert b["speed_kmh"] == 0
    beats = {row["occurred_at"].timestamp() % 30 for row in run.cars["ev-00001"] if row["speed_kmh"]}
    assert len(beats) == 1


@pytest.mark.slow
def test_charge_falls_on_the_road_and_rises_where_the_car_stands(run: Run) -> None:
    for a, b in run.pairs:
        if a["ignition"]:
            assert b["state_of_charge"] <= a["state_of_charge"]
        else:
            assert b["state_of_charge"] >= a["state_of_charge"]
    models = {model.ev_model_id: model for model in run.fleet.models}
    for row in run.batch.rows():
        model = models[row["ev_model_id"]]
        km = row["state_of_charge"] / 100 * model.usable_kwh / model.consumption_kwh_per_100km * 100
        assert row["range_km"] == pytest.approx(km, abs=0.2)


def test_a_car_is_at_the_station_of_its_session_and_only_there(run: Run) -> None:
    """Between the events of a session it stands at the station, with a charge between those of the events."""
    places = {station.station_id: (station.latitude, station.longitude) for station in run.network.stations}
    sessions: dict[str, list[Message]] = {}
    for event in run.events.rows():
        sessions.setdefault(event["session_id"], []).append(event)
    seen = 0
    for events in sessions.values():
        first, last = events[0], events[-1]
        for row in run.cars[first["ev_id"]]:
            if first["occurred_at"] <= row["occurred_at"] < last["occurred_at"]:
                assert (row["latitude"], row["longitude"]) == places[first["station_id"]]
                assert not row["ignition"]
                assert first["state_of_charge"] <= row["state_of_charge"] <= last["state_of_charge"]
                seen += 1
    assert seen > 1000


def test_a_drive_to_a_station_names_it_and_ends_at_its_arrival(run: Run) -> None:
    places = {station.station_id: (station.latitude, station.longitude) for station in run.network.stations}
    arrivals = {
        (event["ev_id"], event["occurred_at"]): event
        for event in run.events.rows()
        # A letter at the end means another try after a failed start; nobody drives for that.
        if event["sequence"] == 0 and event["session_id"][-1].isdigit()
    }
    found = balked = 0
    for a, b in run.pairs:
        if a["destination_station_id"] and not b["destination_station_id"]:
            arrival = arrivals.pop((b["vehicle_id"], b["occurred_at"]), None)
            if arrival is None:
                balked += 1
                assert (b["latitude"], b["longitude"]) == places[a["destination_station_id"]]
                continue
            assert arrival["station_id"] == a["destination_station_id"]
            assert (b["latitude"], b["longitude"]) == places[arrival["station_id"]]
            assert (b["ignition"], b["speed_kmh"]) == (False, 0)
            assert b["state_of_charge"] == pytest.approx(arrival["state_of_charge"], abs=0.01)
            found += 1
        if b["destination_station_id"] and a["destination_station_id"]:
            assert a["destination_station_id"] == b["destination_station_id"]
    assert found > 300
    assert arrivals == {}, "every visit has its drive"
    assert balked == run.balked > 0


def test_cars_go_home(run: Run) -> None:
    bases = {vehicle.ev_id: run.network.stations[vehicle.home] for vehicle in run.fleet.vehicles}
    homes = 0
    for vehicle_id, rows in run.cars.items():
        base = {"latitude": bases[vehicle_id].latitude, "longitude": bases[vehicle_id].longitude}
        parked = [row for row in rows if not row["ignition"]]
        homes += any(0.2 < straight_km(base, row) < HOME_KM for row in parked)
    assert homes > 0.95 * len(run.cars)


def rows_of(*batches: TelemetryBatch) -> list[Message]:
    return [row for batch in batches for row in batch.rows()]


@pytest.fixture(scope="module")
def unbroken(run: Run) -> list[Message]:
    until = START + timedelta(seconds=SPAN_S)
    return [row for row in run.batch.rows() if row["occurred_at"] <= until]


@pytest.mark.slow
@settings(max_examples=8, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(cuts=st.lists(st.integers(0, SPAN_S * 1000), min_size=1, max_size=6), reload=st.booleans())
def test_any_cuts_give_the_same_messages(
    town: tuple[Network, Fleet], unbroken: list[Message], cuts: list[int], reload: bool
) -> None:
    simulation = Simulation(*town, seed=1, start_at=START)
    batches = []
    for cut_ms in [*sorted(cuts), SPAN_S * 1000]:
        simulation.advance(until=START + timedelta(milliseconds=cut_ms))
        batches.append(simulation.telemetry())
        if reload:
            simulation = Simulation.load(*town, json.loads(json.dumps(simulation.save())))
    assert rows_of(*batches) == unbroken


@pytest.mark.slow
def test_cuts_exactly_at_messages_repeat_and_lose_nothing(
    town: tuple[Network, Fleet], run: Run, unbroken: list[Message]
) -> None:
    """The cuts are at the ends of drives and at arrivals."""
    ends = [b["occurred_at"] for a, b in run.pairs if a["ignition"] != b["ignition"]]
    steps = run.events.columns["occurred_at"]
    until = START + timedelta(seconds=SPAN_S)
    cuts = sorted({at for at in (*ends[::97], *steps[::29]) if at < until} | {until})
    assert len(cuts) > 60
    simulation = Simulation(*town, seed=1, start_at=START)
    batches = []
    for cut in cuts:
        simulation.advance(until=cut)
        batches.append(simulation.telemetry())
    assert rows_of(*batches) == unbroken


@pytest.mark.slow
def test_a_call_changes_nothing_and_may_begin_later(town: tuple[Network, Fleet], unbroken: list[Message]) -> None:
    until, since = START + timedelta(seconds=SPAN_S), START + timedelta(seconds=SPAN_S - 3600)
    asked, other = (Simulation(*town, seed=1, start_at=START) for _ in range(2))
    with pytest.raises(ValueError, match="call `advance` first"):
        asked.telemetry()
    for simulation in (asked, other):
        simulation.advance(until=until)
    assert rows_of(asked.telemetry(since=since)) == [row for row in unbroken if row["occurred_at"] > since]
    assert rows_of(asked.telemetry(since=START - timedelta(days=1))) == unbroken
    assert asked.save() == other.save()
    asked.advance(until=until)
    assert len(asked.telemetry()) == 0
    with pytest.raises(ValueError, match="time zone"):
        asked.telemetry(since=datetime(2026, 3, 10))  # noqa: DTZ001


@pytest.mark.slow
@pytest.mark.parametrize(("stations", "vehicles"), [(1, 1), (1, 40), (3, 2)])
def test_the_smallest_networks_have_telemetry(stations: int, vehicles: int) -> None:
    from simulation import build_fleet, build_network

    network = build_network(stations=stations, seed=1)
    simulation = Simulation(network, build_fleet(network, vehicles=vehicles, seed=1), seed=1, start_at=START)
    simulation.advance(until=START + timedelta(days=10))
    cars = by_car(simulation.telemetry())
    assert len(cars) == vehicles
    for a, b in (pair for messages in cars.values() for pair in pairwise(messages)):
        assert straight_km(a, b) - 0.001 <= IMPLAUSIBLE_KMH * (
            (b["occurred_at"] - a["occurred_at"]) / timedelta(hours=1)
        )
        assert 0 <= b["state_of_charge"] <= 100
