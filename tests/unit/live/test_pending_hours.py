"""Which days' final hours are to compute; main's log and the marks in Cassandra are given."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta

import pytest
from main_log import MainLog

from evcharge.contracts import SESSION_EVENTS, STATION_REGISTRY
from evcharge.live import pending_hours as module
from evcharge.live.pending_hours import ComputedDay, PendingHours, pending_hours
from evcharge.settings import Settings

TODAY = date(2026, 3, 10)
YESTERDAY = TODAY - timedelta(days=1)
MORNING = datetime(2026, 3, 10, 8, 40, tzinfo=UTC)

Find = Callable[..., PendingHours]


def at(hour: int) -> datetime:
    return MORNING.replace(hour=hour, minute=0)


@pytest.fixture
def log() -> MainLog:
    return MainLog()


@pytest.fixture
def find(log: MainLog, settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Find:
    def found(marks: dict[date, ComputedDay], now: datetime = MORNING, since: str | None = None) -> PendingHours:
        monkeypatch.setattr(module, "computed_days", lambda _: marks)
        return pending_hours(settings, log, now, since)

    return found


def test_a_past_day_is_computed_when_a_commit_touched_it(log: MainLog, find: Find) -> None:
    log.publish(SESSION_EVENTS.topic, YESTERDAY)
    assert find({}) == PendingHours("c1", [YESTERDAY], [])
    covered = {YESTERDAY: ComputedDay("c1", at(0))}
    assert find(covered) == PendingHours("c1", [], [])
    idle = log.head().id
    log.publish(SESSION_EVENTS.topic, YESTERDAY)
    assert find(covered) == find(covered, since=idle) == PendingHours("c2", [YESTERDAY], [])


def test_only_sessions_touch_hours(log: MainLog, find: Find) -> None:
    log.publish(STATION_REGISTRY.topic, YESTERDAY)
    assert find({}) == PendingHours("c1", [], [])


def test_the_running_day_waits_until_another_hour_is_over(log: MainLog, find: Find) -> None:
    log.publish(SESSION_EVENTS.topic, TODAY)
    assert find({}).days == [TODAY]
    log.publish(SESSION_EVENTS.topic, TODAY)
    assert find({TODAY: ComputedDay("c1", at(8))}) == PendingHours("c2", [], [TODAY])
    assert find({TODAY: ComputedDay("c1", at(7))}) == PendingHours("c2", [TODAY], [])


def test_before_its_first_hour_is_over_the_day_waits(log: MainLog, find: Find) -> None:
    log.publish(SESSION_EVENTS.topic, TODAY, TODAY + timedelta(days=1))
    assert find({}, at(0)).running == [TODAY, TODAY + timedelta(days=1)]
    assert find({}, at(1)) == PendingHours("c1", [TODAY], [TODAY + timedelta(days=1)])
