"""The live stream: one Spark Structured Streaming query per input, in this process, until it is told to stop.

| query | from | to |
|---|---|---|
| registry | station-registry | station-state |
| stations | session-events | station-state |
| vehicles | vehicle-telemetry | vehicle-position |
| journal | session-events without meter values | station_events_by_day |

Each remembers its offsets in a checkpoint, which belongs to the index that it writes: an index that was replaced is followed
from the offsets that it was computed up to. Nothing depends on a checkpoint being right: what is written is idempotent, and
a checkpoint that is lost, or that Spark refuses, is begun anew at those offsets. Hourly usage goes from the station documents
to Cassandra, so that a Cassandra that is down holds up nothing else.
"""

from __future__ import annotations

import shutil
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from threading import Event
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import orjson
import structlog

from evcharge import lock
from evcharge.clock import ms_to_iso
from evcharge.connections import ServerDownError, elasticsearch, elasticsearch_errors, spark_kafka_options
from evcharge.contracts import SESSION_EVENTS, STATION_REGISTRY, VEHICLE_TELEMETRY, Contract
from evcharge.errors import UserError
from evcharge.kafka_log import LogEnds, topic_states
from evcharge.lake.judge import judged
from evcharge.live import indices
from evcharge.live.batch_report import REPORT_DDL
from evcharge.live.driver import stream_session
from evcharge.live.indices import STATION_STATE, VEHICLE_POSITION, LiveIndex
from evcharge.live.journal import LEFT_OUT, JournalWriter
from evcharge.live.provisional_usage import UsageWriter
from evcharge.live.rebuild import in_milliseconds, rebuild_station_state
from evcharge.live.station_folder import StationFolder
from evcharge.live.status import AsOf, QueryStatus, progressed, write_status
from evcharge.live.vehicle_positions import PositionWriter, remove_expired
from evcharge.live.worker import IndexGoneError
from evcharge.settings import Settings

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession
    from pyspark.sql.streaming.query import StreamingQuery

log = structlog.get_logger()

#: How often the stream looks after its queries and says how current it is.
LOOK_EVERY_S = 1.0
EXPIRE_EVERY_S = 60.0
LOCK_WAIT_S = 1.0
#: How long one query may fail again and again before the stream gives up; its keeper then starts it anew.
GIVE_UP_AFTER_S = 300.0
LONGEST_BACKOFF_S = 15.0
#: Records of one batch at most: a backlog is worked off in bites that the workers' memory holds.
BATCH_RECORDS = 50_000


class StreamError(UserError):
    """The stream can not go on, or another one runs."""


@dataclass(frozen=True, slots=True)
class StreamProgress:
    """What the stream did since it was last told: records by query and hour of event time (ms), and each query's status."""

    hours: dict[str, dict[int, int]]
    statuses: dict[str, QueryStatus]


@dataclass(frozen=True)
class Input:
    """A query of the stream: a contract's good rows, taken by `writer`.

    `alias` is the index it writes, empty for one that writes none. `look_at` (SQL over Kafka's records) is a first, cheap test
    of which are worth parsing. `batch_records` is the most that one batch takes.
    """

    name: str
    contract: Contract
    trigger_s: float
    writer: Callable[[Settings, str], Any]
    alias: str = STATION_STATE
    batch_records: int = BATCH_RECORDS
    look_at: str = "true"


def inputs() -> tuple[Input, ...]:
    """The stream's queries, each as often as somebody waits for it: a batch costs 0.1 s of processor time for no row at all."""
    registry, sessions = STATION_REGISTRY.topic, SESSION_EVENTS.topic
    return (
        Input("registry", STATION_REGISTRY, 1.0, lambda settings, index: StationFolder(settings, index, registry)),
        Input("stations", SESSION_EVENTS, 0.6, lambda settings, index: StationFolder(settings, index, sessions)),
        Input(
            "vehicles",
            VEHICLE_TELEMETRY,
            2.0,
            lambda settings, index: PositionWriter(settings),
            alias=VEHICLE_POSITION,
        ),
        Input(
            "journal",
            SESSION_EVENTS,
            # a row costs Cassandra far less in a batch with others of its station
            20.0,
            lambda settings, index: JournalWriter(settings),
            alias="",
            batch_records=10 * BATCH_RECORDS,
            # as our producers write it: three of four events need not even be parsed
            look_at=f'NOT contains(CAST(value AS STRING), \'"event_type":"{LEFT_OUT}"\')',
        ),
    )


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
    # whoever only asks whether a stream runs holds the lock for an instant
    return lock.only_one(path, StreamError(f"another stream runs on this platform ({path} is locked)"), LOCK_WAIT_S)


def is_running(settings: Settings) -> bool:
    """Whether some process runs the stream."""
    return lock.is_held(lock_file(settings))


def lock_file(settings: Settings) -> Path:
    return settings.home / "live" / "stream.lock"


def _counting(query: _Query) -> Callable[[DataFrame, int], None]:
    """Folds a batch, which is what reading its reports does, and adds these up."""

    def count(batch: DataFrame, _batch_id: int) -> None:
        for report in batch.collect():
            query.hours[report.hour_ms] += report.records
            query.records += report.records
        query.failures = 0

    return count


@dataclass
class _Query:
    """A running query and what became of it."""

    input: Input
    query: StreamingQuery | None
    status: QueryStatus
    failures: int = 0
    failing_since: float = 0.0
    retry_at: float = 0.0
    as_of: AsOf = field(default_factory=AsOf)
    hours: Counter[int] = field(default_factory=Counter)
    records: int = 0


class _Stream:
    """All queries on one generation of indices."""

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
        self.beside = ThreadPoolExecutor(1, "usage")
        self.ended = Event()
        self.stream_id = uuid4().hex[:12]
        self.queries: list[_Query] = []
        self.index: LiveIndex | None = None

    def run(self) -> None:
        with elasticsearch_errors(self.settings):
            for alias in (indices.STREAM_STATUS, VEHICLE_POSITION):
                indices.ensure_alias(self.client, alias)
            self.index = self._index_to_follow()
        started_at = _now()
        for input_ in inputs():
            status = QueryStatus(input_.name, self.stream_id, self.index.name, started_at)
            query = _Query(input_, None, status)
            self.queries.append(query)
            self._start(query)
        log.info("stream started", stream_id=self.stream_id, index=self.index.name)
        # beside this thread, which says every second how current the state is: many stations' hours take many seconds
        carrying = self.beside.submit(self.usage.keep_written, self.client, self.ended)
        due = {"expire": 0.0, "report": time.monotonic() + self.report_every_s}
        while not self.stop.wait(LOOK_EVERY_S):
            now = time.monotonic()
            self._check_index()
            for query in self.queries:
                self._look_after(query, now)
            if carrying.done():
                carrying.result()
            if now >= due["expire"]:
                due["expire"] = now + EXPIRE_EVERY_S
                self._guarded(
                    "positions were not expired", lambda: remove_expired(self.client, time.time_ns() // 1_000_000)
                )
            if now >= due["report"]:
                due["report"] = now + self.report_every_s
                self._report()
        self._report()

    def close(self) -> None:
        self.ended.set()
        for query in self.queries:
            if query.query is not None:
                query.query.stop()
        self.beside.shutdown()
        self.usage.close()
        self.ends.close()
        self.client.close()

    # --- one query ---

    def _start(self, query: _Query) -> None:
        settings, input_ = self.settings, query.input
        folder = self._checkpoint(input_)
        options = spark_kafka_options(settings) | {
            "subscribe": input_.contract.topic,
            "maxOffsetsPerTrigger": str(input_.batch_records),
            "startingOffsets": self._starting_offsets(input_),
        }
        if input_.name == "vehicles":
            # older positions have expired
            since = datetime.now(UTC) - timedelta(hours=1)
            options["startingTimestamp"] = str(int(since.timestamp() * 1000))
            options["startingOffsetsByTimestampStrategy"] = "latest"
        # each query's batches in a pool of its own, by the thread that starts it
        self.spark.sparkContext.setLocalProperty("spark.scheduler.pool", input_.name)
        rows = self.spark.readStream.format("kafka").options(**options).load()
        # One task, from the reading on: Spark generates a task's code anew for each partition that it reads. Judged and
        # folded within the stream's own plan, which Spark analyses once and not for each batch.
        good = judged(settings, rows.coalesce(1).where(input_.look_at), input_.contract).where("rule_code IS NULL")
        writer = input_.writer(settings, self.index.name if self.index else "")
        # Spark keeps workers apart by their environment: so a query's one task finds what it knew in the batch before
        self.spark.sparkContext.environment["EVCHARGE_STREAM_QUERY"] = input_.name
        query.query = (
            in_milliseconds(good, input_.contract)
            .mapInArrow(writer, REPORT_DDL)
            .writeStream.queryName(f"{input_.name}-{self.stream_id}-{query.failures}")
            .option("checkpointLocation", folder.as_uri())
            .trigger(processingTime=f"{int(input_.trigger_s * 1000)} milliseconds")
            .foreachBatch(_counting(query))
            .start()
        )

    def _look_after(self, query: _Query, now: float) -> None:
        """Notes how far the query is; starts it again, ever more slowly, if it failed."""
        running = query.query
        if running is None:
            if now >= query.retry_at:
                try:
                    self._start(query)
                except ServerDownError as error:
                    self._failed(query, now, str(error))
            return
        ended_with = running.exception() if not running.isActive else None
        if ended_with is None:
            self._guarded("the status was not written", lambda: self._note(query, running))
            return
        query.query = None
        text = str(ended_with)
        if IndexGoneError.__name__ in text:
            raise IndexGoneError(f"{query.status.index} is gone")
        self._failed(query, now, _reason(text))
        if _is_checkpoint_trouble(text):
            self._begin_anew(query.input)

    def _failed(self, query: _Query, now: float, reason: str) -> None:
        """Plans the next try. Raises StreamError if the query has failed for too long."""
        query.failures += 1
        query.failing_since = query.failing_since if query.failures > 1 else now
        failing_s = now - query.failing_since
        if failing_s > GIVE_UP_AFTER_S:
            raise StreamError(f"query {query.input.name} fails since {failing_s:.0f} s: {reason}")
        backoff_s = min(2.0 ** (query.failures - 1), LONGEST_BACKOFF_S)
        query.retry_at = now + backoff_s
        log.warning(
            "query failed", query=query.input.name, reason=reason, retry_in_s=backoff_s, failures=query.failures
        )

    def _begin_anew(self, input_: Input) -> None:
        """Gives up a checkpoint, and the index with it if Kafka no longer has what came after the index's begin."""
        log.warning("checkpoint begun anew", query=input_.name)
        shutil.rmtree(self._checkpoint(input_), ignore_errors=True)
        if input_.alias == STATION_STATE and self.index is not None and not self._is_in_log(self.index):
            rebuild_station_state(self.settings, self.spark)
            raise IndexGoneError(f"{self.index.name} could not be followed any longer")

    def _note(self, query: _Query, running: StreamingQuery) -> None:
        asked_at = datetime.now(UTC)
        ends = self.ends.of(query.input.contract.topic)
        query.as_of.asked(asked_at, ends)
        progress = running.lastProgress
        told = None if progress is None else orjson.loads(progress.json)
        query.status = replace(progressed(query.status, told, ends, query.as_of), rows=query.records)
        write_status(self.client, query.status)

    def _guarded(self, failed: str, call: Callable[[], object]) -> None:
        """What the stream can do without for a while: a failure is logged and tried again later."""
        try:
            with elasticsearch_errors(self.settings):
                call()
        except ServerDownError as error:
            log.warning(failed, reason=str(error))

    # --- where to begin ---

    def _index_to_follow(self) -> LiveIndex:
        """The index behind the alias; computed from the lake first if it is missing, or can not be followed."""
        index = indices.live_index(self.client, STATION_STATE)
        if index is not None and index.is_current_format and (self._has_checkpoint(index) or self._is_in_log(index)):
            return index
        log.info("station state is computed from the lake", had=index.name if index else None)
        rebuild_station_state(self.settings, self.spark)
        index = indices.live_index(self.client, STATION_STATE)
        if index is None:
            raise StreamError("the station state was computed, but its index is gone")
        return index

    def _has_checkpoint(self, index: LiveIndex) -> bool:
        return all(
            (self._checkpoints(index.name) / i.name / "offsets").is_dir() for i in inputs() if i.alias == STATION_STATE
        )

    def _is_in_log(self, index: LiveIndex) -> bool:
        """Whether Kafka still has everything after what the index began with."""
        for topic in (STATION_REGISTRY.topic, SESSION_EVENTS.topic):
            state = topic_states(self.settings, [topic])[topic]
            begins = index.begins_at.get(topic, {})
            if any(begins.get(str(p), 0) < start for p, start in state.log_start.items()):
                return False
        return True

    def _check_index(self) -> None:
        """Raises IndexGoneError if the alias points elsewhere by now."""

        def check() -> None:
            index = indices.live_index(self.client, STATION_STATE)
            if index is None or self.index is None or index.name != self.index.name:
                raise IndexGoneError(f"station-state is now {index.name if index else 'gone'}")

        self._guarded("the index was not checked", check)

    def _checkpoints(self, index: str) -> Path:
        return self.settings.home / "live" / "checkpoints" / index

    def _checkpoint(self, input_: Input) -> Path:
        own = self.index.name if self.index and input_.alias == STATION_STATE else "always"
        return self._checkpoints(own) / input_.name

    def _starting_offsets(self, input_: Input) -> str:
        """Offsets for a query without a checkpoint: those that its index began with."""
        begins = (self.index.begins_at if self.index else {}).get(input_.contract.topic, {})
        if not begins or input_.alias != STATION_STATE:
            return "earliest"
        partitions = {str(p): begins.get(str(p), -2) for p in self.ends.of(input_.contract.topic)}
        return orjson.dumps({input_.contract.topic: partitions}).decode()

    def _report(self) -> None:
        hours = {query.input.name: dict(query.hours) for query in self.queries}
        for query in self.queries:
            query.hours = Counter()
        self.on_progress(StreamProgress(hours, {query.input.name: query.status for query in self.queries}))


def _reason(text: str) -> str:
    """The line of a Python worker's or Spark's error that says what was wrong."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    named = [line for line in lines if "Error: " in line or "Exception: " in line]
    return (named[-1] if named else lines[0])[:300] if lines else "no reason given"


def _is_checkpoint_trouble(text: str) -> bool:
    """Whether Spark can not read a checkpoint, or Kafka no longer has its offsets."""
    return any(word in text for word in _CHECKPOINT_TROUBLE)


_CHECKPOINT_TROUBLE = (
    *(
        "OffsetOutOfRange",
        "DATA_LOSS",
        "STREAMING_CHECKPOINT",
        "CHECKPOINT",
        "Incomplete log file",
        "UnsupportedLogVersion",
    ),
    *("does not exist when reading", "MALFORMED_LOG_FILE", "org.apache.spark.sql.execution.streaming.checkpointing"),
)


def _now() -> str:
    return str(ms_to_iso(time.time_ns() // 1_000_000))
