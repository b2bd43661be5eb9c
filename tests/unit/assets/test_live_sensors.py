"""The stream's keeper and the sensor of past hours decide from real locks and run records; what is pending is given."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import dagster as dg
import pytest
from lake_in_memory import TOPIC
from main_log import MainLog

from evcharge.live import pending_hours
from evcharge.live.pending_hours import ComputedDay, PendingHours
from evcharge.live.stream_lock import only_one
from evcharge.settings import load_settings
from evcharge_assets.events import evaluated
from evcharge_assets.live import STATION_STATE, STREAM_JOB
from evcharge_assets.partitions import hour_key
from evcharge_sensors import live as sensors
from evcharge_sensors import runs

Outcome = dg.SensorResult | dg.SkipReason


@pytest.fixture
def evaluate(
    instance: dg.DagsterInstance, platform_in_memory: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Any
) -> Callable[[Any], Outcome]:
    """Evaluates a sensor once, on a platform with a home of its own."""
    monkeypatch.setenv("EVCHARGE_HOME", str(tmp_path))

    def once(sensor: Any, cursor: str | None = None) -> Outcome:
        context = dg.build_sensor_context(instance=instance, cursor=cursor, resources={"platform": platform_in_memory})
        result: Outcome = sensor(context)
        return result

    return once


def run(instance: dg.DagsterInstance, job: str, status: dg.DagsterRunStatus) -> None:
    added = dg.DagsterRun(job_name=job, run_id=str(uuid4()), status=dg.DagsterRunStatus.STARTED)
    instance.add_run(added)
    if status == dg.DagsterRunStatus.FAILURE:
        instance.report_run_failed(added)


def skipped_since(outcome: Outcome) -> str:
    assert isinstance(outcome, dg.SkipReason), outcome
    return str(outcome.skip_message)


def requests(outcome: Outcome) -> list[dg.RunRequest]:
    assert isinstance(outcome, dg.SensorResult), outcome
    return list(outcome.run_requests or ())


# --- the stream's keeper ---


def test_a_stream_is_started_where_none_runs(evaluate: Callable[[Any], Outcome]) -> None:
    assert len(requests(evaluate(sensors.keep_stream_alive))) == 1


def test_no_second_stream_beside_one_outside_dagster(evaluate: Callable[[Any], Outcome]) -> None:
    with only_one(load_settings()):
        assert skipped_since(evaluate(sensors.keep_stream_alive)) == "the stream runs"


def test_a_stand_in_is_relieved(
    instance: dg.DagsterInstance, evaluate: Callable[[Any], Outcome], monkeypatch: pytest.MonkeyPatch
) -> None:
    with only_one(load_settings(), stand_in=True):
        assert len(requests(evaluate(sensors.keep_stream_alive))) == 1
        run(instance, STREAM_JOB, dg.DagsterRunStatus.STARTED)
        # the run starts its Spark before it takes the stand-in's place
        monkeypatch.setattr(sensors, "STARTING_S", 0)
        assert skipped_since(evaluate(sensors.keep_stream_alive)).endswith("is starting")


def test_no_second_stream_while_one_starts(instance: dg.DagsterInstance, evaluate: Callable[[Any], Outcome]) -> None:
    run(instance, STREAM_JOB, dg.DagsterRunStatus.STARTED)
    assert skipped_since(evaluate(sensors.keep_stream_alive)).endswith("is starting")


def test_a_run_that_does_not_get_the_lock_is_not_waited_for(
    instance: dg.DagsterInstance, evaluate: Callable[[Any], Outcome], monkeypatch: pytest.MonkeyPatch
) -> None:
    run(instance, STREAM_JOB, dg.DagsterRunStatus.STARTED)
    monkeypatch.setattr(sensors, "STARTING_S", 0)
    assert len(requests(evaluate(sensors.keep_stream_alive))) == 1


def test_a_stream_that_fails_at_once_is_started_ever_more_slowly(
    instance: dg.DagsterInstance, evaluate: Callable[[Any], Outcome], monkeypatch: pytest.MonkeyPatch
) -> None:
    run(instance, STREAM_JOB, dg.DagsterRunStatus.FAILURE)
    assert "next try in" in skipped_since(evaluate(sensors.keep_stream_alive))
    monkeypatch.setattr(runs, "FIRST_BACKOFF_S", 0)
    assert len(requests(evaluate(sensors.keep_stream_alive))) == 1


@pytest.mark.parametrize("sensor", [sensors.keep_stream_alive, sensors.load_closed_hours], ids=lambda s: s.name)
def test_a_small_platform_has_no_live_stores(
    sensor: Any, evaluate: Callable[[Any], Outcome], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EVCHARGE_PROFILE", "small")
    assert "EVCHARGE_PROFILE is small" in skipped_since(evaluate(sensor))


# --- checks of the state ---


@pytest.mark.parametrize(
    ("age_s", "runs", "asks"),
    [(None, True, True), (60, False, False), (600, False, True), (600, True, False), (3_600, True, True)],
)
def test_the_states_checks_have_a_run_of_their_own_only_if_nobody_else_evaluates_them(
    age_s: float | None,
    runs: bool,
    asks: bool,
    tmp_path: Path,
    platform_in_memory: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sensors, "is_running", lambda _: runs)

    @dg.op
    def evaluates(context) -> None:  # type: ignore[no-untyped-def]
        evaluated(context, STATION_STATE, "stream_is_fresh", dg.AssetCheckResult(passed=True))

    @dg.job
    def stream() -> None:
        evaluates()

    # a schedule's context takes no instance in memory
    with dg.DagsterInstance.local_temp(str(tmp_path)) as instance:
        if age_s is not None:
            assert stream.execute_in_process(instance=instance).success
        context = dg.build_schedule_context(
            instance,
            scheduled_execution_time=datetime.now(UTC) + timedelta(seconds=age_s or 0),
            resources={"platform": platform_in_memory},
        )
        result: Any = sensors.check_state_schedule(context)
    assert isinstance(result, dg.RunRequest if asks else dg.SkipReason)


# --- past hours ---


@pytest.fixture
def pending(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """What main has and Cassandra has not."""

    def found(days: list[date], running: list[date]) -> None:
        monkeypatch.setattr(sensors, "pending_hours", lambda *_, **__: PendingHours("the-head", days, running))

    return found


def test_neighbouring_days_are_asked_for_in_one_run(
    pending: Callable[..., None], evaluate: Callable[[Any], Outcome]
) -> None:
    pending([date(2026, 3, 1), date(2026, 3, 2), date(2026, 5, 7)], [])
    two, one = requests(evaluate(sensors.load_closed_hours))
    assert two.tags["dagster/asset_partition_range_start"] == "2026-03-01-00:00"
    assert two.tags["dagster/asset_partition_range_end"] == "2026-03-02-23:00"
    assert one.tags["dagster/asset_partition_range_start"] == "2026-05-07-00:00"


def test_of_the_running_day_no_hour_that_has_not_begun_is_asked_for(
    pending: Callable[..., None], evaluate: Callable[[Any], Outcome]
) -> None:
    before = datetime.now(UTC)
    pending([before.date()], [])
    (asked,) = requests(evaluate(sensors.load_closed_hours))
    last = asked.tags.get("dagster/asset_partition_range_end") or asked.partition_key
    assert last in {hour_key(before), hour_key(before + timedelta(hours=1))}


def test_one_load_at_a_time(
    instance: dg.DagsterInstance, pending: Callable[..., None], evaluate: Callable[[Any], Outcome]
) -> None:
    pending([date(2026, 3, 1)], [])
    run(instance, "load_hourly_usage", dg.DagsterRunStatus.STARTED)
    assert skipped_since(evaluate(sensors.load_closed_hours)).endswith("is not finished")


def test_where_nothing_is_pending_the_head_is_remembered(
    pending: Callable[..., None], evaluate: Callable[[Any], Outcome]
) -> None:
    pending([], [])
    outcome = evaluate(sensors.load_closed_hours)
    assert isinstance(outcome, dg.SensorResult)
    assert (outcome.cursor, requests(outcome)) == ("the-head", [])


def test_the_running_hour_is_left_to_the_stream(
    pending: Callable[..., None], evaluate: Callable[[Any], Outcome]
) -> None:
    pending([], [date(2026, 3, 1)])
    outcome = evaluate(sensors.load_closed_hours)
    assert isinstance(outcome, dg.SensorResult)
    assert outcome.skip_reason is not None
    assert outcome.skip_reason.skip_message == "the running hour is served by the stream until it is over"
    assert (outcome.cursor, requests(outcome)) == ("the-head", [])


# --- past hours, from main's log and the marks in Cassandra ---

TODAY = datetime.now(UTC).date()
DAYS = [TODAY - timedelta(days=n) for n in (9, 8, 7)]


@pytest.fixture
def marks(monkeypatch: pytest.MonkeyPatch) -> dict[date, ComputedDay]:
    written: dict[date, ComputedDay] = {}
    monkeypatch.setattr(pending_hours, "computed_days", lambda _: written)
    return written


def computed(*days: date, commit: str) -> dict[date, ComputedDay]:
    now = datetime.now(UTC)
    return {day: ComputedDay(commit, now, now) for day in days}


def asked_days(outcome: Outcome) -> list[tuple[str, str]]:
    tags = ("dagster/asset_partition_range_start", "dagster/asset_partition_range_end")
    first, last = ([asked.tags[tag][:10] for asked in requests(outcome)] for tag in tags)
    return list(zip(first, last, strict=True))


def test_the_day_before_a_stop_is_asked_for_again(
    log: MainLog, marks: dict[date, ComputedDay], evaluate: Callable[..., Outcome]
) -> None:
    log.publish(TOPIC, DAYS[0], reached=[])
    marks.update(computed(DAYS[0], commit="c1"))
    idle = evaluate(sensors.load_closed_hours)
    assert requests(idle) == []
    log.publish(TOPIC, DAYS[1], reached=[DAYS[0]])
    assert isinstance(idle, dg.SensorResult)
    assert asked_days(evaluate(sensors.load_closed_hours, idle.cursor)) == [(str(DAYS[0]), str(DAYS[1]))]


def test_after_a_partial_restore_the_lost_days_are_asked_for(
    log: MainLog, marks: dict[date, ComputedDay], evaluate: Callable[..., Outcome]
) -> None:
    log.publish(TOPIC, *DAYS, reached=[])
    marks.update(computed(*DAYS, commit="c1"))
    idle = evaluate(sensors.load_closed_hours)
    assert isinstance(idle, dg.SensorResult)
    assert requests(idle) == []
    del marks[DAYS[1]]
    assert asked_days(evaluate(sensors.load_closed_hours, idle.cursor)) == [(str(DAYS[1]), str(DAYS[1]))]


def test_a_day_that_has_not_begun_holds_up_no_other(
    log: MainLog, marks: dict[date, ComputedDay], evaluate: Callable[..., Outcome]
) -> None:
    log.publish(TOPIC, DAYS[0], TODAY + timedelta(days=1), reached=[])
    assert asked_days(evaluate(sensors.load_closed_hours)) == [(str(DAYS[0]), str(DAYS[0]))]
    marks.update(computed(DAYS[0], commit="c1"))
    waits = evaluate(sensors.load_closed_hours)
    assert requests(waits) == []
    assert isinstance(waits, dg.SensorResult)
    assert waits.cursor
