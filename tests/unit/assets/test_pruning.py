"""What pruning deletes and what it leaves, on SQLite. `tests/integration/test_dagster_postgres.py` does it on Postgres."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import dagster as dg
import pytest
import sqlalchemy as db
from dagster._core.execution.backfill import BulkActionStatus, PartitionBackfill
from dagster._core.storage.event_log.schema import SqlEventLogStorageTable
from dagster._core.storage.runs.schema import RunsTable
from dagster._core.storage.tags import BACKFILL_ID_TAG
from dagster_home import a_year, hourly, instance_in, log_of, run_hour, run_hours, shown
from lake_in_memory import JOB, TOPIC

from evcharge.lake.ledger import OffsetRange
from evcharge.lake.parked import RANGE_TAG
from evcharge_assets import pruning
from evcharge_assets.pruning import Pruned, prune
from evcharge_sensors.plan import run_config

pytestmark = pytest.mark.slow


@pytest.fixture
def instance(tmp_path: Path) -> Iterator[dg.DagsterInstance]:
    with instance_in(tmp_path / "dagster") as opened:
        yield opened


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, list[str]]]:
    """The home of an instance with runs of all kinds, and their ids."""
    home = tmp_path_factory.mktemp("year") / "dagster"
    with instance_in(home) as opened:
        return home, a_year(opened)


@pytest.fixture
def year(written: tuple[Path, dict[str, list[str]]], tmp_path: Path) -> Iterator[dg.DagsterInstance]:
    shutil.copytree(written[0], tmp_path / "dagster")
    with instance_in(tmp_path / "dagster") as opened:
        yield opened


@pytest.fixture
def runs(written: tuple[Path, dict[str, list[str]]]) -> dict[str, list[str]]:
    return written[1]


def prune_in(instance: dg.DagsterInstance, days: float) -> Pruned:
    """Prunes as if so many days had gone by."""
    return prune(instance, log_days=7, run_days=30, now=datetime.now(UTC) + timedelta(days=days))


@pytest.mark.parametrize("days", [1, 8, 31, 400])
def test_pages_about_assets_show_the_same(year: dg.DagsterInstance, days: int) -> None:
    before = shown(year)
    assert before["failed"] == ["2026-03-01-03:00"]
    assert len(before["materialized"]) == 9
    prune_in(year, days)
    assert shown(year) == before
    assert shown(year, cached=False) == before


def test_a_recent_run_keeps_everything(year: dg.DagsterInstance, runs: dict[str, list[str]]) -> None:
    every = [run_id for kind in runs.values() for run_id in kind]
    before = [log_of(year, run_id) for run_id in every]
    assert prune_in(year, 6.9) == Pruned()
    assert [log_of(year, run_id) for run_id in every] == before


def test_a_run_loses_its_log_and_what_it_printed_first(year: dg.DagsterInstance, runs: dict[str, list[str]]) -> None:
    first, failed = runs["old"][:2]
    printed = Path(year.storage_directory()) / first
    assert printed.exists()
    pruned = prune_in(year, 8)
    assert pruned.runs == 0
    assert not printed.exists()
    left = log_of(year, first)
    assert left
    assert all("execution of run" in message for message in left)
    assert {year.get_run_by_id(run_id).status for run_id in (first, failed)} == {  # type: ignore[union-attr]
        dg.DagsterRunStatus.SUCCESS,
        dg.DagsterRunStatus.FAILURE,
    }
    (failure,) = year.all_logs(failed, of_type=dg.DagsterEventType.STEP_FAILURE)
    assert "it failed" in str(failure.get_dagster_event().step_failure_data.error)


def test_old_runs_go_and_those_in_use_stay(year: dg.DagsterInstance, runs: dict[str, list[str]]) -> None:
    used = runs["failing"] + runs["last"]
    before = [log_of(year, run_id) for run_id in used]
    pruned = prune_in(year, 31)
    assert pruned.runs == len(runs["old"])
    assert {run.run_id for run in year.get_runs()} == set(used)
    assert [log_of(year, run_id) for run_id in used] == before
    assert prune_in(year, 31) == Pruned()


def test_a_run_that_is_not_finished_is_not_touched(instance: dg.DagsterInstance) -> None:
    unfinished = run_hour(instance, 1)
    run_hour(instance, 1)
    with instance.run_storage.connect() as connection:  # type: ignore[attr-defined]
        connection.execute(
            db.update(RunsTable).where(RunsTable.c.run_id == unfinished).values(status="STARTED", end_time=None)
        )
    before = log_of(instance, unfinished)
    prune_in(instance, 400)
    assert log_of(instance, unfinished) == before


def attempt(instance: dg.DagsterInstance, planned: OffsetRange, *, succeeds: bool = False) -> str:
    """A run of the range that has ended."""
    run = dg.DagsterRun(
        job_name=JOB,
        run_id=str(uuid4()),
        run_config=run_config(TOPIC, planned),
        tags={RANGE_TAG: planned.hash},
        status=dg.DagsterRunStatus.STARTED,
    )
    instance.add_run(run)
    instance.report_engine_event("it tries", run)
    if succeeds:
        event = dg.DagsterEvent(dg.DagsterEventType.RUN_SUCCESS.value, JOB)
        instance.report_dagster_event(event, run.run_id)
    else:
        instance.report_run_failed(run)
    return run.run_id


def test_a_range_that_is_parked_is_not_touched(
    instance: dg.DagsterInstance, planned: OffsetRange, following: OffsetRange
) -> None:
    published = [attempt(instance, planned), attempt(instance, planned, succeeds=True)]
    newer = OffsetRange(TOPIC, "topic-id", following.end, {0: 130, 1: 70}, datetime.now(UTC))
    published += [attempt(instance, following, succeeds=True)]
    parked = [attempt(instance, newer) for _ in range(3)]
    before = [log_of(instance, run_id) for run_id in parked]
    prune_in(instance, 400)
    assert [log_of(instance, run_id) for run_id in parked] == before
    # the newest success is there for who asks whether the job ever succeeded
    assert {run.run_id for run in instance.get_runs()} == {*parked, published[-1]}
    attempt(instance, newer, succeeds=True)
    assert prune_in(instance, 400).runs == 4


def test_a_backfill_that_goes_on_keeps_its_runs(instance: dg.DagsterInstance) -> None:
    runs = [run_hour(instance, 1, **{BACKFILL_ID_TAG: "going-on"}), run_hour(instance, 1)]
    backfill = PartitionBackfill(
        "going-on", BulkActionStatus.REQUESTED, from_failure=False, tags={}, backfill_timestamp=0.0
    )
    instance.add_backfill(backfill)
    assert prune_in(instance, 400).runs == 0
    instance.update_backfill(backfill.with_status(BulkActionStatus.COMPLETED_SUCCESS))
    assert prune_in(instance, 400).runs == 1
    assert [run.run_id for run in instance.get_runs()] == runs[1:]


def test_an_asset_is_superseded_by_a_run_long_after_the_first_is_forgotten(instance: dg.DagsterInstance) -> None:
    run_hour(instance, 1)
    run_hour(instance, 2)
    prune_in(instance, 40)
    run_hour(instance, 1)
    prune_in(instance, 40)
    events = instance.get_event_records(dg.EventRecordsFilter(dg.DagsterEventType.ASSET_MATERIALIZATION, hourly.key))
    assert len(events) == 2


@pytest.mark.parametrize("transactions", [0, 3, 12, 30])
def test_an_interrupted_pruning_is_completed_by_the_next(
    year: dg.DagsterInstance, runs: dict[str, list[str]], monkeypatch: pytest.MonkeyPatch, transactions: int
) -> None:
    class Killed(BaseException):
        pass

    left = [transactions]

    def killed_later(_connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
        if statement.startswith("DELETE"):
            left[0] -= 1
            if left[0] < 0:
                raise Killed

    before = shown(year)
    monkeypatch.setattr(pruning, "_CHUNK", 3)
    db.event.listen(db.Engine, "before_cursor_execute", killed_later)
    try:
        prune_in(year, 31)
    except Killed:
        assert shown(year, cached=False) == before
    finally:
        db.event.remove(db.Engine, "before_cursor_execute", killed_later)
    prune_in(year, 31)
    assert shown(year, cached=False) == before
    assert {run.run_id for run in year.get_runs()} == {*runs["failing"], *runs["last"]}
    with year.event_log_storage.index_connection() as connection:  # type: ignore[attr-defined]
        logged = set(connection.scalars(db.select(SqlEventLogStorageTable.c.run_id).distinct()))
        kinds = set(
            connection.scalars(
                db.select(SqlEventLogStorageTable.c.dagster_event_type).where(
                    SqlEventLogStorageTable.c.run_id.in_(runs["old"])
                )
            )
        )
    assert kinds == {"ASSET_MATERIALIZATION"}
    assert logged >= {*runs["failing"], *runs["last"]}


@pytest.mark.parametrize("written_anew", [100_000, 0])
def test_the_file_becomes_smaller(
    written_anew: int, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pruning, "_WRITTEN_ANEW", written_anew)
    monkeypatch.setenv("DAGSTER_EVENT_BATCH_SIZE", "500")
    for _ in range(8):
        run_hours(instance, "2026-03-02-00:00", "2026-03-03-23:00")
    file = Path(instance.root_directory) / "history" / "event_log.db"
    before = file.stat().st_size
    with monkeypatch.context() as no_time:
        no_time.setattr(pruning, "_FREED_WITHIN_S", 0.0)
        prune_in(instance, 31)
        assert file.stat().st_size >= before
    prune_in(instance, 31)
    assert file.stat().st_size < before / 2
