"""Opens a recorded file, recognises its format, and separates possible rows from impossible ones."""

from __future__ import annotations

import csv
import gzip
import io
import json
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from functools import cached_property
from itertools import chain
from pathlib import Path
from typing import Any, Protocol

import xxhash

from evcharge.contracts.session_events import MAX_ENERGY_KWH
from evcharge.recorded.readers.acn import AcnApiFormat, AcnFormat
from evcharge.recorded.readers.epfl import EpflFormat
from evcharge.recorded.readers.fields import Row
from evcharge.recorded.readers.generic import GenericFormat
from evcharge.recorded.readers.mapped import NAMES, MappedFormat, is_day_first
from evcharge.recorded.readers.model import (
    Columns,
    RecordedSession,
    RecordingError,
    RowError,
    Site,
    UnknownSiteError,
)

# A cable that stays plugged in for a month is a lost stop message. The longest session of ACN-Data lasts a week.
MAX_STAY = timedelta(days=30)
#: The first day for callers that put sessions into no partition.
ANY_YEAR = date(2000, 1, 1)
#: Row numbers kept for each reason.
ROWS_KEPT = 5


class Format(Protocol):
    """A file format: the columns of its header, and how a row becomes a session.

    `site_power_kw` is the power that all EVSEs of the site share, None where it is unknown.
    """

    source: str
    columns: Columns
    required: tuple[str, ...]
    optional: tuple[str, ...]
    ignores_others: bool
    site_power_kw: float | None

    def session(self, row: Row) -> RecordedSession: ...

    def stations(self) -> list[dict[str, Any]]: ...


@dataclass
class Recording:
    """A recorded file that has been read once: what it holds and what was dropped.

    `stations` are station-registry records without schema_version and observed_at. `rejected` counts dropped rows by reason
    code. `rejected_rows` has the first row numbers of each reason; the header of a CSV is row 1, and so is the first session
    of a JSON file. `first_rejected` says what was wrong with the first dropped row. `digest` is a hash of the uncompressed
    content. `site_power_kw` is the power that all EVSEs share, where the format knows it. `sessions()` reads the file again,
    so that a CSV may be larger than memory.
    """

    path: Path
    source: str
    digest: str
    stations: list[dict[str, Any]]
    session_count: int
    energy_delivered_wh: int
    rejected: Counter[str]
    rejected_rows: dict[str, list[int]]
    first_rejected: str | None
    site_power_kw: float | None
    _open: _Opener = field(repr=False)

    def sessions(self) -> Iterator[RecordedSession]:
        """The possible sessions in the order of the file, from its start at each call."""
        return (session for session in _parse(self._open, Rejected(), self._open.new_format()))


def read_sessions(
    path: Path,
    *,
    site: Site | None = None,
    strict: bool = False,
    first_day: date = date(2018, 1, 1),
    now: datetime | None = None,
    table: Table | None = None,
    only: str | None = None,
) -> Recording:
    """Reads ACN-Data, EPFL or generic sessions from .csv or .json, plain or gzipped. The columns decide the format.

    `site` replaces the site of the ACN and EPFL formats. `table` says how to read any other table, and a generic file
    without places. With `only` (a station id) sessions elsewhere are skipped. A session is impossible if it starts before
    `first_day` (UTC) or ends after `now`. Impossible rows are dropped and counted; with `strict` they are an error. Raises
    RecordingError that names file, row and column.
    """
    first_at = datetime(first_day.year, first_day.month, first_day.day, tzinfo=UTC)
    opener = _Opener(path, site, strict, first_at, now, table, only)
    recording_format = opener.new_format()
    rejected = Rejected()
    count = energy_wh = 0
    for session in _parse(opener, rejected, recording_format):
        count += 1
        energy_wh += round(session.energy_delivered_kwh * 1000)
    stations = recording_format.stations()
    if only is not None and only not in (names := sorted(station["station_id"] for station in stations)):
        raise RecordingError(f"{path}: no session at {only!r}, but at {', '.join(names) or 'no known station'}")
    if not count and not rejected.counts:
        raise RecordingError(f"{path}: no sessions below the header")
    return Recording(
        path=path,
        source=recording_format.source,
        digest=opener.digest(),
        stations=[each for each in stations if only in (None, each["station_id"])] if count else [],
        session_count=count,
        energy_delivered_wh=energy_wh,
        rejected=rejected.counts,
        rejected_rows=rejected.rows,
        first_rejected=rejected.first,
        site_power_kw=recording_format.site_power_kw,
        _open=opener,
    )


@dataclass(frozen=True, slots=True)
class Table:
    """How to read a table of no known format: its column for each of mapped.NAMES, and the zone of its local times.

    Without `columns` the table uses the names of the generic format.
    """

    time_zone: str
    columns: Mapping[str, str] | None = None


@dataclass
class Rejected:
    """Dropped rows: the count and the first rows of each reason, and what was wrong with the very first row."""

    counts: Counter[str] = field(default_factory=Counter)
    rows: dict[str, list[int]] = field(default_factory=dict)
    first: str | None = None

    def add(self, number: int, error: RowError) -> None:
        self.counts[error.reason] += 1
        self.first = self.first or f"row {number}: column {error.column!r}: {error}"
        kept = self.rows.setdefault(error.reason, [])
        if len(kept) < ROWS_KEPT:
            kept.append(number)


@dataclass(frozen=True)
class _Opener:
    """A file with everything that decides how it is read. Two readings give the same sessions."""

    path: Path
    site: Site | None
    strict: bool
    first_at: datetime
    until: datetime | None
    table: Table | None
    only: str | None

    @cached_property
    def now(self) -> datetime:
        return self.until or datetime.now(UTC)

    def rows(self) -> Iterator[tuple[int, list[str]]]:
        """Row number and values of every row that is not blank. The first row has the column names."""
        try:
            with self._bytes() as raw, io.TextIOWrapper(raw, encoding="utf-8-sig", newline="") as lines:
                yield from self._json_rows(lines) if ".json" in self.path.suffixes[-2:] else self._csv_rows(lines)
        except (OSError, EOFError) as error:
            raise RecordingError(f"{self.path}: cannot be read ({error})") from None

    def _csv_rows(self, lines: io.TextIOWrapper) -> Iterator[tuple[int, list[str]]]:
        number = 0
        try:
            header = next(lines, "")
            delimiter = max(",;\t", key=header.count)
            for number, values in enumerate(csv.reader(chain([header], lines), delimiter=delimiter, strict=True), 1):
                if any(values):
                    yield number, values
        except UnicodeDecodeError as error:
            raise RecordingError(f"{self.path}: not UTF-8 after row {number} ({error.reason})") from None
        except csv.Error as error:
            raise RecordingError(f"{self.path}: row {number + 1}: not CSV ({error})") from None

    def _json_rows(self, lines: io.TextIOWrapper) -> Iterator[tuple[int, list[str]]]:
        """The items of ACN-Data's `_items`, or of a bare list, as rows. A value that an item lacks is empty."""
        try:
            content = json.load(lines)
        except UnicodeDecodeError as error:
            raise RecordingError(f"{self.path}: not UTF-8 ({error.reason})") from None
        except json.JSONDecodeError as error:
            raise RecordingError(
                f"{self.path}: row {error.lineno}: column {error.colno}: not JSON ({error.msg})"
            ) from None
        items = content.get("_items") if isinstance(content, dict) else content
        if not isinstance(items, list):
            raise RecordingError(f"{self.path}: neither a list of sessions nor an object with the list '_items'")
        for number, item in enumerate(items, start=1):
            if not isinstance(item, dict):
                raise RecordingError(f"{self.path}: row {number}: not a session but {json.dumps(item)[:40]}")
        names = list(dict.fromkeys(chain.from_iterable(items)))
        if names:
            yield 1, names
        for number, item in enumerate(items, start=1):
            yield number, [_text(item.get(name)) for name in names]

    def digest(self) -> str:
        """Hash of the uncompressed content and the site, 16 hexadecimal digits."""
        state = xxhash.xxh3_64(repr(self.site).encode())
        with self._bytes() as raw:
            while block := raw.read(1 << 20):
                state.update(block)
        return state.hexdigest()

    def new_format(self) -> Format:
        """The format that shares most columns with the header. Raises RecordingError if the header is wrong."""
        header = next(self.rows(), None)
        if header is None:
            raise RecordingError(f"{self.path}: empty file")
        number, names = header
        where = f"{self.path}: row {number}"
        best = (
            self._mapped(names, self.table.columns) if self.table and self.table.columns else self._known(where, names)
        )
        for name in best.required:
            if name not in names:
                raise RecordingError(f"{where}: column {name!r} is missing (format {best.source})")
        for name in names:
            if name not in best.required and name not in best.optional and not best.ignores_others:
                raise RecordingError(f"{where}: column {name!r} is unknown (format {best.source})")
            if names.count(name) > 1 and (name in best.required or name in best.optional):
                raise RecordingError(f"{where}: column {name!r} is there twice")
        return best

    def _known(self, where: str, names: list[str]) -> Format:
        formats: list[Format] = [AcnFormat(self.site), AcnApiFormat(self.site), EpflFormat(self.site), GenericFormat()]
        shared = [len(set(names) & {*each.required, *each.optional}) for each in formats]
        best = formats[shared.index(max(shared))]
        if not max(shared):
            raise RecordingError(
                f"{where}: column {names[0]!r}: the header is none of the ACN-Data, EPFL and generic formats"
            )
        if best.source == "generic":
            if self.site is not None:
                raise RecordingError(f"{self.path}: the generic format names its stations itself: leave --site-… out")
            if self.table is not None:
                energy = {"energy_kwh": "energy_delivered_kwh"}
                return self._mapped(names, {**{name: name for name in NAMES if name in names}, **energy})
        return best

    def _mapped(self, names: list[str], mapping: Mapping[str, str]) -> MappedFormat:
        assert self.table is not None
        started = mapping.get("started_at")
        day_first: bool | None = None
        if started in names:
            place = names.index(started)
            rows = (values[place] for _, values in self.rows() if place < len(values))
            day_first = next((first for first in map(is_day_first, rows) if first is not None), None)
        return MappedFormat(mapping, self.table.time_zone, day_first)

    def _bytes(self) -> gzip.GzipFile | io.BufferedReader:
        return gzip.open(self.path) if self.path.suffix == ".gz" else self.path.open("rb")


def _text(value: Any) -> str:
    """A JSON value as a CSV would hold it."""
    if value is None:
        return ""
    return value if isinstance(value, str) else json.dumps(value)


def _parse(opener: _Opener, rejected: Rejected, recording_format: Format) -> Iterator[RecordedSession]:
    rows = opener.rows()
    _, header = next(rows)
    seen: set[str] = set()
    for number, values in rows:
        try:
            if len(values) != len(header):
                raise RowError("WRONG_COLUMN_COUNT", header[-1], f"{len(values)} values for {len(header)} columns")
            session = recording_format.session(dict(zip(header, values, strict=True)))
            if opener.only not in (None, session.station_id):
                continue
            _check(session, recording_format.columns, opener, seen)
        except RowError as error:
            if opener.strict or isinstance(error, UnknownSiteError):
                raise RecordingError(f"{opener.path}: row {number}: column {error.column!r}: {error}") from None
            rejected.add(number, error)
        else:
            seen.add(session.session_id)
            yield session


def _check(session: RecordedSession, columns: Columns, opener: _Opener, seen: set[str]) -> None:
    """Raises RowError if the session is impossible or was in the file before."""
    stay = session.ended_at - session.started_at
    energy_kwh = session.energy_delivered_kwh
    if stay < timedelta(0):
        raise RowError("ENDS_BEFORE_START", columns.ended, f"{-stay} before the start")
    if stay > MAX_STAY:
        raise RowError("STAY_TOO_LONG", columns.ended, f"{stay.days} days")
    if session.started_at < opener.first_at:
        raise RowError("BEFORE_FIRST_DAY", columns.started, f"before {opener.first_at:%Y-%m-%d}")
    if session.ended_at > opener.now:
        raise RowError("IN_THE_FUTURE", columns.ended, f"{session.ended_at:%Y-%m-%dT%H:%M:%SZ} lies in the future")
    if energy_kwh < 0:
        raise RowError("NEGATIVE_ENERGY", columns.energy, f"{energy_kwh} kWh")
    if energy_kwh > MAX_ENERGY_KWH:
        raise RowError("ENERGY_TOO_LARGE", columns.energy, f"{energy_kwh} kWh, {MAX_ENERGY_KWH:g} are possible")
    if session.session_id in seen:
        raise RowError("DUPLICATE_SESSION_ID", columns.session, f"{session.session_id} was there before")
