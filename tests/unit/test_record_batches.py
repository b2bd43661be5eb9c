"""Kafka's record batches in columns are what kafka-python reads in them, record by record."""

from __future__ import annotations

import struct
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from kafka.errors import CorruptRecordError
from kafka.record.default_records import DefaultRecordBatch, DefaultRecordBatchBuilder
from kafka.record.memory_records import MemoryRecords
from kafka.record.util import calc_crc32c
from kafka.structs import TopicPartition

from evcharge.kafka_log import _whole_batches
from evcharge.record_batches import SCHEMA, records_of

Record = tuple[int, bytes | None, bytes | None, list[tuple[str, bytes | None]]]

RECORDS = st.lists(
    st.tuples(
        st.integers(0, 2**41),
        st.one_of(st.none(), st.binary(max_size=200)),
        st.one_of(st.none(), st.binary(max_size=20_000)),
        st.lists(st.tuples(st.text(max_size=3), st.one_of(st.none(), st.binary(max_size=3))), max_size=2),
    ),
    min_size=1,
    max_size=70,
)
GZIP, LZ4 = 1, 3


def built(records: list[Record], compression: int) -> bytes:
    builder = DefaultRecordBatchBuilder(
        magic=2,
        compression_type=compression,
        is_transactional=0,
        producer_id=-1,
        producer_epoch=-1,
        base_sequence=-1,
        batch_size=2**30,
    )
    for n, (at, key, value, headers) in enumerate(records):
        builder.append(n, timestamp=at, key=key, value=value, headers=headers)
    return bytes(builder.build())


@given(records=RECORDS, compression=st.sampled_from([0, GZIP, LZ4]), first=st.integers(0, 5), end=st.integers(0, 80))
def test_the_columns_are_the_records(records: list[Record], compression: int, first: int, end: int) -> None:
    content = built(records, compression)
    found = records_of(7, DefaultRecordBatch(content), first, end)
    asked = [r for r in DefaultRecordBatch(content) if first <= r.offset < end]
    assert found.schema == SCHEMA
    assert found.to_pydict() == {
        "partition": [7] * len(asked),
        **{name: [getattr(record, name) for record in asked] for name in SCHEMA.names[1:]},
    }


def test_records_that_are_cut_off_are_an_error() -> None:
    content = bytearray(built([(5, b"key", b"value", [])] * 9, 0))
    for size in (3, 20, 90):
        with pytest.raises(CorruptRecordError):
            records_of(0, DefaultRecordBatch(content[: len(content) - size]), 0, 9)


def fetched(content: bytes) -> Any:
    """What kafka-python's fetcher makes of a fetched piece of a partition, with our class in the place of its own."""
    return _whole_batches()(5, TopicPartition("topic", 2), MemoryRecords(content))


def test_the_fetcher_hands_out_whole_batches() -> None:
    batches = [bytearray(built([(1, b"k", b"v", [])] * size, LZ4)) for size in (10, 4)]
    struct.pack_into(">q", batches[1], 0, 10)
    piece = fetched(bytes(batches[0] + batches[1]))
    (first,) = piece.take(1)
    assert (first.base_offset, piece.next_fetch_offset) == (0, 10)
    assert records_of(2, first, 5, 12)["offset"].to_pylist() == [5, 6, 7, 8, 9]
    (second,) = piece.take(9)
    assert (second.base_offset, piece.next_fetch_offset) == (10, 14)
    assert records_of(2, second, 5, 12)["offset"].to_pylist() == [10, 11]
    assert not piece


def test_a_batch_with_a_wrong_checksum_is_an_error() -> None:
    content = bytearray(built([(1, b"key", b"value", [])], 0))
    content[-3] ^= 1
    with pytest.raises(CorruptRecordError, match="topic-2, offset 0"):
        fetched(bytes(content)).take(1)


def test_the_end_of_a_transaction_is_no_message() -> None:
    content = bytearray(built([(1, b"key", b"value", [])], 0))
    attributes = DefaultRecordBatch.ATTRIBUTES_OFFSET
    struct.pack_into(">h", content, attributes, DefaultRecordBatch.CONTROL_MASK)
    struct.pack_into(">I", content, DefaultRecordBatch.CRC_OFFSET, calc_crc32c(memoryview(content)[attributes:]))
    piece = fetched(bytes(content))
    assert (piece.take(1), piece.next_fetch_offset) == ([], 1)
