"""What `evcharge lake release` learns from Dagster's own webserver, over real records of runs."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from uuid import uuid4

import dagster as dg
import pytest
import uvicorn
from dagster._core.workspace.context import WorkspaceProcessContext
from dagster_webserver.webserver import DagsterWebserver
from lake_in_memory import JOB, TOPIC, LakeInMemory, manifest_of

from evcharge.connections import ServerDownError
from evcharge.errors import UserError
from evcharge.lake.ledger import OffsetRange
from evcharge.lake.parked import RANGE_TAG, SERVER_DOWN_TAG, parked_range
from evcharge.settings import Settings, load_settings
from evcharge_sensors.plan import run_config

pytestmark = pytest.mark.slow


@pytest.fixture
def instance(tmp_path: Path) -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.local_temp(str(tmp_path)) as local:
        yield local


@pytest.fixture
def settings(instance: dg.DagsterInstance) -> Iterator[Settings]:
    """Those of a platform whose webserver shows the instance's runs."""
    with closing(socket.create_server(("127.0.0.1", 0))) as free:
        port = free.getsockname()[1]
    with WorkspaceProcessContext(instance, workspace_load_target=None) as context:
        server = uvicorn.Server(
            uvicorn.Config(DagsterWebserver(context).create_asgi_app(), port=port, log_level="error")
        )
        thread = threading.Thread(target=server.run, daemon=True)
        thread.start()
        while not server.started:
            time.sleep(0.01)
        yield load_settings(dagster_port=port)
        server.should_exit = True
        thread.join()


def fail(instance: dg.DagsterInstance, planned: OffsetRange, **tags: str) -> None:
    """A run of the range that has failed."""
    run = dg.DagsterRun(
        job_name=JOB,
        run_id=str(uuid4()),
        run_config=run_config(TOPIC, planned),
        tags={RANGE_TAG: planned.hash, **tags},
        status=dg.DagsterRunStatus.STARTED,
    )
    instance.add_run(run)
    instance.report_run_failed(run)


def test_only_a_range_that_failed_by_itself_is_released(
    lake: LakeInMemory, instance: dg.DagsterInstance, planned: OffsetRange, settings: Settings
) -> None:
    """An outage leaves a healthy range more failed runs, and branches, than it may have attempts."""
    attempts = settings.publish_attempts
    with pytest.raises(UserError, match=f"no range is parked. The next one failed 0 of {attempts} times; --force"):
        parked_range(settings, lake, TOPIC)
    for attempt in range(1, 2 * attempts + 1):
        fail(instance, planned, **{SERVER_DOWN_TAG: "lakefs"})
        lake.leave_candidate(manifest_of(planned, attempt))
    for failed in range(1, attempts):
        fail(instance, planned)
        with pytest.raises(
            UserError, match=f"failed {failed} of {attempts} times, and {2 * attempts} runs met a server that was down"
        ):
            parked_range(settings, lake, TOPIC)
    fail(instance, planned)
    assert parked_range(settings, lake, TOPIC) == planned
    lake.publish(planned)
    with pytest.raises(UserError, match="no range is parked"):
        parked_range(settings, lake, TOPIC)


def test_without_dagster_nothing_is_released(lake: LakeInMemory) -> None:
    with pytest.raises(ServerDownError, match="dagster-webserver at "):
        parked_range(load_settings(dagster_port=1), lake, TOPIC)
