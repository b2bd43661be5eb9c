"""Planning sensors, one for each topic. They request the next range to publish, or the failed one again."""

from typing import Any

import dagster as dg

from evcharge.connections import ServerDownError
from evcharge.contracts import CONTRACTS
from evcharge.lake.ledger import LedgerError, OffsetRange, RangePosition, read_ledger
from evcharge.lake.parked import RANGE_TAG, publish_job_name, range_of
from evcharge.lake.planner import plan
from evcharge.lake.repository import Repository
from evcharge_assets.kafka import snake, topic_key
from evcharge_assets.lake import candidate_key
from evcharge_assets.partitions import hour_key
from evcharge_assets.resources import Platform
from evcharge_sensors.runs import FAILED, recent_runs, server_was_down, why_wait


def planning_sensor(topic: str) -> dg.SensorDefinition:
    @dg.sensor(
        name=f"plan_{snake(topic)}",
        job_name=publish_job_name(topic),
        minimum_interval_seconds=15,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description=f"Plans the next range of {topic} from the lake's ledger and requests its publication.",
    )
    def sensor(context: dg.SensorEvaluationContext, platform: Platform) -> dg.SensorResult | dg.SkipReason:
        records = recent_runs(context.instance, publish_job_name(topic))
        waits = why_wait(records)
        if waits:
            return dg.SkipReason(waits)
        settings, repository = platform.settings(), platform.repository()
        try:
            # also before a failed range is repeated: rows that have left the log since would fail it for ever
            planned = plan(settings, repository, topic)
            again = _failed_range(repository, topic, records)
            if again is not None:
                attempts = _attempts(context.instance, topic, again)
                if attempts >= settings.publish_attempts:
                    context.log.error(f"{again.publication_id} is parked after {attempts} failed attempts")
                    return dg.SkipReason(
                        f"PARKED: {again.publication_id} failed {attempts} times; look at its runs, then "
                        f"`evcharge lake release {topic}` sends its rows to quarantine"
                    )
                return dg.SensorResult(run_requests=[_request(context.instance, topic, again)])
        except (ServerDownError, LedgerError) as error:
            # not raised: Dagster's page would show a traceback instead of this one line
            context.log.error(str(error))
            return dg.SkipReason(str(error))
        if planned.range is None:
            return dg.SkipReason(planned.reason)
        observation = dg.AssetObservation(
            asset_key=topic_key(topic),
            metadata={
                "lag_rows": planned.lag_rows,
                "end_offsets": dg.MetadataValue.json({str(p): o for p, o in planned.range.end.items()}),
            },
        )
        return dg.SensorResult(
            run_requests=[_request(context.instance, topic, planned.range)], asset_events=[observation]
        )

    return sensor


def _request(instance: dg.DagsterInstance, topic: str, planned: OffsetRange) -> dg.RunRequest:
    # Dagster never starts a run key twice, even if its run failed. The number of earlier runs makes each key new.
    earlier = instance.get_runs_count(dg.RunsFilter(tags={RANGE_TAG: planned.hash}))
    return dg.RunRequest(
        run_key=f"{planned.hash}-{earlier + 1}",
        partition_key=hour_key(planned.planned_at),
        run_config=run_config(topic, planned),
        tags={RANGE_TAG: planned.hash},
    )


def run_config(topic: str, planned: OffsetRange, *, release: bool = False) -> dict[str, Any]:
    """The run configuration that publishes (or releases) exactly this range."""
    op = candidate_key(topic).to_python_identifier()
    return {"ops": {op: {"config": {"offset_range": planned.to_json(), "release": release}}}}


def _failed_range(repository: Repository, topic: str, records: list[dg.RunRecord]) -> OffsetRange | None:
    """The range of the newest planned run, if that run failed and the range is still the next one.

    The range is repeated unchanged, so that every attempt at it publishes the same rows.
    """
    planned_runs = [r for r in records if RANGE_TAG in r.dagster_run.tags]
    if not planned_runs or planned_runs[0].dagster_run.status not in FAILED:
        return None
    planned = range_of(planned_runs[0].dagster_run.run_config)
    is_next = read_ledger(repository, topic).position_of(planned) is RangePosition.NEXT
    return planned if is_next else None


def _attempts(instance: dg.DagsterInstance, topic: str, planned: OffsetRange) -> int:
    """Number of failed attempts at the range, without those that failed because a server was down."""
    runs = instance.get_run_records(
        dg.RunsFilter(job_name=publish_job_name(topic), tags={RANGE_TAG: planned.hash}, statuses=list(FAILED))
    )
    return sum(not server_was_down(record) for record in runs)


planning_sensors = [planning_sensor(topic) for topic in CONTRACTS]
