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
from evcharge.lake.touched_days import Mark, Part
from evcharge.settings import Settings
from evcharge.warehouse import pending_loads
from evcharge.warehouse.pending_loads import Pending
from evcharge.warehouse.tables import FACT, POSITIONS
from evcharge_assets.jobs import load_days_job, load_positions_job, load_stations_job
from evcharge_assets.partitions import GAP_DAYS
from evcharge_sensors import load
from evcharge_sensors.load import RANGES_PER_TICK, RUNNING_DAY_EVERY, load_merged_days

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


def loaded(instance: dg.DagsterInstance, tags: dict[str, str], *, success: bool = True) -> None:
    """A run of the positions' job that has just ended."""
    status = dg.DagsterRunStatus.SUCCESS if success else dg.DagsterRunStatus.CANCELED
    instance.add_run(dg.DagsterRun(job_name=load_positions_job.name, run_id=str(uuid4()), tags=tags, status=status))


def test_the_running_day_of_positions_is_loaded_now_and_then(
    tick: Tick, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    today = datetime.now(UTC).date()
    yesterday = today - timedelta(days=1)
    pending = Pending("head", [DAY], stations=False, positions=[yesterday, today])
    sessions = (load_days_job.name, DAY.isoformat())
    both = (load_positions_job.name, (yesterday.isoformat(), today.isoformat()))
    assert requests(tick(pending)) == [sessions, both]
    loaded(instance, {"dagster/partition": today.isoformat()}, success=False)
    # its success ends the pause after the failure
    loaded(instance, {"dagster/partition": yesterday.isoformat()})
    assert requests(tick(pending)) == [sessions, both]

    loaded(instance, {"dagster/partition": today.isoformat()})
    assert requests(tick(pending)) == [sessions, (load_positions_job.name, yesterday.isoformat())]
    waits = tick(Pending("head", [], stations=False, positions=[today]))
    assert isinstance(waits, dg.SkipReason), "and the cursor stays"
    monkeypatch.setattr(load, "RUNNING_DAY_EVERY", -RUNNING_DAY_EVERY)
    assert requests(tick(pending)) == [sessions, both]


def test_a_range_that_ends_today_counts_as_today(tick: Tick, instance: dg.DagsterInstance) -> None:
    today = datetime.now(UTC).date()
    bounds = ("dagster/asset_partition_range_start", "dagster/asset_partition_range_end")
    loaded(instance, dict(zip(bounds, (DAY.isoformat(), today.isoformat()), strict=True)))
    assert isinstance(tick(Pending("head", [], stations=False, positions=[today])), dg.SkipReason)


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
