"""Runs the live stream: one Spark Structured Streaming query per input, in this process, until somebody stops it.

| query | from | to |
|---|---|---|
| stations | session-events | station-state, in `EVCHARGE_STREAM_TASKS` queries side by side |
| registry | station-registry | station-state |
| vehicles | vehicle-telemetry | vehicle-position |
| journal | session-events without meter values | station_events_by_day |

Each query keeps its offsets in a checkpoint, which belongs to the index that the query writes. When another index takes the
place of `station-state`, the stream follows it from the offsets that it was computed up to. No result depends on a correct
checkpoint, because every write is idempotent: a checkpoint that is lost, or that Spark refuses, starts again at those offsets.
Hourly usage is copied from the station documents to Cassandra, so that a Cassandra that is down holds up nothing else.

A query that fails ends no other one. It is tried again until its store is back, and its status says since when it fails and
why. A record that its store refuses becomes a dead letter (`dead_letters`), and the batch goes on.
"""

from __future__ import annotations

import shutil
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from functools import partial
from itertools import count
from threading import Event, Thread
from typing import TYPE_CHECKING
from uuid import uuid4

import orjson

from evcharge.clock import ms_to_iso
from evcharge.connections import ServerDownError, elasticsearch, elasticsearch_errors, spark_kafka_options
from evcharge.errors import UserError
from evcharge.kafka_log import LogEnds
from evcharge.live import indices
from evcharge.live.checkpoints import (
    checkpoint_folder,
    has_checkpoints,
    is_checkpoint_trouble,
    is_in_log,
    remove_unused,
    starting_offsets,
)
from evcharge.live.dead_letters import count_letters
from evcharge.live.indices import STATION_STATE, VEHICLE_POSITION, LiveIndex
from evcharge.live.provisional_usage import UsageWriter
from evcharge.live.rebuild import rebuild_station_state
from evcharge.live.refusals import IndexGoneError
from evcharge.live.spark_batches import for_each_report
from evcharge.live.spark_driver import stream_session
from evcharge.live.station_folder import StationFolder
from evcharge.live.stream_inputs import Input, inputs
from evcharge.live.stream_lease import Lease, place_of
from evcharge.live.stream_lock import StreamError, is_taken_over, only_one, stands_in, take_over
from evcharge.live.stream_plan import by_rules, of_left, quickly, warm_up
from evcharge.live.stream_query import StreamQuery, failure_reason
from evcharge.live.stream_status import QueryStatus, merged, read_statuses, write_status
from evcharge.live.vehicle_positions import remove_expired
from evcharge.log import log
from evcharge.settings import Settings

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

#: How often the stream checks its queries and writes how current it is.
LOOK_EVERY_S = 1.0
EXPIRE_EVERY_S = 60.0
USAGE_RETRY_S = 15.0
#: A query's offsets are written beside its batches, once a second: to wait for two files took 30 ms of each batch. What is read
#: again after a failure is in the stores already. The second option is Spark's own, for sinks whose writes it does not know.
_PROGRESS = {"asyncProgressTrackingEnabled": "true", "_asyncProgressTrackingOverrideSinkSupportCheck": "true"}
#: How often a stand-in looks for its successor, and for the stores that start beside it.
STAND_IN_LOOKS_EVERY_S = 0.3


@dataclass(frozen=True, slots=True)
class StreamProgress:
    """What the stream did since its last report: records by query and hour of event time (ms), and each query's status.

    `dead_letters` is how many wait; None while Elasticsearch does not say.
    """

    hours: dict[str, dict[int, int]]
    statuses: dict[str, QueryStatus]
    dead_letters: int | None = None


def run_stream(
    settings: Settings,
    stop: Event,
    on_progress: Callable[[StreamProgress], None] = lambda progress: None,
    report_every_s: float = 30.0,
) -> None:
    """Runs the stream until `stop` is set. Raises StreamError, ServerDownError.

    `on_progress` is called from this thread every `report_every_s`. One stream runs at a time on a platform. A stand-in makes
    room for this one.
    """
    with _session(settings) as spark:
        _run(settings, spark, stop, on_progress, report_every_s)


def run_stand_in(
    settings: Settings,
    stop: Event,
    on_progress: Callable[[StreamProgress], None] = lambda progress: None,
    report_every_s: float = 30.0,
) -> None:
    """Runs the stream until `stop` is set or another stream takes over. Raises StreamError, ServerDownError.

    It may be started before the stores: it waits for them while its Spark starts.
    """
    ended = Event()

    def look() -> None:
        while not ended.wait(STAND_IN_LOOKS_EVERY_S):
            if is_taken_over(settings):
                log.info("another stream takes over")
                stop.set()
                return

    with ExitStack() as sparks, ExitStack() as locked:
        # The lock is free before Spark has ended: its queries have.
        locked.enter_context(only_one(settings, stand_in=True))
        looking = Thread(target=look, daemon=True)
        looking.start()
        try:
            spark = sparks.enter_context(_spark(settings))
            # The stores start beside it, and may take longer than Spark.
            warm_up(settings, spark, lambda: stop.is_set() or _stores_answer(settings))
            while not stop.wait(STAND_IN_LOOKS_EVERY_S) and not _stores_answer(settings):
                pass
            if not stop.is_set():
                _run(settings, spark, stop, on_progress, report_every_s)
        finally:
            ended.set()
            looking.join()


@contextmanager
def _session(settings: Settings) -> Iterator[SparkSession]:
    """Spark, and the lock."""
    if stands_in(settings):
        with _spark(settings) as spark:
            warm_up(settings, spark)
            with take_over(settings):
                yield spark
    else:
        with only_one(settings), _spark(settings) as spark:
            yield spark


@contextmanager
def _spark(settings: Settings) -> Iterator[SparkSession]:
    spark = stream_session(settings)
    try:
        yield spark
    finally:
        spark.stop()


def _run(
    settings: Settings,
    spark: SparkSession,
    stop: Event,
    on_progress: Callable[[StreamProgress], None],
    report_every_s: float,
) -> None:
    stream = _Stream(settings, spark, stop, on_progress, report_every_s)
    try:
        stream.run()
    finally:
        stream.close()


def _stores_answer(settings: Settings) -> bool:
    """Whether Elasticsearch has its indices and Kafka its topics."""
    from elasticsearch import ApiError

    ends = LogEnds(settings)
    try:
        with elasticsearch_errors(settings), elasticsearch(settings) as client:
            if indices.live_index(client, STATION_STATE) is None:
                return False
        for input_ in inputs(settings):
            ends.of(input_.contract.topic)
    except (ServerDownError, ApiError):
        return False
    finally:
        ends.close()
    return True


class _Stream:
    """All queries. Those that write `station-state` follow `index`; while it is None they wait until there is one."""

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
        self.usage_written: Future[None] | None = None
        self.usage_at = 0.0
        self.ended = Event()
        self.stream_id = uuid4().hex[:12]
        self.starts = count(1)
        self.index: LiveIndex | None = None
        self.queries: list[StreamQuery] = []
        self.before: dict[str, QueryStatus] = {}
        self.lease = Lease(self.client, self.stream_id, place_of(settings))

    def run(self) -> None:
        with elasticsearch_errors(self.settings):
            self._ensure_aliases()
            if not self.lease.take(self.stop):
                return
            self.before = {status.query: status for status in read_statuses(self.client)}
        self.queries = [StreamQuery(input_, self._new_status(input_)) for input_ in inputs(self.settings)]
        log.info("stream started", stream_id=self.stream_id)
        # Then the map's queries start first: to start one takes seconds.
        self._try((), self._follow_usable_index)
        expire_at, report_at = 0.0, time.monotonic() + self.report_every_s
        while not self.stop.is_set():
            now = time.monotonic()
            self._attempt("the lease was not renewed", self.lease.renew)
            for query in self.queries:
                self._look_after(query, now)
            # After the queries that need no index: to compute one takes minutes.
            self._check_index(now)
            self._look_after_usage(now)
            if now >= expire_at:
                expire_at = now + EXPIRE_EVERY_S
                self._attempt("indices were not made", self._ensure_aliases)
                self._attempt(
                    "positions were not expired", lambda: remove_expired(self.client, time.time_ns() // 1_000_000)
                )
            if now >= report_at:
                report_at = now + self.report_every_s
                self._report()
            self.stop.wait(LOOK_EVERY_S)
        self._report()

    def close(self) -> None:
        self.ended.set()
        for query in self.queries:
            query.stop()
        self.usage_thread.shutdown()
        self._attempt("the lease was not given up", self.lease.release)
        self.usage.close()
        self.ends.close()
        self.client.close()

    # --- one query ---

    def _new_status(self, input_: Input) -> QueryStatus:
        """The status of a query that starts, as of the instant that the stream before this one had reached."""
        started_at = str(ms_to_iso(time.time_ns() // 1_000_000))
        status = QueryStatus(input_.name, self.stream_id, self.index.name if self.index else "", started_at)
        before = self.before.get(input_.name)
        if before is None or (input_.follows_index and self.index is not None and before.index != self.index.name):
            return status
        read_to = input_.own({int(p): offset for p, offset in (before.read_to or {}).items()})
        return replace(status, as_of=before.as_of, read_to={str(p): offset for p, offset in read_to.items()})

    def _start(self, query: StreamQuery, index: LiveIndex | None) -> None:
        """Starts a query; `index` is None for one that writes no `station-state`."""
        settings, input_, topic = self.settings, query.input, query.input.contract.topic
        partitions = sorted(input_.own(self.ends.of(topic)))
        if not partitions:
            # there are more tasks than partitions
            return
        input_.require_store(settings)
        query.partitions = frozenset(partitions)
        alone = input_.tasks == 1
        options = spark_kafka_options(settings) | {
            **({"subscribe": topic} if alone else {"assign": orjson.dumps({topic: partitions}).decode()}),
            "maxOffsetsPerTrigger": str(input_.batch_records),
            "startingOffsets": starting_offsets(input_, index, self.ends, query.status.read_to),
        }
        if input_.name == "vehicles":
            # Older positions have expired.
            since = datetime.now(UTC) - timedelta(hours=1)
            options["startingTimestamp"] = str(int(since.timestamp() * 1000))
            options["startingOffsetsByTimestampStrategy"] = "latest"
        # Spark takes the pool of the thread that starts the query: each query's batches get a pool of their own.
        self.spark.sparkContext.setLocalProperty("spark.scheduler.pool", input_.task_name)
        rows = self.spark.readStream.format("kafka").options(**options).load()
        writer = input_.writer(settings, index.name if index else "", query.careful)
        if input_.is_quick and isinstance(writer, StationFolder) and not query.careful:
            reports = quickly(rows, input_, writer)
            query.take_left = partial(of_left, settings, self.spark, input_, writer)
        else:
            reports = by_rules(settings, rows, input_, writer)
        stream = (
            reports.writeStream.queryName(f"{input_.task_name}-{self.stream_id}-{next(self.starts)}")
            .options(**_PROGRESS, checkpointLocation=checkpoint_folder(settings, input_, index).as_uri())
            .trigger(processingTime=f"{int(input_.trigger_s * 1000)} milliseconds")
        )
        query.running = for_each_report(stream, query.take_batch).start()

    def _look_after(self, query: StreamQuery, now: float) -> None:
        """Starts a query that does not run once its wait is over, notes one that failed, and writes its status."""
        if query.running is None and now >= query.retry_at and (self.index or not query.input.follows_index):
            self._try([query], lambda: self._start(query, self.index if query.input.follows_index else None))
        if query.running is not None and not query.running.isActive:
            self._note_failure(query, now, str(query.running.exception() or "the query ended"))
        self._attempt("the status was not written", lambda: self._write_status(query))

    def _note_failure(self, query: StreamQuery, now: float, error: str) -> None:
        query.running = None
        query.plan_retry(now, failure_reason(error))
        self._require_spark(error)
        if IndexGoneError.__name__ in error:
            if query.input.follows_index:
                self._lose_index(f"{query.status.index} is gone")
            else:
                self._attempt("indices were not made", self._ensure_aliases)
        if is_checkpoint_trouble(error):
            log.warning("checkpoint is removed", query=query.input.name)
            shutil.rmtree(checkpoint_folder(self.settings, query.input, self.index), ignore_errors=True)
            query.status = replace(query.status, read_to=None)
            self.before.pop(query.input.name, None)
            if query.input.follows_index:
                # Kafka may have lost records after the offsets that the index began with: then it is computed anew.
                self._lose_index(f"the checkpoint of {query.input.name} is of no use")

    def _try(self, queries: Sequence[StreamQuery], call: Callable[[], object]) -> None:
        """Calls what some queries need. If that fails, these alone wait. Raises StreamError if Spark has ended."""
        try:
            call()
        except Exception as error:
            self._require_spark(str(error))
            if not isinstance(error, ServerDownError | UserError):
                log.exception("query failed")
            for query in queries:
                query.plan_retry(time.monotonic(), failure_reason(str(error)))

    def _require_spark(self, reason: str) -> None:
        """Raises StreamError if Spark's driver has ended: nothing can run then, and the sensor starts the stream again."""
        try:
            ended = self.spark.sparkContext._jsc.sc().isStopped()
        except Exception:
            ended = True
        if ended:
            raise StreamError(f"the stream's Spark driver has ended: {failure_reason(reason)}")

    def _write_status(self, query: StreamQuery) -> None:
        asked_at = datetime.now(UTC)
        try:
            ends = query.input.own(self.ends.of(query.input.contract.topic))
            if query.input.tasks > 1 and query.running is not None and query.partitions != ends.keys():
                log.info("the topic has other partitions", query=query.input.task_name, partitions=sorted(ends))
                query.stop()
            query.update_status(asked_at, ends)
        except (ServerDownError, UserError) as error:
            log.warning("the lag is unknown", query=query.input.name, reason=str(error))
        write_status(self.client, self._status(query.input.name))

    def _status(self, name: str) -> QueryStatus:
        """The status of an input: of all queries that read it."""
        return merged([query.status for query in self.queries if query.input.name == name])

    def _attempt(self, failure: str, call: Callable[[], object]) -> None:
        """Calls what the stream can do without for a while: if a server is down, the failure is logged."""
        from elasticsearch import ApiError

        try:
            with elasticsearch_errors(self.settings):
                call()
        except (ServerDownError, ApiError) as error:
            log.warning(failure, reason=str(error))

    def _look_after_usage(self, now: float) -> None:
        """Keeps the hours written in a thread of its own: those of many stations take many seconds."""
        written = self.usage_written
        if written is not None and written.done() and written.exception() is not None:
            log.warning("hourly usage failed", reason=failure_reason(str(written.exception())))
            self.usage_written, self.usage_at = None, now + USAGE_RETRY_S
        # The hours are in `station-state`.
        if self.usage_written is None and self.index and now >= self.usage_at:
            self.usage_written = self.usage_thread.submit(self.usage.keep_written, self.client, self.ended)

    # --- the index ---

    def _check_index(self, now: float) -> None:
        """Follows the index behind the alias. The queries that write it wait for one, and begin anew if it was replaced."""
        if self.index is not None:
            self._attempt("the index was not checked", self._compare_index)
        followers = [query for query in self.queries if query.input.follows_index]
        if self.index is None and all(now >= query.retry_at for query in followers):
            self._try(followers, self._follow_index)

    def _compare_index(self) -> None:
        index = indices.live_index(self.client, STATION_STATE)
        if self.index is not None and (index is None or index.name != self.index.name):
            self._lose_index(f"station-state is now {index.name if index else 'gone'}")

    def _lose_index(self, reason: str) -> None:
        """Stops the queries that write `station-state`, and no other one."""
        log.warning("the stream follows another index", reason=reason)
        self.index = None
        for query in self.queries:
            if query.input.follows_index:
                query.stop()
                # What was applied went with the index.
                query.progress = None

    def _follow_usable_index(self) -> None:
        """Follows the index behind the alias if nothing has to be computed for it."""
        with elasticsearch_errors(self.settings):
            index = self._usable_index()
        if index is not None:
            self._follow(index)

    def _follow_index(self) -> None:
        with elasticsearch_errors(self.settings):
            self._follow(self._index_to_follow())

    def _follow(self, index: LiveIndex) -> None:
        self.index = index
        log.info("the stream follows an index", index=index.name)
        remove_unused(self.settings, index)
        self.queries = [
            StreamQuery(query.input, self._new_status(query.input))
            if query.input.follows_index and query.status.index != index.name
            else query
            for query in self.queries
        ]

    def _usable_index(self) -> LiveIndex | None:
        """The index behind the alias; None if it is missing or cannot be followed."""
        index = indices.live_index(self.client, STATION_STATE)
        if index is None or not index.is_current_format:
            return None
        if has_checkpoints(self.settings, index, self.ends):
            return index
        of_index = [input_ for input_ in inputs(self.settings) if input_.follows_index]
        known = {i.contract.topic: self.before[i.name] for i in of_index if i.name in self.before}
        read_to = {topic: status.read_to or {} for topic, status in known.items() if status.index == index.name}
        return index if is_in_log(self.settings, index, read_to) else None

    def _index_to_follow(self) -> LiveIndex:
        """The index behind the alias; computed from the lake first if it is missing or cannot be followed."""
        index = self._usable_index()
        if index is not None:
            return index
        log.info("station state is computed from the lake")
        rebuild_station_state(self.settings, self.spark)
        index = indices.live_index(self.client, STATION_STATE)
        if index is None:
            raise StreamError("the station state was computed, but its index is gone")
        return index

    def _ensure_aliases(self) -> None:
        for alias in (indices.STREAM_STATUS, indices.STREAM_LEASE, VEHICLE_POSITION, indices.DEAD_LETTERS):
            indices.ensure_alias(self.client, alias)

    def _report(self) -> None:
        letters: list[int] = []
        self._attempt("dead letters were not counted", lambda: letters.append(count_letters(self.client)))
        hours: dict[str, Counter[int]] = {query.input.name: Counter() for query in self.queries}
        for query in self.queries:
            hours[query.input.name].update(query.take_hours())
        statuses = {name: self._status(name) for name in hours}
        self.on_progress(StreamProgress({name: dict(of) for name, of in hours.items()}, statuses, *letters))
