"""Runs the live stream: one Spark Structured Streaming query per input, in this process, until somebody stops it.

| query | from | to |
|---|---|---|
| registry | station-registry | station-state |
| stations | session-events | station-state |
| vehicles | vehicle-telemetry | vehicle-position |
| journal | session-events without meter values | station_events_by_day |

Each query keeps its offsets in a checkpoint, which belongs to the index that the query writes. When another index takes the
place of `station-state`, the stream follows it from the offsets that it was computed up to. No result depends on a correct
checkpoint, because every write is idempotent: a checkpoint that is lost, or that Spark refuses, starts again at those offsets.
Hourly usage is copied from the station documents to Cassandra, so that a Cassandra that is down holds up nothing else.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from threading import Event
from typing import TYPE_CHECKING
from uuid import uuid4

import structlog

from evcharge import lock
from evcharge.clock import ms_to_iso
from evcharge.connections import ServerDownError, elasticsearch, elasticsearch_errors, spark_kafka_options
from evcharge.kafka_log import LogEnds
from evcharge.lake.judge import judged
from evcharge.live import indices
from evcharge.live.batch_report import REPORT_DDL
from evcharge.live.checkpoints import (
    checkpoint_folder,
    has_checkpoints,
    is_checkpoint_trouble,
    is_in_log,
    starting_offsets,
)
from evcharge.live.indices import STATION_STATE, VEHICLE_POSITION, LiveIndex
from evcharge.live.provisional_usage import UsageWriter
from evcharge.live.rebuild import in_milliseconds, rebuild_station_state
from evcharge.live.spark_driver import stream_session
from evcharge.live.stream_inputs import Input, inputs
from evcharge.live.stream_query import StreamError, StreamQuery, failure_reason
from evcharge.live.stream_status import QueryStatus, write_status
from evcharge.live.vehicle_positions import remove_expired
from evcharge.live.worker import IndexGoneError
from evcharge.settings import Settings

if TYPE_CHECKING:
    from pyspark.sql import SparkSession
    from pyspark.sql.streaming.query import StreamingQuery

log = structlog.get_logger()

#: How often the stream checks its queries and writes how current it is.
LOOK_EVERY_S = 1.0
EXPIRE_EVERY_S = 60.0
LOCK_WAIT_S = 1.0


@dataclass(frozen=True, slots=True)
class StreamProgress:
    """What the stream did since its last report: records by query and hour of event time (ms), and each query's status."""

    hours: dict[str, dict[int, int]]
    statuses: dict[str, QueryStatus]


def run_stream(
    settings: Settings,
    stop: Event,
    on_progress: Callable[[StreamProgress], None] = lambda progress: None,
    report_every_s: float = 30.0,
) -> None:
    """Runs the stream until `stop` is set. Raises StreamError, ServerDownError.

    `on_progress` is called from this thread every `report_every_s`. One stream runs at a time on a platform.
    """
    with only_one(settings):
        spark = stream_session(settings)
        try:
            while not stop.is_set():
                stream = _Stream(settings, spark, stop, on_progress, report_every_s)
                try:
                    stream.run()
                except IndexGoneError as error:
                    log.warning("the stream follows another index", reason=str(error))
                finally:
                    stream.close()
        finally:
            spark.stop()


def only_one(settings: Settings) -> AbstractContextManager[None]:
    """Holds the stream's lock. Raises StreamError if another stream runs."""
    path = lock_file(settings)
    # Waits, because `is_running` holds the lock for an instant.
    return lock.only_one(path, StreamError(f"another stream runs on this platform ({path} is locked)"), LOCK_WAIT_S)


def is_running(settings: Settings) -> bool:
    """Whether some process runs the stream."""
    return lock.is_held(lock_file(settings))


def lock_file(settings: Settings) -> Path:
    return settings.home / "live" / "stream.lock"


class _Stream:
    """All queries, as long as `station-state` stays the same index."""

    #: The index that the stream follows.
    index: LiveIndex

    def __init__(
        self,
        settings: Settings,
        spark: SparkSession,
        stop: Event,
        on_progress: Callable[[StreamProgress], None],
        report_every_s: float,
    ) -> None:
        self.settings, self.spark, self.stop = settings, spark, stop
        self.on_progress, self.report_every_s = on_progress, report_every_s
        self.client = elasticsearch(settings)
        self.ends = LogEnds(settings)
        self.usage = UsageWriter(settings)
        self.usage_thread = ThreadPoolExecutor(1, "usage")
        self.ended = Event()
        self.stream_id = uuid4().hex[:12]
        self.queries: list[StreamQuery] = []

    def run(self) -> None:
        with elasticsearch_errors(self.settings):
            for alias in (indices.STREAM_STATUS, VEHICLE_POSITION):
                indices.ensure_alias(self.client, alias)
            self.index = self._index_to_follow()
        started_at = str(ms_to_iso(time.time_ns() // 1_000_000))
        for input_ in inputs():
            query = StreamQuery(input_, QueryStatus(input_.name, self.stream_id, self.index.name, started_at))
            self.queries.append(query)
            self._start(query)
        log.info("stream started", stream_id=self.stream_id, index=self.index.name)
        # In a thread of its own: the hours of many stations take many seconds, and this thread writes the status every second.
        usage_written = self.usage_thread.submit(self.usage.keep_written, self.client, self.ended)
        expire_at, report_at = 0.0, time.monotonic() + self.report_every_s
        while not self.stop.wait(LOOK_EVERY_S):
            now = time.monotonic()
            self._check_index()
            for query in self.queries:
                self._look_after(query, now)
            if usage_written.done():
                usage_written.result()
            if now >= expire_at:
                expire_at = now + EXPIRE_EVERY_S
                self._attempt(
                    "positions were not expired", lambda: remove_expired(self.client, time.time_ns() // 1_000_000)
                )
            if now >= report_at:
                report_at = now + self.report_every_s
                self._report()
        self._report()

    def close(self) -> None:
        self.ended.set()
        for query in self.queries:
            if query.running is not None:
                query.running.stop()
        self.usage_thread.shutdown()
        self.usage.close()
        self.ends.close()
        self.client.close()

    # --- one query ---

    def _start(self, query: StreamQuery) -> None:
        settings, input_ = self.settings, query.input
        options = spark_kafka_options(settings) | {
            "subscribe": input_.contract.topic,
            "maxOffsetsPerTrigger": str(input_.batch_records),
            "startingOffsets": starting_offsets(input_, self.index, self.ends),
        }
        if input_.name == "vehicles":
            # Older positions have expired.
            since = datetime.now(UTC) - timedelta(hours=1)
            options["startingTimestamp"] = str(int(since.timestamp() * 1000))
            options["startingOffsetsByTimestampStrategy"] = "latest"
        # Spark takes the pool of the thread that starts the query: each query's batches get a pool of their own.
        self.spark.sparkContext.setLocalProperty("spark.scheduler.pool", input_.name)
        rows = self.spark.readStream.format("kafka").options(**options).load()
        # One task, from the reading on: Spark generates a task's code again for each partition that it reads. The rows are
        # judged and folded within the stream's own plan, which Spark analyses once and not for each batch.
        good = judged(settings, rows.coalesce(1).where(input_.look_at), input_.contract).where("rule_code IS NULL")
        writer = input_.writer(settings, self.index.name)
        # Spark keeps workers with different environments apart. So a query's one task gets the same worker, with what it
        # keeps in memory, in every batch.
        self.spark.sparkContext.environment["STREAM_QUERY"] = input_.name
        query.running = (
            in_milliseconds(good, input_.contract)
            .mapInArrow(writer, REPORT_DDL)
            .writeStream.queryName(f"{input_.name}-{self.stream_id}-{query.failures}")
            .option("checkpointLocation", checkpoint_folder(settings, input_, self.index).as_uri())
            .trigger(processingTime=f"{int(input_.trigger_s * 1000)} milliseconds")
            .foreachBatch(query.take_batch)
            .start()
        )

    def _look_after(self, query: StreamQuery, now: float) -> None:
        """Writes the status of a query that runs; starts a query that failed again once its wait is over."""
        running = query.running
        if running is None:
            if now >= query.retry_at:
                try:
                    self._start(query)
                except ServerDownError as error:
                    query.plan_retry(now, str(error))
            return
        ended_with = running.exception() if not running.isActive else None
        if ended_with is None:
            self._attempt("the status was not written", lambda: self._write_status(query, running))
            return
        query.running = None
        error_text = str(ended_with)
        if IndexGoneError.__name__ in error_text:
            raise IndexGoneError(f"{query.status.index} is gone")
        query.plan_retry(now, failure_reason(error_text))
        if is_checkpoint_trouble(error_text):
            self._reset_checkpoint(query.input)

    def _reset_checkpoint(self, input_: Input) -> None:
        """Removes a checkpoint. Replaces the index too, if Kafka has lost records after the offsets that it began with."""
        log.warning("checkpoint is removed", query=input_.name)
        shutil.rmtree(checkpoint_folder(self.settings, input_, self.index), ignore_errors=True)
        if input_.alias == STATION_STATE and not is_in_log(self.settings, self.index):
            rebuild_station_state(self.settings, self.spark)
            raise IndexGoneError(f"{self.index.name} could not be followed any longer")

    def _write_status(self, query: StreamQuery, running: StreamingQuery) -> None:
        asked_at = datetime.now(UTC)
        query.update_status(running, asked_at, self.ends.of(query.input.contract.topic))
        write_status(self.client, query.status)

    def _attempt(self, failure: str, call: Callable[[], object]) -> None:
        """Calls what the stream can do without for a while: if a server is down, the failure is logged."""
        try:
            with elasticsearch_errors(self.settings):
                call()
        except ServerDownError as error:
            log.warning(failure, reason=str(error))

    # --- the index ---

    def _index_to_follow(self) -> LiveIndex:
        """The index behind the alias; computed from the lake first if it is missing or cannot be followed."""
        index = indices.live_index(self.client, STATION_STATE)
        if (
            index is not None
            and index.is_current_format
            and (has_checkpoints(self.settings, index) or is_in_log(self.settings, index))
        ):
            return index
        log.info("station state is computed from the lake", had=index.name if index else None)
        rebuild_station_state(self.settings, self.spark)
        index = indices.live_index(self.client, STATION_STATE)
        if index is None:
            raise StreamError("the station state was computed, but its index is gone")
        return index

    def _check_index(self) -> None:
        """Raises IndexGoneError if the alias points to another index by now."""

        def check() -> None:
            index = indices.live_index(self.client, STATION_STATE)
            if index is None or index.name != self.index.name:
                raise IndexGoneError(f"station-state is now {index.name if index else 'gone'}")

        self._attempt("the index was not checked", check)

    def _report(self) -> None:
        hours = {query.input.name: query.take_hours() for query in self.queries}
        self.on_progress(StreamProgress(hours, {query.input.name: query.status for query in self.queries}))
