"""A batch's report: how many records of each hour of event time it took, and which records it left to Spark's rules."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import orjson
import pyarrow as pa

from evcharge.clock import hour_start

#: The report as Spark DDL, for mapInArrow: a task reports in one row (`spark_batches` relies on it).
REPORT_DDL = "report STRING"


@dataclass(frozen=True, slots=True)
class BatchReport:
    """What a task took: records by hour (ms). `left` are the offsets, by Kafka partition, of what it left to the rules."""

    hours: Mapping[int, int]
    left: Mapping[int, Sequence[int]]

    @property
    def records(self) -> int:
        return sum(self.hours.values())

    @classmethod
    def read(cls, text: str) -> BatchReport:
        """The report that a task has given as `text`."""
        fields = orjson.loads(text)
        return cls(*({int(key): value for key, value in fields[name].items()} for name in ("hours", "left")))


class TouchedHours:
    """Counts records by UTC hour."""

    def __init__(self) -> None:
        self._hours: Counter[int] = Counter()

    def add(self, times_ms: Iterable[int]) -> None:
        """Adds records, given by their event times in ms since the epoch."""
        self._hours.update(map(hour_start, times_ms))

    def report(self, left: Mapping[int, Sequence[int]] | None = None) -> pa.RecordBatch:
        """The report, with the offsets that were `left`, by partition."""
        text = orjson.dumps({"hours": self._hours, "left": left or {}}, option=orjson.OPT_NON_STR_KEYS).decode()
        return pa.record_batch({"report": [text]})
