"""Takes typed values out of a row. Raises RowError with the reason code if there is no such value."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from zoneinfo import ZoneInfo

import xxhash

from evcharge.contracts import SESSION_EVENTS, STATION_REGISTRY
from evcharge.contracts.time_zones import is_known_time_zone
from evcharge.recorded.readers.model import RowError
from evcharge.recorded.readers.numbers import NumberForm
from evcharge.recorded.readers.times import TimeForm, joined

_SAFE = re.compile(r"[A-Za-z0-9_-]+")
_UNSAFE = re.compile(r"[^A-Za-z0-9_-]")
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")
#: The fields of the messages that a row becomes, by name.
_FIELDS = {
    each.name: each
    for contract in (STATION_REGISTRY, SESSION_EVENTS)
    for field in contract.fields
    for each in (*field.element, field)
}


@dataclass(frozen=True, slots=True)
class Forms:
    """How to read a file's columns.

    `columns` gives a name's column, where they differ. `parts` gives the columns of a date and of a time that are read as one.
    """

    columns: Mapping[str, str] = field(default_factory=dict)
    parts: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    numbers: Mapping[str, NumberForm] = field(default_factory=dict)
    times: Mapping[str, TimeForm] = field(default_factory=dict)

    def column(self, name: str) -> str:
        return self.columns.get(name, name)

    def value(self, values: Mapping[str, str], column: str) -> str:
        """A column's text in a row; empty if there is none."""
        if column not in self.parts:
            return values.get(column, "").strip()
        date, time = (values.get(part, "").strip() for part in self.parts[column])
        return joined(date, time) if date and time else ""


@dataclass(frozen=True, slots=True)
class Row:
    """The cells of a row by column, and how to read them."""

    cells: Mapping[str, str]
    forms: Forms


def cells(row: Row, names: Iterable[str]) -> tuple[str, ...]:
    """The cells of some columns as they are; empty where there is none."""
    return tuple(row.cells.get(row.forms.column(name), "") for name in names)


def text(row: Row, name: str, limit: str | None = None) -> str:
    """The column's text; it must not be empty. `limit` is the field of a message that bounds it, by default `name`."""
    value = optional_text(row, name, limit)
    if value is None:
        raise RowError("MISSING_VALUE", row.forms.column(name), "empty")
    return value


def optional_text(row: Row, name: str, limit: str | None = None) -> str | None:
    """The column's text, None if it is empty or absent."""
    column = row.forms.column(name)
    value = row.forms.value(row.cells, column)
    if not value:
        return None
    check_text(value, limit or name, column)
    return value


def check_text(value: str, name: str, column: str) -> None:
    """Raises RowError if a message's field `name` cannot have the text."""
    limits = _FIELDS.get(name)
    if limits is None:
        return
    if limits.max_bytes is not None and len(value) * 4 > limits.max_bytes < len(value.encode()):
        raise RowError("TEXT_TOO_LONG", column, f"{len(value.encode())} bytes, {limits.max_bytes} are possible")
    if limits.is_id and _CONTROL.search(value):
        raise RowError("CONTROL_CHARACTER", column, f"{value!r} has a control character")


def name(row: Row, name: str) -> str:
    """An id of letters, digits, hyphen and underscore. These are safe in every store."""
    value = text(row, name)
    if not _SAFE.fullmatch(value):
        raise RowError(
            "UNSAFE_ID", row.forms.column(name), f"{value!r} has other characters than letters, digits, - and _"
        )
    return value


def slug(text: str) -> str:
    """An id made of a name: letters, digits, hyphen and underscore of ASCII; every other character becomes a hyphen.

    A hash of the name follows if it has other letters, or none at all: 東京 and 大阪 would both be two hyphens.
    """
    replaced = _UNSAFE.sub("-", text)
    if text.isascii() and any(map(str.isalnum, text)):
        return replaced
    return f"{replaced.strip('-') or 'x'}-{xxhash.xxh3_64_hexdigest(text.encode())[:8]}"


def number(row: Row, name: str, minimum: float = -math.inf, maximum: float = math.inf) -> float:
    """The column's number; it must be finite and lie in its range."""
    value = optional_number(row, name, minimum, maximum)
    if value is None:
        raise RowError("MISSING_VALUE", row.forms.column(name), "empty")
    return value


def optional_number(row: Row, name: str, minimum: float = -math.inf, maximum: float = math.inf) -> float | None:
    """The column's number, None if it is empty or absent."""
    written = optional_text(row, name)
    if written is None:
        return None
    column = row.forms.column(name)
    form = row.forms.numbers.get(column, NumberForm())
    value = form.value(written)
    if value is None or not math.isfinite(value):
        said = (
            "is not a number" if form.groups else f"is not a number with decimal {form.decimal!r}, as other rows have"
        )
        raise RowError("UNPARSABLE_NUMBER", column, f"{written!r} {said}")
    if not minimum <= value <= maximum:
        raise RowError("OUT_OF_RANGE", column, f"{written} is not within {minimum:g} to {maximum:g}")
    return value


def instant(row: Row, name: str, zone: ZoneInfo | None, *, fold: int = 0, mixed: bool = True) -> datetime:
    """A time as an aware UTC datetime; `TimeForm.instant` has the rules."""
    column = row.forms.column(name)
    return row.forms.times[column].instant(text(row, name), zone, fold=fold, mixed=mixed)


def interval(row: Row, start: str, end: str, zone: ZoneInfo | None, *, mixed: bool = True) -> tuple[datetime, datetime]:
    """A start and an end as aware UTC datetimes.

    In the hour that the end of daylight saving repeats, a time is the first of the two, or the second if the end would be
    before the start.
    """
    started_at, ended_at = (instant(row, each, zone, mixed=mixed) for each in (start, end))
    if ended_at < started_at:
        ended_at = instant(row, end, zone, fold=1, mixed=mixed)
    return started_at, ended_at


def zone_of(row: Row, name: str, *times: str) -> ZoneInfo | None:
    """The time zone that a column names, if some value of the columns `times` needs it."""
    needed = any(row.forms.times[row.forms.column(time)].needs_zone for time in times)
    return optional_zone(row, name) if needed else None


def optional_zone(row: Row, name: str) -> ZoneInfo | None:
    """The time zone that a column names, None if it is empty or absent."""
    written = optional_text(row, name)
    if written is None:
        return None
    if not is_known_time_zone(written):
        raise RowError("UNKNOWN_TIME_ZONE", row.forms.column(name), f"{written!r} is not an IANA time zone")
    return ZoneInfo(written)
