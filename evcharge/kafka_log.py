"""Kafka's topics: their ids, where their logs start and end, the records in between, and what is cut off or appended."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from typing import TYPE_CHECKING, Any
from uuid import UUID

from evcharge.connections import CONNECT_TIMEOUT_S, kafka_errors, kafka_options
from evcharge.errors import UserError
from evcharge.settings import Settings

if TYPE_CHECKING:
    import pyarrow as pa
    from kafka import KafkaAdminClient, KafkaConsumer

#: A third of the minute that Dagster gives a sensor's tick, in which `topic_states` runs.
_ADMIN_TIMEOUT_MS = 20_000
_POLL_TIMEOUT_MS = 10_000
_POLL_RECORDS = 20_000
_DELIVERY_TIMEOUT_MS = 30_000
#: The format of record batches since Kafka 0.11.
_MAGIC = 2


class TopicMissingError(UserError):
    """Kafka has no such topic."""


@dataclass(frozen=True, slots=True)
class TopicState:
    """A topic's id, and by partition the log's first offset and the offset after its last record."""

    topic: str
    topic_id: str
    log_start: dict[int, int]
    log_end: dict[int, int]


def topic_states(settings: Settings, topics: list[str]) -> dict[str, TopicState]:
    """The state of each topic, by name, read one after the other in the given order.

    Raises ServerDownError; TopicMissingError if a topic does not exist.
    """
    from kafka.admin import OffsetSpec
    from kafka.structs import TopicPartition

    with _admin(settings) as admin:
        found = {}
        descriptions = {description["name"]: description for description in admin.describe_topics(topics)}
        for name in topics:
            description = descriptions[name]
            if description.get("error_code"):
                raise TopicMissingError(f"topic {name} does not exist in Kafka; `evcharge stack up` makes it")
            partitions = [TopicPartition(name, p["partition_index"]) for p in description["partitions"]]
            first = admin.list_partition_offsets(dict.fromkeys(partitions, OffsetSpec.EARLIEST))
            last = admin.list_partition_offsets(dict.fromkeys(partitions, OffsetSpec.LATEST))
            found[name] = TopicState(
                topic=name,
                topic_id=str(UUID(str(description["topic_id"]))),
                log_start={tp.partition: first[tp].offset for tp in partitions},
                log_end={tp.partition: last[tp].offset for tp in partitions},
            )
        return found


def delete_before(settings: Settings, topic: str, offsets: Mapping[int, int]) -> None:
    """Deletes the records before the given offset of each partition. Raises ServerDownError."""
    from kafka.structs import TopicPartition

    with _admin(settings) as admin:
        admin.delete_records({TopicPartition(topic, p): offset for p, offset in offsets.items()})


@contextmanager
def _admin(settings: Settings) -> Iterator[KafkaAdminClient]:
    from kafka import KafkaAdminClient

    with kafka_errors(settings):
        timeouts = {"request_timeout_ms": _ADMIN_TIMEOUT_MS, "bootstrap_timeout_ms": CONNECT_TIMEOUT_S * 1000}
        admin = KafkaAdminClient(**kafka_options(settings), **timeouts)
        try:
            yield admin
        finally:
            admin.close()


def first_record_at(state: TopicState, settings: Settings, partition: int) -> datetime | None:
    """When Kafka took the first record that a partition still has; None if it has none. Raises ServerDownError."""
    start = state.log_start[partition]
    if start == state.log_end[partition]:
        return None
    with log_records(settings, state.topic, {partition: start + 1}) as (_, records):
        record = next(records, None)
    return None if record is None else datetime.fromtimestamp(record.timestamp / 1000, UTC)


def append_records(
    settings: Settings, topic: str, records: Iterable[tuple[bytes | None, bytes | None]]
) -> list[tuple[int, int]]:
    """Appends records, each a key and a value, and waits until Kafka has all. Returns partition and offset of each.

    The key chooses the partition, as for every other producer. Raises ServerDownError: then Kafka may have some of them.
    """
    from kafka import KafkaProducer

    with kafka_errors(settings):
        producer = KafkaProducer(
            **kafka_options(settings),
            acks="all",
            compression_type="lz4",
            # what came in with the topics' limit has to go out again
            max_request_size=9 * 1024 * 1024,
            bootstrap_timeout_ms=CONNECT_TIMEOUT_S * 1000,
            max_block_ms=_ADMIN_TIMEOUT_MS,
            request_timeout_ms=_ADMIN_TIMEOUT_MS,
            delivery_timeout_ms=_DELIVERY_TIMEOUT_MS,
        )
        try:
            futures = [producer.send(topic, value=value, key=key) for key, value in records]
            producer.flush(timeout=2 * _DELIVERY_TIMEOUT_MS / 1000)
            sent = [future.get(timeout=0) for future in futures]
        finally:
            producer.close(timeout=CONNECT_TIMEOUT_S)
    return [(metadata.partition, metadata.offset) for metadata in sent]


class LogEnds:
    """Reads the ends of topics' partitions over one connection."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._consumer: KafkaConsumer | None = None

    def of(self, topic: str) -> dict[int, int]:
        """The offset after the last record, by partition. Raises ServerDownError."""
        from kafka.errors import KafkaConnectionError
        from kafka.structs import TopicPartition

        with kafka_errors(self._settings):
            if self._consumer is None:
                self._consumer = _consumer(self._settings, request_timeout_ms=CONNECT_TIMEOUT_S * 1000)
            partitions = self._consumer.partitions_for_topic(topic)
            if not partitions:
                # a client that has just lost its broker knows no partitions, which does not mean that there are none
                self.close()
                raise KafkaConnectionError(f"the partitions of {topic} are not known")
            ends = self._consumer.end_offsets([TopicPartition(topic, p) for p in sorted(partitions)])
            return {tp.partition: offset for tp, offset in ends.items()}

    def close(self) -> None:
        if self._consumer is not None:
            self._consumer.close()
            self._consumer = None


@contextmanager
def log_records(
    settings: Settings, topic: str, ends: Mapping[int, int]
) -> Iterator[tuple[dict[int, int], Iterator[Any]]]:
    """The log's first offsets by partition, and an iterator over the records from there up to `ends`.

    `ends` are exclusive offsets by partition. Records are kafka-python's. Raises ServerDownError.
    """
    from kafka.structs import TopicPartition

    with kafka_errors(settings):
        consumer = _consumer(settings, fetch_max_wait_ms=100)
        try:
            partitions = {TopicPartition(topic, p): end for p, end in ends.items()}
            consumer.assign(list(partitions))
            first = consumer.beginning_offsets(list(partitions))
            for tp, offset in first.items():
                consumer.seek(tp, offset)
            yield {tp.partition: offset for tp, offset in first.items()}, _records(consumer, partitions)
        finally:
            consumer.close()


def _records(consumer: KafkaConsumer, ends: Mapping[Any, int]) -> Iterator[Any]:
    return (record for tp, record in _polled(consumer, ends) if record.offset < ends[tp])


@contextmanager
def log_columns(
    settings: Settings, topic: str, ends: Mapping[int, int], since: datetime | None = None
) -> Iterator[tuple[dict[int, int], Iterator[pa.RecordBatch]]]:
    """As `log_records`, with the records in the columns of `evcharge.record_batches.SCHEMA`, some thousand at a time.

    With `since` the records that Kafka took before it are left out, up to the first one of each partition that it took later.
    Raises ServerDownError.
    """
    from kafka.structs import TopicPartition

    with kafka_errors(settings):
        consumer = _consumer(settings, fetch_max_wait_ms=100)
        try:
            # a batch comes as it is, in place of its records
            consumer._fetcher.PartitionRecords = _whole_batches()
            partitions = {TopicPartition(topic, p): end for p, end in ends.items()}
            consumer.assign(list(partitions))
            first = consumer.beginning_offsets(list(partitions))
            if since is not None:
                later = consumer.offsets_for_times(dict.fromkeys(partitions, int(since.timestamp() * 1000)))
                first |= {
                    tp: min(found.offset, partitions[tp]) if found else partitions[tp] for tp, found in later.items()
                }
            for tp, offset in first.items():
                consumer.seek(tp, offset)
            starts = {tp.partition: offset for tp, offset in first.items()}
            yield starts, _columns(consumer, partitions, first)
        finally:
            consumer.close()


def _columns(consumer: KafkaConsumer, ends: Mapping[Any, int], starts: Mapping[Any, int]) -> Iterator[pa.RecordBatch]:
    from evcharge.record_batches import records_of

    for tp, batch in _polled(consumer, ends):
        # a batch may begin before what was asked for, and reach past it
        yield records_of(tp.partition, batch, starts[tp], ends[tp])


def _polled(consumer: KafkaConsumer, ends: Mapping[Any, int]) -> Iterator[tuple[Any, Any]]:
    """What the consumer gets of each partition up to its end."""
    waiting = {tp for tp, end in ends.items() if consumer.position(tp) < end}
    while waiting:
        for tp, found in consumer.poll(timeout_ms=_POLL_TIMEOUT_MS, max_records=_POLL_RECORDS).items():
            yield from ((tp, one) for one in found)
        waiting = {tp for tp in waiting if consumer.position(tp) < ends[tp]}


@cache
def _whole_batches() -> type:
    """kafka-python's reader of a fetched piece of a partition, which hands out record batches in place of records."""
    from kafka.consumer.fetcher import Fetcher
    from kafka.errors import CorruptRecordError

    class WholeBatches(Fetcher.PartitionRecords):
        def _maybe_skip_record(self, batch: Any) -> bool:
            return False

        def _unpack_records(self, tp: Any, records: Any, *deserializers: Any) -> Iterator[Any]:
            while (batch := records.next_batch()) is not None:
                if batch.magic != _MAGIC:
                    raise UserError(f"{tp.topic}-{tp.partition}: records in a format from before Kafka 0.11")
                if not batch.validate_crc():
                    raise CorruptRecordError(f"{tp.topic}-{tp.partition}, offset {batch.base_offset}: wrong checksum")
                self.leader_epoch = batch.leader_epoch
                self.next_fetch_offset = batch.next_offset
                # control batches mark the ends of transactions and hold no messages
                if not batch.is_control_batch:
                    yield batch
            self.drain()

    return WholeBatches


def _consumer(settings: Settings, **options: Any) -> KafkaConsumer:
    from kafka import KafkaConsumer

    return KafkaConsumer(
        **kafka_options(settings),
        enable_auto_commit=False,
        bootstrap_timeout_ms=CONNECT_TIMEOUT_S * 1000,
        **options,
    )
