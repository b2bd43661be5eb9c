"""Proves that nothing was lost and nothing counted twice: compares every store at one cut, the lake's ledger.

Each store is reduced to figures by station and UTC hour: events, finished sessions, their energy, and an order-free hash of
the rows. Each store is compared with the one before it: producers' own ledger files -> Kafka -> lake -> ClickHouse,
Elasticsearch, Cassandra.

The cut: rows whose offset lies below the ledger on main. Rows that Kafka's retention removed are compared between the
producers' ledgers and the lake directly. ClickHouse is compared, day by day, at the ledger of the commit that `loaded_day`
names, so that a load that is about to run is no difference. Rows that were on main before LOAD_GRACE must be loaded.

The rows of a store are read once, and compared in passes (`evcharge.passes`): each has all rows of some stations. So memory
does not grow with the history.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, date, datetime, timedelta
from heapq import nsmallest
from itertools import chain
from typing import Any

import numpy as np
import pyarrow as pa

from evcharge.audit.figures import (
    Disagreement,
    Figures,
    Sides,
    added,
    disagreements,
    row_disagreements,
    total_of_hours,
    total_of_rows,
    with_digests,
)
from evcharge.audit.live_stores import document_passes, hour_passes
from evcharge.audit.session_rows import (
    SCHEMA,
    TOPIC,
    at_since,
    below,
    ends_before,
    fact_rows,
    found_in,
    from_offsets,
    kafka_rows,
    lake_rows,
    moved,
    of_other_producers,
    one_row_per_event,
    one_row_per_sent_event,
    one_row_per_session,
    producer_rows,
    quarantined_places,
    split_at,
    without,
)
from evcharge.clock import DAY_MS
from evcharge.connections import clickhouse, clickhouse_errors
from evcharge.gathering import plain_memory
from evcharge.lake.gaps import Gap, accepted_gaps
from evcharge.lake.ledger import read_ledger
from evcharge.lake.record_places import Moves
from evcharge.lake.repository import Repository
from evcharge.lake.requeue import requeued_places
from evcharge.passes import StationRows, of_stations, passes
from evcharge.settings import Settings
from evcharge.warehouse.tables import FACT

#: The sensor looks every 15 s and a load takes seconds, or minutes after a failure. What comes later than this is missing.
LOAD_GRACE = timedelta(minutes=15)

#: At most this many differences are listed; all are counted.
LISTED = 100

#: A row may be of tomorrow (`CLOCK_SKEW_ALLOWED`), and midnight may pass while the stores are read.
_DAYS_AHEAD = 2
_EPOCH = date(1970, 1, 1)


OnStep = Callable[[str], None]
"""Called with the store that is read now."""


@dataclass(frozen=True, slots=True)
class Difference:
    """`store` disagrees with `against`, the store that its rows come from."""

    store: str
    against: str
    station_id: str
    hour: str
    expected: Figures | None
    found: Figures | None


@dataclass
class Reconciliation:
    """The verdict: `equal` is true if every store agrees, `empty` if there was nothing to compare.

    `other_producers` counts the lake's events that no ledger here has. `since` and `sample` are those of the `Part` that was
    compared.
    """

    equal: bool
    empty: bool
    cut: dict[str, int]
    stores: dict[str, Figures]
    quarantined: int
    other_producers: int
    days_behind: list[str]
    stations_ahead: int = 0
    stations_unordered: int = 0
    #: Events in the producers' ledgers that left Kafka's log unpublished, in gaps that were accepted.
    lost: int = 0
    difference_count: int = 0
    differences: list[Difference] = field(default_factory=list)
    since: str | None = None
    sample: float | None = None

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True, slots=True)
class Part:
    """What is compared: rows of UTC days from `since` on, and of a `sample` of the stations, a share of all. None: all.

    The sample has always the same stations. A document of Elasticsearch is the fold of a station's whole history, so it is not
    compared with `since`.
    """

    since: date | None = None
    sample: float | None = None

    def days(self) -> list[str] | None:
        """The days of the lake, up to the last one that a row may be of."""
        if self.since is None:
            return None
        count = (datetime.now(UTC).date() - self.since).days + _DAYS_AHEAD
        return [(self.since + timedelta(days=n)).isoformat() for n in range(count + 1)]

    def of(self, rows: pa.Table) -> pa.Table:
        return at_since(of_stations(rows, self.sample), self.since)


def reconcile(settings: Settings, on_step: OnStep = lambda step: None, *, part: Part | None = None) -> Reconciliation:
    """Compares the stores, all of them or a part. Raises ServerDownError."""
    part = part or Part()
    if part.since is not None and part.since.isoformat() <= settings.event_days_from:
        # no good row is older: that is all of it
        part = replace(part, since=None)
    repository = Repository(settings)
    head = repository.head().id
    comparison = _Comparison(
        cut=read_ledger(repository, TOPIC, head).offsets,
        overdue=_overdue_cut(repository, head),
        quarantined=quarantined_places(repository, head),
        gaps=accepted_gaps(repository, TOPIC, head),
        since=part.since,
    )
    with plain_memory():
        _compare_records(settings, repository, head, part, comparison, on_step)
        if settings.profile == "full":
            _compare_live_stores(settings, repository, head, part, comparison, on_step)
    return comparison.verdict(part)


def _compare_records(
    settings: Settings, repository: Repository, head: str, part: Part, comparison: _Comparison, on_step: OnStep
) -> None:
    with ExitStack() as stack:

        def filled(rows: Iterable[pa.Table]) -> StationRows:
            store = stack.enter_context(StationRows(settings.home, SCHEMA))
            for table in rows:
                store.add(part.of(table))
            return store

        on_step("lake")
        archived = filled(lake_rows(repository, head, part.days()))
        on_step("producers' ledgers")
        ledgered = filled(producer_rows(settings, part.since))
        comparison.moves = requeued_places(repository, TOPIC, head)
        on_step("Kafka")
        with kafka_rows(settings, comparison.cut, comparison.quarantined, part.since) as (log_start, records):
            comparison.log_start = log_start
            logged = filled(records)
        on_step("ClickHouse")
        with clickhouse_errors(settings):
            facts = filled(fact_rows(settings, part.since))
            earlier = stack.enter_context(StationRows(settings.home, SCHEMA))
            for rows in ends_before(settings, part.since) if part.since else ():
                earlier.add(of_stations(rows, part.sample))
            comparison.loaded = _loaded_cuts(settings, repository)
        for tables in passes(archived, ledgered, logged, facts, earlier):
            comparison.add(*tables)


def _compare_live_stores(
    settings: Settings, repository: Repository, head: str, part: Part, comparison: _Comparison, on_step: OnStep
) -> None:
    if part.since is None:
        on_step("Elasticsearch")
        documents = document_passes(settings, repository, head, comparison.overdue, comparison.lost_at, part.sample)
        comparison.add_live("elasticsearch", documents)
    on_step("Cassandra")
    loading_since = datetime.now(UTC) - LOAD_GRACE
    hours = hour_passes(settings, repository, loading_since, since=part.since, sample=part.sample)
    comparison.add_live("cassandra", hours)


def _new_differences() -> dict[tuple[str, str], _Differences]:
    pairs = (
        ("kafka", "producers"),
        ("lake", "producers"),
        ("lake", "kafka"),
        ("clickhouse", "lake"),
        ("elasticsearch", "lake"),
        ("cassandra", "lake"),
    )
    return {pair: _Differences(*pair) for pair in pairs}


@dataclass
class _Comparison:
    """What is known of the stores after some passes. Its memory does not grow with their number."""

    cut: dict[int, int]
    overdue: dict[int, int]
    quarantined: np.ndarray
    gaps: list[Gap]
    since: date | None
    log_start: dict[int, int] = field(default_factory=dict)
    moves: Moves = field(default_factory=Moves.none)
    loaded: dict[date, dict[int, int]] = field(default_factory=dict)
    totals: dict[str, Figures] = field(default_factory=dict)
    differences: dict[tuple[str, str], _Differences] = field(default_factory=_new_differences)
    behind: set[date] = field(default_factory=set)
    lost: int = 0
    #: Stations whose events were lost in a gap.
    lost_at: set[str] = field(default_factory=set)
    other_producers: int = 0
    ahead: int = 0
    unordered: int = 0

    def add(self, archived: pa.Table, ledgered: pa.Table, logged: pa.Table, facts: pa.Table, earlier: pa.Table) -> None:
        """Compares the rows of some stations: records of the lake, the ledgers and Kafka, facts, and `ends_before`."""
        ends = pa.concat_tables([archived.filter(archived["session"]), earlier])
        at_load, behind = _at_load(ends, self.loaded, self.overdue)
        at_load = at_since(at_load, self.since)
        self.behind |= {day for day in behind if self.since is None or day >= self.since}
        archived, logged, facts, at_load = map(with_digests, (archived, logged, facts, at_load))
        ledgered = with_digests(moved(one_row_per_sent_event(ledgered), self.moves))
        lost, sent = split_at(without(below(ledgered, self.cut), self.quarantined), self.gaps)
        lake, kafka = one_row_per_event(archived), one_row_per_event(logged)
        # Each record of a ledger must be in the log, or in the lake once it left the log. What other producers sent is no
        # difference, also at our stations: their ledgers may be on another machine, or they have none.
        in_log, before_log = from_offsets(sent, self.log_start), below(sent, self.log_start)
        since_log = from_offsets(archived, self.log_start)
        pairs = (
            ("kafka", "producers", found_in(in_log, logged), in_log),
            ("lake", "producers", found_in(before_log, archived), before_log),
            ("lake", "kafka", lake if since_log is archived else one_row_per_event(since_log), kafka),
            ("clickhouse", "lake", facts, at_load),
        )
        for store, against, found, expected in pairs:
            self.differences[store, against].add(row_disagreements(found, expected))
        stores = {"producers": one_row_per_event(sent), "kafka": kafka, "lake": lake, "clickhouse": facts}
        for name, rows in stores.items():
            self._add_total(name, total_of_rows(rows))
        self.lost += lost.num_rows
        self.lost_at |= set(lost["station_id"].to_pylist())
        self.other_producers += of_other_producers(lake, ledgered)

    def add_live(self, store: str, parts: Iterable[Sides]) -> None:
        """Compares a live store, whose passes have the fold of the lake's rows beside it."""
        for sides in parts:
            self._add_total(store, total_of_hours(sides.found))
            self.differences[store, "lake"].add(disagreements(sides))
            self.ahead, self.unordered = self.ahead + sides.ahead, self.unordered + sides.unordered

    def verdict(self, part: Part) -> Reconciliation:
        count = sum(pair.count for pair in self.differences.values())
        return Reconciliation(
            equal=not count,
            empty=not any(self.totals[store].events for store in ("producers", "kafka", "lake", "clickhouse")),
            cut={str(p): o for p, o in sorted(self.cut.items())},
            stores=self.totals,
            quarantined=len(self.quarantined),
            other_producers=self.other_producers,
            lost=self.lost,
            days_behind=[d.isoformat() for d in sorted(self.behind)],
            stations_ahead=self.ahead,
            stations_unordered=self.unordered,
            difference_count=count,
            differences=list(chain.from_iterable(pair.listed() for pair in self.differences.values()))[:LISTED],
            since=part.since.isoformat() if part.since else None,
            sample=part.sample,
        )

    def _add_total(self, store: str, figures: Figures) -> None:
        self.totals[store] = added(self.totals[store], figures) if store in self.totals else figures


@dataclass
class _Differences:
    """The number of differences between two stores, and the first ones by station and hour."""

    store: str
    against: str
    count: int = 0
    first: list[Disagreement] = field(default_factory=list)

    def add(self, found: Iterable[Disagreement]) -> None:
        self.first = nsmallest(LISTED, chain(self.first, self._counted(found)), key=lambda difference: difference[0])

    def listed(self) -> Iterator[Difference]:
        return (
            Difference(self.store, self.against, station_id, _hour(at_ms), expected, found)
            for (station_id, at_ms), expected, found in self.first
        )

    def _counted(self, found: Iterable[Disagreement]) -> Iterator[Disagreement]:
        for difference in found:
            self.count += 1
            yield difference


def _hour(at_ms: int) -> str:
    return datetime.fromtimestamp(at_ms / 1000, UTC).strftime("%Y-%m-%dT%H:00Z")


def _loaded_cuts(settings: Settings, repository: Repository) -> dict[date, dict[int, int]]:
    """For each loaded day, the ledger's offsets at the commit that the day was loaded from."""
    rows = clickhouse(settings).execute(
        "SELECT date, lake_commit FROM loaded_day FINAL WHERE table_name = %(table)s", {"table": FACT}
    )
    ledgers = {commit: read_ledger(repository, TOPIC, commit).offsets for commit in {commit for _, commit in rows}}
    return {day: ledgers[commit] for day, commit in rows}


def _overdue_cut(repository: Repository, head: str) -> dict[int, int]:
    """The ledger's offsets as they were LOAD_GRACE ago: rows below them must be loaded."""
    latest = datetime.now(UTC) - LOAD_GRACE
    commit = next((commit for commit in repository.log(head) if commit.created_at <= latest), None)
    return read_ledger(repository, TOPIC, commit.id).offsets if commit else {}


def _at_load(
    ends: pa.Table, loaded: dict[date, dict[int, int]], overdue: dict[int, int]
) -> tuple[pa.Table, list[date]]:
    """The finished sessions that the facts should have by the lake's `ends`, keyed like them, and the days that are behind.

    The facts should have what each day's load saw, and what is overdue. A day that has not begun is never overdue. Of these
    ends the first of each session counts.
    """
    # of few days and partitions each
    days, day_of = np.unique(ends["at"].to_numpy() // DAY_MS, return_inverse=True)
    dates = [_EPOCH + timedelta(days=int(day)) for day in days]
    partitions, partition_of = np.unique(ends["partition"].to_numpy(), return_inverse=True)
    last = (datetime.now(UTC) - LOAD_GRACE).date()
    loaded_to = [[loaded.get(day, {}).get(int(p), 0) for p in partitions] for day in dates]
    due_to = [[overdue.get(int(p), 0) if day <= last else 0 for p in partitions] for day in dates]
    offsets = ends["offset"].to_numpy()
    seen, due = (
        offsets < np.array(limits, np.int64).reshape(len(dates), len(partitions))[day_of, partition_of]
        for limits in (loaded_to, due_to)
    )
    behind = [dates[day] for day in np.unique(day_of[~seen])]
    counted = one_row_per_session(ends.filter(pa.array(seen | due)))
    return counted.set_column(counted.schema.get_field_index("key"), "key", counted["session_id"]), behind
