"""What the stream's run leaves in Dagster's storage: little, however long it runs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import dagster as dg
import pytest

from evcharge.live import stream_runner
from evcharge.live.checks import Finding
from evcharge.live.stream_runner import StreamProgress
from evcharge_assets import live
from evcharge_assets.partitions import hour_of_ms

HOUR_MS = 3_600_000
Reports = Callable[[StreamProgress], None]


@pytest.fixture
def broken() -> set[str]:
    """The checks that do not pass."""
    return set()


@pytest.fixture
def run_reports(
    instance: dg.DagsterInstance, platform_in_memory: Any, broken: set[str], monkeypatch: pytest.MonkeyPatch
) -> Callable[[Callable[[Reports, list[float]], None]], list[dg.DagsterEvent]]:
    """A run of the stream, in place of which the given function calls for reports and sets the clock: its events."""

    @contextmanager
    def no_store(_settings: Any) -> Iterator[None]:
        yield

    clock = [1_000.0]
    monkeypatch.setattr(live, "elasticsearch", no_store)
    monkeypatch.setattr(live, "elasticsearch_errors", no_store)
    monkeypatch.setattr(live.time, "monotonic", lambda: clock[0])

    def judged(name: str) -> Callable[[Any], Finding]:
        return lambda _client: Finding(name not in broken, int(name in broken), [], name)

    monkeypatch.setattr(
        live, "_STATE_CHECKS", {name: (text, judged(name)) for name, (text, _) in live._STATE_CHECKS.items()}
    )

    def run(stream: Callable[[Reports, list[float]], None]) -> list[dg.DagsterEvent]:
        monkeypatch.setattr(stream_runner, "run_stream", lambda _settings, _stop, report, **_: stream(report, clock))
        resources = {"platform": platform_in_memory}
        done = live.live_stream_job.execute_in_process(instance=instance, resources=resources)
        return [log.dagster_event for log in instance.all_logs(done.run_id) if log.dagster_event is not None]

    return run


def touched(**hours: dict[int, int]) -> StreamProgress:
    return StreamProgress({q: {h * HOUR_MS: records for h, records in of.items()} for q, of in hours.items()}, {})


def materialized(events: list[dg.DagsterEvent]) -> list[tuple[str, str | None, Any]]:
    return [
        (e.asset_key.path[-1], e.partition, e.materialization.metadata["records"].value)
        for e in events
        if e.is_step_materialization and e.asset_key
    ]


def evaluated(events: list[dg.DagsterEvent]) -> Counter[tuple[str, bool]]:
    results = [e for e in events if e.event_type == dg.DagsterEventType.ASSET_CHECK_EVALUATION]
    return Counter((e.asset_check_evaluation_data.check_name, e.asset_check_evaluation_data.passed) for e in results)


def test_an_hour_is_materialized_at_once_and_then_every_half_hour(run_reports: Any) -> None:
    def stream(report: Reports, clock: list[float]) -> None:
        for minute in range(75):
            clock[0] = 1_000.0 + 60 * minute
            report(touched(vehicles={7: 1} if minute < 45 else {7: 1, 8: 10}))

    hour_7, hour_8 = hour_of_ms(7 * HOUR_MS), hour_of_ms(8 * HOUR_MS)
    assert materialized(run_reports(stream)) == [
        ("vehicle_position", hour_7, 1),
        ("vehicle_position", hour_7, 30),
        ("vehicle_position", hour_8, 10),
        ("vehicle_position", hour_7, 30),
        ("vehicle_position", hour_8, 150),
    ]


def test_results_of_checks_are_stored_when_they_change_and_after_each_materialization(
    run_reports: Any, broken: set[str]
) -> None:
    def stream(report: Reports, clock: list[float]) -> None:
        for minute in range(30):
            clock[0] = 1_000.0 + 60 * minute
            if minute == 3:
                broken.add("stream_keeps_up")
            if minute == 6:
                broken.clear()
            report(touched(stations={7: 1}))
        clock[0] += 60
        report(touched(stations={7: 1}))

    results = evaluated(run_reports(stream))
    assert results.pop(("stream_keeps_up", False)) == 1
    assert results.pop(("stream_keeps_up", True)) == 3
    assert set(results.values()) == {2}
    assert len(results) == len(live._STATE_CHECKS) - 1


def test_a_replayed_year_is_not_materialized_as_a_whole(run_reports: Any) -> None:
    def stream(report: Reports, _clock: list[float]) -> None:
        report(touched(vehicles=dict.fromkeys(range(100), 1)))

    newest = [hour_of_ms(hour * HOUR_MS) for hour in range(100 - live.HOURS_PER_REPORT, 100)]
    assert [partition for _, partition, _ in materialized(run_reports(stream))] == newest
