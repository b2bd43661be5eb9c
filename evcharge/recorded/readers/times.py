"""Times as people's files have them: a column as a whole says whether its day or its month comes first, or it is refused.

A time that names its zone is read by it. A time that does not is local to the site, whose zone the caller must know.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache
from zoneinfo import ZoneInfo

from evcharge.contracts.time_zones import known_time_zones
from evcharge.recorded.readers.model import RowError

#: Value of --date-format for a spreadsheet's day numbers.
EXCEL = "excel"
#: Day 0 of the numbers that Excel and LibreOffice show for days since March 1900.
_EXCEL_EPOCH = datetime(1899, 12, 30)  # noqa: DTZ001

# Kiribati is 14 hours ahead of UTC.
_LARGEST_OFFSET = timedelta(hours=14)
_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_WEEKDAY = r"(?:(?:mon|tue|wed|thu|fri|sat|sun)[a-z]*,?\s+)?"
_MONTH = r"(?:jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec)[a-z]*"
_TIME = re.compile(
    rf"""{_WEEKDAY}
    (?: (?P<year>\d{{4}})(?P<sign>[-/.])(?P<month>\d{{1,2}})(?P=sign)(?P<day>\d{{1,2}})
      | (?P<digits>\d{{8}})(?=T)
      | (?P<one>\d{{1,2}})(?P<between>[-/.])(?P<two>\d{{1,2}})(?P=between)(?P<year_last>\d{{4}}|\d\d)
      | (?P<day_named>\d{{1,2}})[\s-](?P<name>{_MONTH})\.?,?[\s-](?P<year_of_name>\d{{4}}|\d\d)
      | (?P<name_first>{_MONTH})\.?\s+(?P<day_second>\d{{1,2}}),?\s+(?P<year_third>\d{{4}})
    )
    (?P<clock>
      [T\s,]+ (?P<hour>\d{{1,2}}) (?P<colon>:?) (?P<minute>\d\d) (?: (?P=colon)(?P<second>\d\d)(?:[.,](?P<part>\d{{1,9}}))? )?
      (?: \s*(?P<half>[ap])\.?m\b\.? )?
      \s*
      (?: (?P<offset> (?:(?:UTC|GMT)\s?)?[+-]\d{{1,2}}(?::?\d\d)? ) (?: \s*[(\[][^)\]]*[)\]] )?
        | (?P<zone> [a-z]{{1,5}} )
      )?
    )?""",
    re.VERBOSE | re.IGNORECASE,
)
_OFFSET = re.compile(r"(?:UTC|GMT)?\s?([+-])(\d{1,2})(?::?(\d\d))?", re.IGNORECASE)
_DAY_NUMBER = re.compile(r"\d{5}(?:[.,]\d+)?")
_MIDNIGHT = re.compile(r"[T ]00:00(?::00(?:\.0+)?)?")
_NO_DATE = re.compile(r"(?:1899-12-3[01]|1900-01-0[01])[T ]")

_UNDECIDED = "no row shows which number is the day: say --day-first or --month-first"


@dataclass(frozen=True, slots=True)
class TimeForm:
    """How to read a column's times.

    `day_first` is None if a number of up to 12 may be the day or the month; `why` says why. `zoned`: some time of the column
    names its zone. `needs_zone`: some time has no offset. `timed`: some time has a time of day. `date_format` replaces all
    this: a format of strptime, or EXCEL.
    """

    column: str
    day_first: bool | None = None
    why: str = _UNDECIDED
    zoned: bool = False
    needs_zone: bool = True
    timed: bool = True
    date_format: str | None = None

    def instant(self, text: str, zone: ZoneInfo | None, *, fold: int = 0, mixed: bool = True) -> datetime:
        """An aware UTC datetime. A time without a zone is local in `zone`.

        The end of daylight saving repeats an hour: `fold` says which of the two. The start of daylight saving skips an hour: a
        time in it does not exist. Without `mixed`, a local time is refused in a column where others name their zone. Raises
        RowError.
        """
        local, offset, name = self._local(text)
        try:
            if offset is not None:
                return (local - offset).replace(tzinfo=UTC)
            if name is not None:
                return self._in_named_zone(text, local, name.upper(), zone)
            if self.zoned and not mixed:
                raise self._error(f"{text!r} has no UTC offset, but other rows have one: add it or say --time-zone")
            return self._at_site(text, local, zone, fold)
        except OverflowError:
            raise self._error(f"{text!r} is out of range") from None

    def _at_site(self, text: str, local: datetime, zone: ZoneInfo | None, fold: int) -> datetime:
        if zone is None:
            raise self._error(f"{text!r} has no UTC offset, and the site's time zone is unknown: say --time-zone")
        at = local.replace(tzinfo=zone, fold=fold).astimezone(UTC)
        if at.astimezone(zone).replace(tzinfo=None) != local:
            raise RowError("NONEXISTENT_LOCAL_TIME", self.column, f"{text} does not exist in {zone.key}")
        return at

    def _in_named_zone(self, text: str, local: datetime, name: str, zone: ZoneInfo | None) -> datetime:
        if name in ("Z", "UTC", "UT", "GMT"):
            return local.replace(tzinfo=UTC)
        for fold in (0, 1) if zone else ():
            at = local.replace(tzinfo=zone, fold=fold)
            if at.tzname() == name:
                return at.astimezone(UTC)
        offsets = _offsets_by_name(local.year).get(name, frozenset())
        if len(offsets) != 1:
            known = "several time zones have this name" if offsets else "no time zone has this name"
            raise self._error(f"{text!r}: {name!r} is not clear ({known}): write the UTC offset")
        return (local - min(offsets)).replace(tzinfo=UTC)

    def _local(self, text: str) -> tuple[datetime, timedelta | None, str | None]:
        """The time as it is written, its offset from UTC, and the name of its zone."""
        if self.date_format is not None:
            return self._stated(text, self.date_format)
        found = _TIME.fullmatch(text)
        if found is None:
            raise self._error(_what_it_is(text))
        if not self.timed:
            raise self._error(f"{text!r} has no time of day: name its column too, as in started_at=DATE+TIME")
        try:
            return datetime(*self._date(found), *_clock(found)), _offset(found["offset"]), found["zone"]  # noqa: DTZ001
        except ValueError as error:
            raise self._error(f"{text!r}: {error}") from None

    def _date(self, found: re.Match[str]) -> tuple[int, int, int]:
        if found["year"]:
            return int(found["year"]), int(found["month"]), int(found["day"])
        if digits := found["digits"]:
            return int(digits[:4]), int(digits[4:6]), int(digits[6:])
        year = found["year_last"] or found["year_of_name"] or found["year_third"]
        if len(year) == 2:
            raise ValueError("the year has two digits: say --date-format, e.g. '%d.%m.%y %H:%M'")
        if found["one"] is None:
            name = found["name"] or found["name_first"]
            return int(year), _MONTHS.index(name[:3].lower()) + 1, int(found["day_named"] or found["day_second"])
        one, two = int(found["one"]), int(found["two"])
        if self.day_first is None and one != two:
            raise ValueError(self.why)
        day, month = (one, two) if self.day_first else (two, one)
        return int(year), month, day

    def _stated(self, text: str, date_format: str) -> tuple[datetime, timedelta | None, None]:
        if date_format == EXCEL:
            try:
                days = sum(float(part.replace(",", ".")) for part in text.split())
                # a double keeps such a number to some microseconds
                return _EXCEL_EPOCH + timedelta(seconds=round(days * 86_400)), None, None
            except (ValueError, OverflowError):
                raise self._error(f"{text!r} is not a day number") from None
        try:
            at = datetime.strptime(text, date_format)  # noqa: DTZ007
        except ValueError:
            raise self._error(f"{text!r} is not in the form {date_format!r}") from None
        return at.replace(tzinfo=None), at.utcoffset(), None

    def _error(self, detail: str) -> RowError:
        return RowError("UNPARSABLE_TIME", self.column, detail)


class TimeColumn:
    """What the values of a column say of the order of day and month."""

    def __init__(self, name: str) -> None:
        self.name = name
        self._first: dict[bool, str] = {}
        self._zoned = self._needs_zone = self._timed = False

    def observe(self, number: int, text: str) -> None:
        """Takes the value of a row."""
        found = _TIME.fullmatch(text.strip())
        if found is None:
            return
        self._timed = self._timed or found["clock"] is not None
        self._zoned = self._zoned or bool(found["offset"] or found["zone"])
        self._needs_zone = self._needs_zone or found["offset"] is None
        if found["one"]:
            one, two = int(found["one"]), int(found["two"])
            if min(one, two) <= 12 < max(one, two) <= 31:
                self._first.setdefault(one > 12, f"row {number} has {text!r}")

    def day_first(self) -> bool | None:
        """Whether the day comes first; None if no row shows it, or some rows show the one and some the other."""
        return next(iter(self._first)) if len(self._first) == 1 else None

    @property
    def is_mixed(self) -> bool:
        return len(self._first) == 2

    def form(self, day_first: bool | None, date_format: str | None) -> TimeForm:
        why = _UNDECIDED
        if self.is_mixed:
            why = f"{' and '.join(self._first.values())}: the day or the month comes first, say --day-first or --month-first"
        return TimeForm(
            self.name,
            day_first,
            why,
            self._zoned,
            self._needs_zone or date_format is not None,
            self._timed,
            date_format,
        )


def decide(columns: Collection[TimeColumn], stated: bool | None, date_format: str | None) -> dict[str, TimeForm]:
    """The form of each column: as stated, else as its own values show, else as the file's other times show."""
    own = {column.name: column.day_first() for column in columns}
    shown = {day_first for day_first in own.values() if day_first is not None}
    common = shown.pop() if len(shown) == 1 else None
    forms = {}
    for column in columns:
        day_first = own[column.name] if stated is None else stated
        if day_first is None and not column.is_mixed:
            day_first = common
        forms[column.name] = column.form(day_first, date_format)
    return forms


def joined(date: str, time: str) -> str:
    """A time of two columns. A spreadsheet adds midnight to a date, and a day of 1899 or 1900 to a time."""
    return f"{_MIDNIGHT.sub('', date.strip())} {_NO_DATE.sub('', time.strip())}".strip()


def _clock(found: re.Match[str]) -> tuple[int, int, int, int]:
    if found["clock"] is None:
        return 0, 0, 0, 0
    hour, half = int(found["hour"]), (found["half"] or "").lower()
    if half:
        if not 1 <= hour <= 12:
            raise ValueError(f"{hour} is no hour before {half.upper()}M")
        hour = hour % 12 + 12 * (half == "p")
    return hour, int(found["minute"]), int(found["second"] or 0), int(f"{found['part'] or 0:0<6}"[:6])


def _offset(written: str | None) -> timedelta | None:
    found = _OFFSET.fullmatch(written or "")
    if found is None:
        return None
    offset = timedelta(hours=int(found[2]), minutes=int(found[3] or 0))
    if offset > _LARGEST_OFFSET:
        raise ValueError(f"{written!r} is no UTC offset")
    return -offset if found[1] == "-" else offset


def _what_it_is(text: str) -> str:
    if _DAY_NUMBER.fullmatch(text):
        return f"{text!r} may be a spreadsheet's day number: say --date-format {EXCEL}"
    return f"{text!r} is not a time that is known: write ISO-8601 or say --date-format"


@cache
def _offsets_by_name(year: int) -> dict[str, frozenset[timedelta]]:
    """The offsets for which a zone's abbreviation stands anywhere in the year, as the tz database has it."""
    found: dict[str, set[timedelta]] = {}
    for zone in map(ZoneInfo, known_time_zones()):
        for month in (1, 7):
            at = datetime(year, month, 1, tzinfo=zone)
            offset = at.utcoffset()
            if offset is not None:
                found.setdefault(at.tzname() or "", set()).add(offset)
    return {name: frozenset(offsets) for name, offsets in found.items()}
