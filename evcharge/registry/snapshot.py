"""A snapshot of the registry, and the changes it brings, by station id and content within its declared scope."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Self

from evcharge.errors import UserError
from evcharge.registry.afdc import CONTENT, Record, RecordError, Row, is_electric, read_station, station_id

# AFDC lost 18 % of Washington's stations in the two years between two downloads. A larger loss means a broken snapshot.
LARGEST_VANISHING_SHARE = 0.2


class RegistryError(UserError):
    """The registry cannot be read or brought up to date. The text is one line with the reason. Nothing was published."""


class VanishingError(RegistryError):
    """Too many stations are missing from a snapshot to believe it."""


@dataclass(frozen=True, slots=True)
class Scope:
    """What a snapshot covers. A known station that is missing is gone only if it lies in the scope.

    `name` is `all` (every station of its source in the countries that it has), `source` (every station of its source), a
    state's two letters, or `undeclared`: then no station is gone.
    """

    name: str = "undeclared"

    @classmethod
    def parse(cls, text: str | None) -> Self:
        """The scope that a user names, in upper or lower case; None is undeclared. Raises RegistryError."""
        if text is None:
            return cls()
        if text.lower() in ("all", "source"):
            return cls(text.lower())
        if re.fullmatch(r"[A-Za-z]{2}", text):
            return cls(text.upper())
        raise RegistryError(f"scope {text!r} is neither all, nor source, nor the two letters of a state")

    @property
    def state(self) -> str | None:
        return self.name if self.name.isupper() else None

    def takes(self, row: Row) -> bool:
        """Whether a station of the snapshot lies in the scope."""
        return self.state is None or row["state"] == self.state

    def covers(self, known: Row, sources: set[str], countries: set[str | None]) -> bool:
        """Whether a snapshot with these sources and countries would have this station if it still existed."""
        if self.name == "undeclared" or known["source"] not in sources:
            return False
        if self.name == "all":
            return known["country"] in countries
        return self.takes(known)


@dataclass(frozen=True, slots=True)
class Problem:
    """A record that was not loaded, or that was corrected. `row` counts from 1; in a CSV, row 1 is the header."""

    row: int
    station_id: str | None
    reason: str
    detail: str


@dataclass
class Snapshot:
    """The contents of a file or of the API's answer.

    `stations` maps station ids to their content. `named` has all station ids, also those of rejected records: these stations
    are not missing. `as_of` is the newest time of any record.
    """

    scope: Scope
    stations: dict[str, Row] = field(default_factory=dict)
    named: set[str] = field(default_factory=set)
    not_electric: int = 0
    rejected: list[Problem] = field(default_factory=list)
    corrected: list[Problem] = field(default_factory=list)
    as_of: datetime | None = None

    @classmethod
    def gather(cls, records: Iterable[tuple[int, Record | RecordError]], scope: Scope) -> Self:
        """Reads numbered records. A RecordError stands for a record whose fields could not be read."""
        snapshot = cls(scope)
        for number, record in records:
            snapshot._add(number, record)
        return snapshot

    def _add(self, number: int, record: Record | RecordError) -> None:
        found_id: str | None = None
        try:
            if isinstance(record, RecordError):
                raise record
            if not is_electric(record):
                self.not_electric += 1
                return
            found_id = station_id(record)
            if found_id in self.named:
                raise RecordError("DUPLICATE_ID", "id", f"an earlier record has the id {found_id} too")
            self.named.add(found_id)
            reading = read_station(record)
            if not self.scope.takes(reading.row):
                raise RecordError("OUTSIDE_SCOPE", "state", f"{reading.row['state']} is not {self.scope.name}")
        except RecordError as error:
            self.rejected.append(Problem(number, found_id, error.reason, f"{error.field}: {error}"))
            return
        self.stations[found_id] = reading.row
        self.corrected += [Problem(number, found_id, reason, detail) for reason, detail in reading.corrections]
        if reading.updated_at is not None:
            self.as_of = max(filter(None, (self.as_of, reading.updated_at)))


@dataclass
class Changes:
    """The changes that a snapshot brings, as rows of the station-registry contract; `counts` has their number by kind."""

    rows: list[Row]
    counts: dict[str, int]


def diff(
    known: Mapping[str, Row], snapshot: Snapshot, observed_at: datetime, *, confirm_removals: bool = False
) -> Changes:
    """Compares a snapshot with the last published rows, by station id.

    A station is `new`, `changed`, `unchanged`, `returned` (it was gone) or `gone`: then its last row is repeated with
    `removed_at`. Raises VanishingError if more than 20 % of the scope's current stations are gone, unless `confirm_removals`.
    """
    stamp: Row = {"observed_at": observed_at, "snapshot_scope": snapshot.scope.name}
    kinds: Counter[str] = Counter()
    rows = []
    for key, content in snapshot.stations.items():
        kind = _kind(known.get(key), content)
        kinds[kind] += 1
        if kind != "unchanged":
            rows.append({**content, **stamp})
    gone, current = _missing(known, snapshot)
    if len(gone) > LARGEST_VANISHING_SHARE * current and not confirm_removals:
        raise VanishingError(
            f"{len(gone):,} of the {current:,} current stations in scope {snapshot.scope.name} are missing "
            f"({len(gone) / current:.1%}, {LARGEST_VANISHING_SHARE:.0%} are believed): nothing was published; "
            "if they are really gone, add --confirm-removals"
        )
    rows += [{**row, **stamp, "removed_at": observed_at} for row in gone]
    kinds["gone"] = len(gone)
    return Changes(rows, {kind: kinds[kind] for kind in ("new", "changed", "returned", "gone", "unchanged")})


def _kind(before: Row | None, content: Row) -> str:
    if before is None:
        return "new"
    if before.get("removed_at") is not None:
        return "returned"
    return "unchanged" if all(before.get(name) == content[name] for name in CONTENT) else "changed"


def _missing(known: Mapping[str, Row], snapshot: Snapshot) -> tuple[list[Row], int]:
    """The current stations of the scope that the snapshot lacks, and the number of current stations in the scope."""
    sources = {row["source"] for row in snapshot.stations.values()}
    countries = {row["country"] for row in snapshot.stations.values()}
    covered = [row for row in current_stations(known) if snapshot.scope.covers(row, sources, countries)]
    return [row for row in covered if row["station_id"] not in snapshot.named], len(covered)


def current_stations(known: Mapping[str, Row]) -> Iterator[Row]:
    """The rows of stations that are not gone."""
    return (row for row in known.values() if row.get("removed_at") is None)


def by_reason(problems: Iterable[Problem]) -> dict[str, list[int]]:
    """The row numbers of problems, by reason."""
    rows: dict[str, list[int]] = {}
    for problem in problems:
        rows.setdefault(problem.reason, []).append(problem.row)
    return dict(sorted(rows.items()))


def problems_to_json(problems: Iterable[Problem]) -> list[dict[str, Any]]:
    return [{"row": p.row, "station_id": p.station_id, "reason": p.reason, "detail": p.detail} for p in problems]
