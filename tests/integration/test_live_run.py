"""What the stream's run reports to Dagster: the hours that it touched, and the checks of the index after that."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import dagster as dg
import pytest
from support import Lake

from evcharge.live.rebuild import catch_up_station_state
from evcharge.live.stream_runner import StreamProgress
from evcharge_assets import live
from evcharge_assets.resources import Platform

HOUR = datetime(2026, 3, 1, 7, tzinfo=UTC)


def test_hours_and_checks(lake: Lake, monkeypatch: pytest.MonkeyPatch) -> None:
    catch_up_station_state(lake.settings, lake.spark)
    progress = StreamProgress({"stations": {int(HOUR.timestamp() * 1000): 3}}, {})
    # one report in place of the endless stream, which tests/faults starts and kills
    monkeypatch.setattr("evcharge.live.stream_runner.run_stream", lambda settings, stop, report, **_: report(progress))
    with dg.DagsterInstance.ephemeral() as instance:
        result = live.live_stream_job.execute_in_process(instance=instance, resources={"platform": Platform()})
        events = [log.dagster_event for log in instance.all_logs(result.run_id) if log.dagster_event is not None]
    touched = {(event.asset_key, event.partition) for event in events if event.is_step_materialization}
    assert touched == {(key, "2026-03-01-07:00") for key in (live.STATION_STATE, live.HOURLY_USAGE)}
    evaluations: list[Any] = [
        event.event_specific_data for event in events if event.event_type == dg.DagsterEventType.ASSET_CHECK_EVALUATION
    ]
    assert {evaluation.check_name for evaluation in evaluations} == {
        "no_more_busy_than_outlets",
        "stream_keeps_up",
        "stream_is_fresh",
        "no_query_fails",
        "no_dead_letters",
    }
    (busy,) = (e for e in evaluations if e.check_name == "no_more_busy_than_outlets")
    assert busy.passed
    assert busy.asset_key == live.STATION_STATE
