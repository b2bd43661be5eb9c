"""Compares the live stores with what the lake's rows fold to: every station document, and every final hour.

A document is compared at the offsets that are in it: with the lake's rows below them. One that is ahead of the lake's
ledger is left out, since the lake can not tell yet; so is a station of which the lake holds events in quarantine because it
was not registered when they came.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import Any

import orjson
import pyarrow as pa
import pyarrow.dataset as ds
import xxhash

from evcharge.clock import HOUR_MS, day_start, day_to_ms, hour_start
from evcharge.connections import cassandra, elasticsearch, elasticsearch_errors
from evcharge.contracts import CONTRACTS, SESSION_EVENTS, STATION_REGISTRY, FieldType
from evcharge.lake.layout import raw_schema
from evcharge.lake.ledger import read_ledger
from evcharge.lake.repository import Repository
from evcharge.lake.rows import archive_dataset, raw_prefixes
from evcharge.live.final_usage import days_to_read, folded
from evcharge.live.hours import FINAL
from evcharge.live.indices import documents
from evcharge.live.pending_hours import ComputedDay, computed_days
from evcharge.live.rebuild import TOPICS
from evcharge.live.station_folder import fold
from evcharge.live.station_state import StationState
from evcharge.live.usage import Hour
from evcharge.settings import Settings

#: Per partition the offset after the last row to compare.
Cut = Mapping[int, int]


@dataclass(frozen=True, slots=True)
class Held:
    """What a store has of a station, or of a station's hour (`at` ms since the epoch), reduced to figures."""

    sessions: int
    energy_wh: int
    hash: str


@dataclass(frozen=True, slots=True)
class Sides:
    """What a live store holds and what the lake's rows say it should, by station and hour; documents left out as ahead."""

    found: dict[tuple[str, int], Held]
    expected: dict[tuple[str, int], Held]
    ahead: int = 0


def station_documents(settings: Settings, repository: Repository, commit: str, overdue: Cut) -> Sides:
    """The documents of Elasticsearch against the lake at `commit`. Raises ServerDownError.

    Session events below `overdue` must be in a document, whatever it says of itself.
    """
    ledgers = {topic: read_ledger(repository, topic, commit).offsets for topic in TOPICS}
    rows = {topic: _by_station(_rows(repository, commit, topic)) for topic in TOPICS}
    unregistered = _quarantined_stations(repository, commit)
    with elasticsearch_errors(settings), elasticsearch(settings) as client:
        found = {d["station_id"]: d for d in documents(client, {"match_all": {}}, ["*"])}
    found_here: dict[tuple[str, int], Held] = {}
    expected_here: dict[tuple[str, int], Held] = {}
    ahead = 0
    for station_id in sorted(rows[STATION_REGISTRY.topic].keys() | found.keys()):
        document = found.get(station_id)
        if station_id in unregistered or (document is not None and document["observed_at"] is None):
            continue
        applied = document["applied"] if document else {}
        if _is_ahead(applied, ledgers):
            ahead += 1
            continue
        state = StationState(station_id)
        for topic in TOPICS:
            mine = [
                row
                for row in rows[topic].get(station_id, ())
                if row["kafka_offset"] < _limit(applied, topic, row["kafka_partition"], overdue)
            ]
            fold(state, topic, mine)
        key = station_id, hour_start(state.last_event_at)
        if state.applied:
            expected_here[key] = _held(state.document())
        if document is not None:
            at = StationState.from_document(document).last_event_at
            found_here[station_id, hour_start(at)] = _held(document)
    return Sides(found_here, expected_here, ahead)


def final_hours(settings: Settings, repository: Repository, loading_since: datetime) -> Sides:
    """The final hours of Cassandra against the lake, each day at the commit that it was computed from.

    A day is marked after its rows: one with rows of another commit than its mark's, written after `loading_since`, is being
    loaded and left out.
    """
    computed = computed_days(settings)
    found: dict[tuple[str, int], Held] = {}
    loading: set[date] = set()
    with cassandra(settings) as session:
        session.default_fetch_size = 2_000
        for row in session.execute(f"SELECT * FROM {settings.cassandra_keyspace}.{FINAL}", timeout=120):
            mark = computed.get(row.day.date())
            if (mark is None or mark.lake_commit != row.lake_commit) and row.written_at.replace(
                tzinfo=UTC
            ) > loading_since:
                loading.add(row.day.date())
            start = day_to_ms(row.day.date()) + row.hour * HOUR_MS
            values = [row.sessions, row.energy_wh, row.occupied_ms, row.peak_occupancy, row.waits, row.faults]
            found[row.station_id, start] = _held_hour(Hour(*values))
    expected: dict[tuple[str, int], Held] = {}
    by_commit: dict[str, list[date]] = defaultdict(list)
    for day, mark in computed.items():
        by_commit[mark.lake_commit].append(day)
    for commit, days in by_commit.items():
        expected |= _expected_hours(repository, commit, {day: computed[day] for day in days})
    return Sides(_but_for(loading, found), _but_for(loading, expected))


def _but_for(days: set[date], hours: dict[tuple[str, int], Held]) -> dict[tuple[str, int], Held]:
    starts = {day_to_ms(day) for day in days}
    return {key: held for key, held in hours.items() if day_start(key[1]) not in starts}


def _expected_hours(repository: Repository, commit: str, days: dict[date, ComputedDay]) -> dict[tuple[str, int], Held]:
    rows = _rows(repository, commit, SESSION_EVENTS.topic, days_to_read(days))
    first: dict[str, dict[str, Any]] = {}
    for row in sorted(rows, key=lambda r: (r["topic_generation"], r["kafka_partition"], r["kafka_offset"])):
        first.setdefault(row["event_id"], row)
    ordered = sorted(first.values(), key=lambda r: (r["station_id"], r["occurred_at"], r["session_id"], r["sequence"]))
    ends = {day_to_ms(day): int(mark.hours_to.timestamp() * 1000) for day, mark in days.items()}
    return {
        (state.station_id, start): _held_hour(hour)
        for state in folded(ordered)
        for start, hour in state.usage.hours.items()
        if start < ends.get(day_start(start), 0)
    }


def _rows(repository: Repository, commit: str, topic: str, days: Iterable[str] | None = None) -> list[dict[str, Any]]:
    """Raw rows at a commit as the folds take them: times as ms."""
    contract = CONTRACTS[topic]
    files = archive_dataset(repository, commit, raw_prefixes(topic, days), raw_schema(contract))
    if files is None:
        return []
    table = files.to_table(columns=[*contract.columns, "topic_generation", "kafka_partition", "kafka_offset"])
    for index, field in enumerate(contract.fields):
        if field.type is FieldType.TIMESTAMP:
            at = table[field.name].cast(pa.timestamp("ms", "UTC"), safe=False).cast(pa.int64())
            table = table.set_column(index, field.name, at)
    rows: list[dict[str, Any]] = table.to_pylist()
    return rows


def _by_station(rows: Iterable[dict[str, Any]]) -> dict[str, list[dict[str, Any]]]:
    """Rows by station in the order of their offsets, without the archive's columns that a fold does not know."""
    found: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for row in sorted(rows, key=lambda r: (r["topic_generation"], r["kafka_partition"], r["kafka_offset"])):
        del row["topic_generation"]
        found[row["station_id"]].append(row)
    return found


def _quarantined_stations(repository: Repository, commit: str) -> set[str]:
    """Stations that were not registered when some of their events came."""
    files = archive_dataset(repository, commit, [f"quarantine/{SESSION_EVENTS.topic}/"])
    if files is None:
        return set()
    unknown = files.to_table(columns=["kafka_key"], filter=ds.field("rule_code") == "UNKNOWN_STATION")
    return {key.decode(errors="replace") for key in unknown["kafka_key"].to_pylist() if key}


def _is_ahead(applied: Mapping[str, Mapping[str, int]], ledgers: Mapping[str, Cut]) -> bool:
    return any(
        offset > ledgers.get(topic, {}).get(int(partition), 0)
        for topic, offsets in applied.items()
        for partition, offset in offsets.items()
    )


def _limit(applied: Mapping[str, Mapping[str, int]], topic: str, partition: int, overdue: Cut) -> int:
    own = applied.get(topic, {}).get(str(partition), 0)
    return max(own, overdue.get(partition, 0)) if topic == SESSION_EVENTS.topic else own


def _held(document: Mapping[str, Any]) -> Held:
    """A document without the instant of its writing, which is the one thing that a rebuild changes."""
    content = {name: value for name, value in document.items() if name != "applied_at"}
    digest = xxhash.xxh3_64_hexdigest(orjson.dumps(content, option=orjson.OPT_SORT_KEYS))
    energy_wh = sum(values[1] for values in document["hours"].values())
    return Held(len(document["sessions"]), energy_wh, digest)


def _held_hour(hour: Hour) -> Held:
    return Held(hour.sessions, hour.energy_wh, xxhash.xxh3_64_hexdigest(orjson.dumps(hour.values())))


def total(held: Mapping[tuple[str, int], Held]) -> tuple[int, int, int, str]:
    """How many, their sessions, their energy (Wh), and an order-free hash."""
    digest = sum(int(xxhash.xxh3_64_hexdigest(f"{key}|{h.hash}".encode()), 16) for key, h in held.items()) % 2**64
    return len(held), sum(h.sessions for h in held.values()), sum(h.energy_wh for h in held.values()), f"{digest:016x}"


def disagreements(sides: Sides) -> Iterator[tuple[tuple[str, int], Held | None, Held | None]]:
    """Station and hour, what is expected and what is found, where the two differ."""
    for key in sorted(sides.expected.keys() | sides.found.keys()):
        expected, found = sides.expected.get(key), sides.found.get(key)
        if expected != found:
            yield key, expected, found
