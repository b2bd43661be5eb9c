"""One query of the live stream: what it has done, how current its state is, and when to start it again after a failure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import TYPE_CHECKING

import orjson
import structlog

from evcharge.errors import UserError
from evcharge.live.stream_inputs import Input
from evcharge.live.stream_status import AsOf, QueryStatus, progressed

if TYPE_CHECKING:
    from pyspark.sql import DataFrame
    from pyspark.sql.streaming.query import StreamingQuery

log = structlog.get_logger()

#: How long one query may fail again and again before the stream gives up; the sensor then starts the stream again.
GIVE_UP_AFTER_S = 300.0
LONGEST_BACKOFF_S = 15.0


class StreamError(UserError):
    """The stream cannot continue, or another one runs."""


@dataclass
class StreamQuery:
    """A query of the stream; `running` is None before its start and between a failure and the next try.

    `hours` counts records by hour of event time (ms) since the last `take_hours`; `failing_since` and `retry_at` are seconds
    of the monotonic clock.
    """

    input: Input
    status: QueryStatus
    running: StreamingQuery | None = None
    failures: int = 0
    failing_since: float = 0.0
    retry_at: float = 0.0
    as_of: AsOf = field(default_factory=AsOf)
    hours: Counter[int] = field(default_factory=Counter)
    records: int = 0

    def take_batch(self, batch: DataFrame, _batch_id: int) -> None:
        """Adds up the reports of a batch, for Spark's `foreachBatch`. Collecting the reports makes Spark write the batch."""
        for report in batch.collect():
            self.hours[report.hour_ms] += report.records
            self.records += report.records
        self.failures = 0

    def take_hours(self) -> dict[int, int]:
        """The records by hour since the last call."""
        hours, self.hours = self.hours, Counter()
        return dict(hours)

    def update_status(self, running: StreamingQuery, asked_at: datetime, ends: Mapping[int, int]) -> None:
        """Brings the status up to date, if the log ended at `ends` at the instant `asked_at`."""
        self.as_of.asked(asked_at, ends)
        last = running.lastProgress
        progress = None if last is None else orjson.loads(last.json)
        self.status = replace(progressed(self.status, progress, ends, self.as_of), rows=self.records)

    def plan_retry(self, now: float, reason: str) -> None:
        """Notes a failure and waits longer after each one. Raises StreamError if the query has failed for too long."""
        self.failures += 1
        if self.failures == 1:
            self.failing_since = now
        failing_s = now - self.failing_since
        if failing_s > GIVE_UP_AFTER_S:
            raise StreamError(f"query {self.input.name} has failed for {failing_s:.0f} s: {reason}")
        backoff_s = min(2.0 ** (self.failures - 1), LONGEST_BACKOFF_S)
        self.retry_at = now + backoff_s
        log.warning("query failed", query=self.input.name, reason=reason, retry_in_s=backoff_s, failures=self.failures)


def failure_reason(error: str) -> str:
    """The one line of a Spark or Python worker's error that says what was wrong."""
    lines = [line.strip() for line in error.splitlines() if line.strip()]
    named = [line for line in lines if "Error: " in line or "Exception: " in line]
    return (named[-1] if named else lines[0])[:300] if lines else "no reason given"
