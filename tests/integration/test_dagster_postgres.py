"""Dagster on a real Postgres: as `dagster.yaml` has it with EVCHARGE_DAGSTER_POSTGRES_URL, and pruned."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import dagster as dg
import pytest
from dagster_home import a_year, instance_in, log_of, run_hour, run_hours, shown
from dagster_postgres import PostgresEventLogStorage, PostgresRunStorage, PostgresScheduleStorage
from postgres import running_postgres

from evcharge.connections import ServerDownError
from evcharge.errors import UserError
from evcharge.settings import load_settings
from evcharge.stack.credentials import ensure_credentials
from evcharge.stack.servers import prepare
from evcharge.stack.servers.dagster import dagster_environment
from evcharge_assets.pruning import Pruned, prune


@pytest.fixture
def url() -> Iterator[str]:
    with running_postgres() as address:
        yield address


@pytest.fixture
def instance(url: str, tmp_path: Path) -> Iterator[dg.DagsterInstance]:
    with instance_in(tmp_path / "dagster", postgres_url=url) as opened:
        yield opened


def prune_in(instance: dg.DagsterInstance, days: float) -> Pruned:
    return prune(instance, log_days=7, run_days=30, now=datetime.now(UTC) + timedelta(days=days))


def test_the_setting_is_all_that_is_needed(url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EVCHARGE_HOME", str(tmp_path))
    monkeypatch.setenv("EVCHARGE_DAGSTER_POSTGRES_URL", url)
    settings = ensure_credentials(load_settings())
    prepare(settings, {"dagster-webserver"})
    for name, value in dagster_environment(settings).items():
        monkeypatch.setenv(name, value)
    for _ in range(2):
        with dg.DagsterInstance.from_config(str(settings.dagster_home)) as instance:
            assert isinstance(instance.run_storage, PostgresRunStorage)
            assert isinstance(instance.event_log_storage, PostgresEventLogStorage)
            assert isinstance(instance.schedule_storage, PostgresScheduleStorage)
            # as the webserver does
            instance.optimize_for_webserver(statement_timeout=5_000, pool_recycle=60, max_overflow=5)
            assert instance.get_runs_count() == 0
    assert not (settings.dagster_home / "history").exists()
    assert url not in (settings.dagster_home / "dagster.yaml").read_text()


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ("postgresql://evcharge:secret@127.0.0.1:1/postgres", "does not answer"),
        ("postgresql://evcharge:secret@127.0.0.1:{port}/nothing", 'database "nothing" does not exist'),
        ("mysql://evcharge:secret@127.0.0.1/x", "is not of the form postgresql://"),
    ],
)
def test_a_wrong_address_is_said_before_anything_starts(
    url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, wrong: str, says: str
) -> None:
    port = url.rpartition(":")[2].partition("/")[0]
    monkeypatch.setenv("EVCHARGE_DAGSTER_POSTGRES_URL", wrong.format(port=port))
    settings = ensure_credentials(load_settings(home=tmp_path))
    with pytest.raises((UserError, ServerDownError), match=says) as refused:
        prepare(settings, {"dagster-code"})
    assert "secret" not in str(refused.value)


def test_a_page_hears_of_new_events(instance: dg.DagsterInstance) -> None:
    run = instance.create_run_for_job(dg.job(name="empty")(lambda: None))
    arrived = threading.Event()
    instance.event_log_storage.watch(run.run_id, None, lambda _entry, _cursor: arrived.set())
    instance.report_engine_event("something happened", run)
    assert arrived.wait(10)


def test_a_range_of_partitions(instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DAGSTER_EVENT_BATCH_SIZE", "20")
    run_hours(instance, "2026-03-02-00:00", "2026-03-03-23:00")
    assert len(shown(instance)["materialized"]) == 48


@pytest.mark.parametrize("days", [1, 8, 31, 400])
def test_pruning_changes_nothing_about_assets(instance: dg.DagsterInstance, days: int) -> None:
    a_year(instance)
    before = shown(instance)
    assert before["failed"] == ["2026-03-01-03:00"]
    prune_in(instance, days)
    assert shown(instance) == before
    assert shown(instance, cached=False) == before


def test_old_runs_go_and_those_in_use_stay(instance: dg.DagsterInstance) -> None:
    runs = a_year(instance)
    used = runs["failing"] + runs["last"]
    before = [log_of(instance, run_id) for run_id in used]
    logs = prune_in(instance, 8)
    assert (logs.runs, logs.events > 0) == (0, True)
    assert prune_in(instance, 31).runs == len(runs["old"])
    assert {run.run_id for run in instance.get_runs()} == set(used)
    assert [log_of(instance, run_id) for run_id in used] == before
    assert prune_in(instance, 31) == Pruned()
    run_hour(instance, 1)
