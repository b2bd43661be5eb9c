"""A snapshot of the registry, and the changes it brings, by station id and content within its declared scope."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Self

from evcharge.errors import UserError
from evcharge.registry.afdc import CONTENT, Record, RecordError, Row, is_electric, read_station, state_of, station_id

# Rows that were read whole, so that their id is known.
_OF_A_KNOWN_ID = ("OUTSIDE_SCOPE", "PLACE_DOES_NOT_FIT")
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

    def takes(self, state: str | None) -> bool:
        """Whether a station of this state lies in the scope."""
        return self.state in (None, state)

    def covers(self, known: Row, sources: set[str], countries: set[str | None]) -> bool:
        """Whether a snapshot with these sources and countries would have this station if it still existed."""
        if self.name == "undeclared" or known["source"] not in sources:
            return False
        if self.name == "all":
            return known["country"] in countries
        return self.takes(known["state"])


@dataclass(frozen=True, slots=True)
class Problem:
    """A record that was not loaded, or that was corrected. `row` is its line in a table, and counts from 1 in JSON."""

    row: int
    station_id: str | None
    reason: str
    detail: str


@dataclass
class Snapshot:
    """The contents of a file or of the API's answer.

    `stations` maps station ids to their content, and `unstated` to the fields that their records do not have. `named` has all
    station ids, also those of rejected records: these stations are not missing. `as_of` is the newest time of any record.
    `doubts` are the reasons why a missing station may be there nevertheless; `notes` are for the user.
    """

    scope: Scope
    is_table: bool = False
    stations: dict[str, Row] = field(default_factory=dict)
    unstated: dict[str, frozenset[str]] = field(default_factory=dict)
    named: set[str] = field(default_factory=set)
    not_electric: int = 0
    rejected: list[Problem] = field(default_factory=list)
    corrected: list[Problem] = field(default_factory=list)
    as_of: datetime | None = None
    doubts: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    @classmethod
    def gather(
        cls, records: Iterable[tuple[int, Record | RecordError]], scope: Scope, *, is_table: bool = False
    ) -> Self:
        """Reads numbered records. A RecordError stands for a record whose fields could not be read.

        In a table a field is known by its place in the row only: if a row is rejected, its fields may have moved, the id too.
        """
        snapshot = cls(scope, is_table)
        for number, record in records:
            snapshot._add(number, record)
        unsure = [problem.row for problem in snapshot.rejected if snapshot._hides_an_id(problem)]
        if unsure:
            rows = "1 row is" if len(unsure) == 1 else f"{len(unsure):,} rows are"
            snapshot.doubts.append(f"{rows} rejected and may be theirs, first row {min(unsure)}")
        return snapshot

    def _hides_an_id(self, problem: Problem) -> bool:
        """Whether a rejected record may be one of a known station of another id."""
        if problem.station_id is None or problem.reason == "DUPLICATE_ID":
            return True
        return self.is_table and problem.reason not in _OF_A_KNOWN_ID

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
            if not self.scope.takes(state := state_of(record)):
                raise RecordError("OUTSIDE_SCOPE", "state", f"{state} is not {self.scope.name}")
            reading = read_station(record)
        except RecordError as error:
            detail = f"{error.field}: {error}" if error.field else str(error)
            self.rejected.append(Problem(number, found_id, error.reason, detail))
            return
        self.stations[found_id] = reading.row
        self.unstated[found_id] = reading.unstated
        self.corrected += [Problem(number, found_id, reason, detail) for reason, detail in reading.corrections]
        if reading.updated_at is not None:
            self.as_of = max(filter(None, (self.as_of, reading.updated_at)))


@dataclass
class Changes:
    """The changes that a snapshot brings, as rows of the station-registry contract; `counts` has their number by kind.

    `kept` is the number of stations that are missing and are not marked gone, because the snapshot has doubts.
    """

    rows: list[Row]
    counts: dict[str, int]
    kept: int = 0


def diff(
    known: Mapping[str, Row], snapshot: Snapshot, observed_at: datetime, *, confirm_removals: bool = False
) -> Changes:
    """Compares a snapshot with the last published rows, by station id.

    A station is `new`, `changed`, `unchanged`, `returned` (it was gone) or `gone`: then its last row is repeated with
    `removed_at`. A snapshot with doubts removes nothing. Raises VanishingError if more than 20 % of the scope's current
    stations are gone. With `confirm_removals` all missing stations are gone.
    """
    stamp: Row = {"observed_at": observed_at, "snapshot_scope": snapshot.scope.name}
    kinds: Counter[str] = Counter()
    rows = []
    for key, stated in snapshot.stations.items():
        before = known.get(key)
        content = stated if before is None else stated | _unchanged(before, stated, snapshot.unstated[key])
        kind = _kind(before, content)
        kinds[kind] += 1
        if kind != "unchanged":
            rows.append({**content, **stamp})
    gone, current = _missing(known, snapshot)
    kept = 0
    if snapshot.doubts and not confirm_removals:
        gone, kept = [], len(gone)
    if len(gone) > LARGEST_VANISHING_SHARE * current and not confirm_removals:
        raise VanishingError(
            f"{len(gone):,} of the {current:,} current stations in scope {snapshot.scope.name} are missing "
            f"({len(gone) / current:.1%}, {LARGEST_VANISHING_SHARE:.0%} are believed): nothing was published; "
            "if they are really gone, add --confirm-removals"
        )
    rows += [{**row, **stamp, "removed_at": observed_at} for row in gone]
    kinds["gone"] = len(gone)
    return Changes(rows, {kind: kinds[kind] for kind in ("new", "changed", "returned", "gone", "unchanged")}, kept)


def _unchanged(before: Row, stated: Row, unstated: frozenset[str]) -> Row:
    """The values of a station that its new record does not have.

    Without all charging units a record's connectors are an estimate of the most ports that each type can have. It replaces
    what is known if the station's connector types or outlets have changed, or if both cannot be true of one station.
    """
    kept = {name: before.get(name) for name in unstated - {"connectors"}}
    if "connectors" in unstated:
        after = stated | kept
        same = all(before.get(name) == after[name] for name in ("connector_types", "total_outlets"))
        known, estimated = _ports(before), _ports(stated)
        has_power = any(connector["power_kw"] is not None for connector in before.get("connectors") or ())
        # Counters: <= compares the ports of each type. Some units of all have fewer ports than are known.
        if same and (known <= estimated or (has_power and estimated <= known)):
            kept["connectors"] = before.get("connectors")
    return kept


def _ports(row: Row) -> Counter[str]:
    """The ports of each connector type."""
    ports: Counter[str] = Counter()
    for connector in row.get("connectors") or ():
        ports[connector["connector_type"]] += connector["ports"]
    return ports


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
