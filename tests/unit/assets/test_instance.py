"""`dagster.yaml` is loaded as `evcharge stack` loads it, so that a mistake in it fails here and not in production."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import pytest
from dagster._core.run_coordinator import QueuedRunCoordinator
from dagster._core.storage.runs import SqliteRunStorage
from dagster_aws.s3.compute_log_manager import S3ComputeLogManager

from evcharge.settings import Settings, load_settings
from evcharge.stack.credentials import ensure_credentials
from evcharge.stack.servers import prepare
from evcharge.stack.servers.dagster import dagster_environment

pytestmark = pytest.mark.slow


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    monkeypatch.setenv("EVCHARGE_HOME", str(tmp_path))
    return ensure_credentials(load_settings())


@pytest.fixture
def production(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Iterator[dg.DagsterInstance]:
    prepare(settings, {"dagster-daemon"})
    for name, value in dagster_environment(settings).items():
        monkeypatch.setenv(name, value)
    with dg.DagsterInstance.from_config(str(settings.dagster_home)) as instance:
        yield instance


def test_what_runs_print_goes_to_minio(production: dg.DagsterInstance, settings: Settings) -> None:
    manager = production.compute_log_manager
    assert isinstance(manager, S3ComputeLogManager)
    assert manager._s3_bucket == settings.compute_log_bucket
    assert manager._s3_session.meta.endpoint_url == settings.minio_endpoint


def test_runs_are_queued_and_pools_admit_one(production: dg.DagsterInstance) -> None:
    concurrency = production.get_concurrency_config()
    assert isinstance(production.run_coordinator, QueuedRunCoordinator)
    assert concurrency.run_queue_config is not None
    assert concurrency.run_queue_config.max_concurrent_runs == 4
    assert concurrency.pool_config.default_pool_limit == 1


def test_killed_runs_are_noticed_and_give_their_slots_back(production: dg.DagsterInstance) -> None:
    assert production.run_monitoring_enabled
    assert production.run_monitoring_settings["free_slots_after_run_end_seconds"] > 0


def test_a_failed_step_is_not_repeated_by_the_run(production: dg.DagsterInstance) -> None:
    assert production.run_retries_enabled
    assert not production.run_retries_retry_on_asset_or_op_failure
    assert production.run_retries_max_retries == 0


def test_no_telemetry_is_sent(production: dg.DagsterInstance) -> None:
    assert not production.telemetry_enabled


def test_runs_are_kept_below_the_platforms_home(production: dg.DagsterInstance, settings: Settings) -> None:
    assert isinstance(production.run_storage, SqliteRunStorage)
    assert Path(production.storage_directory()).is_relative_to(settings.home)
