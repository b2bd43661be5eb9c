"""Where a planned range lies, seen from the ledger: every step of a publication decides by it."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from evcharge.lake.ledger import Ledger, OffsetRange, RangePosition

NOON = datetime(2026, 11, 21, 12, tzinfo=UTC)

NOTHING = Ledger("topic", "", {}, 0, "", 0, None)
#: Partition 0 is published up to 100, partition 1 up to 50.
LEDGER = Ledger("topic", "id", {0: 100, 1: 50}, 0, "before", 1, NOON)


def planned(start: dict[int, int], end: dict[int, int], topic_id: str = "id") -> OffsetRange:
    return OffsetRange("topic", topic_id, start, end, NOON)


@pytest.mark.parametrize(
    ("ledger", "offsets", "position"),
    [
        pytest.param(LEDGER, planned({0: 100, 1: 50}, {0: 120, 1: 60}), "next", id="follows the ledger"),
        pytest.param(LEDGER, planned({0: 100, 1: 50}, {0: 120, 1: 50}), "next", id="rows in one partition only"),
        pytest.param(LEDGER, planned({0: 0, 1: 0}, {0: 100, 1: 50}), "published", id="is the last publication"),
        pytest.param(LEDGER, planned({0: 10, 1: 5}, {0: 20, 1: 10}), "published", id="is long published"),
        pytest.param(LEDGER, planned({0: 0, 1: 0}, {0: 100, 1: 60}), "void", id="published in one partition"),
        pytest.param(LEDGER, planned({0: 90, 1: 50}, {0: 120, 1: 60}), "void", id="begins before the ledger's end"),
        pytest.param(LEDGER, planned({0: 110, 1: 50}, {0: 120, 1: 60}), "void", id="leaves a gap"),
        pytest.param(LEDGER, planned({0: 100, 1: 50}, {0: 120, 1: 60}, "new"), "void", id="follows, of a new topic"),
        pytest.param(LEDGER, planned({0: 0, 1: 0}, {0: 100, 1: 50}, "new"), "void", id="covered, of a new topic"),
        pytest.param(
            LEDGER, planned({0: 100, 1: 50, 2: 0}, {0: 100, 1: 50, 2: 9}), "next", id="rows in a new partition only"
        ),
        pytest.param(
            LEDGER, planned({0: 100, 1: 50, 2: 7}, {0: 100, 1: 50, 2: 9}), "void", id="skips rows of a new partition"
        ),
        pytest.param(
            LEDGER, planned({0: 0, 1: 0, 2: 0}, {0: 100, 1: 50, 2: 9}), "void", id="published but for a new partition"
        ),
        pytest.param(
            LEDGER, planned({0: 0, 1: 0, 2: 0}, {0: 100, 1: 50, 2: 0}), "published", id="a new partition without rows"
        ),
        pytest.param(NOTHING, planned({0: 0, 1: 0}, {0: 100, 1: 50}), "next", id="nothing is published"),
        pytest.param(NOTHING, planned({0: 30, 1: 0}, {0: 100, 1: 50}), "void", id="skips the first rows"),
    ],
)
def test_position_of_a_range(ledger: Ledger, offsets: OffsetRange, position: str) -> None:
    assert ledger.position_of(offsets) is RangePosition(position)


def test_a_range_becomes_published_by_its_own_ledger() -> None:
    following = planned({0: 100, 1: 50, 2: 0}, {0: 120, 1: 60, 2: 3})
    assert LEDGER.position_of(following) is RangePosition.NEXT
    after = LEDGER.after(following, attempt=2)
    assert after.position_of(following) is RangePosition.PUBLISHED
    assert after.position_of(planned(following.end, {0: 130, 1: 60, 2: 3})) is RangePosition.NEXT


def test_a_first_range_becomes_published_by_its_own_ledger() -> None:
    first = planned({0: 0}, {0: 10})
    assert NOTHING.after(first, attempt=1).position_of(first) is RangePosition.PUBLISHED
