"""What runs print is on MinIO, as `dagster.yaml` has it, and leaves it with the run's log."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import dagster as dg
import pytest
from dagster_aws.s3.compute_log_manager import S3ComputeLogManager
from dagster_home import run_hour

from evcharge.settings import PROJECT, Settings
from evcharge.stack.servers.dagster import dagster_environment
from evcharge_assets.pruning import prune


def test_what_an_old_run_printed_is_deleted(
    platform: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = {"DAGSTER_HOME": str(tmp_path), "COMPUTE_LOG_DIR": str(tmp_path / "compute-logs")}
    for name, value in (dagster_environment(platform) | own).items():
        monkeypatch.setenv(name, value)
    (tmp_path / "dagster.yaml").write_text((PROJECT / "dagster.yaml").read_text())
    with dg.DagsterInstance.from_config(str(tmp_path)) as instance:
        manager = instance.compute_log_manager
        assert isinstance(manager, S3ComputeLogManager)

        def objects(run_id: str) -> int:
            prefix = f"runs/storage/{run_id}/"
            listed = manager._s3_session.list_objects_v2(Bucket=platform.compute_log_bucket, Prefix=prefix)
            return int(listed["KeyCount"])

        old, last = run_hour(instance, 1), run_hour(instance, 2)
        assert objects(old)
        prune(instance, log_days=7, run_days=30, now=datetime.now(UTC) + timedelta(days=8))
        assert not objects(old)
        assert objects(last), "the last run of its job is left alone"
