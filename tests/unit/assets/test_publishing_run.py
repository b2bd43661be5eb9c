"""The run that publishes what waits and loads it, on a lake in memory. What waits in Kafka, and the loads, are given."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, timedelta
from typing import Any

import dagster as dg
import pytest
from dagster._core.errors import DagsterExecutionInterruptedError
from lake_in_memory import TOPIC, LakeInMemory

from evcharge.connections import ServerDownError
from evcharge.contracts import STATION_REGISTRY, VEHICLE_TELEMETRY
from evcharge.lake import publish
from evcharge.lake.archive import ReplanError
from evcharge.lake.candidate import Manifest
from evcharge.lake.gates import GATES
from evcharge.lake.ledger import OffsetRange
from evcharge.lake.parked import PUBLISH_JOB, RANGE_TAG, TOPIC_TAG
from evcharge.lake.planner import Plan
from evcharge.lake.touched_days import Mark
from evcharge.warehouse.day_rules import DAY_RULES
from evcharge.warehouse.tables import FACT, POSITIONS, STATIONS, LoadReport
from evcharge_assets import publishing
from evcharge_assets.lake import archive_key, candidate_key
from evcharge_assets.partitions import hour_key
from evcharge_assets.publishing import DAYS_LOADED_HERE, IDLE_S, LOADS_TAG, POLL_S, STAY_S, TIME_LIMIT_TAG
from evcharge_assets.warehouse import table_key
from evcharge_sensors.plan import together_config

RunJob = Callable[[dg.RunRequest], dg.ExecuteInProcessResult]
TODAY = datetime.now(UTC).date()


@dataclass
class Clock:
    """The run's clock: it passes only while the run sleeps."""

    now: float = 1_000.0
    slept: list[float] = field(default_factory=list)
    interrupted: bool = False

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        if self.interrupted:
            raise DagsterExecutionInterruptedError
        self.slept.append(seconds)
        self.now += seconds


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    fake = Clock()
    monkeypatch.setattr(publishing, "time", fake)
    return fake


@pytest.fixture
def plans(monkeypatch: pytest.MonkeyPatch) -> list[list[Plan]]:
    """What each look at Kafka finds; the last one again and again."""
    found: list[list[Plan]] = []
    monkeypatch.setattr(publishing, "plan_together", lambda *_: found.pop(0) if len(found) > 1 else found[0])
    return found


@dataclass
class Loads:
    """The loads that the run asked for, by table; `fails` is what they raise."""

    asked: list[tuple[str, list[date]]] = field(default_factory=list)
    fails: Exception | None = None

    def report(self, table: str, days: list[date]) -> LoadReport:
        self.asked.append((table, days))
        if self.fails:
            raise self.fails
        return LoadReport("head", dict.fromkeys(days, 7))


@pytest.fixture
def loads(monkeypatch: pytest.MonkeyPatch) -> Loads:
    made = Loads()

    def load(table: str) -> Callable[..., LoadReport]:
        return lambda _settings, _repository, _spark, *days_and_run: made.report(
            table, days_and_run[0] if len(days_and_run) > 1 else []
        )

    monkeypatch.setattr("evcharge.warehouse.load_sessions.load_sessions", load(FACT))
    monkeypatch.setattr("evcharge.warehouse.load_positions.load_vehicle_positions", load(POSITIONS))
    monkeypatch.setattr("evcharge.warehouse.load_stations.load_stations", load(STATIONS))
    monkeypatch.setattr(publishing.reference, "available", lambda _: False)
    monkeypatch.setattr(publishing, "loaded_days", lambda _: {})
    monkeypatch.setattr(publishing, "day_result", lambda *_: dg.AssetCheckResult(passed=True, description="kept"))
    return made


@pytest.fixture
def moving(lake: LakeInMemory, manifests: list[Manifest], monkeypatch: pytest.MonkeyPatch) -> LakeInMemory:
    """A lake whose ledger moves with each merge, as the real one does."""
    merge = lake.merge

    def merged(source: str, message: str, metadata: dict[str, str]) -> str:
        (range_,) = (manifest.offsets for manifest in manifests if manifest.branch == source)
        lake.publish(range_)
        return merge(source, message, metadata)

    monkeypatch.setattr(lake, "merge", merged)
    return lake


def request(*ranges: OffsetRange, stay_s: float = 0.0) -> dg.RunRequest:
    return dg.RunRequest(
        job_name=PUBLISH_JOB, run_config=together_config(ranges, stay_s=stay_s), tags={LOADS_TAG: "yes"}
    )


def waits(rows: int = 0, due_in_s: float = float("inf"), planned: OffsetRange | None = None) -> list[Plan]:
    return [Plan(TOPIC, planned, "", rows, due_in_s)]


def events_of(done: dg.ExecuteInProcessResult, instance: dg.DagsterInstance) -> list[dg.DagsterEvent]:
    return [log.dagster_event for log in instance.all_logs(done.run_id) if log.dagster_event is not None]


def materialized(done: dg.ExecuteInProcessResult, instance: dg.DagsterInstance) -> list[tuple[str, str | None]]:
    """Asset and partition of each materialization, in order."""
    events = [event for event in events_of(done, instance) if event.is_step_materialization]
    return [(str(event.asset_key and event.asset_key.path[-1]), event.partition) for event in events]


def evaluations(done: dg.ExecuteInProcessResult, instance: dg.DagsterInstance) -> list[dg.AssetCheckEvaluation]:
    wanted = dg.DagsterEventType.ASSET_CHECK_EVALUATION
    return [e.asset_check_evaluation_data for e in events_of(done, instance) if e.event_type == wanted]


def tags_of(done: dg.ExecuteInProcessResult, instance: dg.DagsterInstance) -> dict[str, str]:
    run = instance.get_run_by_id(done.run_id)
    assert run is not None
    return dict(run.tags)


def test_topics_are_published_in_order(
    run_job: RunJob, instance: dg.DagsterInstance, lake: LakeInMemory, manifests: list[Manifest], planned: OffsetRange
) -> None:
    positions = replace(planned, topic=VEHICLE_TELEMETRY.topic)
    done = run_job(request(planned, positions))
    assert done.success
    assert lake.merged == [planned.branch(1), positions.branch(1)]
    assert not lake.candidates
    hour = hour_key(planned.planned_at)
    assert materialized(done, instance) == [
        (key(topic).path[-1], hour) for topic in (TOPIC, positions.topic) for key in (candidate_key, archive_key)
    ]
    checks = [(e.asset_key, e.check_name, e.passed, e.blocking) for e in evaluations(done, instance)]
    assert checks == [
        (candidate_key(topic), gate.name, True, True) for topic in (TOPIC, positions.topic) for gate in GATES
    ]
    tags = tags_of(done, instance)
    assert (tags[RANGE_TAG], tags[TOPIC_TAG]) == (positions.hash, positions.topic)


def test_a_closed_gate_ends_the_run_and_names_its_range(
    run_job: RunJob, instance: dg.DagsterInstance, lake: LakeInMemory, manifests: list[Manifest], planned: OffsetRange
) -> None:
    lake.stray = ["stray.parquet"]
    done = run_job(request(planned, replace(planned, topic=VEHICLE_TELEMETRY.topic)))
    assert not done.success
    assert lake.merged == []
    failure = done.failure_data_for_node("publish")
    assert failure is not None
    assert failure.error is not None
    assert "DIFF_IS_MANIFEST: 4 paths changed, 1 unexpected" in failure.error.message
    tags = tags_of(done, instance)
    assert (tags[RANGE_TAG], tags[TOPIC_TAG]) == (planned.hash, TOPIC)
    assert {e.check_name for e in evaluations(done, instance) if not e.passed} == {"diff_matches_manifest"}


def test_somebody_else_was_faster(
    run_job: RunJob,
    lake: LakeInMemory,
    manifests: list[Manifest],
    planned: OffsetRange,
    following: OffsetRange,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The ledger decides, and the run goes on with what is next."""
    lake.publish(planned)

    def void(*_: object) -> None:
        raise ReplanError("the range is void")

    monkeypatch.setattr(publish, "merge_candidate", void)
    assert run_job(request(planned, following)).success
    assert [manifest.offsets for manifest in manifests] == [following]
    assert lake.merged == []


def test_the_run_stays_and_publishes_when_rows_are_due(
    run_job: RunJob,
    instance: dg.DagsterInstance,
    moving: LakeInMemory,
    manifests: list[Manifest],
    planned: OffsetRange,
    following: OffsetRange,
    clock: Clock,
    plans: list[list[Plan]],
) -> None:
    plans += [waits(3, 40.0), waits(5, 10.0), waits(6, 0.0, following), waits(1, 90.0)]
    done = run_job(request(planned, stay_s=STAY_S))
    assert done.success
    assert moving.merged == [planned.branch(1), following.branch(1)]
    assert clock.slept[:2] == [POLL_S, 10.0]
    assert clock.now == 1_000 + STAY_S, "and not longer"
    # what it does next has the whole time limit, and waiting takes nothing of it; counted from the run's start
    assert int(tags_of(done, instance)[TIME_LIMIT_TAG]) == STAY_S + 1_800


def test_a_run_without_rows_ends(
    run_job: RunJob, manifests: list[Manifest], planned: OffsetRange, clock: Clock, plans: list[list[Plan]]
) -> None:
    plans += [waits()]
    assert run_job(request(planned, stay_s=STAY_S)).success
    assert IDLE_S <= clock.now - 1_000 < IDLE_S + POLL_S


@pytest.mark.parametrize(
    "found", [[Plan(TOPIC, None, "a gap", 0, contradicts=True)], ServerDownError("kafka does not answer")], ids=str
)
def test_what_only_the_sensor_can_say_ends_the_run(
    found: Any,
    run_job: RunJob,
    manifests: list[Manifest],
    planned: OffsetRange,
    clock: Clock,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def look(*_: object) -> Any:
        if isinstance(found, Exception):
            raise found
        return found

    monkeypatch.setattr(publishing, "plan_together", look)
    assert run_job(request(planned, stay_s=STAY_S)).success
    assert clock.slept == []


def test_a_full_disk_ends_the_run(
    run_job: RunJob,
    manifests: list[Manifest],
    planned: OffsetRange,
    clock: Clock,
    plans: list[list[Plan]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    plans += [waits(1, 0.0, planned)]
    monkeypatch.setenv("EVCHARGE_DISK_RESERVE_MB", str(10**12))
    assert run_job(request(planned, stay_s=STAY_S)).success
    assert clock.slept == []


def test_a_stopping_platform_fails_no_waiting_run(
    run_job: RunJob, manifests: list[Manifest], planned: OffsetRange, clock: Clock, plans: list[list[Plan]]
) -> None:
    plans += [waits(1, 60.0)]
    clock.interrupted = True
    assert run_job(request(planned, stay_s=STAY_S)).success


def test_the_run_loads_what_it_published(
    run_job: RunJob,
    instance: dg.DagsterInstance,
    lake: LakeInMemory,
    manifests: list[Manifest],
    planned: OffsetRange,
    loads: Loads,
) -> None:
    tomorrow = TODAY + timedelta(days=1)
    lake.event_dates = [str(TODAY), str(tomorrow)]
    topics = (STATION_REGISTRY.topic, TOPIC, VEHICLE_TELEMETRY.topic)
    done = run_job(request(*(replace(planned, topic=topic) for topic in topics)))
    assert done.success
    assert loads.asked == [(STATIONS, []), (FACT, [TODAY]), (POSITIONS, [TODAY])], "a day is loaded once it has begun"
    assert materialized(done, instance)[-4:] == [
        (STATIONS, None),
        (FACT, str(TODAY)),
        ("dim_vehicle", str(TODAY)),
        (POSITIONS, str(TODAY)),
    ]
    judged = [e.check_name for e in evaluations(done, instance) if e.asset_key == table_key(FACT)]
    assert judged == [rule.code.lower() for rule in DAY_RULES]


def test_the_running_day_of_positions_is_loaded_now_and_then(
    run_job: RunJob,
    lake: LakeInMemory,
    manifests: list[Manifest],
    planned: OffsetRange,
    loads: Loads,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(publishing, "loaded_days", lambda _: {(POSITIONS, TODAY): Mark("before", datetime.now(UTC))})
    yesterday = TODAY - timedelta(days=1)
    lake.event_dates = [str(yesterday), str(TODAY)]
    assert run_job(request(replace(planned, topic=VEHICLE_TELEMETRY.topic))).success
    assert loads.asked == [(POSITIONS, [yesterday])]


def test_a_load_that_fails_is_left_to_the_sensor(
    run_job: RunJob,
    instance: dg.DagsterInstance,
    moving: LakeInMemory,
    manifests: list[Manifest],
    planned: OffsetRange,
    following: OffsetRange,
    clock: Clock,
    plans: list[list[Plan]],
    loads: Loads,
) -> None:
    """The rows are on main: neither this run nor the next publication waits for ClickHouse."""
    plans += [waits(9, 0.0, following), waits()]
    loads.fails = ServerDownError("clickhouse does not answer")
    moving.event_dates = [str(TODAY)]
    done = run_job(request(planned, stay_s=STAY_S))
    assert done.success
    assert moving.merged == [planned.branch(1), following.branch(1)]
    assert loads.asked == [(FACT, [TODAY])], "and it is not tried again here"
    assert tags_of(done, instance)[LOADS_TAG] == "no"


def test_many_days_are_left_to_the_sensor(
    run_job: RunJob,
    instance: dg.DagsterInstance,
    lake: LakeInMemory,
    manifests: list[Manifest],
    planned: OffsetRange,
    loads: Loads,
) -> None:
    lake.event_dates = [str(TODAY - timedelta(days=n)) for n in range(DAYS_LOADED_HERE + 1)]
    done = run_job(request(planned))
    assert done.success
    assert loads.asked == []
    assert tags_of(done, instance)[LOADS_TAG] == "no"


def test_a_backlog_is_published_before_it_is_loaded(
    run_job: RunJob,
    moving: LakeInMemory,
    manifests: list[Manifest],
    planned: OffsetRange,
    following: OffsetRange,
    clock: Clock,
    plans: list[list[Plan]],
    loads: Loads,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("EVCHARGE_PUBLISH_MAX_ROWS", str(planned.rows))
    plans += [waits(9, 0.0, following), waits()]
    moving.event_dates = [str(TODAY)]
    assert run_job(request(planned, stay_s=STAY_S)).success
    assert moving.merged == [planned.branch(1), following.branch(1)]
    assert loads.asked == [(FACT, [TODAY])]
