"""A query that fails is tried again for ever, and its status says since when and why."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

from evcharge.live.stream_inputs import inputs
from evcharge.live.stream_query import CAREFUL_AFTER, LONGEST_BACKOFF_S, StreamQuery
from evcharge.live.stream_status import QueryStatus
from evcharge.settings import load_settings

DAY_S = 86_400.0


def a_query() -> StreamQuery:
    journal = next(input_ for input_ in inputs(load_settings()) if input_.name == "journal")
    return StreamQuery(journal, QueryStatus("journal", "id", "", "2026-03-04T12:00:00.000Z"))


def running(progress: str | None) -> Any:
    return SimpleNamespace(lastProgress=None if progress is None else SimpleNamespace(json=progress))


def test_a_query_whose_store_is_away_for_days_is_still_tried() -> None:
    query = a_query()
    now, since = 0.0, None
    while now < 2 * DAY_S:
        query.plan_retry(now, "cassandra does not answer")
        since = since or query.status.failing_since
        assert query.status.failing_since == since
        assert 0 < query.retry_at - now <= LONGEST_BACKOFF_S
        now = query.retry_at
    assert query.status.failing_reason == "cassandra does not answer"


def test_the_first_progress_ends_the_failure() -> None:
    query = a_query()
    for now in range(CAREFUL_AFTER):
        assert not query.careful
        query.plan_retry(float(now), "away")
    assert query.careful
    query.running = running(None)
    query.update_status(datetime(2026, 3, 4, tzinfo=UTC), {0: 5})
    assert query.status.failing_since is not None
    query.running = running('{"sources": [{"endOffset": {"session-events": {"0": 5}}}]}')
    query.update_status(datetime(2026, 3, 4, tzinfo=UTC), {0: 5})
    assert (query.status.failing_since, query.status.failing_reason, query.failures) == (None, None, 0)


def test_a_query_that_fails_says_how_far_it_is_behind() -> None:
    query = a_query()
    query.running = running('{"sources": [{"endOffset": {"session-events": {"0": 5}}}]}')
    query.update_status(datetime(2026, 3, 4, tzinfo=UTC), {0: 5})
    query.running = None
    query.plan_retry(0.0, "away")
    query.update_status(datetime(2026, 3, 4, tzinfo=UTC), {0: 25})
    assert query.status.lag_rows == 20
    assert query.status.as_of == "2026-03-04T00:00:00.000Z"


def test_how_long_a_query_has_failed() -> None:
    status = QueryStatus("journal", "id", "", "", failing_since="2026-03-04T12:00:00.000Z")
    assert status.failing_s(datetime(2026, 3, 4, 12, tzinfo=UTC) + timedelta(minutes=10)) == 600.0
    assert QueryStatus("journal", "id", "", "").failing_s(datetime.now(UTC)) == 0.0
