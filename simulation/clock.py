"""UTC milliseconds and local wall time. Simulated time is whole milliseconds since 1970-01-01 UTC. Nothing reads a clock."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from functools import lru_cache
from zoneinfo import ZoneInfo

HOUR_MS = 3_600_000
DAY_MS = 24 * HOUR_MS
WEEK_MS = 7 * DAY_MS

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND = timedelta(milliseconds=1)
_SLOT_MS = HOUR_MS // 4
# 1970-01-01 was a Thursday; weeks begin on Monday.
_MONDAY_SHIFT_MS = 3 * DAY_MS


def to_ms(instant: datetime) -> int:
    """Milliseconds since the epoch, rounded down; ValueError if `instant` has no time zone."""
    if instant.tzinfo is None:
        raise ValueError(f"{instant.isoformat()} needs a time zone")
    return (instant - _EPOCH) // _MILLISECOND


def to_datetime(ms: int) -> datetime:
    """The UTC datetime of `ms`, exact."""
    return _EPOCH + timedelta(milliseconds=ms)


def ms_into_week(local_ms: int) -> int:
    """Milliseconds since Monday 00:00 of local wall time."""
    return (local_ms + _MONDAY_SHIFT_MS) % WEEK_MS


def weekday(day: int) -> int:
    """The weekday (0: Monday) of a day, given as days after 1970-01-01."""
    return (day + _MONDAY_SHIFT_MS // DAY_MS) % 7


# Zone changes fall on quarter hours of UTC, so one offset per slot is exact. The bound keeps the memory of long runs small.
@lru_cache(maxsize=65_536)
def _slot_offset_ms(zone: str, slot: int) -> int:
    local = datetime.fromtimestamp(slot * _SLOT_MS // 1000, ZoneInfo(zone))
    offset = local.utcoffset()
    if offset is None:
        raise ValueError(f"{zone} has no UTC offset")
    return offset // _MILLISECOND


def to_local_ms(zone: str, utc_ms: int) -> int:
    """Local wall time (ms): what a clock in the IANA `zone` shows, daylight saving included."""
    return utc_ms + _slot_offset_ms(zone, utc_ms // _SLOT_MS)


def to_utc_ms(zone: str, local_ms: int) -> int:
    """The UTC instant (ms) of a local wall time. A time that daylight saving skips or repeats maps to one fixed instant."""
    guess = local_ms - _slot_offset_ms(zone, local_ms // _SLOT_MS)
    return local_ms - _slot_offset_ms(zone, guess // _SLOT_MS)
