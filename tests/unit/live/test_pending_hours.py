"""Which days' final hours are to compute; main's log and the marks in Cassandra are given."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta

import pytest
from main_log import MainLog

from evcharge.contracts import SESSION_EVENTS, STATION_REGISTRY
from evcharge.contracts.session_events import MAX_SESSION_DAYS
from evcharge.live import pending_hours as module
from evcharge.live.pending_hours import ComputedDay, PendingHours, pending_hours
from evcharge.settings import Settings

TODAY = date(2026, 3, 10)
YESTERDAY, TOMORROW = TODAY - timedelta(days=1), TODAY + timedelta(days=1)
MORNING = datetime(2026, 3, 10, 8, 40, tzinfo=UTC)
EVENTS = SESSION_EVENTS.topic

Marks = dict[date, ComputedDay]
Find = Callable[..., PendingHours]


def at(hour: int, minute: int = 0) -> datetime:
    return MORNING.replace(hour=hour, minute=minute)


def whole(day: date, commit: str, written_at: datetime = MORNING) -> Marks:
    """The mark of a day whose hours are all computed."""
    midnight = datetime.combine(day + timedelta(days=1), datetime.min.time(), UTC)
    return {day: ComputedDay(commit, midnight, written_at)}


@pytest.fixture
def log() -> MainLog:
    return MainLog()


@pytest.fixture
def find(log: MainLog, settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Find:
    def found(marks: Marks, now: datetime = MORNING, since: str | None = None) -> PendingHours:
        monkeypatch.setattr(module, "computed_days", lambda _: marks)
        return pending_hours(settings, log, now, since)

    return found


def days_back(day: date, *counts: int) -> list[date]:
    return [day - timedelta(days=count) for count in counts]


def test_a_past_day_is_computed_when_a_commit_touched_it(log: MainLog, find: Find) -> None:
    log.publish(EVENTS, YESTERDAY)
    assert find({}).days == [YESTERDAY]
    covered = whole(YESTERDAY, "c1")
    idle = find(covered)
    assert (idle.days, idle.running) == ([], [])
    log.publish(EVENTS, YESTERDAY)
    assert find(covered).days == find(covered, since=idle.cursor).days == [YESTERDAY]


def test_only_sessions_touch_hours(log: MainLog, find: Find) -> None:
    log.publish(STATION_REGISTRY.topic, YESTERDAY)
    assert find({}).days == []


def test_the_running_day_waits_until_another_hour_is_over(log: MainLog, find: Find) -> None:
    log.publish(EVENTS, TODAY)
    assert find({}).days == [TODAY]
    log.publish(EVENTS, TODAY)
    waits = find({TODAY: ComputedDay("c1", at(8), at(8))})
    assert (waits.days, waits.running) == ([], [TODAY])
    assert find({TODAY: ComputedDay("c1", at(7), at(7))}).days == [TODAY]


def test_before_its_first_hour_is_over_the_day_waits(log: MainLog, find: Find) -> None:
    log.publish(EVENTS, TODAY, TOMORROW)
    assert find({}, at(0)).running == [TODAY, TOMORROW]
    later = find({}, at(1))
    assert (later.days, later.running) == ([TODAY], [TOMORROW])


def test_a_session_over_midnight_makes_the_day_before_pending_again(log: MainLog, find: Find) -> None:
    first, second = days_back(TODAY, 6, 5)
    log.publish(EVENTS, first, reached=[])
    log.publish(EVENTS, second, reached=[first])
    assert find(whole(first, "c1")).days == [first, second]
    # its rows were all sent after it had ended
    assert find({}).days == [first, second]


def test_a_session_of_many_days_makes_all_of_them_pending_again(log: MainLog, find: Find) -> None:
    start, *between, end = days_back(TODAY, 9, 8, 7, 6, 5)
    log.publish(EVENTS, start, reached=[])
    log.publish(EVENTS, end, reached=[start, *between])
    assert find(whole(start, "c1")).days == [start, *between, end]


def test_what_is_open_at_midnight_touches_the_neighbours_that_were_computed(log: MainLog, find: Find) -> None:
    before, day, after, later = days_back(TODAY, 8, 7, 6, 5)
    log.publish(EVENTS, before, day, after, later, reached=[])
    marks = whole(before, "c1") | whole(day, "c1") | whole(after, "c1") | whole(later, "c1")
    log.publish(EVENTS, day, reached=[])
    assert find(marks).days == [before, day, after]
    assert find(whole(day, "c1") | whole(after, "c1") | whole(later, "c1")).days == [before, day, after]


def test_a_publication_of_an_earlier_version_may_reach_far_back(log: MainLog, find: Find) -> None:
    far, too_far, day = days_back(TODAY, 2 + MAX_SESSION_DAYS, 3 + MAX_SESSION_DAYS, 2)
    log.publish(EVENTS, far, too_far)
    log.publish(EVENTS, day)
    assert find(whole(far, "c1") | whole(too_far, "c1")).days == [far, day]


def test_what_the_running_day_reaches_is_computed_once_an_hour(log: MainLog, find: Find) -> None:
    log.publish(EVENTS, YESTERDAY, TODAY, reached=[])
    log.publish(EVENTS, TODAY, reached=[YESTERDAY])
    this_hour = {TODAY: ComputedDay("c1", at(8), at(8, 5))} | whole(YESTERDAY, "c1", at(8, 5))
    waits = find(this_hour)
    assert (waits.days, waits.running) == ([], [YESTERDAY, TODAY])
    assert find(this_hour, at(9)).days == find(this_hour, at(9), waits.cursor).days == [YESTERDAY, TODAY]
    log.publish(EVENTS, YESTERDAY, reached=[])
    late = find(this_hour, since=waits.cursor)
    assert (late.days, late.running) == ([YESTERDAY], [TODAY])


def test_days_that_lost_their_marks_are_computed_again(log: MainLog, find: Find) -> None:
    days = days_back(TODAY, 6, 5, 4)
    log.publish(EVENTS, *days, reached=[])
    marks = {day: mark for day in days for day, mark in whole(day, "c1").items()}
    idle = find(marks)
    assert idle.days == []
    del marks[days[1]]
    assert find(marks, since=idle.cursor).days == [days[1]]


def test_while_the_hour_runs_only_what_is_new_is_read(log: MainLog, find: Find) -> None:
    log.publish(EVENTS, TODAY, reached=[])
    marks = {TODAY: ComputedDay("c1", at(8), at(8))}
    cursor = None
    for _ in range(3):
        log.publish(EVENTS, TODAY, reached=[])
        waits = find(marks, since=cursor)
        assert waits.running == [TODAY]
        cursor = waits.cursor
    assert log.readings == [None, "c2", "c3"]
