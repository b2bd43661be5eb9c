"""The planning sensor decides from real run records. The tests give it Kafka's offsets: to read them needs Kafka."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Collection
from dataclasses import replace
from itertools import islice
from typing import Any
from uuid import uuid4

import dagster as dg
import pytest
from dagster._core.storage.dagster_run import NOT_FINISHED_STATUSES
from dagster._daemon.monitoring import run_monitoring
from lake_in_memory import JOB, TOPIC, LakeInMemory, PlatformInMemory

from evcharge.connections import ServerDownError
from evcharge.contracts import CONTRACTS, STATION_REGISTRY, VEHICLE_TELEMETRY
from evcharge.lake.candidate import Manifest
from evcharge.lake.ledger import LedgerError, OffsetRange
from evcharge.lake.parked import PUBLISH_JOB, RANGE_TAG, SERVER_DOWN_TAG, TOPIC_TAG, range_of, ranges_of
from evcharge.lake.planner import Plan
from evcharge.settings import load_settings
from evcharge_assets import lake as lake_assets
from evcharge_assets.jobs import TIME_LIMIT_TAG
from evcharge_assets.lake import archive_key, candidate_key
from evcharge_assets.partitions import hour_key
from evcharge_assets.publishing import STAY_S
from evcharge_sensors import plan as planning
from evcharge_sensors import runs
from evcharge_sensors.plan import plan_publications, run_config, together_config

#: Without QUEUED, which Dagster lets only a run of a code server have.
UNFINISHED = tuple(s for s in NOT_FINISHED_STATUSES if s != dg.DagsterRunStatus.QUEUED)

Tick = Callable[[], "dg.SensorResult | dg.SkipReason"]
Offer = Callable[..., None]
RunJob = Callable[[dg.RunRequest], dg.ExecuteInProcessResult]


@pytest.fixture
def tick(instance: dg.DagsterInstance, platform_in_memory: PlatformInMemory, monkeypatch: pytest.MonkeyPatch) -> Tick:
    """Evaluates the sensor once, without the pause after a failure."""
    monkeypatch.setattr(runs, "FIRST_BACKOFF_S", 0)

    def evaluate() -> dg.SensorResult | dg.SkipReason:
        context = dg.build_sensor_context(instance=instance, resources={"platform": platform_in_memory})
        result: Any = plan_publications(context)
        return result

    return evaluate


@pytest.fixture
def offer(monkeypatch: pytest.MonkeyPatch) -> Offer:
    """What planning finds in Kafka."""

    def found(*ranges: OffsetRange) -> None:
        by_topic = {planned.topic: planned for planned in ranges}

        def together(_settings: object, _repository: object, resting: Collection[str]) -> list[Plan]:
            return [one_of(topic) if topic not in resting else Plan(topic, None, "resting", 0) for topic in CONTRACTS]

        def one_of(topic: str) -> Plan:
            planned = by_topic.get(topic)
            return Plan(topic, planned, "nothing new" if planned is None else "ready", 150)

        monkeypatch.setattr(planning, "plan_together", together)
        monkeypatch.setattr(planning, "plan", lambda _settings, _repository, topic, **_: one_of(topic))

    found()
    return found


def request(result: dg.SensorResult | dg.SkipReason) -> dg.RunRequest:
    assert isinstance(result, dg.SensorResult), result
    (one,) = result.run_requests or ()
    return one


def planned_by(asked: dg.RunRequest) -> OffsetRange:
    """The one range that is asked for, alone or as the first of a run that stays."""
    if asked.job_name == PUBLISH_JOB:
        (planned,) = ranges_of(asked.run_config)
        return planned
    return range_of(asked.run_config)


def config_of(asked: dg.RunRequest) -> dict[str, Any]:
    config: dict[str, Any] = asked.run_config["ops"]["publish"]["config"]
    return config


def record(
    instance: dg.DagsterInstance, planned: OffsetRange, status: dg.DagsterRunStatus, job: str = JOB, **tags: str
) -> None:
    """A run of the range, alone or with others, that has come to `status`."""
    config = run_config(planned.topic, planned) if job == JOB else together_config([planned])
    run = dg.DagsterRun(
        job_name=job,
        run_id=str(uuid4()),
        run_config=config,
        tags={RANGE_TAG: planned.hash, TOPIC_TAG: planned.topic, **tags},
        status=status if status in UNFINISHED else dg.DagsterRunStatus.STARTED,
    )
    instance.add_run(run)
    if status == dg.DagsterRunStatus.FAILURE:
        instance.report_run_failed(run)
    elif status == dg.DagsterRunStatus.CANCELED:
        instance.report_run_canceled(run)


def test_nothing_to_publish(tick: Tick, offer: Offer) -> None:
    result = tick()
    assert isinstance(result, dg.SkipReason)
    assert result.skip_message == "; ".join(f"{topic}: nothing new" for topic in CONTRACTS)


def test_a_planned_range_is_asked_for_once(tick: Tick, offer: Offer, planned: OffsetRange) -> None:
    offer(planned)
    asked = request(tick())
    assert asked.job_name == PUBLISH_JOB
    assert asked.run_key == f"{planned.hash}-1"
    assert planned_by(asked) == planned
    assert config_of(asked)["stay_s"] == STAY_S
    assert config_of(asked)["resting"] == []


def test_one_run_publishes_several_topics(tick: Tick, offer: Offer, planned: OffsetRange) -> None:
    stations = replace(planned, topic=STATION_REGISTRY.topic)
    offer(planned, stations)
    asked = request(tick())
    assert ranges_of(asked.run_config) == [stations, planned], "sessions need their stations"
    assert asked.run_key == f"{stations.hash}-{planned.hash}-1"


@pytest.mark.parametrize("status", UNFINISHED, ids=lambda status: status.value)
def test_one_run_at_a_time(
    status: dg.DagsterRunStatus, tick: Tick, offer: Offer, instance: dg.DagsterInstance, planned: OffsetRange
) -> None:
    offer(planned)
    record(instance, planned, status, PUBLISH_JOB)
    result = tick()
    assert isinstance(result, dg.SkipReason)
    assert "is not finished" in str(result.skip_message)


@pytest.mark.parametrize("status", UNFINISHED, ids=lambda status: status.value)
def test_a_topic_that_is_published_alone_holds_up_no_other(
    status: dg.DagsterRunStatus, tick: Tick, offer: Offer, instance: dg.DagsterInstance, planned: OffsetRange
) -> None:
    positions = replace(planned, topic=VEHICLE_TELEMETRY.topic)
    offer(planned, positions)
    record(instance, planned, status)
    asked = request(tick())
    assert ranges_of(asked.run_config) == [positions]
    assert config_of(asked) | {"ranges": []} == {"ranges": [], "resting": [TOPIC], "stay_s": 0.0}


@pytest.mark.parametrize("status", [dg.DagsterRunStatus.FAILURE, dg.DagsterRunStatus.CANCELED], ids=lambda s: s.value)
def test_a_failed_range_is_asked_for_unchanged(
    status: dg.DagsterRunStatus,
    tick: Tick,
    offer: Offer,
    instance: dg.DagsterInstance,
    planned: OffsetRange,
    following: OffsetRange,
) -> None:
    """Even if more has arrived since; the instant of planning stays too, since rules judge by it."""
    offer(OffsetRange(planned.topic, planned.topic_id, planned.start, following.end, following.planned_at))
    for attempt, job in enumerate((PUBLISH_JOB, JOB), start=1):
        record(instance, planned, status, job)
        asked = request(tick())
        assert asked.job_name == JOB, "alone, so that it fails no other topic"
        assert planned_by(asked) == planned
        assert asked.partition_key == hour_key(planned.planned_at)
        assert asked.tags[RANGE_TAG] == planned.hash
        assert asked.run_key == f"{planned.hash}-{attempt}", "a key is never started twice"


def test_a_range_that_the_run_planned_itself_is_planned_anew(
    tick: Tick, offer: Offer, instance: dg.DagsterInstance, planned: OffsetRange, following: OffsetRange
) -> None:
    offer(following)
    record(instance, planned, dg.DagsterRunStatus.FAILURE, PUBLISH_JOB, **{RANGE_TAG: following.hash})
    asked = request(tick())
    assert (asked.job_name, planned_by(asked)) == (PUBLISH_JOB, following)


def test_a_run_that_published_the_range_and_then_failed_repeats_nothing(
    tick: Tick, offer: Offer, lake: LakeInMemory, instance: dg.DagsterInstance, planned: OffsetRange
) -> None:
    lake.publish(planned)
    record(instance, planned, dg.DagsterRunStatus.FAILURE, PUBLISH_JOB)
    assert isinstance(tick(), dg.SkipReason)


def test_after_three_attempts_the_range_is_parked(
    tick: Tick, offer: Offer, instance: dg.DagsterInstance, planned: OffsetRange
) -> None:
    offer(planned)
    attempts = load_settings().publish_attempts
    record(instance, planned, dg.DagsterRunStatus.FAILURE, PUBLISH_JOB)
    for attempt in range(1, attempts + 1):
        assert request(tick()).run_key == f"{planned.hash}-{attempt}"
        record(instance, planned, dg.DagsterRunStatus.FAILURE)
    for _ in range(2):
        result = tick()
        assert isinstance(result, dg.SkipReason)
        assert str(result.skip_message).startswith(f"PARKED: {planned.publication_id} failed {attempts} times")
        assert "evcharge lake release session-events" in str(result.skip_message)
    positions = replace(planned, topic=VEHICLE_TELEMETRY.topic)
    offer(planned, positions)
    asked = request(tick())
    assert ranges_of(asked.run_config) == [positions]
    assert config_of(asked) | {"ranges": []} == {"ranges": [], "resting": [TOPIC], "stay_s": STAY_S}


def test_a_released_range_lets_the_topic_continue(
    tick: Tick,
    offer: Offer,
    lake: LakeInMemory,
    instance: dg.DagsterInstance,
    planned: OffsetRange,
    following: OffsetRange,
) -> None:
    for _ in range(load_settings().publish_attempts):
        record(instance, planned, dg.DagsterRunStatus.FAILURE)
    lake.publish(planned)
    offer(following)
    asked = request(tick())
    assert (asked.job_name, planned_by(asked)) == (PUBLISH_JOB, following)


def test_a_dead_server_does_not_use_attempts_up(
    tick: Tick, offer: Offer, instance: dg.DagsterInstance, planned: OffsetRange
) -> None:
    for _ in range(2 * load_settings().publish_attempts):
        record(instance, planned, dg.DagsterRunStatus.FAILURE, **{SERVER_DOWN_TAG: "lakefs"})
    assert planned_by(request(tick())) == planned


def test_after_a_failure_the_sensor_pauses(
    tick: Tick, offer: Offer, instance: dg.DagsterInstance, planned: OffsetRange, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runs, "FIRST_BACKOFF_S", 15)
    offer(planned)
    record(instance, planned, dg.DagsterRunStatus.FAILURE)
    result = tick()
    assert isinstance(result, dg.SkipReason)
    assert "next try in 1" in str(result.skip_message)


@pytest.mark.parametrize("error", [ServerDownError("kafka does not answer"), LedgerError("the topic was made anew")])
def test_what_stops_planning_is_one_line(error: Exception, tick: Tick, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> list[Plan]:
        raise error

    monkeypatch.setattr(planning, "plan_together", fail)
    result = tick()
    assert isinstance(result, dg.SkipReason)
    assert result.skip_message == str(error)


def test_nothing_is_requested_without_room_on_the_disk(
    tick: Tick, offer: Offer, planned: OffsetRange, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    offer(planned)
    record(instance, planned, dg.DagsterRunStatus.FAILURE)
    with monkeypatch.context() as full:
        full.setenv("EVCHARGE_DISK_RESERVE_MB", str(10**12))
        result = tick()
        assert isinstance(result, dg.SkipReason)
        assert "EVCHARGE_DISK_RESERVE_MB" in str(result.skip_message)
    assert request(tick())


def test_a_run_that_meets_a_full_disk_is_not_counted(
    tick: Tick,
    offer: Offer,
    run_job: RunJob,
    instance: dg.DagsterInstance,
    planned: OffsetRange,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """What a server says then is its own: Spark, lakeFS and MinIO have no common word for it."""

    def fail(*_: object, **__: object) -> None:
        monkeypatch.setenv("EVCHARGE_DISK_RESERVE_MB", str(10**12))
        raise RuntimeError("No space left on device")

    monkeypatch.setattr(lake_assets, "write_candidate", fail)
    monkeypatch.setattr("evcharge.stack.health.unhealthy_servers", lambda *_: [])
    offer(planned)
    record(instance, planned, dg.DagsterRunStatus.FAILURE, PUBLISH_JOB)
    assert not run_job(request(tick())).success
    (found,) = runs.recent_runs(instance, JOB)
    assert runs.server_was_down(found)


def test_a_run_that_meets_a_dead_server_names_it_and_is_not_counted(
    tick: Tick,
    offer: Offer,
    run_job: RunJob,
    instance: dg.DagsterInstance,
    planned: OffsetRange,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Writing a candidate needs Kafka, Spark and the lake; here it fails as it does without them."""

    def fail(*_: object, **__: object) -> None:
        raise ServerDownError("lakefs at 127.0.0.1:1 does not answer; its log: lakefs.log")

    monkeypatch.setattr(lake_assets, "write_candidate", fail)
    offer(planned)
    record(instance, planned, dg.DagsterRunStatus.FAILURE, PUBLISH_JOB)
    done = run_job(request(tick()))
    assert not done.success
    failure = done.failure_data_for_node(candidate_key(TOPIC).to_python_identifier())
    assert failure is not None
    assert failure.error is not None
    assert "lakefs at 127.0.0.1:1 does not answer; its log: lakefs.log" in failure.error.message
    (found,) = runs.recent_runs(instance, JOB)
    assert runs.server_was_down(found)
    assert request(tick()).run_key == f"{planned.hash}-2"


@pytest.mark.slow
def test_a_closed_gate_keeps_the_archive_from_merging(
    tick: Tick,
    offer: Offer,
    run_job: RunJob,
    lake: LakeInMemory,
    manifests: list[Manifest],
    instance: dg.DagsterInstance,
    planned: OffsetRange,
) -> None:
    """A candidate whose branch has a file that its manifest does not name."""
    lake.stray = ["stray.parquet"]
    offer(planned)
    record(instance, planned, dg.DagsterRunStatus.FAILURE, PUBLISH_JOB)
    done = run_job(request(tick()))
    assert not done.success
    assert len(manifests) == 1
    assert lake.merged == []
    assert not done.asset_materializations_for_node(archive_key(TOPIC).to_python_identifier())
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


def test_a_gap_is_named_before_a_failed_range_is_repeated(
    tick: Tick, offer: Offer, instance: dg.DagsterInstance, planned: OffsetRange, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The range's rows have left Kafka: to try it again, or to release it, would fail for ever."""

    def gap(*_: object, **__: object) -> Plan:
        raise LedgerError("session-events-0: offsets 0 to 9 left the log unpublished")

    monkeypatch.setattr(planning, "plan", gap)
    for _ in range(load_settings().publish_attempts):
        record(instance, planned, dg.DagsterRunStatus.FAILURE)
    result = tick()
    assert isinstance(result, dg.SkipReason)
    assert str(result.skip_message).startswith("session-events-0: offsets 0 to 9 left the log unpublished; ")


def test_a_run_that_hangs_is_ended_and_its_range_asked_for_again(
    tick: Tick,
    offer: Offer,
    publish_job: dg.JobDefinition,
    instance: dg.DagsterInstance,
    planned: OffsetRange,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    offer(planned)
    limit_s = load_settings().publish_timeout_s
    assert publish_job.tags[TIME_LIMIT_TAG] == str(limit_s)
    run = dg.DagsterRun(
        job_name=JOB,
        run_id=str(uuid4()),
        run_config=run_config(TOPIC, planned),
        tags={RANGE_TAG: planned.hash, TIME_LIMIT_TAG: publish_job.tags[TIME_LIMIT_TAG]},
    )
    instance.add_run(run)
    instance.report_dagster_event(dg.DagsterEvent(dg.DagsterEventType.RUN_START.value, JOB), run.run_id)

    def monitored(after_s: float) -> dg.DagsterRunStatus:
        now = time.time() + after_s
        monkeypatch.setattr(run_monitoring, "get_current_timestamp", lambda: now)
        (found,) = runs.recent_runs(instance, JOB)
        run_monitoring.check_run_timeout(instance, found, logging.getLogger(), 0)
        return runs.recent_runs(instance, JOB)[0].dagster_run.status

    assert monitored(limit_s - 10) is dg.DagsterRunStatus.STARTED
    assert "is not finished" in str(tick())
    assert monitored(limit_s + 10) is dg.DagsterRunStatus.FAILURE
    assert planned_by(request(tick())) == planned
