"""Opens a recorded file, recognises its format and tells possible rows from impossible ones."""

from __future__ import annotations

import csv
import gzip
import io
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any, Protocol

import xxhash

from evcharge.contracts.session_events import MAX_ENERGY_KWH
from evcharge.sessions.readers.acn import AcnFormat
from evcharge.sessions.readers.epfl import EpflFormat
from evcharge.sessions.readers.fields import Row
from evcharge.sessions.readers.generic import GenericFormat
from evcharge.sessions.readers.model import (
    Columns,
    RecordedSession,
    RecordingError,
    RowError,
    Site,
    UnknownSiteError,
)

# A cable that stays plugged in for a month is a lost stop message, not a session; the longest of ACN-Data's is a week.
MAX_STAY = timedelta(days=30)
#: How many row numbers are kept for each reason.
ROWS_KEPT = 5


class Format(Protocol):
    """A file format: the columns of its header, and how a row becomes a session."""

    source: str
    columns: Columns
    required: tuple[str, ...]
    optional: tuple[str, ...]

    def session(self, row: Row) -> RecordedSession: ...

    def stations(self) -> list[dict[str, Any]]: ...


@dataclass
class Recording:
    """A recorded file that has been read once: what it holds and what had to be dropped.

    `stations` are station-registry records without schema_version and observed_at; `rejected` counts dropped rows by
    reason code and `rejected_rows` has the first row numbers of each (the header is row 1); `digest` is a hash of the
    uncompressed content; `site_power_kw` is what all EVSEs share, where the format knows it. `sessions()` reads the file
    again, so that a file may be larger than memory.
    """

    path: Path
    source: str
    digest: str
    stations: list[dict[str, Any]]
    session_count: int
    energy_delivered_wh: int
    rejected: Counter[str]
    rejected_rows: dict[str, list[int]]
    site_power_kw: float | None
    _open: _Opener = field(repr=False)

    def sessions(self) -> Iterator[RecordedSession]:
        """The possible sessions in the order of the file, from its start at each call."""
        return (session for session in _parse(self._open, Counter(), {}, self._open.new_format()))


def read_sessions(
    path: Path,
    *,
    site: Site | None = None,
    strict: bool = False,
    first_day: date = date(2018, 1, 1),
    now: datetime | None = None,
) -> Recording:
    """Reads a .csv or .csv.gz of ACN-Data, EPFL or generic sessions; the header tells the format.

    `site` replaces the site that the ACN and EPFL formats stand for. Sessions that start before `first_day` (UTC) or
    end after `now` are impossible. Impossible rows are dropped and counted, or with `strict` an error. Raises
    RecordingError naming file, row and column.
    """
    opener = _Opener(path, site, strict, datetime(first_day.year, first_day.month, first_day.day, tzinfo=UTC), now)
    recording_format = opener.new_format()
    rejected: Counter[str] = Counter()
    rejected_rows: dict[str, list[int]] = {}
    count = energy_wh = 0
    for session in _parse(opener, rejected, rejected_rows, recording_format):
        count += 1
        energy_wh += round(session.energy_delivered_kwh * 1000)
    if not count and not rejected:
        raise RecordingError(f"{path}: no sessions below the header")
    return Recording(
        path=path,
        source=recording_format.source,
        digest=opener.digest(),
        stations=recording_format.stations() if count else [],
        session_count=count,
        energy_delivered_wh=energy_wh,
        rejected=rejected,
        rejected_rows=rejected_rows,
        site_power_kw=getattr(recording_format, "site_power_kw", None),
        _open=opener,
    )


class _Opener:
    """A file with everything that decides how it is read, so that reading it twice gives the same sessions."""

    def __init__(self, path: Path, site: Site | None, strict: bool, first_at: datetime, now: datetime | None) -> None:
        self.path = path
        self.site = site
        self.strict = strict
        self.first_at = first_at
        self.now = now or datetime.now(UTC)

    def rows(self) -> Iterator[tuple[int, list[str]]]:
        """Row number from 1 and values of every row that is not blank."""
        number = 0
        try:
            with self._bytes() as raw, io.TextIOWrapper(raw, encoding="utf-8-sig", newline="") as lines:
                for number, values in enumerate(csv.reader(lines, strict=True), start=1):
                    if any(values):
                        yield number, values
        except UnicodeDecodeError as error:
            raise RecordingError(f"{self.path}: not UTF-8 after row {number} ({error.reason})") from None
        except csv.Error as error:
            raise RecordingError(f"{self.path}: row {number + 1}: not CSV ({error})") from None
        except (OSError, EOFError) as error:
            raise RecordingError(f"{self.path}: can not be read ({error})") from None

    def digest(self) -> str:
        """Hash of the uncompressed content and the site, 16 hexadecimal digits."""
        state = xxhash.xxh3_64(repr(self.site).encode())
        with self._bytes() as raw:
            while block := raw.read(1 << 20):
                state.update(block)
        return state.hexdigest()

    def new_format(self) -> Format:
        """The format that shares most columns with the header, once the header has been found to be right."""
        header = next(self.rows(), None)
        if header is None:
            raise RecordingError(f"{self.path}: empty file")
        number, names = header
        formats: list[Format] = [AcnFormat(self.site), EpflFormat(self.site), GenericFormat()]
        shared = [len(set(names) & {*each.required, *each.optional}) for each in formats]
        best = formats[shared.index(max(shared))]
        where = f"{self.path}: row {number}"
        if not max(shared):
            raise RecordingError(
                f"{where}: column {names[0]!r}: the header is none of the ACN-Data, EPFL and generic formats"
            )
        for name in best.required:
            if name not in names:
                raise RecordingError(f"{where}: column {name!r} is missing (format {best.source})")
        for name in names:
            if name not in best.required and name not in best.optional:
                raise RecordingError(f"{where}: column {name!r} is unknown (format {best.source})")
            if names.count(name) > 1:
                raise RecordingError(f"{where}: column {name!r} is there twice")
        if self.site is not None and best.source == "generic":
            raise RecordingError(f"{self.path}: the generic format names its stations itself: leave --site-… out")
        return best

    def _bytes(self) -> gzip.GzipFile | io.BufferedReader:
        return gzip.open(self.path) if self.path.suffix == ".gz" else self.path.open("rb")


def _parse(
    opener: _Opener, rejected: Counter[str], rejected_rows: dict[str, list[int]], recording_format: Format
) -> Iterator[RecordedSession]:
    rows = opener.rows()
    _, header = next(rows)
    seen: set[str] = set()
    for number, values in rows:
        try:
            if len(values) != len(header):
                raise RowError("WRONG_COLUMN_COUNT", header[-1], f"{len(values)} values for {len(header)} columns")
            session = recording_format.session(dict(zip(header, values, strict=True)))
            _check(session, recording_format.columns, opener, seen)
        except RowError as error:
            if opener.strict or isinstance(error, UnknownSiteError):
                raise RecordingError(f"{opener.path}: row {number}: column {error.column!r}: {error}") from None
            rejected[error.reason] += 1
            kept = rejected_rows.setdefault(error.reason, [])
            if len(kept) < ROWS_KEPT:
                kept.append(number)
        else:
            seen.add(session.session_id)
            yield session


def _check(session: RecordedSession, columns: Columns, opener: _Opener, seen: set[str]) -> None:
    """Raises RowError if the session can not have happened, or not a second time."""
    stay = session.ended_at - session.started_at
    energy_kwh = session.energy_delivered_kwh
    if stay < timedelta(0):
        raise RowError("ENDS_BEFORE_START", columns.ended, f"{-stay} before the start")
    if stay > MAX_STAY:
        raise RowError("STAY_TOO_LONG", columns.ended, f"{stay.days} days")
    if session.started_at < opener.first_at:
        raise RowError("BEFORE_FIRST_DAY", columns.started, f"before {opener.first_at:%Y-%m-%d}")
    if session.ended_at > opener.now:
        raise RowError("IN_THE_FUTURE", columns.ended, f"{session.ended_at:%Y-%m-%dT%H:%M:%SZ} is yet to come")
    if energy_kwh < 0:
        raise RowError("NEGATIVE_ENERGY", columns.energy, f"{energy_kwh} kWh")
    if energy_kwh > MAX_ENERGY_KWH:
        raise RowError("ENERGY_TOO_LARGE", columns.energy, f"{energy_kwh} kWh, {MAX_ENERGY_KWH:g} are possible")
    if session.session_id in seen:
        raise RowError("DUPLICATE_SESSION_ID", columns.session, f"{session.session_id} was there before")
