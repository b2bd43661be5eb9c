"""Reads a recorded file once, and separates possible rows from impossible ones."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

from evcharge.contracts.connector_types import known_type
from evcharge.contracts.session_events import MAX_ENERGY_KWH
from evcharge.recorded.readers.fields import Row, check_text
from evcharge.recorded.readers.model import (
    MAX_STAY,
    Columns,
    RecordedSession,
    RecordingError,
    RowError,
    Site,
    UnknownSiteError,
)
from evcharge.recorded.readers.session_file import Format, SessionFile, Table
from evcharge.table_files import Unread

#: The first day for callers that put sessions into no partition.
ANY_YEAR = date(2000, 1, 1)
#: Row numbers kept for each reason.
ROWS_KEPT = 5


@dataclass
class Recording:
    """A recorded file that has been read once: what it holds and what was dropped.

    `stations` are station-registry records without schema_version and observed_at. `rejected` counts dropped rows by reason
    code. `rejected_rows` has the first row numbers of each reason: lines of a CSV, rows of a spreadsheet, sessions of a JSON
    file, from 1. `rejected_details` says what was wrong with the first one of each, `first_rejected` with the first one of all.
    `unknown_connectors` counts EVSEs by a connector name that is in no vocabulary. `digest` is a hash of the uncompressed
    content. `site_power_kw` is the power that all EVSEs share, where the format knows it. `sessions()` reads the file again, so
    that a CSV may be larger than memory.
    """

    path: Path
    source: str
    digest: str
    stations: list[dict[str, Any]]
    session_count: int
    energy_delivered_wh: int
    rejected: Counter[str]
    rejected_rows: dict[str, list[int]]
    rejected_details: dict[str, str]
    first_rejected: str | None
    unknown_connectors: Counter[str]
    site_power_kw: float | None
    _file: SessionFile = field(repr=False)
    _limits: _Limits = field(repr=False)

    @property
    def registered(self) -> list[dict[str, Any]]:
        """The stations that can be registered: those with a place."""
        return [station for station in self.stations if station["latitude"] is not None]

    def sessions(self) -> Iterator[RecordedSession]:
        """The possible sessions in the order of the file, from its start at each call."""
        return _parse(self._file, self._limits, Rejected(), self._file.new_format())


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
    """Reads ACN-Data, EPFL or generic sessions from a table or JSON, plain or gzipped. The content decides the form.

    `site` replaces the site of the ACN and EPFL formats, and is that of a table of no known format. `table` says what the file
    does not show. With `only` (a station id) sessions elsewhere are skipped. A session is impossible if it starts before
    `first_day` (UTC) or ends after `now`. Impossible rows are dropped and counted; with `strict` they are an error. Raises
    RecordingError that names file, row and column.
    """
    first_at = datetime(first_day.year, first_day.month, first_day.day, tzinfo=UTC)
    file = SessionFile(path, site, table or Table())
    limits = _Limits(strict, first_at, now or datetime.now(UTC), only)
    recording_format = file.new_format()
    rejected = Rejected()
    count = energy_wh = 0
    for session in _parse(file, limits, rejected, recording_format):
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
        digest=file.digest(),
        stations=[each for each in stations if only in (None, each["station_id"])] if count else [],
        session_count=count,
        energy_delivered_wh=energy_wh,
        rejected=rejected.counts,
        rejected_rows=rejected.rows,
        rejected_details=rejected.details,
        first_rejected=rejected.first,
        unknown_connectors=_unknown_connectors(stations),
        site_power_kw=recording_format.site_power_kw,
        _file=file,
        _limits=limits,
    )


@dataclass
class Rejected:
    """Dropped rows: the count, the first rows and the first detail of each reason, and what was wrong with the first row."""

    counts: Counter[str] = field(default_factory=Counter)
    rows: dict[str, list[int]] = field(default_factory=dict)
    details: dict[str, str] = field(default_factory=dict)
    first: str | None = None

    def add(self, number: int, error: RowError) -> None:
        self.counts[error.reason] += 1
        said = f"row {number}: column {error.column!r}: {error}"
        self.first = self.first or said
        self.details.setdefault(error.reason, said)
        kept = self.rows.setdefault(error.reason, [])
        if len(kept) < ROWS_KEPT:
            kept.append(number)


def _unknown_connectors(stations: list[dict[str, Any]]) -> Counter[str]:
    named = (evse["connector_type"] for station in stations for evse in station["evses"])
    return Counter(name for name in named if name and known_type(name) is None)


@dataclass(frozen=True, slots=True)
class _Limits:
    """Which sessions are possible (`first_at`, `now`), which are wanted (`only`), and whether an impossible one is an error."""

    strict: bool
    first_at: datetime
    now: datetime
    only: str | None


def _parse(
    file: SessionFile, limits: _Limits, rejected: Rejected, recording_format: Format
) -> Iterator[RecordedSession]:
    seen: set[str] = set()
    for number, cells in file.rows():
        try:
            if isinstance(cells, Unread):
                raise RowError(cells.reason, file.header[-1], cells.detail)
            session = recording_format.session(Row(cells, file.forms))
            if limits.only not in (None, session.station_id):
                continue
            _check(session, recording_format.columns, limits, seen)
        except RowError as error:
            if limits.strict or isinstance(error, UnknownSiteError):
                raise RecordingError(f"{file.path}: row {number}: column {error.column!r}: {error}") from None
            rejected.add(number, error)
        else:
            seen.add(session.session_id)
            yield session


def _check(session: RecordedSession, columns: Columns, limits: _Limits, seen: set[str]) -> None:
    """Raises RowError if the session is impossible or was in the file before."""
    for name in ("session_id", "station_id"):
        # they may be longer than what they are made of
        check_text(getattr(session, name), name, columns.session)
    stay = session.ended_at - session.started_at
    energy_kwh = session.energy_delivered_kwh
    if stay < timedelta(0):
        raise RowError("ENDS_BEFORE_START", columns.ended, f"{-stay} before the start")
    if stay > MAX_STAY:
        raise RowError("STAY_TOO_LONG", columns.ended, f"{stay.days} days")
    if session.started_at < limits.first_at:
        raise RowError("BEFORE_FIRST_DAY", columns.started, f"before {limits.first_at:%Y-%m-%d}")
    if session.ended_at > limits.now:
        raise RowError("IN_THE_FUTURE", columns.ended, f"{session.ended_at:%Y-%m-%dT%H:%M:%SZ} lies in the future")
    if energy_kwh < 0:
        raise RowError("NEGATIVE_ENERGY", columns.energy, f"{energy_kwh} kWh")
    if energy_kwh > MAX_ENERGY_KWH:
        raise RowError("ENERGY_TOO_LARGE", columns.energy, f"{energy_kwh} kWh, {MAX_ENERGY_KWH:g} are possible")
    if session.session_id in seen:
        raise RowError("DUPLICATE_SESSION_ID", columns.session, f"{session.session_id} was there before")
