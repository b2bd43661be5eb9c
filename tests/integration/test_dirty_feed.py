"""A simulated day with every fault of dirty mode: the warehouse has the clean sessions, and the ledger explains the rest."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from support import Lake, Record, Row

from evcharge.connections import clickhouse
from evcharge.lake.ledger import OffsetRange
from evcharge.simulated.dirty_feed import encoded, quarantined_as
from evcharge.simulated.live_feed import BEHAVIOUR
from evcharge.simulated.world import SimulatedWorld
from evcharge.warehouse.day_rules import DAY_RULES
from evcharge.warehouse.pending_loads import pending_loads
from evcharge.warehouse.tables import FACT
from simulation import Simulation, build_fleet
from simulation.dirt import Delivery, Dirt, DirtRates, Fault

#: Days on which no other test has sessions.
START = datetime(2025, 8, 12, tzinfo=UTC)
END = START + timedelta(hours=24)
DAYS = {"first": date(2025, 8, 11), "last": date(2025, 8, 14)}
SEED = 2
RATES = DirtRates(
    late=0.05, duplicate=0.05, malformed=0.03, clock_skew=0.3, offline=0.3, meter_null=0.05, meter_reset=0.01
)

Fact = tuple[datetime, datetime, Decimal]

# its sessions are the same in every run: once their late events are in the lake, none is late
pytestmark = pytest.mark.new_platform


@dataclass(frozen=True)
class Fed:
    """The deliveries by the day's end and after it, the outcome of both, and the facts after each."""

    clean: list[Row]
    deliveries: tuple[list[Delivery], list[Delivery]]
    planned: tuple[OffsetRange, OffsetRange]
    quarantined: Counter[str]
    reopened: list[date]
    first_facts: dict[str, Fact]
    facts: dict[str, Fact]
    broken: dict[str, set[str]]

    @property
    def all_deliveries(self) -> Iterator[Delivery]:
        for part in self.deliveries:
            yield from part

    def with_fault(self, fault: Fault) -> set[str]:
        """Stations of the deliveries that have the fault."""
        return {delivery.key for delivery in self.all_deliveries if fault in delivery.faults}


def facts(lake: Lake, stations: list[str]) -> dict[str, Fact]:
    sql = f"SELECT session_id, started_at, ended_at, energy_delivered_kwh FROM {FACT} WHERE station_id IN %(stations)s"
    rows = lake.query(f"{sql} AND toDate(ended_at, 'UTC') BETWEEN %(first)s AND %(last)s", stations=stations, **DAYS)
    assert len({session_id for session_id, *_ in rows}) == len(rows)
    return {
        session_id: (started.replace(tzinfo=UTC), ended.replace(tzinfo=UTC), kwh)
        for session_id, started, ended, kwh in rows
    }


@pytest.fixture(scope="module")
def fed(lake: Lake) -> Fed:
    world = SimulatedWorld.built_in(24, SEED)
    fleet = build_fleet(world.network, vehicles=800, seed=SEED, models=world.models)
    clean = list(
        Simulation(world.network, fleet, seed=SEED, start_at=START, behaviour=BEHAVIOUR).advance(until=END).rows()
    )
    dirt = Dirt(RATES, SEED)
    deliveries = (dirt.deliver(clean, END), dirt.deliver([], END + timedelta(days=30)))
    lake.register(*({**record, "observed_at": START} for record in world.records))
    stations = [record["station_id"] for record in world.records]

    planned, quarantined, pending, found = [], Counter[str](), [], []
    for part in deliveries:
        planned.append(lake.send(Record(*record) for record in encoded(part)))
        quarantined.update(lake.publish(planned[-1]).manifest.quarantined_by_rule)
        pending.append(pending_loads(lake.settings, lake.repository).days)
        lake.load_waiting()
        found.append(facts(lake, stations))
    return Fed(clean, deliveries, (planned[0], planned[1]), quarantined, pending[1], found[0], found[1], broken(lake))


def broken(lake: Lake) -> dict[str, set[str]]:
    """Stations of the sessions that break a cross-row rule, by rule."""
    client = clickhouse(lake.settings)
    try:
        stations = {}
        for rule in DAY_RULES:
            sql = f"SELECT DISTINCT station_id FROM {FACT} WHERE session_id IN ({rule.session_ids})"
            stations[rule.code] = {station_id for (station_id,) in client.execute(sql, DAYS)}
        return stations
    finally:
        client.disconnect()


def test_every_fault_was_sent(fed: Fed) -> None:
    assert {fault for delivery in fed.all_deliveries for fault in delivery.faults} == set(Fault)


def test_the_warehouse_has_the_clean_sessions_but_for_what_the_ledger_names(fed: Fed) -> None:
    injected: dict[str, dict[Fault, dict[str, Any]]] = {
        delivery.event_id: {injection.fault: injection.detail for injection in delivery.injected}
        for delivery in fed.all_deliveries
    }
    refused = {delivery.event_id for delivery in fed.all_deliveries if quarantined_as(delivery)}
    expected, changed = {}, 0
    for event in fed.clean:
        if event["event_type"] != "stopped" or event["event_id"] in refused:
            continue
        faults = injected[event["event_id"]]
        off = faults.get(Fault.CLOCK_SKEW, {})
        zero_kwh = faults.get(Fault.METER_RESET, {}).get("reset_at_kwh", 0)
        changed += bool(off or zero_kwh)
        expected[event["session_id"]] = (
            event["started_at"] + timedelta(seconds=off.get("started_at_s", 0)),
            event["occurred_at"] + timedelta(seconds=off.get("occurred_at_s", 0)),
            Decimal(round(event["energy_delivered_kwh"] * 1000) - round(zero_kwh * 1000)) / 1000,
        )
    assert fed.facts == expected
    assert 0 < changed < len(expected) / 2


def test_late_events_reopen_their_days(fed: Fed) -> None:
    came_later = fed.facts.keys() - fed.first_facts.keys()
    assert came_later
    assert {fed.facts[session_id][1].date() for session_id in came_later} <= set(fed.reopened)
    assert fed.first_facts.items() <= fed.facts.items()


def test_quarantine_has_what_the_ledger_says_byte_for_byte(lake: Lake, fed: Fed) -> None:
    expected = Counter(code for delivery in fed.all_deliveries if (code := quarantined_as(delivery)))
    assert expected.keys() == {*("MALFORMED_JSON", "WRONG_TYPE", "MISSING_FIELD", "UNKNOWN_VALUE", "ENDS_BEFORE_START")}
    assert fed.quarantined == expected
    for part, planned in zip(fed.deliveries, fed.planned, strict=True):
        sent = Counter(
            (quarantined_as(delivery), *record)
            for delivery, record in zip(part, encoded(part), strict=True)
            if quarantined_as(delivery)
        )
        rows = lake.rows_of(planned)["quarantine"]
        assert Counter((row["rule_code"], row["kafka_key"], row["kafka_value"]) for row in rows) == sent


def test_every_delivery_is_in_the_lake_once(lake: Lake, fed: Fed) -> None:
    for part, planned in zip(fed.deliveries, fed.planned, strict=True):
        raw = Counter(row["event_id"] for row in lake.rows_of(planned)["raw"])
        assert raw == Counter(delivery.event_id for delivery in part if not quarantined_as(delivery))


def test_cross_row_rules_name_only_stations_whose_clock_was_off(fed: Fed) -> None:
    assert fed.broken["SESSION_IS_UNIQUE"] == fed.broken["STATION_IS_KNOWN"] == set()
    assert fed.broken["NO_OVERLAP_ON_EVSE"]
    assert fed.broken["NO_OVERLAP_ON_EVSE"] | fed.broken["ENERGY_FITS_POWER"] <= fed.with_fault(Fault.CLOCK_SKEW)
