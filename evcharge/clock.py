"""How the platform writes instants, and the UTC hour and day of an instant."""

from __future__ import annotations

from datetime import UTC, date, datetime
from functools import lru_cache

HOUR_MS = 3_600_000
DAY_MS = 24 * HOUR_MS
#: The last millisecond of the year 9999: `datetime` and Elasticsearch's dates end here.
LAST_MS = 253_402_300_799_999


def to_iso(at: datetime) -> str:
    """ISO-8601 in UTC with milliseconds (cut off, not rounded) and Z. Raises ValueError for a time without a zone."""
    if at.tzinfo is None:
        raise ValueError(f"{at} has no time zone")
    return at.astimezone(UTC).isoformat(timespec="milliseconds")[:-6] + "Z"


def ms_to_iso(at_ms: int | None) -> str | None:
    """Milliseconds since the epoch as `to_iso` writes them; None for 0 or None."""
    if not at_ms:
        return None
    second, ms = divmod(at_ms, 1000)
    return f"{_second_to_iso(second)}.{ms:03}Z"


# What is written at once has few different seconds, and a datetime takes ten times as long to make as to find.
@lru_cache(maxsize=10_000)
def _second_to_iso(second: int) -> str:
    return datetime.fromtimestamp(second, UTC).isoformat(timespec="seconds")[:-6]


def hour_start(at_ms: int) -> int:
    """The start of an instant's UTC hour; both in ms since the epoch."""
    return at_ms - at_ms % HOUR_MS


def day_start(at_ms: int) -> int:
    """The start of an instant's UTC day; both in ms since the epoch."""
    return at_ms - at_ms % DAY_MS


def day_to_ms(day: date) -> int:
    """The start of a UTC day, in ms since the epoch."""
    return int(datetime(day.year, day.month, day.day, tzinfo=UTC).timestamp() * 1000)
