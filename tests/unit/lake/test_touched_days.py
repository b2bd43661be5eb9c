"""What main's commits touched since it was computed: found by one reading of the log."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import UTC, date, datetime, timedelta

import pytest
from lakefs_sdk.exceptions import NotFoundException
from main_log import MainLog

from evcharge.lake.repository import MAIN, Commit
from evcharge.lake.touched_days import Behind, Mark, Part, behind_main, event_days, reached_days

FIRST, SECOND, THIRD = (date(2026, 3, day) for day in (1, 2, 3))
COMPUTED_AT = datetime(2026, 3, 4, tzinfo=UTC)


def touched(commit: Commit) -> list[Part]:
    return [(commit.metadata.get("topic", ""), day) for day in event_days(commit)]


def marks_of(computed_from: Mapping[date, str], written_at: datetime = COMPUTED_AT) -> dict[Part, Mark]:
    return {("t", day): Mark(commit, written_at) for day, commit in computed_from.items()}


def answer(log: MainLog, computed_from: Mapping[date, str], cursor: str | None = None) -> Behind:
    return behind_main(log, log.head().id, touched, marks_of(computed_from), cursor)


def behind(log: MainLog, computed_from: Mapping[date, str], cursor: str | None = None) -> list[date]:
    return [day for _, day in answer(log, computed_from, cursor).parts]


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


def test_a_cursor_limits_what_is_read_and_changes_nothing_else() -> None:
    log = MainLog()
    log.publish("t", FIRST)
    log.publish("t", SECOND)
    computed = {FIRST: "c1", SECOND: "c2"}
    idle = answer(log, computed).cursor
    log.publish("t", SECOND, THIRD)
    assert behind(log, computed) == behind(log, computed, idle) == [SECOND, THIRD]
    assert log.readings == [None, None, "c2"]
    assert behind(log, computed | {SECOND: "c3", THIRD: "c3"}, idle) == []
    assert behind(log, computed, answer(log, computed).cursor) == [SECOND, THIRD]


def test_what_was_behind_at_a_cursor_stays_behind_until_it_is_computed() -> None:
    log = MainLog()
    log.publish("t", FIRST, SECOND)
    waiting = answer(log, {FIRST: "c1"}).cursor
    log.publish("t", THIRD)
    assert behind(log, {FIRST: "c1"}, waiting) == [SECOND, THIRD]
    for commit in ("c1", "c2"):
        assert behind(log, {FIRST: "c1", SECOND: commit, THIRD: "c2"}, waiting) == []
    assert log.readings == [None, "c1", "c1", "c1"]


@pytest.mark.parametrize(
    "left",
    [
        {},
        marks_of({FIRST: "c1"}),
        marks_of({FIRST: "c1", SECOND: "c1"}, COMPUTED_AT - timedelta(days=1)),
    ],
    ids=["all marks lost", "some marks lost", "marks of an older backup"],
)
def test_a_cursor_is_not_believed_where_the_store_lost_marks(left: dict[Part, Mark]) -> None:
    log = MainLog()
    log.publish("t", FIRST, SECOND)
    log.publish("t", SECOND)
    whole = marks_of({FIRST: "c1", SECOND: "c2"})
    idle = behind_main(log, "c2", touched, whole)
    assert idle.parts == []
    assert behind_main(log, "c2", touched, left, idle.cursor).parts == behind_main(log, "c2", touched, left).parts != []


@pytest.mark.parametrize("cursor", ["c2", "17", "{}", '{"head": "c2"}', "null"])
def test_a_cursor_of_another_version_is_not_believed(cursor: str) -> None:
    log = MainLog()
    log.publish("t", FIRST)
    log.publish("t", SECOND)
    assert behind(log, {SECOND: "c2"}, cursor) == [FIRST]


class Restored(MainLog):
    """Main as it was before a commit that a cursor names."""

    def log(self, ref: str = MAIN, *, stop_at: str | None = None) -> Iterator[Commit]:
        if stop_at is not None and stop_at not in {commit.id for commit in self.commits}:
            raise NotFoundException(404)
        return super().log(ref, stop_at=stop_at)


def test_a_cursor_of_a_later_lake_is_not_believed() -> None:
    log, restored = MainLog(), Restored()
    for _ in range(2):
        log.publish("t", FIRST)
    later = answer(log, {FIRST: "c2"}).cursor
    restored.publish("t", FIRST)
    assert behind(restored, {FIRST: "c2"}, later) == [FIRST]


def test_a_commit_that_main_does_not_have_covers_nothing() -> None:
    log = MainLog()
    log.publish("t", FIRST)
    assert behind(log, {FIRST: "a commit of another repository"}) == [FIRST]


def test_later_commits_than_the_head_are_not_read() -> None:
    log = MainLog()
    head = log.publish("t", FIRST)
    log.publish("t", SECOND)
    assert behind_main(log, head, touched, {}).parts == [("t", FIRST)]
    # computed from a newer commit than the head, which this reading does not know
    assert behind_main(log, head, touched, marks_of({FIRST: "c2"})).parts == [("t", FIRST)]


def test_a_day_is_of_a_table() -> None:
    log = MainLog()
    log.publish("b", FIRST)
    log.publish("a", SECOND, FIRST)
    marks = {("a", FIRST): Mark("c2", COMPUTED_AT), ("b", SECOND): Mark("c2", COMPUTED_AT)}
    assert behind_main(log, "c2", touched, marks).parts == [("a", SECOND), ("b", FIRST)]


def test_a_publication_of_an_earlier_version_does_not_say_what_it_reaches() -> None:
    log = MainLog()
    log.publish("t", SECOND)
    log.publish("t", SECOND, reached=[FIRST])
    old, new = log.commits
    assert reached_days(old) is None
    assert reached_days(new) == [FIRST]
