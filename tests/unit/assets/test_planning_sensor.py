"""The planning sensor decides from real run records; Kafka's offsets are given, since planning them needs Kafka."""

from __future__ import annotations

from collections.abc import Callable
from itertools import islice
from typing import Any
from uuid import uuid4

import dagster as dg
import pytest
from dagster._core.storage.dagster_run import NOT_FINISHED_STATUSES

from evcharge.connections import ServerDownError
from evcharge.lake.candidate import Manifest
from evcharge.lake.ledger import LedgerError, OffsetRange
from evcharge.lake.planner import Plan
from evcharge.lake.repository import Commit
from evcharge.settings import load_settings
from evcharge_assets import lake as lake_assets
from evcharge_assets import resources
from evcharge_assets.definitions import build_definitions
from evcharge_assets.jobs import publish_job_name
from evcharge_assets.kafka import topic_key
from evcharge_assets.lake import archive_key, candidate_key
from evcharge_assets.partitions import hour_key
from evcharge_sensors import plan as planning
from evcharge_sensors import runs
from evcharge_sensors.plan import RANGE_TAG, planning_sensor, run_config

JOB = publish_job_name("session-events")
#: Without QUEUED, which Dagster lets only a run of a code server have.
UNFINISHED = tuple(s for s in NOT_FINISHED_STATUSES if s != dg.DagsterRunStatus.QUEUED)

Tick = Callable[[], "dg.SensorResult | dg.SkipReason"]


@pytest.fixture
def tick(instance: dg.DagsterInstance, platform_in_memory: Any, monkeypatch: pytest.MonkeyPatch) -> Tick:
    """Evaluates the sensor once, without the pause after a failure."""
    monkeypatch.setattr(runs, "FIRST_BACKOFF_S", 0)
    sensor = planning_sensor("session-events")

    def evaluate() -> dg.SensorResult | dg.SkipReason:
        context = dg.build_sensor_context(instance=instance, resources={"platform": platform_in_memory})
        result: Any = sensor(context)
        return result

    return evaluate


@pytest.fixture
def offer(monkeypatch: pytest.MonkeyPatch) -> Callable[[OffsetRange | None], None]:
    """What planning finds in Kafka."""

    def found(planned: OffsetRange | None) -> None:
        answer = Plan("session-events", planned, "nothing new" if planned is None else "ready", 150)
        monkeypatch.setattr(planning, "plan", lambda *_: answer)

    found(None)
    return found


def request(result: dg.SensorResult | dg.SkipReason) -> dg.RunRequest:
    assert isinstance(result, dg.SensorResult), result
    (one,) = result.run_requests or ()
    return one


def planned_by(asked: dg.RunRequest) -> OffsetRange:
    op = candidate_key("session-events").to_python_identifier()
    return OffsetRange.from_json(asked.run_config["ops"][op]["config"]["offset_range"])


def record(instance: dg.DagsterInstance, planned: OffsetRange, status: dg.DagsterRunStatus, **tags: str) -> None:
    """A run of the range that has come to `status`."""
    run = dg.DagsterRun(
        job_name=JOB,
        run_id=str(uuid4()),
        run_config=run_config("session-events", planned),
        tags={RANGE_TAG: planned.hash, **tags},
        status=status if status in UNFINISHED else dg.DagsterRunStatus.STARTED,
    )
    instance.add_run(run)
    if status == dg.DagsterRunStatus.FAILURE:
        instance.report_run_failed(run)
    elif status == dg.DagsterRunStatus.CANCELED:
        instance.report_run_canceled(run)


def test_nothing_to_publish(tick: Tick, offer: Callable[[OffsetRange | None], None]) -> None:
    result = tick()
    assert isinstance(result, dg.SkipReason)
    assert result.skip_message == "nothing new"


def test_a_planned_range_is_asked_for_once(tick: Tick, offer: Any, planned: OffsetRange) -> None:
    offer(planned)
    result = tick()
    asked = request(result)
    assert asked.run_key == f"{planned.hash}-1"
    assert asked.partition_key == hour_key(planned.planned_at)
    assert asked.tags[RANGE_TAG] == planned.hash
    assert planned_by(asked) == planned
    (observation,) = result.asset_events  # type: ignore[union-attr]
    assert observation.asset_key == topic_key("session-events")
    assert observation.metadata["lag_rows"].value == 150


@pytest.mark.parametrize("status", UNFINISHED, ids=lambda status: status.value)
def test_one_run_at_a_time(
    status: dg.DagsterRunStatus, tick: Tick, offer: Any, instance: dg.DagsterInstance, planned: OffsetRange
) -> None:
    offer(planned)
    record(instance, planned, status)
    result = tick()
    assert isinstance(result, dg.SkipReason)
    assert "is not finished" in str(result.skip_message)


@pytest.mark.parametrize("status", [dg.DagsterRunStatus.FAILURE, dg.DagsterRunStatus.CANCELED], ids=lambda s: s.value)
def test_a_failed_range_is_asked_for_unchanged(
    status: dg.DagsterRunStatus,
    tick: Tick,
    offer: Any,
    instance: dg.DagsterInstance,
    planned: OffsetRange,
    following: OffsetRange,
) -> None:
    """Even if more has arrived since; the instant of planning stays too, since rules judge by it."""
    offer(OffsetRange(planned.topic, planned.topic_id, planned.start, following.end, following.planned_at))
    record(instance, planned, status)
    asked = request(tick())
    assert planned_by(asked) == planned
    assert asked.partition_key == hour_key(planned.planned_at)
    assert asked.run_key == f"{planned.hash}-2", "a key is never started twice"


def test_after_three_attempts_the_range_is_parked(
    tick: Tick, offer: Any, instance: dg.DagsterInstance, planned: OffsetRange
) -> None:
    offer(planned)
    attempts = load_settings().publish_attempts
    for attempt in range(1, attempts + 1):
        assert request(tick()).run_key == f"{planned.hash}-{attempt}"
        record(instance, planned, dg.DagsterRunStatus.FAILURE)
    for _ in range(2):
        result = tick()
        assert isinstance(result, dg.SkipReason)
        assert str(result.skip_message).startswith(f"PARKED: {planned.publication_id} failed {attempts} times")
        assert "evcharge lake release session-events" in str(result.skip_message)


def test_a_released_range_lets_the_topic_go_on(
    tick: Tick, offer: Any, lake: Any, instance: dg.DagsterInstance, planned: OffsetRange, following: OffsetRange
) -> None:
    for _ in range(load_settings().publish_attempts):
        record(instance, planned, dg.DagsterRunStatus.FAILURE)
    lake.publish(planned)
    offer(following)
    assert planned_by(request(tick())) == following


def test_a_dead_server_does_not_use_attempts_up(
    tick: Tick, offer: Any, instance: dg.DagsterInstance, planned: OffsetRange
) -> None:
    for _ in range(2 * load_settings().publish_attempts):
        record(instance, planned, dg.DagsterRunStatus.FAILURE, **{resources.SERVER_DOWN_TAG: "lakefs"})
    assert planned_by(request(tick())) == planned


def test_after_a_failure_the_sensor_pauses(
    tick: Tick, offer: Any, instance: dg.DagsterInstance, planned: OffsetRange, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runs, "FIRST_BACKOFF_S", 15)
    offer(planned)
    record(instance, planned, dg.DagsterRunStatus.FAILURE)
    result = tick()
    assert isinstance(result, dg.SkipReason)
    assert "next try in 1" in str(result.skip_message)


@pytest.mark.parametrize("error", [ServerDownError("kafka does not answer"), LedgerError("the topic was made anew")])
def test_what_stops_planning_is_one_line(error: Exception, tick: Tick, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> Plan:
        raise error

    monkeypatch.setattr(planning, "plan", fail)
    result = tick()
    assert isinstance(result, dg.SkipReason)
    assert result.skip_message == str(error)


class NoSpark(dg.ConfigurableResource):
    spark_session: str = "no session"


def run(instance: dg.DagsterInstance, platform: Any, asked: dg.RunRequest) -> dg.ExecuteInProcessResult:
    """What the daemon does with a request, in this process."""
    job = build_definitions({"platform": platform, "pyspark": NoSpark()}).resolve_job_def(JOB)
    return job.execute_in_process(
        instance=instance,
        run_config=asked.run_config,
        partition_key=asked.partition_key,
        tags=asked.tags,
        raise_on_error=False,
    )


def test_a_run_that_meets_a_dead_server_names_it_and_is_not_counted(
    tick: Tick,
    offer: Any,
    platform_in_memory: Any,
    instance: dg.DagsterInstance,
    planned: OffsetRange,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Writing a candidate needs Kafka, Spark and the lake; here it meets what it would without them."""

    def fail(*_: object, **__: object) -> None:
        raise ServerDownError("lakefs at 127.0.0.1:1 does not answer; its log: lakefs.log")

    monkeypatch.setattr(lake_assets, "write_candidate", fail)
    offer(planned)
    done = run(instance, platform_in_memory, request(tick()))
    assert not done.success
    failure = done.failure_data_for_node(candidate_key("session-events").to_python_identifier())
    assert failure is not None
    assert "lakefs at 127.0.0.1:1 does not answer; its log: lakefs.log" in failure.error.message
    (found,) = runs.recent_runs(instance, JOB)
    assert runs.server_was_down(found)
    assert request(tick()).run_key == f"{planned.hash}-2"


def test_a_closed_gate_keeps_the_archive_from_merging(
    tick: Tick,
    offer: Any,
    platform_in_memory: Any,
    instance: dg.DagsterInstance,
    planned: OffsetRange,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A candidate whose branch has other files than its manifest; branch and files would need lakeFS."""
    manifest = Manifest(
        publication_id=planned.publication_id,
        topic=planned.topic,
        range=planned.to_json(),
        ingest_hour=planned.ingest_hour,
        attempt=1,
        branch=planned.branch(1),
        base_commit="base",
        rows_read=planned.rows,
        rows_good=planned.rows,
        rows_quarantined=0,
        quarantined_by_rule={},
        event_dates=["2026-11-21"],
        files={},
        run_id="run",
        root_run_id="run",
        code_version="test",
    )
    merged: list[Manifest] = []
    commit = Commit("candidate-commit", "", planned.planned_at, {})
    monkeypatch.setattr(lake_assets, "write_candidate", lambda *_, **__: (manifest, commit))
    monkeypatch.setattr(lake_assets, "candidate_of_run", lambda *_: (manifest, commit.id))
    monkeypatch.setattr(lake_assets, "merge_candidate", lambda _, found: merged.append(found))
    monkeypatch.setattr(platform_in_memory.lake, "diff", lambda *_: [("added", "stray.parquet")], raising=False)
    offer(planned)
    done = run(instance, platform_in_memory, request(tick()))
    assert not done.success
    assert merged == []
    assert not done.asset_materializations_for_node(archive_key("session-events").to_python_identifier())
    verdicts = {evaluation.check_name: evaluation for evaluation in done.get_asset_check_evaluations()}
    assert not verdicts["diff_matches_manifest"].passed
    assert verdicts["diff_matches_manifest"].metadata["rule"].value == "DIFF_IS_MANIFEST"
    assert verdicts["quarantine_within_limit"].passed
    again = request(tick())
    assert planned_by(again) == planned


def test_the_pause_doubles_up_to_its_limit(instance: dg.DagsterInstance, planned: OffsetRange) -> None:
    waits = []
    for _ in range(5):
        record(instance, planned, dg.DagsterRunStatus.FAILURE)
        waits.append(runs.backoff_left_s(runs.recent_runs(instance, JOB)))
    assert waits == pytest.approx([15, 30, 60, 120, 120], abs=2)


def test_a_success_ends_the_pause(instance: dg.DagsterInstance, planned: OffsetRange) -> None:
    assert runs.backoff_left_s([]) == 0
    record(instance, planned, dg.DagsterRunStatus.FAILURE)
    instance.add_run(dg.DagsterRun(job_name=JOB, run_id=str(uuid4()), status=dg.DagsterRunStatus.SUCCESS))
    records = runs.recent_runs(instance, JOB)
    assert [r.dagster_run.status for r in islice(records, 2)] == [
        dg.DagsterRunStatus.SUCCESS,
        dg.DagsterRunStatus.FAILURE,
    ]
    assert runs.backoff_left_s(records) == 0
