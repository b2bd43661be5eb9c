"""Kafka deletes rows after its retention: the producers' own ledgers still prove what is published."""

from __future__ import annotations

from secrets import token_hex

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from kafka import KafkaAdminClient, TopicPartition
from support import NOON, Lake, parquet, record, send, station, stopped

from evcharge.audit.reconcile import reconcile
from evcharge.connections import kafka_options
from evcharge.contracts import SESSION_EVENTS
from evcharge.feeds.producer import KafkaPublisher
from evcharge.feeds.sent_ledger import publish_chunk
from evcharge.lake.layout import raw_prefix
from evcharge.lake.ledger import read_ledger


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


def _file_of(lake: Lake, session: str) -> tuple[str, bytes]:
    for path in lake.repository.paths("main", raw_prefix(SESSION_EVENTS.topic, NOON.date().isoformat())):
        content = lake.repository.read("main", path)
        assert content is not None
        if session in pq.read_table(pa.BufferReader(content))["session_id"].to_pylist():
            return path, content
    raise AssertionError(f"{session} is in no file")
