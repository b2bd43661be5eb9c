"""The planning sensor. It requests the run that publishes what waits, and the repetition of a range that failed."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import dagster as dg

from evcharge.connections import ServerDownError
from evcharge.contracts import CONTRACTS
from evcharge.disk import require_room
from evcharge.lake.ledger import LedgerError, OffsetRange, RangePosition, read_ledger
from evcharge.lake.parked import PUBLISH_JOB, RANGE_TAG, TOPIC_TAG, publish_job_name, range_of, ranges_of
from evcharge.lake.planner import plan, plan_together
from evcharge.lake.repository import Repository
from evcharge.settings import Settings
from evcharge_assets.jobs import publish_jobs, publish_waiting_job
from evcharge_assets.lake import candidate_key
from evcharge_assets.partitions import hour_key
from evcharge_assets.publishing import STAY_S
from evcharge_assets.resources import Platform
from evcharge_sensors.runs import FAILED, recent_runs, server_was_down, unfinished, why_wait

#: Tag of a run that publishes what waits: the hashes of the ranges that it was asked for.
PLANNED_TAG = "evcharge/planned"


@dataclass(frozen=True, slots=True)
class _Alone:
    """A topic that is not published with the others: why, and the run that repeats its failed range, if it is time for it.

    With `until_looked_at` somebody has to look first: until then a run that stays does not wait for the topic.
    """

    reason: str
    request: dg.RunRequest | None = None
    until_looked_at: bool = False


@dg.sensor(
    name="plan_publications",
    jobs=[publish_waiting_job, *publish_jobs],
    minimum_interval_seconds=15,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="Plans the next ranges of all topics from the lake's ledgers and requests their publication. A range that "
    "failed is repeated alone, unchanged.",
)
def plan_publications(context: dg.SensorEvaluationContext, platform: Platform) -> dg.SensorResult | dg.SkipReason:
    settings, repository = platform.settings(), platform.repository()
    together = recent_runs(context.instance, PUBLISH_JOB)
    waits = why_wait(together)
    try:
        require_room(settings, "minio")
        alone = {
            topic: found
            for topic in CONTRACTS
            if (found := _alone(context, settings, repository, topic, together)) is not None
        }
        plans = [] if waits else plan_together(settings, repository, alone)
    except (ServerDownError, LedgerError) as error:
        # not raised: Dagster's page would show a traceback instead of this one line
        context.log.error(str(error))
        return dg.SkipReason(str(error))
    for planned in plans:
        if planned.contradicts and planned.topic not in alone:
            context.log.error(planned.reason)
            alone[planned.topic] = _Alone(planned.reason, until_looked_at=True)
    requests = [one.request for one in alone.values() if one.request is not None]
    ranges = [planned.range for planned in plans if planned.range is not None]
    if ranges:
        stay_s = STAY_S if all(one.until_looked_at for one in alone.values()) else 0.0
        requests.append(_together(context.instance, ranges, alone, stay_s))
    if requests:
        return dg.SensorResult(run_requests=requests)
    others = [waits] if waits else [f"{one.topic}: {one.reason}" for one in plans if one.topic not in alone]
    return dg.SkipReason("; ".join([*(one.reason for one in alone.values()), *others]))


def _alone(
    context: dg.SensorEvaluationContext,
    settings: Settings,
    repository: Repository,
    topic: str,
    together: list[dg.RunRecord],
) -> _Alone | None:
    """Whether a topic rests or its failed range is repeated; None: it is published with the others."""
    records = recent_runs(context.instance, publish_job_name(topic))
    waits = why_wait(records)
    if waits:
        return _Alone(f"{topic}: {waits}")
    failed = _failed_range(repository, topic, records, together)
    if failed is None and topic not in _resting(unfinished(together)):
        return None
    try:
        # before a failed range is repeated: rows that have left the log since would fail it for ever
        plan(settings, repository, topic, eager=True)
    except LedgerError as error:
        context.log.error(str(error))
        return _Alone(str(error), until_looked_at=True)
    if failed is None:
        return None
    attempts = _attempts(context.instance, topic, failed)
    if attempts < settings.publish_attempts:
        return _Alone("a failed range is repeated", _request(context.instance, topic, failed))
    context.log.error(f"{failed.publication_id} is parked after {attempts} failed attempts")
    reason = (
        f"PARKED: {failed.publication_id} failed {attempts} times; look at its runs, then "
        f"`evcharge lake release {topic}` sends its rows to quarantine"
    )
    return _Alone(reason, until_looked_at=True)


def _request(instance: dg.DagsterInstance, topic: str, planned: OffsetRange) -> dg.RunRequest:
    # Dagster never starts a run key twice, even if its run failed. The number of earlier runs makes each key new.
    earlier = instance.get_runs_count(dg.RunsFilter(job_name=publish_job_name(topic), tags={RANGE_TAG: planned.hash}))
    return dg.RunRequest(
        job_name=publish_job_name(topic),
        run_key=f"{planned.hash}-{earlier + 1}",
        partition_key=hour_key(planned.planned_at),
        run_config=run_config(topic, planned),
        tags={RANGE_TAG: planned.hash},
    )


def run_config(topic: str, planned: OffsetRange, *, release: bool = False) -> dict[str, Any]:
    """The run configuration that publishes (or releases) exactly this range, alone."""
    op = candidate_key(topic).to_python_identifier()
    return {"ops": {op: {"config": {"offset_range": planned.to_json(), "release": release}}}}


def _together(
    instance: dg.DagsterInstance, ranges: Iterable[OffsetRange], resting: Iterable[str], stay_s: float
) -> dg.RunRequest:
    ranges = list(ranges)
    planned = "-".join(one.hash for one in ranges)
    earlier = instance.get_runs_count(dg.RunsFilter(job_name=PUBLISH_JOB, tags={PLANNED_TAG: planned}))
    return dg.RunRequest(
        job_name=PUBLISH_JOB,
        run_key=f"{planned}-{earlier + 1}",
        run_config=together_config(ranges, resting, stay_s),
        tags={PLANNED_TAG: planned},
    )


def together_config(ranges: Iterable[OffsetRange], resting: Iterable[str] = (), stay_s: float = 0.0) -> dict[str, Any]:
    """The run configuration that publishes these ranges first and then stays for others, without the topics `resting`."""
    config = {"ranges": [one.to_json() for one in ranges], "resting": sorted(resting), "stay_s": stay_s}
    return {"ops": {"publish": {"config": config}}}


def _resting(record: dg.RunRecord | None) -> list[str]:
    """The topics that a run of PUBLISH_JOB leaves alone."""
    config: Any = record.dagster_run.run_config if record is not None else {}
    resting: list[str] = config.get("ops", {}).get("publish", {}).get("config", {}).get("resting", [])
    return resting


def _failed_range(
    repository: Repository, topic: str, records: list[dg.RunRecord], together: list[dg.RunRecord]
) -> OffsetRange | None:
    """The range of the topic's newest publishing run, if that run failed and the range is still the next one.

    The range is repeated unchanged, so that every attempt at it publishes the same rows. A range that a run of PUBLISH_JOB
    planned itself is in no configuration: it is planned anew.
    """
    own = (r for r in together if r.dagster_run.tags.get(TOPIC_TAG) == topic)
    newest = [next((r for r in runs if RANGE_TAG in r.dagster_run.tags), None) for runs in (records, own)]
    last = max((r for r in newest if r is not None), key=lambda r: r.storage_id, default=None)
    if last is None or last.dagster_run.status not in FAILED:
        return None
    run = last.dagster_run
    tried = ranges_of(run.run_config) if run.job_name == PUBLISH_JOB else [range_of(run.run_config)]
    planned = next((one for one in tried if one.hash == run.tags[RANGE_TAG]), None)
    if planned is None:
        return None
    is_next = read_ledger(repository, topic).position_of(planned) is RangePosition.NEXT
    return planned if is_next else None


def _attempts(instance: dg.DagsterInstance, topic: str, planned: OffsetRange) -> int:
    """Number of failed attempts at the range alone, without those that failed because a server was down."""
    runs = instance.get_run_records(
        dg.RunsFilter(job_name=publish_job_name(topic), tags={RANGE_TAG: planned.hash}, statuses=list(FAILED))
    )
    return sum(not server_was_down(record) for record in runs)
