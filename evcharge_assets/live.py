"""The live state as assets, by hour of event time, and the job that keeps it current.

The stream's run materializes the hours that it touches. A past hour that is launched or backfilled is computed from the lake;
newer state stays as it is. What computes it is imported where it begins: every run loads this module.
"""

import json
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime
from threading import Event
from typing import TYPE_CHECKING, Any

import dagster as dg

from evcharge.connections import ServerDownError, elasticsearch, elasticsearch_errors
from evcharge.contracts import SESSION_EVENTS, STATION_REGISTRY, VEHICLE_TELEMETRY
from evcharge.live import indices
from evcharge.live.cassandra_schema import columns as table_columns
from evcharge.live.checks import (
    Finding,
    last_closed_hour,
    no_dead_letters,
    no_more_busy_than_outlets,
    no_query_fails,
    provisional_is_final,
    stream_is_fresh,
    stream_keeps_up,
)
from evcharge.settings import Settings
from evcharge_assets.events import evaluated, materialized
from evcharge_assets.kafka import OWNER
from evcharge_assets.lake import any_hour_of
from evcharge_assets.partitions import event_hours, hour_of_ms, hour_partition
from evcharge_assets.resources import Platform, SparkConnect

if TYPE_CHECKING:
    from evcharge.live.stream_runner import StreamProgress

STATION_STATE = dg.AssetKey(["elasticsearch", "station_state"])
VEHICLE_POSITION = dg.AssetKey(["elasticsearch", "vehicle_position"])
HOURLY_USAGE = dg.AssetKey(["cassandra", "hourly_station_usage"])

STREAM_JOB = "live_stream"
BATCH_SERVERS = ("minio", "lakefs", "spark-connect")

#: The most hours that one report of the stream materializes, the newest ones: a replayed year touches thousands.
HOURS_PER_REPORT = 24
REPORT_EVERY_S = 60.0
#: An hour is materialized at its first touch, and no more often than this while it is touched. The run never ends, and each
#: time leaves some 20 kB in Dagster's storage.
REPEAT_EVERY_S = 1_800.0

#: The asset that each query of the stream keeps current.
_ASSETS_OF_QUERY = {"stations": (STATION_STATE, HOURLY_USAGE), "vehicles": (VEHICLE_POSITION,)}


def live_assets(settings: Settings) -> list[Any]:
    """The three assets and their checks."""
    hours = event_hours(settings)

    def common(key: dg.AssetKey, topics: tuple[str, ...], schema: dg.TableSchema) -> dict[str, Any]:
        return {
            "key": key,
            "partitions_def": hours,
            "backfill_policy": dg.BackfillPolicy.single_run(),
            "deps": [any_hour_of(topic) for topic in topics],
            "group_name": key.path[0],
            "kinds": {key.path[0], "spark"},
            "owners": [OWNER],
            "metadata": {"dagster/column_schema": schema},
            "code_version": "1",
        }

    @dg.asset(
        **common(STATION_STATE, (STATION_REGISTRY.topic, SESSION_EVENTS.topic), index_columns(indices.STATION_STATE)),
        description="What each station is doing now, by EVSE in OCPI's words: the documents behind `evcharge nearby`. "
        "A launched hour folds in the lake's records that the state lacks; a missing index is rebuilt.",
    )
    def station_state(
        context: dg.AssetExecutionContext, platform: Platform, pyspark: SparkConnect
    ) -> dg.MaterializeResult[None]:
        from evcharge.live.rebuild import catch_up_station_state

        with platform.naming_servers(context, *BATCH_SERVERS, "elasticsearch"):
            done = catch_up_station_state(platform.settings(), pyspark.spark_session)
        return dg.MaterializeResult(
            metadata={
                "index": done.index,
                "lake_commit": done.lake_commit,
                "dagster/row_count": done.stations,
                "rows_read": dg.MetadataValue.json(done.rows),
                "from": "lake",
            }
        )

    @dg.asset(
        **common(VEHICLE_POSITION, (VEHICLE_TELEMETRY.topic,), index_columns(indices.VEHICLE_POSITION)),
        description="The last position of each connected car, for one hour. A launched hour writes the lake's positions "
        "where they are newer.",
    )
    def vehicle_position(
        context: dg.AssetExecutionContext, platform: Platform, pyspark: SparkConnect
    ) -> dg.MaterializeResult[None]:
        from evcharge.live.rebuild import recompute_positions

        days = sorted({hour_partition(key).date().isoformat() for key in context.partition_keys})
        with platform.naming_servers(context, *BATCH_SERVERS, "elasticsearch"):
            rows = recompute_positions(platform.settings(), pyspark.spark_session, days)
        return dg.MaterializeResult(metadata={"rows_read": rows, "from": "lake"})

    @dg.asset(
        **common(HOURLY_USAGE, (SESSION_EVENTS.topic,), _usage_columns()),
        description="Sessions, energy, occupied time, peak occupancy, waits and faults by station and UTC hour: provisional "
        "from the stream, final from the lake. A launched hour computes its day's final hours.",
        pool="hourly_usage",
    )
    def hourly_station_usage(
        context: dg.AssetExecutionContext, platform: Platform, pyspark: SparkConnect
    ) -> dg.MaterializeResult[None]:
        from evcharge.live.final_usage import write_final_usage

        days = {hour_partition(key).date() for key in context.partition_keys}
        with platform.naming_servers(context, *BATCH_SERVERS, "cassandra"):
            report = write_final_usage(
                platform.settings(), platform.repository(), pyspark.spark_session, days, datetime.now(UTC)
            )
        return dg.MaterializeResult(
            metadata={
                "dagster/row_count": report.rows,
                "stations": report.stations,
                "sessions": report.sessions,
                "energy_kwh": report.energy_kwh,
                "rows_removed": report.removed,
                "lake_commit": report.lake_commit,
                "hours_to": report.hours_to.isoformat(),
                "from": "lake",
            }
        )

    return [station_state, vehicle_position, hourly_station_usage, *_checks()]


def index_columns(alias: str) -> dg.TableSchema:
    """The fields of an Elasticsearch index, from its mapping."""
    properties = indices.definition(alias)["mappings"]["properties"]
    return dg.TableSchema([dg.TableColumn(name, field["type"]) for name, field in properties.items()])


def _usage_columns() -> dg.TableSchema:
    return dg.TableSchema(
        [dg.TableColumn(name, kind, description=text) for name, kind, text in table_columns("usage_final")]
    )


def _is_fresh_now(client: Any) -> Finding:
    return stream_is_fresh(client, datetime.now(UTC))


def _no_query_fails_now(client: Any) -> Finding:
    return no_query_fails(client, datetime.now(UTC))


#: The description and the rule of each check of the station state, by name.
_STATE_CHECKS: dict[str, tuple[str, Callable[[Any], Finding]]] = {
    "no_more_busy_than_outlets": (no_more_busy_than_outlets.__doc__ or "", no_more_busy_than_outlets),
    "stream_keeps_up": (stream_keeps_up.__doc__ or "", stream_keeps_up),
    "stream_is_fresh": (stream_is_fresh.__doc__ or "", _is_fresh_now),
    "no_query_fails": (no_query_fails.__doc__ or "", _no_query_fails_now),
    "no_dead_letters": (no_dead_letters.__doc__ or "", no_dead_letters),
}


def _checks() -> Iterator[dg.AssetChecksDefinition]:
    def of_state(name: str, description: str, judge: Callable[[Any], Finding]) -> dg.AssetChecksDefinition:
        @dg.asset_check(asset=STATION_STATE, name=name, description=description.strip())
        def check(platform: Platform) -> dg.AssetCheckResult:
            settings = platform.settings()
            with elasticsearch_errors(settings), elasticsearch(settings) as client:
                return _result(judge(client))

        return check

    for name, (description, judge) in _STATE_CHECKS.items():
        yield of_state(name, description, judge)

    @dg.asset_check(
        asset=HOURLY_USAGE, name="provisional_is_final", description=(provisional_is_final.__doc__ or "").strip()
    )
    def provisional(platform: Platform) -> dg.AssetCheckResult:
        return _result(provisional_is_final(platform.settings(), last_closed_hour(datetime.now(UTC))))

    yield provisional


def _result(finding: Finding) -> dg.AssetCheckResult:
    return dg.AssetCheckResult(
        passed=finding.passed,
        severity=dg.AssetCheckSeverity.WARN,
        description=finding.summary,
        metadata={"broken": finding.broken, "examples": dg.MetadataValue.json(finding.examples)},
    )


@dg.op(name="stream", description="Runs the live stream until the run is terminated; a sensor starts it again.")
def stream_op(context: dg.OpExecutionContext, platform: Platform) -> None:
    from evcharge.live.stream_runner import run_stream

    settings = platform.settings()
    with platform.naming_servers(context, "kafka", "elasticsearch"):
        run_stream(
            settings,
            Event(),
            StreamReports(context, settings).report,
            report_every_s=REPORT_EVERY_S,
        )


@dg.job(
    name=STREAM_JOB,
    description="The live stream: station state, car positions and hourly usage, current within seconds.",
    executor_def=dg.in_process_executor,
)
def live_stream_job() -> None:
    stream_op()


class StreamReports:
    """What the stream's run tells Dagster: which hours the stream touched, and what its checks say."""

    def __init__(self, context: dg.OpExecutionContext, settings: Settings) -> None:
        self.context, self.settings = context, settings
        self.repeat_at = 0.0
        #: By query, and hour (ms since the epoch): the records that are not in a materialization yet.
        self.waiting: dict[str, Counter[int]] = {query: Counter() for query in _ASSETS_OF_QUERY}
        self.materialized: dict[str, set[int]] = {query: set() for query in _ASSETS_OF_QUERY}
        #: What the checks said since the last materialization of the station state.
        self.passed: dict[str, bool] = {}

    def report(self, progress: "StreamProgress") -> None:
        """Materializes the hours whose time has come, and stores the checks' results that are news."""
        now = time.monotonic()
        repeats = now >= self.repeat_at
        if repeats:
            self.repeat_at = now + REPEAT_EVERY_S
        for query, keys in _ASSETS_OF_QUERY.items():
            self._materialize(query, keys, progress, repeats)
        if repeats:
            self.context.log.info(json.dumps({name: status.to_json() for name, status in progress.statuses.items()}))
        try:
            with elasticsearch_errors(self.settings), elasticsearch(self.settings) as client:
                self._evaluate(client)
        except ServerDownError as error:
            # The stream itself waits for the server.
            self.context.log.warning(str(error))

    def _materialize(self, query: str, keys: Iterable[dg.AssetKey], progress: "StreamProgress", repeats: bool) -> None:
        waiting, done = self.waiting[query], self.materialized[query]
        waiting.update(progress.hours.get(query, {}))
        due = sorted(hour_ms for hour_ms in waiting if repeats or hour_ms not in done)
        if len(due) > HOURS_PER_REPORT:
            self.context.log.info(f"{query}: {len(due) - HOURS_PER_REPORT} older hours were touched as well")
        status = progress.statuses.get(query)
        for hour_ms in due[-HOURS_PER_REPORT:]:
            for key in keys:
                metadata = {
                    "records": waiting[hour_ms],
                    "lag_rows": status.lag_rows if status else 0,
                    "as_of": (status.as_of or "") if status else "",
                    "batch_s": status.batch_s if status else 0.0,
                    "from": "stream",
                }
                materialized(self.context, key, metadata, hour_of_ms(hour_ms))
        for hour_ms in due:
            del waiting[hour_ms]
        done.update(due)
        if due and STATION_STATE in keys:
            # Dagster's pages hide check results from before the materialization.
            self.passed.clear()

    def _evaluate(self, client: Any) -> None:
        for name, (_, judge) in _STATE_CHECKS.items():
            result = _result(judge(client))
            if self.passed.get(name) == result.passed:
                continue
            self.passed[name] = result.passed
            evaluated(self.context, STATION_STATE, name, result)
