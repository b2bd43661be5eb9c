"""The state never says that it is more current than it is."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from evcharge.live.stream_status import SAMPLES, AsOf, QueryStatus, progressed

NOON = datetime(2026, 3, 4, 12, tzinfo=UTC)
STATUS = QueryStatus("stations", "id", "index", "2026-03-04T12:00:00.000Z")


def progress(**offsets: int) -> dict[str, object]:
    return {
        "sources": [{"endOffset": {"topic": {name[1:]: end for name, end in offsets.items()}}}],
        "timestamp": "later",
    }


def test_everything_that_was_there_when_asked_must_be_applied() -> None:
    as_of = AsOf()
    for second, ends in enumerate(({0: 5, 1: 5}, {0: 9, 1: 5}, {0: 9, 1: 8})):
        as_of.asked(NOON + timedelta(seconds=second), ends)
    assert as_of.reached({0: 5, 1: 4}) is None
    assert as_of.reached({0: 8, 1: 8}) == NOON
    assert as_of.reached({0: 9, 1: 8}) == NOON + timedelta(seconds=2)
    assert as_of.reached({0: 99, 1: 99}) is None


def test_a_batch_that_is_repeated_makes_nothing_fresh() -> None:
    as_of = AsOf()
    as_of.asked(NOON, {0: 400})
    after = progressed(STATUS, progress(p0=200), {0: 400}, as_of)
    assert (after.as_of, after.lag_rows) == (None, 200)
    after = progressed(after, progress(p0=400), {0: 400}, as_of)
    assert (after.as_of, after.lag_rows) == ("2026-03-04T12:00:00.000Z", 0)


def test_the_age_stays_when_there_is_nothing_new_to_say() -> None:
    as_of = AsOf()
    as_of.asked(NOON, {0: 1})
    fresh = progressed(STATUS, progress(p0=1), {0: 1}, as_of)
    assert progressed(fresh, progress(p0=1), {0: 1}, as_of).as_of == fresh.as_of
    assert progressed(fresh, None, {0: 1}, as_of) == fresh


def test_a_stream_far_behind_holds_no_more_than_its_samples() -> None:
    as_of = AsOf()
    for second in range(2 * SAMPLES):
        as_of.asked(NOON + timedelta(seconds=second), {0: 10 + second})
    assert as_of.reached({0: 10}) is None
    assert as_of.reached({0: 10**9}) == NOON + timedelta(seconds=2 * SAMPLES - 1)


def test_everything_of_an_empty_topic_is_applied() -> None:
    as_of = AsOf()
    as_of.asked(NOON, {0: 0, 1: 0})
    assert progressed(STATUS, None, {0: 0, 1: 0}, as_of).as_of == "2026-03-04T12:00:00.000Z"
