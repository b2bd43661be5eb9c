"""Takes typed values out of a row. Raises RowError with the reason code if there is no such value."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from zoneinfo import ZoneInfo

from evcharge.recorded.readers.model import RowError

Row = Mapping[str, str]

_SAFE = re.compile(r"[A-Za-z0-9_-]+")


def text(row: Row, column: str) -> str:
    """The column's text; it must not be empty."""
    value = optional_text(row, column)
    if value is None:
        raise RowError("MISSING_VALUE", column, "empty")
    return value


def optional_text(row: Row, column: str) -> str | None:
    """The column's text, None if it is empty or absent."""
    return row.get(column, "").strip() or None


def name(row: Row, column: str) -> str:
    """An id of letters, digits, hyphen and underscore. These are safe in every store."""
    value = text(row, column)
    if not _SAFE.fullmatch(value):
        raise RowError("UNSAFE_ID", column, f"{value!r} has other characters than letters, digits, - and _")
    return value


def number(row: Row, column: str, minimum: float = -math.inf, maximum: float = math.inf) -> float:
    """The column's number; it must be finite and lie in its range."""
    value = optional_number(row, column, minimum, maximum)
    if value is None:
        raise RowError("MISSING_VALUE", column, "empty")
    return value


def optional_number(row: Row, column: str, minimum: float = -math.inf, maximum: float = math.inf) -> float | None:
    """The column's number, None if it is empty or absent."""
    value = optional_text(row, column)
    if value is None:
        return None
    try:
        parsed = float(value)
    except ValueError:
        parsed = math.nan
    if not math.isfinite(parsed):
        raise RowError("UNPARSABLE_NUMBER", column, f"{value!r} is not a number")
    if not minimum <= parsed <= maximum:
        raise RowError("OUT_OF_RANGE", column, f"{value} is not within {minimum:g} to {maximum:g}")
    return parsed


def instant(row: Row, column: str) -> datetime:
    """An ISO-8601 time with its UTC offset, as an aware UTC datetime."""
    parsed = _time(row, column)
    if parsed.tzinfo is None:
        raise RowError("UNPARSABLE_TIME", column, f"{row[column]!r} has no UTC offset")
    return parsed.astimezone(UTC)


def http_instant(row: Row, column: str) -> datetime:
    """A time as HTTP writes it (Wed, 25 Apr 2018 11:08:04 GMT), or ISO-8601 with UTC offset, as an aware UTC datetime."""
    try:
        parsed = parsedate_to_datetime(text(row, column))
    except ValueError:
        return instant(row, column)
    return parsed.astimezone(UTC) if parsed.tzinfo else parsed.replace(tzinfo=UTC)


def zoned_instant(row: Row, column: str, zone: ZoneInfo) -> datetime:
    """A time as an aware UTC datetime. A time without UTC offset is in `zone`."""
    return local_instant(row, column, zone) if _time(row, column).tzinfo is None else instant(row, column)


def local_instant(row: Row, column: str, zone: ZoneInfo) -> datetime:
    """A local time without offset, as an aware UTC datetime.

    The end of daylight saving repeats an hour: a time in it is read as the first occurrence (fold=0, still daylight saving
    time). The start of daylight saving skips an hour: a time in it does not exist and raises RowError.
    """
    parsed = _time(row, column)
    if parsed.tzinfo is not None:
        raise RowError("UNPARSABLE_TIME", column, f"{row[column]!r} is not a local time without offset")
    at = parsed.replace(tzinfo=zone).astimezone(UTC)
    if at.astimezone(zone).replace(tzinfo=None) != parsed:
        raise RowError("NONEXISTENT_LOCAL_TIME", column, f"{row[column]} does not exist in {zone.key}")
    return at


def _time(row: Row, column: str) -> datetime:
    value = text(row, column)
    try:
        return datetime.fromisoformat(value)
    except ValueError:
        raise RowError("UNPARSABLE_TIME", column, f"{value!r} is not an ISO-8601 time") from None
