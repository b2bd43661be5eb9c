"""Proves that nothing was lost and nothing counted twice: compares every store at one cut, the lake's ledger.

Each store is reduced to figures by station and UTC hour: events, finished sessions, their energy, and an order-free hash of
the rows. Each store is compared with the one before it: producers' own ledger files -> Kafka -> lake -> ClickHouse,
Elasticsearch, Cassandra.

The cut: rows whose offset lies below the ledger on main. Rows that Kafka's retention removed are compared between the
producers' ledgers and the lake directly. ClickHouse is compared, day by day, at the ledger of the commit that `loaded_day`
names, so that a load that is about to run is no difference. Rows that were on main before LOAD_GRACE must be loaded.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pyarrow as pa

from evcharge.audit.figures import Figures, Sides, by_station_hour, disagreements, total_of_hours, total_of_rows
from evcharge.audit.live_stores import final_hours, station_documents
from evcharge.audit.session_rows import (
    TOPIC,
    below,
    fact_rows,
    found_in,
    from_offsets,
    kafka_rows,
    lake_rows,
    moved,
    of_other_producers,
    one_row_per_event,
    one_row_per_session,
    places,
    producer_rows,
    split_at,
    where,
    without,
)
from evcharge.clock import DAY_MS
from evcharge.connections import clickhouse, clickhouse_errors
from evcharge.lake.gaps import accepted_gaps
from evcharge.lake.ledger import read_ledger
from evcharge.lake.repository import Repository
from evcharge.lake.requeue import requeued_places
from evcharge.settings import Settings
from evcharge.warehouse.tables import FACT

#: The sensor looks every 15 s and a load takes seconds, or minutes after a failure. What comes later than this is missing.
LOAD_GRACE = timedelta(minutes=15)

#: At most this many differences are listed; all are counted.
LISTED = 100


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

    `other_producers` counts the lake's events that no ledger here has.
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

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def reconcile(settings: Settings, on_step: Callable[[str], None] = lambda step: None) -> Reconciliation:
    """Compares the stores. Raises ServerDownError."""
    repository = Repository(settings)
    head = repository.head().id
    cut = read_ledger(repository, TOPIC, head).offsets
    on_step("lake")
    archived, quarantined = lake_rows(repository, head)
    lake = one_row_per_event(archived)
    on_step("producers' ledgers")
    ledgered = moved(producer_rows(settings), requeued_places(repository, TOPIC, head))
    lost, sent = split_at(without(below(ledgered, cut), quarantined), accepted_gaps(repository, TOPIC, head))
    on_step("Kafka")
    logged, log_start = kafka_rows(settings, cut, quarantined)
    kafka = one_row_per_event(logged)
    on_step("ClickHouse")
    with clickhouse_errors(settings):
        facts = fact_rows(settings)
        loaded = _loaded_cuts(settings, repository)
    overdue = _overdue_cut(repository, head)
    at_load, behind = _at_load(archived.filter(archived["session"]), loaded, overdue)

    # Each record of a ledger must be in the log, or in the lake once it left the log. What other producers sent is no
    # difference, also at our stations: their ledgers may be on another machine, or they have none.
    in_log, before_log = from_offsets(sent, log_start), below(sent, log_start)
    pairs = (
        ("kafka", "producers", found_in(in_log, logged), in_log),
        ("lake", "producers", found_in(before_log, archived), before_log),
        ("lake", "kafka", one_row_per_event(from_offsets(archived, log_start)), kafka),
        ("clickhouse", "lake", facts, at_load),
    )
    differences: list[Difference] = []
    for store, against, found, expected in pairs:
        differences += _differences(store, against, Sides(by_station_hour(found), by_station_hour(expected)))
    stores = {"producers": one_row_per_event(sent), "kafka": kafka, "lake": lake, "clickhouse": facts}
    totals = {name: total_of_rows(rows) for name, rows in stores.items()}
    ahead = unordered = 0
    if settings.profile == "full":
        on_step("Elasticsearch")
        documents = station_documents(settings, repository, head, overdue, set(lost["station_id"].to_pylist()))
        on_step("Cassandra")
        live = {
            "elasticsearch": documents,
            "cassandra": final_hours(settings, repository, datetime.now(UTC) - LOAD_GRACE),
        }
        ahead, unordered = documents.ahead, documents.unordered
        for store, sides in live.items():
            totals[store] = total_of_hours(sides.found)
            differences += _differences(store, "lake", sides)
    return Reconciliation(
        equal=not differences,
        empty=all(rows.num_rows == 0 for rows in stores.values()),
        cut={str(p): o for p, o in sorted(cut.items())},
        stores=totals,
        quarantined=len(quarantined),
        other_producers=of_other_producers(lake, ledgered),
        lost=lost.num_rows,
        days_behind=[d.isoformat() for d in behind],
        stations_ahead=ahead,
        stations_unordered=unordered,
        difference_count=len(differences),
        differences=differences[:LISTED],
    )


def _differences(store: str, against: str, sides: Sides) -> list[Difference]:
    return [
        Difference(store, against, station_id, _hour(at_ms), expected, found)
        for (station_id, at_ms), expected, found in disagreements(sides)
    ]


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
    days = (ends["at"].to_numpy() // DAY_MS).astype("datetime64[D]").astype(object)
    rows = [(day, partition, offset) for day, (partition, offset) in zip(days, places(ends), strict=True)]
    seen = [offset < loaded.get(day, {}).get(partition, 0) for day, partition, offset in rows]
    behind = sorted({day for (day, _, _), was_seen in zip(rows, seen, strict=True) if not was_seen})
    last = (datetime.now(UTC) - LOAD_GRACE).date()
    due = [
        was or (day <= last and offset < overdue.get(partition, 0))
        for (day, partition, offset), was in zip(rows, seen, strict=True)
    ]
    counted = one_row_per_session(where(ends, due))
    return counted.set_column(counted.schema.get_field_index("key"), "key", counted["session_id"]), behind
