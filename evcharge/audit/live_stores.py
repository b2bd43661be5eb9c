"""Folds the lake's rows into what the live stores should hold: every station document, and every final hour.

A document names the offsets that it contains, and is compared with the lake's rows below them. Two kinds of stations are left
out: those whose document is ahead of the lake's ledger, because the lake does not have their rows yet; and those with events
in quarantine that came before the station was registered.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping
from datetime import UTC, date, datetime, timedelta
from itertools import groupby
from operator import itemgetter
from typing import TYPE_CHECKING, Any

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds
import xxhash

from evcharge.audit.figures import Figures, Sides, StationHour, merged
from evcharge.clock import HOUR_MS, day_start, day_to_ms, hour_start
from evcharge.connections import cassandra, elasticsearch, elasticsearch_errors
from evcharge.contracts import CONTRACTS, SESSION_EVENTS, STATION_REGISTRY, FieldType
from evcharge.gathering import scanned
from evcharge.lake.ledger import read_ledger
from evcharge.lake.repository import Repository
from evcharge.lake.rows import archive_dataset, raw_prefixes
from evcharge.lake.schemas import raw_schema
from evcharge.live.final_usage import folded
from evcharge.live.hour_rows import needed_rows
from evcharge.live.indices import documents
from evcharge.live.pending_hours import ComputedDay, computed_days
from evcharge.live.rebuild import TOPICS
from evcharge.live.station_folder import fold
from evcharge.live.station_state import EVENT_FIELDS, StationState
from evcharge.live.usage import Hour
from evcharge.live.usage_tables import FINAL
from evcharge.live.worker import records_of, times_in_ms
from evcharge.passes import StationRows, of_stations, passes
from evcharge.settings import Settings

if TYPE_CHECKING:
    from cassandra.cluster import Session

#: What the running day's rows touch is computed once an hour, so days that are over may lack the rows of an hour.
HOURS_GRACE = timedelta(hours=1)

#: For each partition, the offset after the last row to compare.
Cut = Mapping[int, int]


_LOG_ORDER = ("topic_generation", "kafka_partition", "kafka_offset")

_DOCUMENTS = pa.schema([("station_id", pa.string()), ("document", pa.binary())])

_HOURS = ("sessions", "energy_wh", "occupied_ms", "peak_occupancy", "waits", "faults")
#: Final hours as Cassandra has them. `start` is in ms since the epoch.
_FINAL_HOURS = pa.schema([("station_id", pa.string()), ("start", pa.int64()), *((name, pa.int64()) for name in _HOURS)])
#: Rows that are Python objects at once, some 2 kB each.
_OBJECTS = 5_000


def station_documents(
    settings: Settings, repository: Repository, commit: str, overdue: Cut, left_out: Collection[str] = ()
) -> Sides:
    """What `document_passes` finds, of all stations at once."""
    return merged(document_passes(settings, repository, commit, overdue, left_out))


def document_passes(
    settings: Settings,
    repository: Repository,
    commit: str,
    overdue: Cut,
    left_out: Collection[str] = (),
    sample: float | None = None,
) -> Iterator[Sides]:
    """The documents of Elasticsearch against the lake at `commit`, some stations at a time. Raises ServerDownError.

    Session events below `overdue` must be in a document, whatever offsets the document names. Stations in `left_out` are not
    compared: the stream may have read events of theirs that the lake never got. With `sample` only that share of the stations
    is.
    """
    ledgers = {topic: read_ledger(repository, topic, commit).offsets for topic in TOPICS}
    unregistered = _quarantined_stations(repository, commit).union(left_out)
    folder = settings.home
    with (
        StationRows(folder, _row_schema(STATION_REGISTRY.topic)) as registry,
        StationRows(folder, _row_schema(SESSION_EVENTS.topic)) as events,
        StationRows(folder, _DOCUMENTS) as found,
    ):
        for store, topic in ((registry, STATION_REGISTRY.topic), (events, SESSION_EVENTS.topic)):
            for rows in _rows(repository, commit, topic):
                store.add(of_stations(rows, sample))
        with elasticsearch_errors(settings), elasticsearch(settings) as client:
            texts = ((d["station_id"], orjson.dumps(d)) for d in documents(client, {"match_all": {}}, ["*"]))
            for page in _portions(texts):
                found.add(of_stations(pa.table(list(zip(*page, strict=True)), schema=_DOCUMENTS), sample))
        for records, own, texts in passes(registry, events, found):
            yield _compared_documents(records, own, texts, ledgers, overdue, unregistered)


def _compared_documents(
    registry: pa.Table,
    events: pa.Table,
    found: pa.Table,
    ledgers: Mapping[str, Cut],
    overdue: Cut,
    unregistered: Collection[str],
) -> Sides:
    """The documents of some stations against all their rows."""
    texts = dict(zip(*(found[name].to_pylist() for name in _DOCUMENTS.names), strict=True))
    records = {station_id: list(rows) for station_id, rows in _by_station(registry)}
    spread = _in_several_partitions(events)
    found_here: dict[StationHour, Figures] = {}
    expected_here: dict[StationHour, Figures] = {}
    ahead = unordered = 0
    known = texts.keys() | records.keys()
    for station_id, own in _of_all(known, _by_station(events)):
        document = orjson.loads(texts[station_id]) if station_id in texts else None
        if station_id in unregistered or (document is not None and document["observed_at"] is None):
            continue
        # a producer that gave the records other keys, or a topic that got more partitions
        if station_id in spread:
            unordered += 1
            continue
        applied = document["applied"] if document else {}
        if _is_ahead(applied, ledgers):
            ahead += 1
            continue
        state = StationState(station_id)
        rows = {STATION_REGISTRY.topic: records.get(station_id, ()), SESSION_EVENTS.topic: own}
        for topic in TOPICS:
            limits = _Limits(applied.get(topic, {}), overdue if topic == SESSION_EVENTS.topic else {})
            fold(state, topic, (row for row in rows[topic] if row["kafka_offset"] < limits[row["kafka_partition"]]))
        key = station_id, hour_start(state.last_event_at)
        if state.applied:
            expected_here[key] = _document_figures(state.document())
        if document is not None:
            at = StationState.from_document(document).last_event_at
            found_here[station_id, hour_start(at)] = _document_figures(document)
    return Sides(found_here, expected_here, ahead, unordered)


def final_hours(settings: Settings, repository: Repository, loading_since: datetime) -> Sides:
    """What `hour_passes` finds, of all stations at once."""
    return merged(hour_passes(settings, repository, loading_since))


def hour_passes(
    settings: Settings,
    repository: Repository,
    loading_since: datetime,
    *,
    since: date | None = None,
    sample: float | None = None,
) -> Iterator[Sides]:
    """The final hours of Cassandra against the lake, some stations at a time.

    Days that are over should have what was on main HOURS_GRACE before `loading_since`. The running day, and days that were
    computed since, are compared at the commit that they were computed from.

    A day is marked after its rows are written. A day is being loaded, and left out, if a row written after `loading_since`
    has another commit than the day's mark. Days before `since` are left out, and with `sample` only that share of the stations
    is compared. Raises ServerDownError.
    """
    computed = {day: mark for day, mark in computed_days(settings).items() if since is None or day >= since}
    folder = settings.home
    with StationRows(folder, _FINAL_HOURS) as found, StationRows(folder, _needed_schema()) as events:
        loading: set[date] = set()
        with cassandra(settings) as session:
            session.default_fetch_size = 2_000
            for page in _portions(_stored_hours(settings, session, since)):
                for row in page:
                    mark = computed.get(row.day.date())
                    if (mark is None or mark.lake_commit != row.lake_commit) and row.written_at.replace(
                        tzinfo=UTC
                    ) > loading_since:
                        loading.add(row.day.date())
                found.add(of_stations(_hour_table(page), sample))
        due, later = _commit_at(repository, loading_since - HOURS_GRACE)
        by_commit: dict[str, dict[date, ComputedDay]] = defaultdict(dict)
        for day, mark in computed.items():
            is_due = mark.lake_commit not in later and day < loading_since.date()
            by_commit[due if due and is_due else mark.lake_commit][day] = mark
        for commit, days in by_commit.items():
            for rows in _needed(repository, commit, days):
                rows = rows.append_column("commit", pa.repeat(commit, rows.num_rows))
                events.add(of_stations(rows, sample))
        for stored, rows in passes(found, events):
            columns = zip(*(column.to_pylist() for column in stored.columns), strict=True)
            here = {(station_id, start): _hour_figures(Hour(*values)) for station_id, start, *values in columns}
            expected: dict[StationHour, Figures] = {}
            for commit, days in by_commit.items():
                of_commit = rows.filter(pc.equal(rows["commit"], commit)).drop_columns("commit")
                expected |= _hours_of(of_commit, days)
            yield Sides(_without_days(here, loading), _without_days(expected, loading))


def _stored_hours(settings: Settings, session: Session, since: date | None) -> Iterable[Any]:
    """The rows of the final hours, of all days, or of those from `since` on, which an index finds."""
    table = f"{settings.cassandra_keyspace}.{FINAL}"
    if since is None:
        return session.execute(f"SELECT * FROM {table}", timeout=120)
    last = datetime.now(UTC).date() + timedelta(days=1)
    days = (since + timedelta(days=n) for n in range((last - since).days + 1))
    return (
        row for day in days for row in session.execute(f"SELECT * FROM {table} WHERE day = %s", (day,), timeout=120)
    )


def _hour_table(page: list[Any]) -> pa.Table:
    starts = [day_to_ms(row.day.date()) + row.hour * HOUR_MS for row in page]
    values = ([getattr(row, name) for row in page] for name in _HOURS)
    return pa.table([[row.station_id for row in page], starts, *values], schema=_FINAL_HOURS)


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
    """The hours of all stations at once."""
    needed = _needed(repository, commit, days)
    return _hours_of(pa.concat_tables([_row_schema(SESSION_EVENTS.topic).empty_table(), *needed]), days)


def _needed(repository: Repository, commit: str, days: Iterable[date]) -> Iterator[pa.Table]:
    """The session events at a commit that the hours of the days depend on."""
    needed = needed_rows(repository, commit, days)
    yield from _rows(repository, commit, SESSION_EVENTS.topic, needed.days)
    sessions = pa.array(sorted({session_id for _, session_id in needed.sessions}), pa.string())
    for rows in _rows(repository, commit, SESSION_EVENTS.topic, needed.far_days) if needed.sessions else ():
        # other stations may have sessions of these ids
        rows = rows.filter(pc.is_in(rows["session_id"], sessions))
        pairs = zip(rows["station_id"].to_pylist(), rows["session_id"].to_pylist(), strict=True)
        yield rows.filter(pa.array([pair in needed.sessions for pair in pairs], pa.bool_()))


def _hours_of(rows: pa.Table, days: Mapping[date, ComputedDay]) -> dict[StationHour, Figures]:
    """The hours of some stations, by all their rows that the days depend on. An event that was sent again counts once."""
    rows = _sorted(rows, "station_id", "event_id", *_LOG_ORDER)
    rows = rows.filter(pa.array(_begins(rows, "station_id", "event_id")))
    ordered = _sorted(rows, "station_id", "occurred_at", "session_id", "sequence", *_LOG_ORDER)
    ends = {day_to_ms(day): int(mark.hours_to.timestamp() * 1000) for day, mark in days.items()}
    return {
        (state.station_id, start): _hour_figures(hour)
        for state in folded(_records(ordered))
        for start, hour in state.usage.hours.items()
        if start < ends.get(day_start(start), 0)
    }


def _row_schema(topic: str) -> pa.Schema:
    """What `_rows` yields: what a fold reads of a row, with times in ms since the epoch, and the record's place in Kafka."""
    contract = CONTRACTS[topic]
    columns = ("event_id", *EVENT_FIELDS) if contract is SESSION_EVENTS else contract.columns
    times = {field.name for field in contract.fields if field.type is FieldType.TIMESTAMP}
    return pa.schema(
        pa.field(field.name, pa.int64() if field.name in times else field.type)
        for field in raw_schema(contract)
        if field.name in (*columns, *_LOG_ORDER)
    )


def _needed_schema() -> pa.Schema:
    return _row_schema(SESSION_EVENTS.topic).append(pa.field("commit", pa.string()))


def _rows(repository: Repository, commit: str, topic: str, days: Iterable[str] | None = None) -> Iterator[pa.Table]:
    """Raw rows at a commit as the folds read them, in the columns of `_row_schema`."""
    contract, schema = CONTRACTS[topic], _row_schema(topic)
    files = archive_dataset(repository, commit, raw_prefixes(topic, days), raw_schema(contract))
    if files is None:
        return
    for batch in scanned(files, schema.names):
        yield times_in_ms(pa.Table.from_batches([batch])).cast(schema)


def _portions(items: Iterable[Any]) -> Iterator[list[Any]]:
    """The items in lists of at most _OBJECTS."""
    held: list[Any] = []
    for item in items:
        held.append(item)
        if len(held) == _OBJECTS:
            yield held
            held = []
    if held:
        yield held


def _sorted(rows: pa.Table, *names: str) -> pa.Table:
    return rows.sort_by([(name, "ascending") for name in names])


def _begins(rows: pa.Table, *names: str) -> np.ndarray:
    """Of sorted rows those that differ from the one before in one of the columns."""
    begins = np.zeros(rows.num_rows, bool)
    begins[:1] = True
    for name in names:
        values = rows[name].combine_chunks()
        begins[1:] |= pc.not_equal(values[1:], values[:-1]).to_numpy(zero_copy_only=False)
    return begins


def _records(rows: pa.Table) -> Iterator[dict[str, Any]]:
    """The rows as dicts, which are made a few thousand at a time."""
    return (row for batch in rows.to_batches(max_chunksize=_OBJECTS) for row in records_of(batch))


def _by_station(rows: pa.Table) -> Iterator[tuple[str, Iterator[dict[str, Any]]]]:
    """Rows by station in the order of their offsets, without `topic_generation`, which a fold does not know."""
    ordered = _sorted(rows, "station_id", *_LOG_ORDER).drop_columns("topic_generation")
    return groupby(_records(ordered), key=itemgetter("station_id"))


def _of_all(
    stations: Collection[str], rows: Iterable[tuple[str, Iterator[dict[str, Any]]]]
) -> Iterator[tuple[str, Iterable[dict[str, Any]]]]:
    """Each of the stations with its rows, which many have none of."""
    left = set(stations)
    for station_id, own in rows:
        if station_id in left:
            left.remove(station_id)
            yield station_id, own
    yield from ((station_id, ()) for station_id in left)


def _in_several_partitions(rows: pa.Table) -> set[str]:
    """Stations whose rows lie in more than one partition of Kafka."""
    counts = rows.group_by("station_id").aggregate([("kafka_partition", "count_distinct")])
    return set(counts.filter(pc.greater(counts["kafka_partition_count_distinct"], 1))["station_id"].to_pylist())


def _quarantined_stations(repository: Repository, commit: str) -> set[str]:
    """Stations that have events from before they were registered."""
    files = archive_dataset(repository, commit, [f"quarantine/{SESSION_EVENTS.topic}/"])
    if files is None:
        return set()
    unknown = scanned(files, ["kafka_key"], ds.field("rule_code") == "UNKNOWN_STATION")
    return {key.decode(errors="replace") for rows in unknown for key in rows["kafka_key"].unique().to_pylist() if key}


def _is_ahead(applied: Mapping[str, Mapping[str, int]], ledgers: Mapping[str, Cut]) -> bool:
    return any(
        offset > ledgers.get(topic, {}).get(int(partition), 0)
        for topic, offsets in applied.items()
        for partition, offset in offsets.items()
    )


class _Limits(dict[int, int]):
    """For each partition, the offset after the last row that a document should have."""

    def __init__(self, applied: Mapping[str, int], overdue: Cut) -> None:
        self._applied, self._overdue = applied, overdue

    def __missing__(self, partition: int) -> int:
        self[partition] = max(self._applied.get(str(partition), 0), self._overdue.get(partition, 0))
        return self[partition]


def _document_figures(document: Mapping[str, Any]) -> Figures:
    """Figures of a document, but for the instant of its writing: a rebuild changes nothing else."""
    content = {name: value for name, value in document.items() if name != "applied_at"}
    digest = xxhash.xxh3_64_hexdigest(orjson.dumps(content, option=orjson.OPT_SORT_KEYS))
    energy_wh = sum(values[1] for values in document["hours"].values())
    return Figures(1, len(document["sessions"]), energy_wh, digest)


def _hour_figures(hour: Hour) -> Figures:
    return Figures(1, hour.sessions, hour.energy_wh, xxhash.xxh3_64_hexdigest(orjson.dumps(hour.values())))
