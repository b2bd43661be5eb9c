"""Kafka's record batches as Arrow columns. kafka-python makes an object of each record, which takes ten times as long.

The format is that of message version 2: https://kafka.apache.org/documentation/#messageformat
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

if TYPE_CHECKING:
    from kafka.record.default_records import DefaultRecordBatch

#: `timestamp` is in ms since the epoch.
SCHEMA = pa.schema(
    [
        ("partition", pa.int32()),
        ("offset", pa.int64()),
        ("timestamp", pa.int64()),
        ("key", pa.binary()),
        ("value", pa.binary()),
    ]
)


def records_of(partition: int, batch: DefaultRecordBatch, first: int, end: int) -> pa.RecordBatch:
    """The records of a batch with first <= offset < end, in the columns of SCHEMA. Headers are left out.

    Raises CorruptRecordError if the batch is not what its header says.
    """
    from kafka.errors import CorruptRecordError

    # kafka-python knows the compressions; it keeps the bytes that it made
    batch._maybe_uncompress()
    content = bytes(memoryview(batch._buffer)[batch._pos :])
    count = batch.records_count
    try:
        starts = np.fromiter(_starts(content, count), np.int64, count)
        # so many bytes behind the end that no integer reaches past them
        data = np.frombuffer(content + bytes(_LONGEST), np.uint8)
        # the first byte of a record has attributes, of which none is in use
        time_delta, at = _integers(data, starts + 1)
        offset_delta, at = _integers(data, at)
        key_size, key_at = _integers(data, at)
        value_size, value_at = _integers(data, key_at + np.maximum(key_size, 0))
        if count and (value_at + np.maximum(value_size, 0)).max() > len(content):
            raise IndexError("a value reaches past the end of the batch")
    except (IndexError, ValueError) as error:
        raise CorruptRecordError(f"partition {partition}, offset {batch.base_offset}: {error}") from error
    is_append_time = batch.timestamp_type == batch.LOG_APPEND_TIME
    times = np.full(count, batch.max_timestamp) if is_append_time else batch.first_timestamp + time_delta
    offsets = batch.base_offset + offset_delta
    asked = (offsets >= first) & (offsets < end)
    return pa.record_batch(
        [
            pa.array(np.full(asked.sum(), partition, np.int32)),
            pa.array(offsets[asked]),
            pa.array(times[asked]),
            pa.array(_slices(content, key_at[asked], key_size[asked]), pa.binary()),
            pa.array(_slices(content, value_at[asked], value_size[asked]), pa.binary()),
        ],
        schema=SCHEMA,
    )


#: Bytes of the longest integer of 64 bits, seven bits in each.
_LONGEST = 10


def _starts(content: bytes, count: int) -> Iterator[int]:
    """Where each record begins behind its length. Raises IndexError."""
    at = 0
    for _ in range(count):
        byte = content[at]
        at += 1
        size, shift = byte & 0x7F, 7
        while byte & 0x80:
            byte = content[at]
            at += 1
            size |= (byte & 0x7F) << shift
            shift += 7
        yield at
        # zigzag; a length is never negative
        at += size >> 1


def _integers(data: np.ndarray, at: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The variable-length integers (zigzag) that begin `at`, and where what follows them begins. Raises IndexError."""
    value = np.zeros(len(at), np.uint64)
    goes_on = np.ones(len(at), bool)
    for shift in range(0, 7 * _LONGEST, 7):
        byte = data[at]
        value |= np.where(goes_on, (byte & 0x7F).astype(np.uint64) << np.uint64(shift), np.uint64(0))
        at = at + goes_on
        goes_on = goes_on & (byte >= 0x80)
        if not goes_on.any():
            break
    one = np.uint64(1)
    return (value >> one).astype(np.int64) ^ -(value & one).astype(np.int64), at


def _slices(content: bytes, starts: np.ndarray, sizes: np.ndarray) -> list[bytes | None]:
    """Each piece of the content; None for a negative size."""
    ends = starts + sizes
    return [
        content[start:end] if end >= start else None for start, end in zip(starts.tolist(), ends.tolist(), strict=True)
    ]
