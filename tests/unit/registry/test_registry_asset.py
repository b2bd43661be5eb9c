"""The registry in Dagster: a poll is a materialization, and a missing key is no failure."""

from __future__ import annotations

from pathlib import Path

import dagster as dg
import pytest
from afdc_downloads import RecordingKafka, publish_with
from afdc_server import KEY, AfdcServer, electric, html

from evcharge.registry import feed
from evcharge.settings import load_settings
from evcharge_assets.kafka import REGISTRY_FEED
from evcharge_assets.registry import afdc_registry, poll_registry_job
from evcharge_assets.resources import Platform
from evcharge_sensors.registry import registry_schedule


@pytest.fixture
def home(tmp_path: Path, afdc: AfdcServer, kafka: RecordingKafka, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("EVCHARGE_HOME", str(tmp_path))
    monkeypatch.setenv("EVCHARGE_AFDC_API_URL", afdc.url)
    publish_with(monkeypatch, feed.poll, kafka)
    afdc.stations = [electric(1), electric(2)]
    return tmp_path


def materialize() -> dg.ExecuteInProcessResult:
    # the definitions ask an instance for their state: without one, a former test's, which may be gone
    with dg.DagsterInstance.ephemeral() as instance:
        return dg.materialize(
            [afdc_registry], instance=instance, resources={"platform": Platform()}, raise_on_error=False
        )


def test_a_poll_is_a_materialization(home: Path, kafka: RecordingKafka, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EVCHARGE_AFDC_API_KEY", KEY)
    result = materialize()
    assert result.success
    (event,) = result.asset_materializations_for_node(REGISTRY_FEED.to_python_identifier())
    metadata = {name: value.value for name, value in event.metadata.items()}
    assert metadata["outcome"] == "loaded"
    assert (metadata["new"], metadata["published"]) == (2, 2)
    assert len(kafka.rows) == 2


def test_no_key_is_no_failure(home: Path, kafka: RecordingKafka, afdc: AfdcServer) -> None:
    result = materialize()
    assert result.success
    (event,) = result.asset_materializations_for_node(REGISTRY_FEED.to_python_identifier())
    assert event.metadata["outcome"].value == "not polled: no key"
    assert not afdc.requests
    assert not kafka.rows


def test_a_poll_that_failed_says_why_in_one_line(home: Path, afdc: AfdcServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EVCHARGE_AFDC_API_KEY", KEY)
    afdc.faults.append(html)
    result = materialize()
    assert not result.success
    (failure,) = [event for event in result.all_events if event.is_step_failure]
    user_failure = failure.step_failure_data.user_failure_data
    assert user_failure is not None
    assert "an HTML page came where JSON is due" in (user_failure.description or "")


@pytest.mark.parametrize(
    ("key", "runs"), [("", dg.DefaultScheduleStatus.STOPPED), (KEY, dg.DefaultScheduleStatus.RUNNING)]
)
def test_the_schedule_runs_by_itself_where_there_is_a_key(
    home: Path, monkeypatch: pytest.MonkeyPatch, key: str, runs: dg.DefaultScheduleStatus
) -> None:
    monkeypatch.setenv("EVCHARGE_AFDC_API_KEY", key)
    schedule = registry_schedule(load_settings())
    assert schedule.default_status is runs
    assert schedule.job_name == poll_registry_job.name
    with dg.build_schedule_context(resources={"platform": Platform()}) as context:
        (tick,) = [schedule(context)]
    assert isinstance(tick, dg.RunRequest if key else dg.SkipReason)
