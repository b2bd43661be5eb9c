"""Kafka deletes rows after its retention: the producers' own ledgers still prove what is published."""

from __future__ import annotations

from datetime import timedelta
from secrets import token_hex

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from kafka import KafkaAdminClient, TopicPartition
from kafka.admin import ConfigResource, ConfigResourceType
from support import NOON, Lake, evcharge, parquet, record, send, station, stopped

from evcharge.audit.reconcile import reconcile
from evcharge.connections import kafka_options
from evcharge.contracts import CONTRACTS, SESSION_EVENTS
from evcharge.feeds.producer import KafkaPublisher
from evcharge.feeds.sent_ledger import publish_chunk
from evcharge.kafka_log import delete_before, topic_states
from evcharge.lake.layout import raw_prefix
from evcharge.lake.ledger import LedgerError, read_ledger
from evcharge.lake.retention import forget_published
from evcharge.stack.servers import definitions

TOPIC = SESSION_EVENTS.topic


def test_rows_that_left_the_log_are_compared_with_the_producers_ledgers(lake: Lake) -> None:
    mark = token_hex(3)
    name = f"retention-{mark}"
    events = [stopped(f"{name}-{n}", name, NOON) for n in range(3)]
    lake.register(station(name))
    with KafkaPublisher(lake.settings) as publisher:
        publish_chunk(lake.settings, publisher, name, "000000", SESSION_EVENTS, events)
    lake.publish_waiting()
    forgotten = read_ledger(lake.repository, SESSION_EVENTS.topic).offsets
    # one of them is sent again. Afterwards Kafka has only this one.
    send(lake.settings, SESSION_EVENTS.topic, [record(SESSION_EVENTS, events[0])])
    lake.publish_waiting()
    lake.load_waiting()
    before = reconcile(lake.settings)
    assert before.equal

    admin = KafkaAdminClient(**kafka_options(lake.settings))
    try:
        admin.delete_records({TopicPartition(SESSION_EVENTS.topic, p): offset for p, offset in forgotten.items()})
    finally:
        admin.close()
    after = reconcile(lake.settings)
    assert after.differences == []
    assert after.stores["kafka"].events == 1
    assert [after.stores[store] for store in ("producers", "lake", "clickhouse")] == [
        before.stores[store] for store in ("producers", "lake", "clickhouse")
    ]

    path, content = _file_of(lake, f"{name}-1")
    rows = pq.read_table(pa.BufferReader(content)).filter(pc.field("session_id") != f"{name}-1")
    lake.craft(f"craft-{mark}", lambda branch: lake.write(branch, path, parquet(rows)))
    lost = reconcile(lake.settings)
    assert {(d.store, d.against, d.station_id, d.hour) for d in lost.differences} == {
        ("lake", "producers", name, f"{NOON:%Y-%m-%dT%H}:00Z"),
        ("clickhouse", "lake", name, f"{NOON:%Y-%m-%dT%H}:00Z"),
    }
    lake.craft(f"mend-{mark}", lambda branch: lake.write(branch, path, content))
    assert reconcile(lake.settings).equal


def test_only_what_was_on_main_for_long_enough_leaves_kafka(lake: Lake) -> None:
    lake.register(station("retention-log"))
    lake.publish(lake.send_events([stopped(f"retention-log-{token_hex(3)}", "retention-log", NOON)]))
    on_main = read_ledger(lake.repository, TOPIC).offsets
    send(
        lake.settings, TOPIC, [record(SESSION_EVENTS, stopped(f"retention-tail-{token_hex(3)}", "retention-log", NOON))]
    )
    published_at = lake.repository.head().created_at
    kept = timedelta(hours=lake.settings.kafka_retention_h)
    begins = topic_states(lake.settings, [TOPIC])[TOPIC].log_start

    assert forget_published(lake.settings, lake.repository, TOPIC, published_at + kept - timedelta(hours=1)) == {}
    assert topic_states(lake.settings, [TOPIC])[TOPIC].log_start == begins
    for _ in range(2):
        # after a month of standing still, and again
        forget_published(lake.settings, lake.repository, TOPIC, published_at + timedelta(days=30))
        assert topic_states(lake.settings, [TOPIC])[TOPIC].log_start == on_main
    assert lake.plan().rows == 1
    lake.publish_waiting()
    lake.load_waiting()
    assert reconcile(lake.settings).equal


def test_the_topics_keep_everything_by_themselves(lake: Lake) -> None:
    """Also topics of a platform that kept seven days: the configuration is set at each start."""
    admin = KafkaAdminClient(**kafka_options(lake.settings))
    old = ConfigResource(ConfigResourceType.TOPIC, TOPIC, configs={"retention.ms": "604800000"})
    try:
        admin.alter_configs([old])
        definitions(lake.settings)["kafka"].bootstrap()
        resources = [ConfigResource(ConfigResourceType.TOPIC, topic) for topic in CONTRACTS]
        found = admin.describe_configs(resources)["topic"]
    finally:
        admin.close()
    assert {topic: found[topic]["retention.ms"]["value"] for topic in CONTRACTS} == dict.fromkeys(CONTRACTS, "-1")


def test_lost_rows_are_accepted_once_and_the_rest_goes_on(lake: Lake) -> None:
    """Ten events of a producer of ours, of which seven leave the log before they are published."""
    name = f"retention-gap-{token_hex(3)}"
    lake.register(station(name))
    lake.load_waiting()
    events = [stopped(f"{name}-{n}", name, NOON) for n in range(10)]
    with KafkaPublisher(lake.settings) as publisher:
        sent = publish_chunk(lake.settings, publisher, name, "000000", SESSION_EVENTS, events)
    (partition,) = set(sent["partition"].to_pylist())
    first = min(sent["offset"].to_pylist())
    delete_before(lake.settings, TOPIC, {partition: first + 7})
    with pytest.raises(
        LedgerError, match=f"^{TOPIC}-{partition}: offsets {first} to {first + 6} left the log unpublished"
    ):
        lake.plan()

    printed = evcharge("lake", "accept-gap", TOPIC, "--yes")
    assert printed.returncode == 0, printed.stderr
    assert f"{TOPIC}-{partition}: 7 rows, offsets {first} to {first + 6}, taken after " in printed.stdout
    assert "7 rows are noted as lost in commit" in printed.stdout
    again = evcharge("lake", "accept-gap", TOPIC, "--yes")
    assert "has no gap" in again.stdout

    lake.publish_waiting()
    lake.load_waiting()
    verdict = reconcile(lake.settings)
    assert verdict.differences == []
    assert verdict.lost == 7
    # their producer sends them again: they are new rows
    with KafkaPublisher(lake.settings) as publisher:
        publish_chunk(lake.settings, publisher, name, "000000", SESSION_EVENTS, events[:7])
    lake.publish_waiting()
    lake.load_waiting()
    assert lake.query("SELECT count() FROM fact_charging_sessions WHERE station_id = %(name)s", name=name) == [(10,)]
    assert reconcile(lake.settings).differences == []


def _file_of(lake: Lake, session: str) -> tuple[str, bytes]:
    for path in lake.repository.paths("main", raw_prefix(SESSION_EVENTS.topic, NOON.date().isoformat())):
        content = lake.repository.read("main", path)
        assert content is not None
        if session in pq.read_table(pa.BufferReader(content))["session_id"].to_pylist():
            return path, content
    raise AssertionError(f"{session} is in no file")
