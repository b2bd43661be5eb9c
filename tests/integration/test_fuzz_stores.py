"""What the rules call good, every store takes: generated messages through Kafka, lake, ClickHouse, Elasticsearch, Cassandra."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from fuzz_messages import generated
from support import Lake, Record, send

from evcharge.audit.figures import disagreements
from evcharge.audit.live_stores import final_hours, station_documents
from evcharge.audit.reconcile import LOAD_GRACE
from evcharge.contracts import CONTRACTS, SESSION_EVENTS, STATION_REGISTRY, VEHICLE_TELEMETRY
from evcharge.lake.candidate import Manifest
from evcharge.lake.ledger import read_ledger
from evcharge.live.final_usage import write_final_usage
from evcharge.live.rebuild import rebuild_station_state, recompute_positions
from evcharge.warehouse.pending_loads import pending_loads

#: Of each contract. The unit test judges thousands.
MESSAGES = 300


@pytest.fixture(scope="module")
def published(lake: Lake) -> dict[str, Manifest]:
    """The manifest of the generated messages, by topic."""
    now = datetime.now(UTC).replace(microsecond=0)
    # most of them are meant to be bad
    loose = Lake(lake.settings.model_copy(update={"quarantine_share_limit": 1.0}))
    manifests = {}
    for topic, contract in CONTRACTS.items():
        lake.publish_waiting()
        send(lake.settings, topic, [Record(b"fuzz", value) for value in generated(contract, MESSAGES, 3, now)])
        manifests[topic] = loose.publish(loose.plan(topic)).manifest
    return manifests


def test_enough_of_them_are_good(published: dict[str, Manifest]) -> None:
    for manifest in published.values():
        assert manifest.rows_read == MESSAGES
    assert published[STATION_REGISTRY.topic].rows_good > MESSAGES / 4
    # the stations of many events are not registered, and few cars are at random places
    assert published[SESSION_EVENTS.topic].rows_good > MESSAGES / 20
    assert published[VEHICLE_TELEMETRY.topic].rows_good > MESSAGES / 20


def test_the_warehouse_takes_them(lake: Lake, published: dict[str, Manifest]) -> None:
    lake.load_waiting()
    assert pending_loads(lake.settings, lake.repository).nothing


def test_the_live_state_takes_them(lake: Lake, published: dict[str, Manifest]) -> None:
    rebuild_station_state(lake.settings, lake.spark)
    head = lake.repository.head().id
    overdue = read_ledger(lake.repository, SESSION_EVENTS.topic, head).offsets
    assert list(disagreements(station_documents(lake.settings, lake.repository, head, overdue))) == []
    recompute_positions(lake.settings, lake.spark, published[VEHICLE_TELEMETRY.topic].event_dates)


def test_the_final_hours_take_them(lake: Lake, published: dict[str, Manifest]) -> None:
    now = datetime.now(UTC)
    days = [datetime.fromisoformat(day).date() for day in published[SESSION_EVENTS.topic].event_dates]
    write_final_usage(lake.settings, lake.repository, lake.spark, days, now)
    assert list(disagreements(final_hours(lake.settings, lake.repository, now - LOAD_GRACE))) == []
