"""Folds the lake's rows into what the live stores should hold: every station document, and every final hour.

A document names the offsets that it contains, and is compared with the lake's rows below them. Two kinds of stations are left
out: those whose document is ahead of the lake's ledger, because the lake does not have their rows yet; and those with events
in quarantine that came before the station was registered.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping
from datetime import UTC, date, datetime, timedelta
from typing import Any

import orjson
import pyarrow as pa
import pyarrow.dataset as ds
import xxhash

from evcharge.audit.figures import Figures, Sides, StationHour
from evcharge.clock import HOUR_MS, day_start, day_to_ms, hour_start
from evcharge.connections import cassandra, elasticsearch, elasticsearch_errors
from evcharge.contracts import CONTRACTS, SESSION_EVENTS, STATION_REGISTRY, FieldType
from evcharge.lake.layout import raw_schema
from evcharge.lake.ledger import read_ledger
from evcharge.lake.repository import Repository
from evcharge.lake.rows import archive_dataset, raw_prefixes
from evcharge.live.final_usage import folded
from evcharge.live.hour_rows import needed_rows
from evcharge.live.indices import documents
from evcharge.live.pending_hours import ComputedDay, computed_days
from evcharge.live.rebuild import TOPICS
from evcharge.live.station_folder import fold
from evcharge.live.station_state import StationState
from evcharge.live.usage import Hour
from evcharge.live.usage_tables import FINAL
from evcharge.settings import Settings

#: What the running day's rows touch is computed once an hour, so days that are over may lack the rows of an hour.
HOURS_GRACE = timedelta(hours=1)

#: For each partition, the offset after the last row to compare.
Cut = Mapping[int, int]


def station_documents(
    settings: Settings, repository: Repository, commit: str, overdue: Cut, left_out: Collection[str] = ()
) -> Sides:
    """The documents of Elasticsearch against the lake at `commit`. Raises ServerDownError.

    Session events below `overdue` must be in a document, whatever offsets the document names. Stations in `left_out` are not
    compared: the stream may have read events of theirs that the lake never got.
    """
    ledgers = {topic: read_ledger(repository, topic, commit).offsets for topic in TOPICS}
    rows = {topic: _by_station(_rows(repository, commit, topic)) for topic in TOPICS}
    unregistered = _quarantined_stations(repository, commit).union(left_out)
    with elasticsearch_errors(settings), elasticsearch(settings) as client:
        found = {d["station_id"]: d for d in documents(client, {"match_all": {}}, ["*"])}
    found_here: dict[StationHour, Figures] = {}
    expected_here: dict[StationHour, Figures] = {}
    ahead = unordered = 0
    for station_id in sorted(rows[STATION_REGISTRY.topic].keys() | found.keys()):
        document = found.get(station_id)
        if station_id in unregistered or (document is not None and document["observed_at"] is None):
            continue
        # a producer that gave the records other keys, or a topic that got more partitions
        if len({row["kafka_partition"] for row in rows[SESSION_EVENTS.topic].get(station_id, ())}) > 1:
            unordered += 1
            continue
        applied = document["applied"] if document else {}
        if _is_ahead(applied, ledgers):
            ahead += 1
            continue
        state = StationState(station_id)
        for topic in TOPICS:
            applied_rows = [
                row
                for row in rows[topic].get(station_id, ())
                if row["kafka_offset"] < _limit(applied, topic, row["kafka_partition"], overdue)
            ]
            fold(state, topic, applied_rows)
        key = station_id, hour_start(state.last_event_at)
        if state.applied:
            expected_here[key] = _document_figures(state.document())
        if document is not None:
            at = StationState.from_document(document).last_event_at
            found_here[station_id, hour_start(at)] = _document_figures(document)
    return Sides(found_here, expected_here, ahead, unordered)


def final_hours(settings: Settings, repository: Repository, loading_since: datetime) -> Sides:
    """The final hours of Cassandra against the lake.

    Days that are over should have what was on main HOURS_GRACE before `loading_since`. The running day, and days that were
    computed since, are compared at the commit that they were computed from.

    A day is marked after its rows are written. A day is being loaded, and left out, if a row written after `loading_since`
    has another commit than the day's mark. Raises ServerDownError.
    """
    computed = computed_days(settings)
    found: dict[StationHour, Figures] = {}
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
            found[row.station_id, start] = _hour_figures(Hour(*values))
    due, later = _commit_at(repository, loading_since - HOURS_GRACE)
    expected: dict[StationHour, Figures] = {}
    by_commit: dict[str, list[date]] = defaultdict(list)
    for day, mark in computed.items():
        is_due = mark.lake_commit not in later and day < loading_since.date()
        by_commit[due if due and is_due else mark.lake_commit].append(day)
    for commit, days in by_commit.items():
        expected |= _expected_hours(repository, commit, {day: computed[day] for day in days})
    return Sides(_without_days(found, loading), _without_days(expected, loading))


def _commit_at(repository: Repository, at: datetime) -> tuple[str | None, set[str]]:
    """Main's head as of an instant, None if main is younger, and the commits after it."""
    later: set[str] = set()
    for commit in repository.log():
        if commit.created_at <= at:
            return commit.id, later
        later.add(commit.id)
    return None, later


def _without_days(hours: dict[StationHour, Figures], days: set[date]) -> dict[StationHour, Figures]:
    starts = {day_to_ms(day) for day in days}
    return {key: figures for key, figures in hours.items() if day_start(key[1]) not in starts}


def _expected_hours(repository: Repository, commit: str, days: dict[date, ComputedDay]) -> dict[StationHour, Figures]:
    needed = needed_rows(repository, commit, days)
    rows = _rows(repository, commit, SESSION_EVENTS.topic, needed.days)
    far = _rows(repository, commit, SESSION_EVENTS.topic, needed.far_days)
    rows += [row for row in far if (row["station_id"], row["session_id"]) in needed.sessions]
    first: dict[tuple[str, str], dict[str, Any]] = {}
    for row in sorted(rows, key=_log_order):
        first.setdefault((row["station_id"], row["event_id"]), row)
    ordered = sorted(first.values(), key=lambda r: (r["station_id"], r["occurred_at"], r["session_id"], r["sequence"]))
    ends = {day_to_ms(day): int(mark.hours_to.timestamp() * 1000) for day, mark in days.items()}
    return {
        (state.station_id, start): _hour_figures(hour)
        for state in folded(ordered)
        for start, hour in state.usage.hours.items()
        if start < ends.get(day_start(start), 0)
    }


def _rows(repository: Repository, commit: str, topic: str, days: Iterable[str] | None = None) -> list[dict[str, Any]]:
    """Raw rows at a commit as the folds read them, with times in ms since the epoch."""
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


def _log_order(row: Mapping[str, Any]) -> tuple[int, int, int]:
    return row["topic_generation"], row["kafka_partition"], row["kafka_offset"]


def _by_station(rows: Iterable[dict[str, Any]]) -> dict[str, list[dict[str, Any]]]:
    """Rows by station in the order of their offsets, without `topic_generation`, which a fold does not know."""
    found: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for row in sorted(rows, key=_log_order):
        del row["topic_generation"]
        found[row["station_id"]].append(row)
    return found


def _quarantined_stations(repository: Repository, commit: str) -> set[str]:
    """Stations that have events from before they were registered."""
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


def _document_figures(document: Mapping[str, Any]) -> Figures:
    """Figures of a document, but for the instant of its writing: a rebuild changes nothing else."""
    content = {name: value for name, value in document.items() if name != "applied_at"}
    digest = xxhash.xxh3_64_hexdigest(orjson.dumps(content, option=orjson.OPT_SORT_KEYS))
    energy_wh = sum(values[1] for values in document["hours"].values())
    return Figures(1, len(document["sessions"]), energy_wh, digest)


def _hour_figures(hour: Hour) -> Figures:
    return Figures(1, hour.sessions, hour.energy_wh, xxhash.xxh3_64_hexdigest(orjson.dumps(hour.values())))
