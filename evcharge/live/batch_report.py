"""A batch's report: how many records of each hour of event time it took."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

import pyarrow as pa

from evcharge.clock import hour_start

_SCHEMA = pa.schema([("hour_ms", pa.int64()), ("records", pa.int64())])
#: The report as Spark DDL, for mapInArrow.
REPORT_DDL = "hour_ms BIGINT, records BIGINT"


class TouchedHours:
    """Counts records by UTC hour."""

    def __init__(self) -> None:
        self._hours: Counter[int] = Counter()

    def add(self, times_ms: Iterable[int]) -> None:
        """Adds records, given by their event times in ms since the epoch."""
        self._hours.update(map(hour_start, times_ms))

    def report(self) -> pa.RecordBatch:
        """The report: one row per hour, in order."""
        hours = [{"hour_ms": hour, "records": count} for hour, count in sorted(self._hours.items())]
        return pa.RecordBatch.from_pylist(hours, schema=_SCHEMA)
