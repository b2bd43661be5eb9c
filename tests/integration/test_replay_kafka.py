"""Replaying a file into the real Kafka: the topics hold what the ledger says, message by message."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from secrets import token_hex

import orjson
import pytest
from kafka import KafkaConsumer, TopicPartition

from evcharge.connections import ServerDownError, kafka_options
from evcharge.contracts import SESSION_EVENTS, STATION_REGISTRY
from evcharge.feeds.messages import message
from evcharge.feeds.producer import KafkaPublisher
from evcharge.feeds.sent_ledger import ledger_totals, read_sent
from evcharge.recorded.readers import read_sessions
from evcharge.recorded.replay import replay, session_events
from evcharge.settings import PROJECT, Settings

EXAMPLE = PROJECT / "examples" / "sessions-generic.csv"
#: New names in every run of the module: the same content is the same feed, and its ledger holds what was sent before.
MARK = token_hex(3)
Record = tuple[int, int, bytes, bytes]


@pytest.fixture
def consumer(platform: Settings) -> Iterator[KafkaConsumer]:
    consumer = KafkaConsumer(**kafka_options(platform), enable_auto_commit=False)
    yield consumer
    consumer.close()


def ends(consumer: KafkaConsumer, topic: str) -> dict[TopicPartition, int]:
    partitions = [TopicPartition(topic, number) for number in consumer.partitions_for_topic(topic)]
    return dict(consumer.end_offsets(partitions))


def read(consumer: KafkaConsumer, start: dict[TopicPartition, int]) -> list[Record]:
    """Everything from `start` to the end: partition, offset, key, value."""
    end = consumer.end_offsets(list(start))
    consumer.assign(list(start))
    for partition, offset in start.items():
        consumer.seek(partition, offset)
    records: list[Record] = []
    while any(consumer.position(partition) < end[partition] for partition in start):
        for batch in consumer.poll(timeout_ms=1_000).values():
            records += [(record.partition, record.offset, record.key, record.value) for record in batch]
    return records


def test_every_message_is_where_the_ledger_says(platform: Settings, consumer: KafkaConsumer, tmp_path: Path) -> None:
    before = {topic: ends(consumer, topic) for topic in (STATION_REGISTRY.topic, SESSION_EVENTS.topic)}
    path = tmp_path / EXAMPLE.name
    path.write_text(EXAMPLE.read_text().replace("demo-", f"demo-{MARK}-"))
    recording = read_sessions(path)
    report = replay(platform, recording)

    events = read(consumer, before[SESSION_EVENTS.topic])
    expected = [message(SESSION_EVENTS, row) for session in recording.sessions() for row in session_events(session)]
    assert sorted(value for *_, value in events) == sorted(expected)
    assert all(orjson.loads(value)["station_id"].encode() == key for *_, key, value in events)
    for station in {key for *_, key, _ in events}:
        sent = [value for value in expected if orjson.loads(value)["station_id"].encode() == station]
        assert [value for *_, key, value in sorted(events) if key == station] == sent

    stations = read(consumer, before[STATION_REGISTRY.topic])
    assert sorted(key for *_, key, _ in stations) == [
        f"demo-{MARK}-{name}".encode() for name in ("harbor", "mile-high")
    ]
    assert {orjson.loads(value)["source"] for *_, value in stations} == {"generic"}

    ledger = read_sent(platform, report.feed)
    in_ledger = {(row["topic"], row["partition"], row["offset"]) for row in ledger.to_pylist()}
    on_kafka = {(SESSION_EVENTS.topic, partition, offset) for partition, offset, *_ in events}
    on_kafka |= {(STATION_REGISTRY.topic, partition, offset) for partition, offset, *_ in stations}
    assert in_ledger == on_kafka
    for topic, offsets in report.topic_offsets.items():
        after = {partition.partition: end for partition, end in ends(consumer, topic).items()}
        assert offsets == {partition: after[partition] for partition in offsets}
    assert ledger_totals(ledger).energy_wh == recording.energy_delivered_wh

    # once more: the same events on the topic, nothing new in their ledger
    middle = ends(consumer, SESSION_EVENTS.topic)
    replay(platform, recording)
    assert sorted(value for *_, value in read(consumer, middle)) == sorted(expected)
    again = read_sent(platform, report.feed)
    assert ledger_totals(again).energy_wh == recording.energy_delivered_wh
    assert set(ledger["event_id"].to_pylist()) <= set(again["event_id"].to_pylist())
    assert again.num_rows == ledger.num_rows + len(stations)


def test_a_kafka_that_is_down_is_named(platform: Settings) -> None:
    nowhere = platform.model_copy(update={"kafka_bootstrap_servers": "127.0.0.1:1"})
    with pytest.raises(ServerDownError, match=r"^kafka at 127.0.0.1:1 does not answer"):
        KafkaPublisher(nowhere)
