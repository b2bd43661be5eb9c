"""The lake sensor asks for what the warehouse is behind by; what that is, is given: it needs lakeFS and ClickHouse."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from typing import Any
from uuid import uuid4

import dagster as dg
import pytest
from main_log import MainLog

from evcharge.connections import ServerDownError
from evcharge.contracts import SESSION_EVENTS, STATION_REGISTRY, VEHICLE_TELEMETRY
from evcharge.lake.parked import PUBLISH_JOB
from evcharge.lake.touched_days import Mark, Part
from evcharge.settings import Settings
from evcharge.warehouse import pending_loads
from evcharge.warehouse.pending_loads import RUNNING_DAY_EVERY, Pending
from evcharge.warehouse.tables import FACT, POSITIONS
from evcharge_assets.jobs import load_days_job, load_positions_job, load_stations_job
from evcharge_assets.partitions import GAP_DAYS
from evcharge_assets.publishing import LOADS_TAG
from evcharge_sensors import load
from evcharge_sensors.load import RANGES_PER_TICK, load_merged_days

DAY = date(2026, 11, 20)

Tick = Callable[[Pending], "dg.SensorResult | dg.SkipReason"]


@pytest.fixture
def tick(instance: dg.DagsterInstance, platform_in_memory: Any, monkeypatch: pytest.MonkeyPatch) -> Tick:
    def evaluate(pending: Pending) -> dg.SensorResult | dg.SkipReason:
        monkeypatch.setattr(load, "pending_loads", lambda *_, **__: pending)
        result: Any = load_merged_days(
            dg.build_sensor_context(instance=instance, cursor="before", resources={"platform": platform_in_memory})
        )
        return result

    return evaluate


def requests(result: dg.SensorResult | dg.SkipReason) -> list[tuple[str | None, Any]]:
    """Job and what it is asked for: a day, a first and last day, or nothing."""
    assert isinstance(result, dg.SensorResult), result
    bounds = ("dagster/asset_partition_range_start", "dagster/asset_partition_range_end")
    return [
        (asked.job_name, asked.partition_key or tuple(asked.tags[b] for b in bounds if b in asked.tags) or None)
        for asked in result.run_requests or ()
    ]


def test_the_cursor_moves_only_when_nothing_is_pending(tick: Tick) -> None:
    done = tick(Pending("head", [], stations=False))
    assert isinstance(done, dg.SensorResult)
    assert done.cursor == "head"
    asked = tick(Pending("head", [DAY], stations=False))
    assert isinstance(asked, dg.SensorResult)
    assert asked.cursor is None


def test_days_and_stations_are_asked_for(tick: Tick) -> None:
    assert requests(tick(Pending("head", [DAY], stations=True))) == [
        (load_stations_job.name, None),
        (load_days_job.name, "2026-11-20"),
    ]
    assert requests(tick(Pending("head", [DAY, DAY + timedelta(days=1)], stations=False))) == [
        (load_days_job.name, ("2026-11-20", "2026-11-21"))
    ]


def test_few_runs_are_asked_for_at_once(tick: Tick) -> None:
    scattered = [DAY - timedelta(days=n * (GAP_DAYS + 1)) for n in range(2 * RANGES_PER_TICK)]
    assert len(requests(tick(Pending("head", scattered, stations=False)))) == RANGES_PER_TICK


def test_a_running_load_is_waited_for(tick: Tick, instance: dg.DagsterInstance) -> None:
    instance.add_run(
        dg.DagsterRun(job_name=load_days_job.name, run_id=str(uuid4()), status=dg.DagsterRunStatus.STARTED)
    )
    assert isinstance(tick(Pending("head", [DAY], stations=False)), dg.SkipReason)
    assert requests(tick(Pending("head", [DAY], stations=True))) == [(load_stations_job.name, None)]


def test_a_failed_load_is_repeated_after_a_pause(tick: Tick, instance: dg.DagsterInstance) -> None:
    failed = dg.DagsterRun(job_name=load_days_job.name, run_id=str(uuid4()), status=dg.DagsterRunStatus.STARTED)
    instance.add_run(failed)
    instance.report_run_failed(failed)
    result = tick(Pending("head", [DAY], stations=False))
    assert isinstance(result, dg.SkipReason)
    assert "next try" in str(result.skip_message)


def test_a_dead_server_is_named(
    instance: dg.DagsterInstance, platform_in_memory: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> Pending:
        raise ServerDownError("clickhouse does not answer")

    monkeypatch.setattr(load, "pending_loads", fail)
    result: Any = load_merged_days(
        dg.build_sensor_context(instance=instance, resources={"platform": platform_in_memory})
    )
    assert result.skip_message == "clickhouse does not answer"


# --- from main's log and the marks in ClickHouse ---

TODAY = datetime.now(UTC).date()
PAST, TOMORROW = TODAY - timedelta(days=9), TODAY + timedelta(days=1)


@pytest.fixture
def marks(monkeypatch: pytest.MonkeyPatch) -> dict[Part, Mark]:
    loaded_days: dict[Part, Mark] = {}
    monkeypatch.setattr(pending_loads, "loaded_days", lambda _: loaded_days)
    return loaded_days


@pytest.fixture
def evaluate(instance: dg.DagsterInstance, platform_in_memory: Any) -> Callable[..., Any]:
    def once(cursor: str | None = None) -> Any:
        context = dg.build_sensor_context(instance=instance, cursor=cursor, resources={"platform": platform_in_memory})
        return load_merged_days(context)

    return once


def test_only_tomorrow_is_pending(log: MainLog, marks: dict[Part, Mark], evaluate: Callable[..., Any]) -> None:
    """Producers' clocks may be ahead by a day; Dagster has no partition of it yet."""
    log.publish(SESSION_EVENTS.topic, TOMORROW)
    log.publish(VEHICLE_TELEMETRY.topic, TOMORROW)
    waits = evaluate()
    assert requests(waits) == []
    assert waits.skip_reason.skip_message == (
        f"the warehouse has all of main, but for {TOMORROW}: a day is loaded once it has begun"
    )
    assert evaluate(waits.cursor).skip_reason == waits.skip_reason


def test_tomorrow_holds_up_no_other_request(
    log: MainLog, marks: dict[Part, Mark], evaluate: Callable[..., Any]
) -> None:
    log.publish(SESSION_EVENTS.topic, PAST, TOMORROW)
    log.publish(VEHICLE_TELEMETRY.topic, PAST, TOMORROW)
    assert requests(evaluate()) == [(load_days_job.name, str(PAST)), (load_positions_job.name, str(PAST))]


def test_tomorrow_is_loaded_once_it_has_begun(log: MainLog, settings: Settings, marks: dict[Part, Mark]) -> None:
    log.publish(SESSION_EVENTS.topic, TOMORROW)
    marks[FACT, PAST] = Mark("c0", datetime.now(UTC))
    waits = pending_loads.pending_loads(settings, log)
    assert (waits.days, waits.later) == ([], [TOMORROW])
    log.publish(STATION_REGISTRY.topic)
    begun = pending_loads.pending_loads(settings, log, waits.cursor, datetime.now(UTC) + timedelta(days=1))
    assert (begun.days, begun.later, begun.stations) == ([TOMORROW], [], True)
    assert log.readings == [None, "c1"]


def test_after_a_partial_restore_the_lost_days_are_asked_for(
    log: MainLog, marks: dict[Part, Mark], evaluate: Callable[..., Any]
) -> None:
    days = [PAST - timedelta(days=n) for n in (2, 1, 0)]
    log.publish(SESSION_EVENTS.topic, *days)
    log.publish(VEHICLE_TELEMETRY.topic, *days)
    for day in days:
        marks[FACT, day] = marks[POSITIONS, day] = Mark("c2", datetime.now(UTC))
    idle = evaluate()
    assert requests(idle) == []
    del marks[FACT, days[1]]
    assert requests(evaluate(idle.cursor)) == [(load_days_job.name, str(days[1]))]
    marks[FACT, days[1]] = marks[FACT, days[0]]
    # a day as an older backup had it
    marks[POSITIONS, days[2]] = Mark("c1", datetime.now(UTC) - timedelta(days=1))
    assert requests(evaluate(idle.cursor)) == [(load_positions_job.name, str(days[2]))]


def test_the_running_day_of_positions_is_loaded_now_and_then(
    log: MainLog, marks: dict[Part, Mark], evaluate: Callable[..., Any]
) -> None:
    yesterday = TODAY - timedelta(days=1)
    for topic in (SESSION_EVENTS.topic, VEHICLE_TELEMETRY.topic):
        log.publish(topic, yesterday, TODAY)
    both = (str(yesterday), str(TODAY))
    assert requests(evaluate()) == [(load_days_job.name, both), (load_positions_job.name, both)]

    lately = datetime.now(UTC) - RUNNING_DAY_EVERY / 2
    for day in (yesterday, TODAY):
        marks[FACT, day] = marks[POSITIONS, day] = Mark("c0", lately)
    assert requests(evaluate()) == [(load_days_job.name, both), (load_positions_job.name, str(yesterday))]
    marks[POSITIONS, TODAY] = Mark("c0", lately - RUNNING_DAY_EVERY)
    assert requests(evaluate())[1] == (load_positions_job.name, both)


def publishing(instance: dg.DagsterInstance, loads: str) -> str:
    """The id of a run that publishes and has not ended."""
    run = dg.DagsterRun(
        job_name=PUBLISH_JOB, run_id=str(uuid4()), tags={LOADS_TAG: loads}, status=dg.DagsterRunStatus.STARTED
    )
    instance.add_run(run)
    return run.run_id


def test_what_a_publishing_run_published_is_left_to_it(
    log: MainLog, marks: dict[Part, Mark], evaluate: Callable[..., Any], instance: dg.DagsterInstance
) -> None:
    run_id = publishing(instance, "yes")
    log.publish(SESSION_EVENTS.topic, PAST, TODAY)
    log.publish(SESSION_EVENTS.topic, TODAY, run_id=run_id)
    log.publish(STATION_REGISTRY.topic, run_id=run_id)
    assert requests(evaluate()) == [(load_days_job.name, str(PAST))], "the run reads all of the running day"
    marks[FACT, PAST] = Mark("c3", datetime.now(UTC))
    waits = evaluate()
    assert waits.skip_reason.skip_message == "the publishing run loads what it has published"
    assert waits.cursor is None, "once the run has ended, the log is read again"
    run = instance.get_run_by_id(run_id)
    assert run is not None
    instance.report_run_failed(run)
    assert requests(evaluate()) == [(load_stations_job.name, None), (load_days_job.name, str(TODAY))]


def test_a_publishing_run_that_cannot_load_leaves_it_to_the_sensor(
    log: MainLog, marks: dict[Part, Mark], evaluate: Callable[..., Any], instance: dg.DagsterInstance
) -> None:
    log.publish(SESSION_EVENTS.topic, TODAY, run_id=publishing(instance, "no"))
    assert requests(evaluate()) == [(load_days_job.name, str(TODAY))]
