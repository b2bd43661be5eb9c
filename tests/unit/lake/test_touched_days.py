"""What main's commits touched since it was computed: found by one reading of the log."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date

from main_log import MainLog

from evcharge.lake.repository import Commit
from evcharge.lake.touched_days import event_days, touched_since_computed

FIRST, SECOND, THIRD = (date(2026, 3, day) for day in (1, 2, 3))


def behind(log: MainLog, computed_from: Mapping[date, str], since: str | None = None) -> list[date]:
    return touched_since_computed(log, log.head().id, event_days, computed_from, since)


def test_a_day_that_was_never_computed_is_behind() -> None:
    log = MainLog()
    log.publish("t", THIRD, FIRST)
    log.publish("t", FIRST)
    assert behind(log, {}) == [FIRST, THIRD]
    assert behind(log, {FIRST: "c2"}) == [THIRD]


def test_a_day_is_behind_while_its_last_touch_is_newer_than_its_computation() -> None:
    log = MainLog()
    log.publish("t", FIRST, SECOND)
    log.publish("t", SECOND)
    assert behind(log, {FIRST: "c1", SECOND: "c1"}) == [SECOND]
    assert behind(log, {FIRST: "c1", SECOND: "c2"}) == []
    log.publish("t", THIRD)
    assert behind(log, {FIRST: "c3", SECOND: "c2", THIRD: "c3"}) == []
    log.publish("t", FIRST)
    assert behind(log, {FIRST: "c3", SECOND: "c2", THIRD: "c3"}) == [FIRST]


def test_a_commit_without_days_touches_none() -> None:
    log = MainLog()
    log.add()
    log.publish("t")
    assert behind(log, {}) == []
    assert behind(log, {FIRST: "c1"}) == []


def test_since_limits_what_is_read_and_changes_nothing_else() -> None:
    log = MainLog()
    log.publish("t", FIRST)
    idle = log.publish("t", SECOND)
    computed = {FIRST: "c1", SECOND: idle}
    log.publish("t", SECOND, THIRD)
    assert behind(log, computed) == behind(log, computed, idle) == [SECOND, THIRD]
    assert log.readings == [None, idle]
    assert behind(log, computed | {SECOND: "c3", THIRD: "c3"}, idle) == []
    assert behind(log, computed, log.head().id) == []


def test_since_is_ignored_where_nothing_was_computed() -> None:
    """A store that lost its data has everything to compute, whatever its sensor remembers."""
    log = MainLog()
    log.publish("t", FIRST)
    assert behind(log, {}, since="c1") == [FIRST]


def test_a_commit_that_main_does_not_have_covers_nothing() -> None:
    log = MainLog()
    log.publish("t", FIRST)
    assert behind(log, {FIRST: "a commit of another repository"}) == [FIRST]


def test_later_commits_than_the_head_are_not_read() -> None:
    log = MainLog()
    head = log.publish("t", FIRST)
    log.publish("t", SECOND)
    assert touched_since_computed(log, head, event_days, {}) == [FIRST]
    # computed from a newer commit than the head, which this reading does not know
    assert touched_since_computed(log, head, event_days, {FIRST: "c2"}) == [FIRST]


def test_a_part_may_be_a_day_of_a_table() -> None:
    log = MainLog()
    log.publish("b", FIRST)
    log.publish("a", SECOND, FIRST)

    def touched(commit: Commit) -> list[tuple[str, date]]:
        return [(commit.metadata["topic"], day) for day in event_days(commit)]

    found = touched_since_computed(log, "c2", touched, {("a", FIRST): "c2", ("b", SECOND): "c2"})
    assert found == [("a", SECOND), ("b", FIRST)]
