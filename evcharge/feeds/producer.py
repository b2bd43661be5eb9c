"""Publishes contract rows to Kafka and returns the partition and offset of each."""

from __future__ import annotations

import gc
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from types import TracebackType
from typing import Any, Protocol, Self

from kafka import KafkaProducer
from kafka.errors import KafkaError
from kafka.partitioner.default import DefaultPartitioner

from evcharge.connections import CONNECT_TIMEOUT_S, kafka_options, server_down
from evcharge.contracts import Contract
from evcharge.disk import require_room
from evcharge.feeds.messages import message
from evcharge.settings import Settings

# Longer than the election of a new partition leader, shorter than a person's patience.
DELIVERY_TIMEOUT_S = 30
REQUEST_TIMEOUT_S = 20
# Longer than any delivery, so that each message is acknowledged or failed at the end of a flush.
FLUSH_TIMEOUT_S = DELIVERY_TIMEOUT_S + REQUEST_TIMEOUT_S

#: The partition and offset of an acknowledged message.
Ack = tuple[int, int]


class Publisher(Protocol):
    """Publishes rows and returns their acknowledgements. `KafkaPublisher` does this with Kafka."""

    def publish(self, contract: Contract, rows: Sequence[Mapping[str, Any]]) -> list[Ack]:
        """Publishes all rows, waits until all are acknowledged, and returns (partition, offset) of each row in order."""
        ...


class KafkaPublisher:
    """An idempotent producer with acks=all and no transactions: every offset of a topic is a row.

    Rows of one station keep their order, because the station is the key. A failed call leaves an unknown part of its rows on
    the topic: publish the same rows again, with the same event ids. Use it as a context manager. Raises ServerDownError
    naming Kafka if rows are not acknowledged in time; then open a new publisher.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        try:
            self._producer = KafkaProducer(
                **kafka_options(settings),
                acks="all",
                enable_idempotence=True,
                compression_type="lz4",
                linger_ms=20,
                batch_size=512 * 1024,
                max_request_size=8 * 1024 * 1024,
                bootstrap_timeout_ms=CONNECT_TIMEOUT_S * 1000,
                max_block_ms=REQUEST_TIMEOUT_S * 1000,
                request_timeout_ms=REQUEST_TIMEOUT_S * 1000,
                delivery_timeout_ms=DELIVERY_TIMEOUT_S * 1000,
                partitioner=_RememberingPartitioner(),
                metrics_enabled=False,
            )
        except (KafkaError, OSError) as error:
            raise server_down(settings, "kafka", settings.kafka_bootstrap_servers, error) from error

    def publish(self, contract: Contract, rows: Sequence[Mapping[str, Any]]) -> list[Ack]:
        """See `Publisher.publish`. Raises NoRoomError before anything is sent."""
        require_room(self._settings, "kafka")
        topic, key = contract.topic, contract.key
        try:
            with _collector_paused():
                futures = [self._producer.send(topic, message(contract, row), row[key].encode()) for row in rows]
                self._producer.flush(timeout=FLUSH_TIMEOUT_S)
                sent = [future.get(timeout=0) for future in futures]
        except KafkaError as error:
            raise server_down(self._settings, "kafka", self._settings.kafka_bootstrap_servers, error) from error
        return [(metadata.partition, metadata.offset) for metadata in sent]

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        # The caller publishes the rows of a failed call again, so nothing waits for them. Closing raises if some are still
        # open, and must not hide the call's own error.
        with suppress(KafkaError):
            self._producer.close(timeout=0 if kind else CONNECT_TIMEOUT_S)


@contextmanager
def _collector_paused() -> Iterator[None]:
    """Pauses the cyclic garbage collector, which would walk a chunk's futures again and again: a sixth more rows/s."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


class _RememberingPartitioner(DefaultPartitioner):
    """The Java client's partitioner. It keeps its results, because the hash is computed in Python."""

    def __init__(self) -> None:
        self._partitions: dict[tuple[str, bytes], int] = {}

    def partition(
        self, topic: str, key: Any, serialized_key: bytes, value: Any, serialized_value: bytes, cluster: Any
    ) -> int:
        known = self._partitions.get((topic, serialized_key))
        if known is None:
            known = super().partition(topic, key, serialized_key, value, serialized_value, cluster)
            self._partitions[topic, serialized_key] = known
        return known
