"""The job that publishes: one run publishes what waits on all topics, loads it into the warehouse, and stays for more.

To start a run costs more than a small publication. So a run stays for `STAY_S` and publishes again when rows are due
(`evcharge/lake/planner.py`). A range that fails ends the run; its sensor has `publish_<topic>` repeat the range alone. Loads
never fail it: what it cannot load is left to their own sensor.
"""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, date, datetime
from typing import Any

import dagster as dg
from dagster._core.errors import DagsterExecutionInterruptedError
from dagster._core.execution.plan.instance_concurrency_context import InstanceConcurrencyContext

from evcharge.connections import ServerDownError
from evcharge.contracts import SESSION_EVENTS, STATION_REGISTRY, VEHICLE_TELEMETRY
from evcharge.disk import require_room
from evcharge.lake import publish
from evcharge.lake.archive import ReplanError
from evcharge.lake.candidate import Manifest, write_candidate
from evcharge.lake.gates import GATES
from evcharge.lake.ledger import LedgerError, OffsetRange
from evcharge.lake.parked import PUBLISH_JOB, RANGE_TAG, TOPIC_TAG
from evcharge.lake.planner import plan_together
from evcharge.reference import mongodb as reference
from evcharge.settings import load_settings
from evcharge.warehouse.day_rules import DAY_RULES
from evcharge.warehouse.pending_loads import loaded_days, may_load
from evcharge.warehouse.tables import FACT, POSITIONS, STATIONS
from evcharge_assets.events import evaluated, log_event, materialized
from evcharge_assets.kafka import topic_key
from evcharge_assets.lake import (
    MERGE_POOL,
    SERVERS,
    archive_key,
    candidate_key,
    forget_if_first_of_day,
    gate_result,
    publication_metadata,
)
from evcharge_assets.partitions import hour_key
from evcharge_assets.reference import collection_key, upserted_metadata
from evcharge_assets.resources import Platform, SparkConnect, identity
from evcharge_assets.warehouse import WAREHOUSE_POOL, day_result, sessions_metadata, table_key

#: Dagster's run monitoring ends a run that takes longer than this tag says, in seconds; a sensor asks for it again. The
#: stream's run has no such tag.
TIME_LIMIT_TAG = "dagster/max_runtime"
#: Tag of a run that loads what it publishes. The load sensor leaves that alone. The run removes the tag's value when it stops
#: doing so.
LOADS_TAG = "evcharge/loads"

#: How long a run stays. Each run begins a new log in Dagster, and one that is killed leaves its loads to the sensor.
STAY_S = 900.0
#: A run ends after so long without a new row: a platform that nobody feeds has no runs.
IDLE_S = 300.0
#: The time between two looks at Kafka's logs. `publish_min_rows` rows wait at most this long.
POLL_S = 30.0
#: A publication with more days is loaded by runs of its own: a replayed year takes its time.
DAYS_LOADED_HERE = 3
#: Another run may take a pool for so long before this one gives up: a load is then left to the sensor.
POOL_WAIT_S = 60.0


class PlannedRanges(dg.Config):
    """The ranges to publish first, as the sensor planned them, the topics to leave alone, and how long the run stays."""

    ranges: list[dict[str, Any]] = []  # noqa: RUF012  a pydantic default, copied per instance
    resting: list[str] = []  # noqa: RUF012
    stay_s: float = STAY_S


@dg.op(name="publish", description="Publishes ranges and loads them, then what comes for as long as the run stays.")
def publish_op(
    context: dg.OpExecutionContext, config: PlannedRanges, platform: Platform, pyspark: SparkConnect
) -> None:
    run = _PublishingRun(context, platform, pyspark, config)
    ranges = [OffsetRange.from_json(planned) for planned in config.ranges] or run.due()
    unloaded: list[Manifest] = []
    while ranges:
        unloaded += [manifest for planned in ranges if (manifest := run.publish(planned)) is not None]
        # a backlog is published first: the loads of its parts would replace the same days again and again
        if not any(planned.rows >= run.settings.publish_max_rows for planned in ranges):
            run.load(unloaded)
            unloaded = []
        ranges = run.due()
    run.judge_loaded_days()


@dg.job(
    name=PUBLISH_JOB,
    description="Publishes what waits on all topics and loads it into ClickHouse, for a quarter of an hour.",
    executor_def=dg.in_process_executor,
    tags={TIME_LIMIT_TAG: str(load_settings().publish_timeout_s), LOADS_TAG: "yes"},
)
def publish_waiting_job() -> None:
    publish_op()


class _PublishingRun:
    """What one run does. It reads the settings once: its run is short."""

    def __init__(
        self, context: dg.OpExecutionContext, platform: Platform, pyspark: SparkConnect, config: PlannedRanges
    ) -> None:
        self.context, self.platform, self.pyspark = context, platform, pyspark
        self.settings, self.repository = platform.settings(), platform.repository()
        self.began = time.monotonic()
        self.ends_at = self.began + config.stay_s
        self.resting = frozenset(config.resting)
        self.loads = True
        self.loaded_days: set[date] = set()

    def due(self) -> list[OffsetRange]:
        """The ranges to publish next, once rows are due; none if the run has to end before."""
        # the limits are for work: a run that waits is not late
        self._tag(max(self.ends_at - time.monotonic(), 0.0) + self.settings.publish_timeout_s)
        idle_at = time.monotonic() + IDLE_S
        while (now := time.monotonic()) < min(self.ends_at, idle_at):
            try:
                require_room(self.settings, "minio")
                plans = plan_together(self.settings, self.repository, self.resting)
            except (ServerDownError, LedgerError) as error:
                # nothing is lost: the sensor says the same until it is over
                self.context.log.warning(str(error))
                return []
            own = [plan for plan in plans if plan.topic not in self.resting]
            if any(plan.contradicts for plan in own):
                return []
            if ranges := [plan.range for plan in own if plan.range is not None]:
                return ranges
            if any(plan.lag_rows for plan in own):
                idle_at = now + IDLE_S
            due_in_s = min((plan.due_in_s for plan in own), default=POLL_S)
            try:
                time.sleep(max(0.0, min(due_in_s, POLL_S, self.ends_at - now)))
            except DagsterExecutionInterruptedError:
                # the platform stops, and nothing is under way
                return []
        return []

    def publish(self, planned: OffsetRange) -> Manifest | None:
        """Publishes a range; None if somebody else has published its rows. Raises Failure if a gate is closed."""
        context, topic = self.context, planned.topic
        self._tag(self.settings.publish_timeout_s, {RANGE_TAG: planned.hash, TOPIC_TAG: topic})
        partition = hour_key(planned.planned_at)
        ends = dg.MetadataValue.json({str(p): offset for p, offset in planned.end.items()})
        log_event(
            context, dg.AssetObservation(topic_key(topic), metadata={"planned_rows": planned.rows, "end_offsets": ends})
        )
        with self.platform.naming_servers(context, *SERVERS):
            try:
                return self._published(planned, partition)
            except (ReplanError, LedgerError) as error:
                # somebody else was faster; if ledger and log contradict each other, the next plan says so
                context.log.warning(str(error))
                return None

    def _published(self, planned: OffsetRange, partition: str) -> Manifest | None:
        context, topic = self.context, planned.topic
        attempt = publish.next_attempt(self.repository, planned)
        if attempt is None:
            context.log.info(f"{planned.publication_id} is published already")
            return None
        context.log.info(f"publishing {planned.rows} rows of {topic}, attempt {attempt}: {planned.to_json()}")
        spark = self.pyspark.spark_session
        manifest, commit = write_candidate(self.settings, self.repository, spark, planned, attempt, identity(context))
        found = publication_metadata([manifest]) | {"branch": manifest.branch}
        materialized(context, candidate_key(topic), found | {"lake_commit": commit.id}, partition)
        self._judge(manifest, commit.id)
        with pool_slot(context, MERGE_POOL):
            published = publish.merge(self.repository, manifest)
        materialized(context, archive_key(topic), found | {"lake_commit": published.merge_commit}, partition)
        forget_if_first_of_day(context, self.settings, self.repository, manifest)
        return published.manifest

    def _judge(self, manifest: Manifest, ref: str) -> None:
        closed = []
        for gate in GATES:
            result = gate_result(gate, gate.judge(self.settings, self.repository, manifest, ref))
            evaluated(self.context, candidate_key(manifest.topic), gate.name, result, blocking=True)
            if not result.passed:
                closed.append(str(result.description))
        if closed:
            raise dg.Failure("; ".join(closed), allow_retries=False)

    def load(self, manifests: list[Manifest]) -> None:
        """Loads into the warehouse what was published, or leaves it to the load sensor."""
        now = datetime.now(UTC)
        sessions = _days(manifests, SESSION_EVENTS.topic, now.date())
        positions = _days(manifests, VEHICLE_TELEMETRY.topic, now.date())
        stations = any(manifest.topic == STATION_REGISTRY.topic for manifest in manifests)
        if not self.loads or not (stations or sessions or positions):
            return
        try:
            if len(sessions) > DAYS_LOADED_HERE or len(positions) > DAYS_LOADED_HERE:
                self._leave_loads("many days are loaded by runs of their own")
                return
            self._tag(self.settings.load_timeout_s)
            with pool_slot(self.context, WAREHOUSE_POOL):
                if stations:
                    self._load_stations()
                if sessions:
                    self._load_sessions(sessions)
                marks = loaded_days(self.settings) if positions else {}
                if positions := [day for day in positions if may_load(POSITIONS, day, marks, now)]:
                    self._load_positions(positions)
        except Exception as error:  # whatever it is, the run of the load sensor meets it too and fails by it
            self._leave_loads(str(error))

    def _leave_loads(self, reason: str) -> None:
        self.loads = False
        self.context.log.warning(f"the load sensor loads from now on: {reason}")
        self.context.instance.add_run_tags(self.context.run.run_id, {LOADS_TAG: "no"})

    def _load_stations(self) -> None:
        from evcharge.reference.from_lake import sync_stations
        from evcharge.warehouse.load_stations import load_stations

        report = load_stations(self.settings, self.repository, self.pyspark.spark_session, self.context.run.run_id)
        metadata = {"dagster/row_count": report.rows, "lake_commit": report.lake_commit}
        materialized(self.context, table_key(STATIONS), metadata)
        if reference.available(self.settings):
            upserted, commit = sync_stations(self.settings, self.repository)
            key = collection_key(reference.STATIONS)
            materialized(self.context, key, upserted_metadata(upserted) | {"lake_commit": commit})

    def _load_sessions(self, days: list[date]) -> None:
        from evcharge.warehouse.load_sessions import load_sessions

        spark, run_id = self.pyspark.spark_session, self.context.run.run_id
        report = load_sessions(self.settings, self.repository, spark, days, run_id)
        for key, metadata in sessions_metadata(report, len(days)).items():
            for day in days:
                materialized(self.context, key, metadata, day.isoformat())
        self.loaded_days.update(days)

    def judge_loaded_days(self) -> None:
        """Once a run: most of its loads are of the same day."""
        if not self.loaded_days:
            return
        first, last = min(self.loaded_days), max(self.loaded_days)
        try:
            for rule in DAY_RULES:
                result = day_result(self.settings, rule, first, last)
                evaluated(self.context, table_key(FACT), rule.code.lower(), result)
        except Exception as error:  # as for a load
            self._leave_loads(str(error))

    def _load_positions(self, days: list[date]) -> None:
        from evcharge.warehouse.load_positions import load_vehicle_positions

        spark, run_id = self.pyspark.spark_session, self.context.run.run_id
        report = load_vehicle_positions(self.settings, self.repository, spark, days, run_id)
        metadata = {"dagster/row_count": report.rows, "lake_commit": report.lake_commit, "days": len(days)}
        for day in days:
            materialized(self.context, table_key(POSITIONS), metadata, day.isoformat())

    def _tag(self, limit_s: float, tags: dict[str, str] | None = None) -> None:
        """Tags the run, and gives what it does next `limit_s` seconds."""
        until = str(int(time.monotonic() - self.began + limit_s))
        self.context.instance.add_run_tags(self.context.run.run_id, {TIME_LIMIT_TAG: until, **(tags or {})})


def _days(manifests: list[Manifest], topic: str, today: date) -> list[date]:
    """The UTC days of a topic's good rows that have begun."""
    days = {
        date.fromisoformat(day) for manifest in manifests if manifest.topic == topic for day in manifest.event_dates
    }
    return sorted(day for day in days if day <= today)


@contextmanager
def pool_slot(context: dg.OpExecutionContext, pool: str) -> Iterator[None]:
    """Holds a slot of one of Dagster's pools, as a step of that pool does. Raises TimeoutError."""
    step_key = f"{context.op.name}:{pool}"
    with InstanceConcurrencyContext(context.instance, context.run) as slots:
        deadline = time.monotonic() + POOL_WAIT_S
        while not slots.claim(pool, step_key):
            if time.monotonic() > deadline:
                raise TimeoutError(f"pool {pool} has been taken for {POOL_WAIT_S:.0f} s")
            time.sleep(1)
        try:
            yield
        finally:
            context.instance.event_log_storage.free_concurrency_slot_for_step(context.run.run_id, step_key)
