"""What a document remembers of sessions that ended."""

from __future__ import annotations

from evcharge.clock import LAST_MS
from evcharge.live.closed_sessions import digest, packed_ends, unpacked_ends


def test_ends_are_read_as_they_were_packed() -> None:
    ends = {digest(f"session-{n}"): n for n in (0, 1, 1_796_129_908_686, LAST_MS)}
    assert unpacked_ends(packed_ends(ends)) == ends
    assert unpacked_ends(packed_ends({})) == {}


def test_the_text_does_not_depend_on_the_order() -> None:
    ends = {digest("a"): 5, digest("b"): 3, digest("c"): 4}
    assert packed_ends(ends) == packed_ends(dict(reversed(ends.items())))


def test_a_hundred_sessions_take_less_than_two_kilobytes() -> None:
    ends = {digest(f"000000007-261201T125812-c71ed9-00474-{n}"): 1_796_129_908_686 for n in range(100)}
    assert len(packed_ends(ends)) < 2_000
