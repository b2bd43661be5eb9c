"""One query of the live stream: what it has done, how current its state is, and when to start it again after a failure."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import TYPE_CHECKING, Any, TypeAlias

import orjson

from evcharge.clock import ms_to_iso
from evcharge.live.batch_report import BatchReport
from evcharge.live.spark_batches import collected
from evcharge.live.stream_inputs import Input
from evcharge.live.stream_status import AsOf, QueryStatus, progressed
from evcharge.log import log

if TYPE_CHECKING:
    from pyspark.sql import DataFrame
    from pyspark.sql.streaming.query import StreamingQuery

Left: TypeAlias = dict[int, Sequence[int]]
"""The offsets, by partition, of the records that a batch leaves to Spark's rules."""

#: A query that fails is tried again for ever, at last this far apart. It holds up no other query.
LONGEST_BACKOFF_S = 15.0
#: After so many failures in a row, the writer looks for the records at which its batch fails. The first ones may be a server
#: that is just starting.
CAREFUL_AFTER = 3
#: A batch of more records is followed by the next one after `Input.busy_s`.
FEW_RECORDS = 100


@dataclass
class StreamQuery:
    """A query of the stream; `running` is None before its start and between a failure and the next try.

    `hours` counts records by hour of event time (ms) since the last `take_hours`; `retry_at` is in seconds of the monotonic
    clock; `progress` is Spark's last one. `take_left` plans the pass over the records that a batch leaves.
    `partitions` are those of Kafka that the query was started with.
    """

    input: Input
    status: QueryStatus
    running: StreamingQuery | None = None
    failures: int = 0
    retry_at: float = 0.0
    as_of: AsOf = field(default_factory=AsOf)
    hours: Counter[int] = field(default_factory=Counter)
    records: int = 0
    take_left: Callable[[Left], DataFrame] | None = None
    partitions: frozenset[int] = frozenset()
    progress: Mapping[str, Any] | None = None

    @property
    def careful(self) -> bool:
        """Whether the writer has to look for the records at which its batch fails."""
        return self.failures >= CAREFUL_AFTER

    def take_batch(self, reports: Sequence[BatchReport], begun: float) -> None:
        """Adds up the reports of a batch that began then (monotonic clock, s), and takes what the batch has left."""
        before = self.records
        self._add(reports)
        left = {partition: offsets for report in reports for partition, offsets in report.left.items()}
        if left and self.take_left is not None:
            self._add(collected(self.take_left(left)))
        if self.records - before > FEW_RECORDS:
            # The next batch does not start before this one has ended.
            time.sleep(max(begun + self.input.busy_s - time.monotonic(), 0.0))

    def _add(self, reports: Sequence[BatchReport]) -> None:
        for report in reports:
            self.hours.update(report.hours)
            self.records += report.records

    def take_hours(self) -> dict[int, int]:
        """The records by hour since the last call."""
        hours, self.hours = self.hours, Counter()
        return dict(hours)

    def stop(self) -> None:
        """Ends the query where it stands; it can be started again."""
        running, self.running = self.running, None
        try:
            if running is not None:
                running.stop()
        except Exception as error:
            # Spark waits for the query's task only so long. The query's next start ends what still runs.
            log.warning("query did not stop in time", query=self.input.name, reason=failure_reason(str(error)))

    def update_status(self, asked_at: datetime, ends: Mapping[int, int]) -> None:
        """Brings the status up to date, if the log ended at `ends` at the instant `asked_at`."""
        self.as_of.asked(asked_at, ends)
        last = None if self.running is None else self.running.lastProgress
        if last is not None:
            # Spark reports progress once it has finished a batch, or has found nothing new.
            self.progress = orjson.loads(last.json)
            self.failures = 0
            self.status = replace(self.status, failing_since=None, failing_reason=None)
        self.status = replace(progressed(self.status, self.progress, ends, self.as_of), rows=self.records)

    def plan_retry(self, now: float, reason: str) -> None:
        """Notes a failure in the status, and waits longer after each one, up to `LONGEST_BACKOFF_S`."""
        backoff_s = min(2.0 ** min(self.failures, 10), LONGEST_BACKOFF_S)
        self.failures += 1
        self.retry_at = now + backoff_s
        since = self.status.failing_since or ms_to_iso(time.time_ns() // 1_000_000)
        self.status = replace(self.status, failing_since=since, failing_reason=reason)
        log.warning("query failed", query=self.input.name, reason=reason, retry_in_s=backoff_s, failures=self.failures)


def failure_reason(error: str) -> str:
    """The one line of a Spark or Python worker's error that says what was wrong."""
    lines = [line.strip() for line in error.splitlines() if line.strip()]
    named = [line for line in lines if "Error: " in line or "Exception: " in line]
    return (named[-1] if named else lines[0])[:300] if lines else "no reason given"
