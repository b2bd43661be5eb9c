"""Deliveries of the dirty feed as Kafka records."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import orjson
import pytest

from evcharge.contracts import SESSION_EVENTS
from evcharge.dictionary import RULES_BEFORE
from evcharge.feeds.messages import message
from evcharge.simulated.dirty_feed import encoded, quarantined_as
from simulation import Simulation, build_fleet, build_network
from simulation.dirt import Delivery, Dirt, DirtRates

START = datetime(2026, 3, 10, 14, tzinfo=UTC)
END = START + timedelta(hours=36)

Row = dict[str, object]


@pytest.fixture(scope="module")
def rows() -> list[Row]:
    network = build_network(stations=24, seed=3)
    simulation = Simulation(network, build_fleet(network, vehicles=500, seed=3), seed=1, start_at=START)
    return list(simulation.advance(until=END).rows())


def delivered(rows: list[Row], rates: DirtRates) -> list[Delivery]:
    return Dirt(rates, seed=1).deliver(rows, END + timedelta(days=7))


def test_clean_deliveries_are_the_bytes_of_the_clean_feed(rows: list[Row]) -> None:
    deliveries = delivered(rows, DirtRates.none())
    clean = [(str(row["station_id"]).encode(), message(SESSION_EVENTS, row)) for row in rows]
    assert encoded(deliveries) == clean
    assert {quarantined_as(delivery) for delivery in deliveries} == {None}


def test_copies_are_the_same_byte_for_byte(rows: list[Row]) -> None:
    deliveries = delivered(rows, replace(DirtRates(), duplicate=1, malformed=0.2))
    sent: dict[str, set[tuple[bytes, bytes]]] = {}
    for delivery, record in zip(deliveries, encoded(deliveries), strict=True):
        sent.setdefault(delivery.event_id, set()).add(record)
    assert len(deliveries) > 2 * len(rows)
    assert {len(records) for records in sent.values()} == {1}


@pytest.mark.slow
def test_only_whole_messages_are_json(rows: list[Row]) -> None:
    deliveries = delivered(rows, replace(DirtRates.none(), malformed=1))
    for delivery, (_, value) in zip(deliveries, encoded(deliveries), strict=True):
        if quarantined_as(delivery) == "MALFORMED_JSON":
            with pytest.raises(orjson.JSONDecodeError):
                orjson.loads(value)
        else:
            assert orjson.loads(value)["schema_version"] == SESSION_EVENTS.schema_version


def test_what_breaks_a_row_rule_is_known_beforehand(rows: list[Row]) -> None:
    deliveries = delivered(rows, replace(DirtRates.none(), malformed=0.1, clock_skew=1, meter_null=0.5, late=0.5))
    codes = {quarantined_as(delivery) for delivery in deliveries}
    assert codes == {None, "MALFORMED_JSON", "WRONG_TYPE", "MISSING_FIELD", "UNKNOWN_VALUE", "ENDS_BEFORE_START"}
    assert codes - {None} <= RULES_BEFORE.keys() | {rule.code for rule in SESSION_EVENTS.rules}
