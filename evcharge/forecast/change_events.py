"""Change events of charging sites: at which times how many points were free. From a file, or made from stations' histories.

A row is a change; between rows the last one stands. `total` 0 and a gap of over three days mean that the source was not
reachable. (The form of the recordings of four German sites: public repository laurenz-glueck/charging-station-usage-history.)
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from zoneinfo import ZoneInfo

import numpy as np
from numpy.typing import NDArray

from evcharge.errors import UserError
from evcharge.table_files import Unread, open_table

COLUMNS = ("site", "observed_at", "available", "total")
#: After so long without a row the source counts as not reachable, from its last row on.
GAP_S = 3 * 86_400
#: A site with more points than this is a mistake in the file: the largest public sites have some 170.
_MOST_POINTS = 10_000
_FIRST_AT, _LAST_AT = datetime(2000, 1, 1, tzinfo=UTC), datetime(2100, 1, 1, tzinfo=UTC)
#: So many bad rows are shown with their line; the others are counted.
_SHOWN_ROWS = 3


@dataclass(frozen=True, slots=True, eq=False)
class SiteEvents:
    """The changes of one site in the order of time, one element a change.

    `at_s`: seconds since the epoch, rising. `available`: free points. `total`: points that answer; 0: not reachable.
    """

    site: str
    time_zone: str
    at_s: NDArray[np.int64]
    available: NDArray[np.int64]
    total: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.at_s)

    def before(self, at_s: float) -> SiteEvents:
        """Only the changes strictly before an instant."""
        end = int(np.searchsorted(self.at_s, at_s, side="left"))
        return SiteEvents(self.site, self.time_zone, self.at_s[:end], self.available[:end], self.total[:end])

    def last_change(self, at_s: NDArray[np.int64]) -> NDArray[np.int64]:
        """The place of the change that stands at each instant; -1 before the first."""
        return np.searchsorted(self.at_s, at_s, side="right") - 1

    def known(self, at_s: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Whether the recording tells the state at each instant. Nothing is known after the last change."""
        place = self.last_change(at_s)
        inside = (place >= 0) & (at_s <= self.at_s[-1] if len(self) else False)
        place = np.clip(place, 0, max(0, len(self) - 2))
        if len(self) < 2:
            return inside & False
        gap = np.diff(self.at_s)[place]
        at_end = at_s == self.at_s[-1]
        return inside & np.where(at_end, self.total[-1] > 0, (gap <= GAP_S) & (self.total[place] > 0))


def site_events(
    site: str,
    time_zone: str,
    at_s: NDArray[np.int64],
    available: NDArray[np.int64],
    total: NDArray[np.int64],
) -> SiteEvents:
    """Sorts changes by time. Of several at one instant the last one stands; a row that changes nothing is kept."""
    order = np.argsort(at_s, kind="stable")
    at_s = np.asarray(at_s, dtype=np.int64)[order]
    last = np.append(at_s[1:] != at_s[:-1], True) if len(at_s) else np.zeros(0, dtype=bool)
    counts = np.asarray(available, dtype=np.int64)[order][last], np.asarray(total, dtype=np.int64)[order][last]
    return SiteEvents(site, time_zone, at_s[last], *counts)


@dataclass(frozen=True, slots=True)
class ChangeEvents:
    """What a file holds: its sites by name, and the rows that were left out, counted by reason with the first few lines."""

    sites: tuple[SiteEvents, ...]
    rows: int
    left_out: Counter[str] = field(default_factory=Counter)
    examples: tuple[str, ...] = ()


class _BadRowError(ValueError):
    """A row that is left out: a code to count by, and what is wrong with it."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(detail)
        self.reason = reason


def read_change_events(path: Path, time_zone: str = "UTC", on_row: Callable[[int], None] | None = None) -> ChangeEvents:
    """Reads a file of change events, plain or gzipped. `time_zone` is the sites' own; `observed_at` is UTC or says its offset.

    A row that cannot be true is left out and counted. `on_row` is called with the rows read so far, now and then. Raises
    UserError for another form, an unknown time zone, and if every row is bad.
    """
    check_time_zone(time_zone)
    table = open_table(path)
    missing = [column for column in COLUMNS if column not in table.columns]
    if missing:
        raise UserError(
            f"{path}: line 1: no column {', '.join(missing)}; a file of change events has {', '.join(COLUMNS)}"
        )
    rows: dict[str, list[tuple[int, int, int]]] = {}
    left_out: Counter[str] = Counter()
    examples: list[str] = []
    count = 0
    for line, cells in table.rows():
        count += 1
        if on_row is not None and count % 10_000 == 0:
            on_row(count)
        try:
            if isinstance(cells, Unread):
                raise _BadRowError(cells.reason, cells.detail)
            site, *change = _change(cells)
        except _BadRowError as error:
            left_out[error.reason] += 1
            if len(examples) < _SHOWN_ROWS:
                examples.append(f"line {line}: {error}")
            continue
        rows.setdefault(site, []).append((change[0], change[1], change[2]))
    if not rows:
        what = f"no row can be read: {examples[0]}" if examples else "no rows below the header"
        raise UserError(f"{path}: {what}")
    sites = tuple(_of_rows(site, time_zone, rows[site]) for site in sorted(rows))
    return ChangeEvents(sites, count, left_out, tuple(examples))


def check_time_zone(name: str) -> ZoneInfo:
    """The time zone of an IANA name. Raises UserError."""
    try:
        return ZoneInfo(name)
    except (KeyError, ValueError, OSError):
        raise UserError(f"no time zone is called {name!r}; an IANA name is e.g. Europe/Berlin") from None


def _of_rows(site: str, time_zone: str, rows: list[tuple[int, int, int]]) -> SiteEvents:
    at_s, available, total = np.array(rows, dtype=np.int64).T
    return site_events(site, time_zone, at_s, available, total)


def _change(cells: dict[str, str]) -> tuple[str, int, int, int]:
    site = cells["site"].strip()
    if not site:
        raise _BadRowError("NO_SITE", "no site")
    at = _time(cells["observed_at"].strip())
    total = _count("total", cells["total"].strip())
    # a source that does not answer need not say how many points are free
    available = _count("available", cells["available"].strip()) if total else 0
    if available > total:
        raise _BadRowError("MORE_FREE_THAN_ALL", f"{available} of {total} points are free")
    return site, int(at.timestamp()), available, total


def _time(text: str) -> datetime:
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        raise _BadRowError("BAD_TIME", f"observed_at {text!r} is no ISO time") from None
    at = at.replace(tzinfo=UTC) if at.tzinfo is None else at
    if not _FIRST_AT <= at < _LAST_AT:
        raise _BadRowError("BAD_TIME", f"observed_at {text!r} is not between 2000 and 2100")
    return at


def _count(column: str, text: str) -> int:
    try:
        number = float(text)
    except ValueError:
        number = -1.0
    if not (0 <= number <= _MOST_POINTS and number.is_integer()):
        raise _BadRowError("BAD_COUNT", f"{column} {text!r} is no number of points")
    return int(number)
