"""Proves that nothing was lost and nothing counted twice: compares every store at one cut, the lake's ledger.

Each store is reduced to figures per station and UTC hour: events, finished sessions, their energy, and an order-free hash
of the rows (the sum of 64-bit xxHash values, so that row order and duplicates removed on the way do not matter). Neighbours
on the way of the data are compared: producers' own ledger files -> Kafka -> lake -> ClickHouse, Elasticsearch, Cassandra.

The cut: rows whose offset lies below the ledger on main. What Kafka's retention has removed is compared between the
producers' ledgers and the lake directly. ClickHouse is compared, day by day, at the ledger of the commit
that `loaded_day` says the day was loaded from, so that a load that is about to run is no difference. What has been on main
for longer than LOAD_GRACE must be loaded.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from datetime import UTC, date, datetime, timedelta
from typing import Any

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.compute as pc
import xxhash

from evcharge.audit.live_stores import Held, Sides, disagreements, final_hours, station_documents, total
from evcharge.clock import DAY_MS, HOUR_MS
from evcharge.connections import clickhouse, clickhouse_errors
from evcharge.contracts import SESSION_EVENTS
from evcharge.feeds.sent_ledger import read_sent
from evcharge.kafka_log import log_records
from evcharge.lake.layout import raw_prefix
from evcharge.lake.ledger import read_ledger
from evcharge.lake.repository import Repository
from evcharge.lake.rows import archive_dataset
from evcharge.settings import Settings
from evcharge.warehouse.tables import FACT

TOPIC = SESSION_EVENTS.topic

#: The sensor looks every 15 s and a load takes seconds, after a failure minutes: later than this, it is missing.
LOAD_GRACE = timedelta(minutes=15)

#: At most this many differences are listed; all are counted.
LISTED = 100


@dataclass(frozen=True, slots=True)
class Figures:
    """What a store holds of one station and hour, or altogether. Energy is that of finished sessions.

    Of Elasticsearch, `events` are documents, sessions those that run, energy that of the hours that documents keep; of
    Cassandra, `events` are final hours, sessions and energy what was begun and delivered in them.
    """

    events: int
    sessions: int
    energy_wh: int
    hash: str


@dataclass(frozen=True, slots=True)
class Difference:
    """`store` disagrees with `against`, the store before it on the way of the data."""

    store: str
    against: str
    station_id: str
    hour: str
    expected: Figures | None
    found: Figures | None


@dataclass
class Reconciliation:
    """The verdict: `equal` is true if every store agrees; `empty` if there was nothing to compare."""

    equal: bool
    empty: bool
    cut: dict[str, int]
    stores: dict[str, Figures]
    quarantined: int
    days_behind: list[str]
    stations_ahead: int = 0
    difference_count: int = 0
    differences: list[Difference] = field(default_factory=list)

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True, slots=True)
class _Rows:
    """Rows of a store: station_id, at (ms since the epoch), key (hashed), session (bool), energy_wh; partition, offset."""

    table: pa.Table

    def where(self, mask: pa.ChunkedArray | list[bool]) -> _Rows:
        # typed, because an empty list has no type of its own
        return _Rows(self.table.filter(pa.array(mask, pa.bool_()) if isinstance(mask, list) else mask))


def reconcile(settings: Settings, on_step: Callable[[str], None] = lambda step: None) -> Reconciliation:
    """Compares the stores. Raises ServerDownError."""
    repository = Repository(settings)
    head = repository.head().id
    cut = read_ledger(repository, TOPIC, head).offsets
    on_step("lake")
    events, quarantined = _lake_events(repository, head)
    lake = _rows(events)
    on_step("producers' ledgers")
    sent = _without(_below(_producer_rows(settings), cut), quarantined)
    on_step("Kafka")
    kafka, log_start = _kafka_rows(settings, cut, quarantined)
    on_step("ClickHouse")
    with clickhouse_errors(settings):
        facts = _fact_rows(settings)
        loaded = _loaded_cuts(settings, repository)
    finished = lake.where(lake.table["session"])
    overdue = _overdue_cut(repository, head)
    at_load, behind = _at_load(finished, loaded, overdue)

    # Somebody else's producer keeps no ledger of ours: only stations that a ledger names can be compared with one.
    def ledgered(rows: _Rows) -> _Rows:
        return rows.where(pc.is_in(rows.table["station_id"], value_set=pc.unique(sent.table["station_id"])))

    # An event that was sent again is known by its first record: once that has left the log, by the later one there.
    sent_before = _below(sent, log_start)
    still_in_log = kafka.where(pc.invert(pc.is_in(kafka.table["key"], value_set=sent_before.table["key"])))
    pairs = (
        ("kafka", "producers", ledgered(still_in_log), _from(sent, log_start)),
        ("lake", "producers", ledgered(_below(lake, log_start)), sent_before),
        ("lake", "kafka", _rows(_from(_Rows(events), log_start).table), kafka),
        ("clickhouse", "lake", facts, at_load),
    )
    differences = [d for store, against, found, expected in pairs for d in _compare(store, against, expected, found)]
    stores = {"producers": sent, "kafka": kafka, "lake": lake, "clickhouse": facts}
    totals = {name: _total(rows) for name, rows in stores.items()}
    ahead = 0
    if settings.profile == "full":
        on_step("Elasticsearch")
        documents = station_documents(settings, repository, head, overdue)
        on_step("Cassandra")
        live = {
            "elasticsearch": documents,
            "cassandra": final_hours(settings, repository, datetime.now(UTC) - LOAD_GRACE),
        }
        ahead = documents.ahead
        for store, sides in live.items():
            totals[store] = Figures(*total(sides.found))
            differences += _live_differences(store, sides)
    return Reconciliation(
        equal=not differences,
        empty=all(rows.table.num_rows == 0 for rows in stores.values()),
        cut={str(p): o for p, o in sorted(cut.items())},
        stores=totals,
        quarantined=len(quarantined),
        days_behind=[d.isoformat() for d in behind],
        stations_ahead=ahead,
        difference_count=len(differences),
        differences=differences[:LISTED],
    )


_COLUMNS = pa.schema(
    [
        ("station_id", pa.string()),
        ("at", pa.int64()),
        ("key", pa.string()),
        ("session", pa.bool_()),
        ("energy_wh", pa.int64()),
        ("partition", pa.int64()),
        ("offset", pa.int64()),
    ]
)


def _rows(events: pa.Table) -> _Rows:
    """From columns station_id, event_id, event_type, occurred_at, energy_wh, partition, offset: one row per event_id."""
    order = [("event_id", "ascending"), ("partition", "ascending"), ("offset", "ascending")]
    events = events.sort_by(order)
    ids = events["event_id"].to_numpy(zero_copy_only=False)
    first = np.ones(len(ids), dtype=bool)
    first[1:] = ids[1:] != ids[:-1]
    events = events.filter(pa.array(first))
    columns = [
        events["station_id"],
        events["occurred_at"].cast(pa.timestamp("ms", "UTC"), safe=False).cast(pa.int64()),
        events["event_id"],
        pc.equal(events["event_type"], "stopped"),
        pc.fill_null(events["energy_wh"], 0),
        events["partition"].cast(pa.int64()),
        events["offset"].cast(pa.int64()),
    ]
    return _Rows(pa.table(columns, schema=_COLUMNS))


def _producer_rows(settings: Settings) -> _Rows:
    return _rows(read_sent(settings, topic=TOPIC))


def _kafka_rows(
    settings: Settings, cut: dict[int, int], quarantined: set[tuple[int, int]]
) -> tuple[_Rows, dict[int, int]]:
    """The log from its start to the cut, without the records that the lake holds in quarantine; and where it starts."""
    with log_records(settings, TOPIC, cut) as (log_start, records):
        found = [_event(record) for record in records if (record.partition, record.offset) not in quarantined]
    return _rows(pa.Table.from_pylist(found, _EVENTS)), log_start


_EVENTS = pa.schema(
    [
        ("station_id", pa.string()),
        ("event_id", pa.string()),
        ("event_type", pa.string()),
        ("occurred_at", pa.timestamp("us", "UTC")),
        ("energy_wh", pa.int64()),
        ("partition", pa.int64()),
        ("offset", pa.int64()),
    ]
)


def _event(record: Any) -> dict[str, Any]:
    """A Kafka record as `_rows` wants it."""
    event: dict[str, Any] = {"partition": record.partition, "offset": record.offset}
    try:
        message = _message(record.value)
        energy_kwh, at = message.get("energy_delivered_kwh"), message["occurred_at"]
        return event | {
            "station_id": str(message["station_id"]),
            "event_id": message["event_id"],
            "event_type": message["event_type"],
            # a number is seconds since 1970, as Spark reads it
            "occurred_at": datetime.fromtimestamp(at, UTC) if isinstance(at, int) else datetime.fromisoformat(at),
            "energy_wh": None if energy_kwh is None else round(energy_kwh * 1000),
        }
    except (ValueError, TypeError, KeyError, AttributeError):
        # What can not be read belongs in quarantine and is not there: a difference at its key, in the hour it was sent.
        return event | {
            "station_id": (record.key or b"").decode(errors="replace"),
            "event_id": f"unreadable record {record.partition}-{record.offset}",
            "event_type": "",
            "occurred_at": datetime.fromtimestamp(record.timestamp / 1000, UTC),
        }


def _message(value: bytes) -> Any:
    try:
        return orjson.loads(value)
    except orjson.JSONDecodeError:
        # half a surrogate pair is JSON to Spark and to the standard library
        return json.loads(value)


def _lake_events(repository: Repository, commit: str) -> tuple[pa.Table, set[tuple[int, int]]]:
    """Raw rows at a commit, re-sent ones too, as `_rows` wants them; (partition, offset) of the quarantined records."""

    def read(prefix: str, columns: list[str]) -> pa.Table:
        files = archive_dataset(repository, commit, [prefix])
        if files is None:
            return pa.table({name: pa.array([], pa.string()) for name in columns})
        return files.to_table(columns=columns)

    raw = read(
        raw_prefix(TOPIC),
        [
            *("station_id", "event_id", "event_type", "occurred_at", "energy_delivered_kwh"),
            *("kafka_partition", "kafka_offset"),
        ],
    )
    energy_wh = pc.round(pc.multiply(raw["energy_delivered_kwh"].cast(pa.float64()), 1000.0)).cast(pa.int64())
    raw = raw.append_column("energy_wh", energy_wh)
    raw = raw.rename_columns({"kafka_partition": "partition", "kafka_offset": "offset"})
    bad = read(f"quarantine/{TOPIC}/", ["kafka_partition", "kafka_offset"])
    quarantined = set(zip(bad["kafka_partition"].to_pylist(), bad["kafka_offset"].to_pylist(), strict=True))
    return raw, quarantined


def _fact_rows(settings: Settings) -> _Rows:
    columns = clickhouse(settings).execute(
        "SELECT station_id, toUnixTimestamp64Milli(ended_at), session_id, toInt64(energy_delivered_kwh * 1000) "
        f"FROM {FACT}",
        columnar=True,
    )
    stations, ended, sessions, energies = columns or ([], [], [], [])
    size = len(sessions)
    nowhere = pa.array([-1] * size, pa.int64())
    return _Rows(
        pa.table(
            [
                pa.array(stations, pa.string()),
                pa.array(ended, pa.int64()),
                pa.array(sessions, pa.string()),
                pa.array([True] * size, pa.bool_()),
                pa.array(energies, pa.int64()),
                nowhere,
                nowhere,
            ],
            schema=_COLUMNS,
        )
    )


def _loaded_cuts(settings: Settings, repository: Repository) -> dict[date, dict[int, int]]:
    """Per loaded day the ledger's offsets at the commit that it was loaded from."""
    rows = clickhouse(settings).execute(
        "SELECT date, lake_commit FROM loaded_day FINAL WHERE table_name = %(table)s", {"table": FACT}
    )
    ledgers = {commit: read_ledger(repository, TOPIC, commit).offsets for commit in {commit for _, commit in rows}}
    return {day: ledgers[commit] for day, commit in rows}


def _overdue_cut(repository: Repository, head: str) -> dict[int, int]:
    """The ledger's offsets as they were LOAD_GRACE ago: what lies below them must be loaded."""
    latest = datetime.now(UTC) - LOAD_GRACE
    commit = next((commit for commit in repository.log(head) if commit.created_at <= latest), None)
    return read_ledger(repository, TOPIC, commit.id).offsets if commit else {}


def _at_load(finished: _Rows, loaded: dict[date, dict[int, int]], overdue: dict[int, int]) -> tuple[_Rows, list[date]]:
    """The lake's finished sessions that the facts should have, keyed like them, and the days that are behind.

    They should have what each day's load saw, and what is overdue.
    """
    table = finished.table
    days = (table["at"].to_numpy() // DAY_MS).astype("datetime64[D]").astype(object)
    partitions, offsets = table["partition"].to_pylist(), table["offset"].to_pylist()
    places = list(zip(days, partitions, offsets, strict=True))
    seen = [offset < loaded.get(day, {}).get(partition, 0) for day, partition, offset in places]
    behind = sorted({place[0] for place, was_seen in zip(places, seen, strict=True) if not was_seen})
    seen = [was or place[2] < overdue.get(place[1], 0) for place, was in zip(places, seen, strict=True)]
    sessions = pc.replace_substring_regex(table["key"], r"-\d+$", "")
    keyed = table.set_column(table.schema.get_field_index("key"), "key", sessions)
    return _Rows(keyed).where(seen), behind


def _below(rows: _Rows, cut: dict[int, int]) -> _Rows:
    partitions, offsets = rows.table["partition"].to_pylist(), rows.table["offset"].to_pylist()
    return rows.where([o < cut.get(p, 0) for p, o in zip(partitions, offsets, strict=True)])


def _from(rows: _Rows, start: dict[int, int]) -> _Rows:
    partitions, offsets = rows.table["partition"].to_pylist(), rows.table["offset"].to_pylist()
    return rows.where([o >= start.get(p, 0) for p, o in zip(partitions, offsets, strict=True)])


def _without(rows: _Rows, quarantined: set[tuple[int, int]]) -> _Rows:
    places = zip(rows.table["partition"].to_pylist(), rows.table["offset"].to_pylist(), strict=True)
    return rows.where([place not in quarantined for place in places])


def _by_station_hour(rows: _Rows) -> dict[tuple[str, int], Figures]:
    table = rows.table
    if table.num_rows == 0:
        return {}
    hours = pa.array(table["at"].to_numpy() // HOUR_MS)
    table = table.append_column("hour", hours).sort_by([("station_id", "ascending"), ("hour", "ascending")])
    stations, hour = table["station_id"].to_numpy(zero_copy_only=False), table["hour"].to_numpy()
    starts = np.flatnonzero(np.r_[True, (stations[1:] != stations[:-1]) | (hour[1:] != hour[:-1])])
    session = table["session"].to_numpy(zero_copy_only=False)
    energy = np.where(session, table["energy_wh"].to_numpy(), 0)
    hashes = _hashes(table)
    ends = np.r_[starts[1:], len(hour)]
    sums = [np.add.reduceat(values, starts) for values in (session.astype(np.int64), energy, hashes)]
    return {
        (stations[start], int(hour[start])): Figures(int(end - start), int(n), int(wh), f"{int(total):016x}")
        for start, end, n, wh, total in zip(starts, ends, *sums, strict=True)
    }


def _hashes(table: pa.Table) -> np.ndarray:
    keys, at, energy = (table[name].to_pylist() for name in ("key", "at", "energy_wh"))
    return np.fromiter(
        (xxhash.xxh3_64_intdigest(f"{k}|{t}|{e}".encode()) for k, t, e in zip(keys, at, energy, strict=True)),
        dtype=np.uint64,
        count=len(keys),
    )


def _total(rows: _Rows) -> Figures:
    table = rows.table
    finished = table.filter(table["session"])
    total = int(np.add.reduce(_hashes(table))) if table.num_rows else 0
    return Figures(table.num_rows, finished.num_rows, pc.sum(finished["energy_wh"]).as_py() or 0, f"{total:016x}")


def _live_differences(store: str, sides: Sides) -> list[Difference]:
    def figures(held: Held | None) -> Figures | None:
        return None if held is None else Figures(1, held.sessions, held.energy_wh, held.hash)

    return [
        Difference(store, "lake", station_id, _hour(at), figures(expected), figures(found))
        for (station_id, at), expected, found in disagreements(sides)
    ]


def _hour(at_ms: int) -> str:
    return datetime.fromtimestamp(at_ms / 1000, UTC).strftime("%Y-%m-%dT%H:00Z")


def _compare(store: str, against: str, expected: _Rows, found: _Rows) -> list[Difference]:
    wanted, got = _by_station_hour(expected), _by_station_hour(found)
    return [
        Difference(
            store,
            against,
            station_id,
            _hour(hour * HOUR_MS),
            wanted.get((station_id, hour)),
            got.get((station_id, hour)),
        )
        for station_id, hour in sorted(wanted.keys() | got.keys())
        if wanted.get((station_id, hour)) != got.get((station_id, hour))
    ]
