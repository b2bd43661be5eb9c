"""A batch's report: how many records of each hour of event time it took, and which records it left to Spark's rules."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

import pyarrow as pa

from evcharge.clock import hour_start

_SCHEMA = pa.schema(
    [
        ("hour_ms", pa.int64()),
        ("records", pa.int64()),
        ("left_partition", pa.int32()),
        ("left_offsets", pa.list_(pa.int64())),
    ]
)
#: The report as Spark DDL, for mapInArrow. A row is about an hour, or about a Kafka partition of which records were left.
REPORT_DDL = "hour_ms BIGINT, records BIGINT, left_partition INT, left_offsets ARRAY<BIGINT>"


class TouchedHours:
    """Counts records by UTC hour."""

    def __init__(self) -> None:
        self._hours: Counter[int] = Counter()

    def add(self, times_ms: Iterable[int]) -> None:
        """Adds records, given by their event times in ms since the epoch."""
        self._hours.update(map(hour_start, times_ms))

    def report(self, left: Mapping[int, Sequence[int]] | None = None) -> pa.RecordBatch:
        """The report: one row per hour, in order, then one per partition of the offsets that were `left`."""
        hours = [{"hour_ms": hour, "records": count} for hour, count in sorted(self._hours.items())]
        rest = [{"left_partition": partition, "left_offsets": offsets} for partition, offsets in (left or {}).items()]
        return pa.RecordBatch.from_pylist([*hours, *rest], schema=_SCHEMA)
