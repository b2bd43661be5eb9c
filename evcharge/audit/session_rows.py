"""Session events as each store holds them: producers' ledgers, Kafka, the lake and ClickHouse, in one schema.

The readers yield some thousand rows at a time. Of one station the functions on rows need all rows, or none.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, date, datetime, time, timedelta
from operator import itemgetter
from types import SimpleNamespace
from typing import Any

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.compute as pc

from evcharge.clock import day_to_ms
from evcharge.connections import clickhouse
from evcharge.contracts import SESSION_EVENTS
from evcharge.contracts.times import read_time
from evcharge.feeds.sent_ledger import SCHEMA as SENT
from evcharge.feeds.sent_ledger import sent_batches
from evcharge.gathering import scanned
from evcharge.kafka_log import log_columns
from evcharge.lake.gaps import Gap
from evcharge.lake.judge import CLOCK_SKEW_ALLOWED
from evcharge.lake.record_places import Moves, partition_and_offset, place_codes
from evcharge.lake.repository import Repository
from evcharge.lake.requeue import Place
from evcharge.lake.rows import archive_dataset, raw_prefixes
from evcharge.settings import Settings
from evcharge.warehouse.tables import ENDS, FACT

TOPIC = SESSION_EVENTS.topic

#: `at` is in ms since the epoch, `key` names the row within its station, `session` is true for a finished session.
SCHEMA = pa.schema(
    [
        ("station_id", pa.string()),
        ("at", pa.int64()),
        ("key", pa.string()),
        ("session_id", pa.string()),
        ("session", pa.bool_()),
        ("energy_wh", pa.int64()),
        ("generation", pa.int64()),
        ("partition", pa.int64()),
        ("offset", pa.int64()),
    ]
)

#: What `record_rows` reads of an event.
_EVENTS = pa.schema(
    [
        ("station_id", pa.string()),
        ("event_id", pa.string()),
        ("session_id", pa.string()),
        ("event_type", pa.string()),
        ("occurred_at", pa.timestamp("us", "UTC")),
        ("energy_wh", pa.int64()),
        ("partition", pa.int64()),
        ("offset", pa.int64()),
    ]
)

#: Rows of ClickHouse that are turned into columns at once.
_FACTS = 50_000

_texts_of = itemgetter("station_id", "event_id", "session_id", "event_type", "occurred_at")
#: A time as our producers write it.
_WRITTEN_TIME = r"^(19|20)\d\d-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$"
_EPOCH = datetime.fromtimestamp(0, UTC)
#: Below it a number of watt-hours is a whole one in a float.
_PLAIN_KWH = 1e9


def record_rows(events: pa.Table) -> pa.Table:
    """Every record as a row of SCHEMA. `events` has at least the columns of `_EVENTS`."""
    # the sent ledgers and Kafka know one topic only
    generation = events["generation"] if "generation" in events.column_names else pa.repeat(0, events.num_rows)
    columns = [
        events["station_id"],
        events["occurred_at"].cast(pa.timestamp("ms", "UTC"), safe=False).cast(pa.int64()),
        events["event_id"],
        events["session_id"],
        pc.equal(events["event_type"], "stopped"),
        pc.fill_null(events["energy_wh"], 0),
        generation.cast(pa.int64()),
        events["partition"].cast(pa.int64()),
        events["offset"].cast(pa.int64()),
    ]
    return pa.table(columns, schema=SCHEMA)


def one_row_per_event(rows: pa.Table) -> pa.Table:
    """Of each station's event id the first record in Kafka. Of a session's ends only the first one is its finished session."""
    # only ends compete for the fact, so an end is not hidden by another event with its id
    rows = _first_of(rows, "station_id", "key", "session")
    # they are in Kafka's order now
    is_end = rows["session"].to_numpy(zero_copy_only=False).astype(bool)
    ends = np.flatnonzero(is_end)
    counts = np.zeros(rows.num_rows, bool)
    counts[ends[_first_of_each(_codes(rows, "station_id", "session_id")[ends])]] = True
    return rows.set_column(SCHEMA.get_field_index("session"), "session", pa.array(counts))


def one_row_per_session(rows: pa.Table) -> pa.Table:
    """Of each session's `stopped` records the first in Kafka, which is its fact. A session is its station and its id."""
    return _first_of(rows.filter(rows["session"]), "station_id", "session_id")


def one_row_per_sent_event(rows: pa.Table) -> pa.Table:
    """Of each station's event id in the producers' ledgers the row with the lowest place, as `read_sent` has it."""
    return _first_of(rows, "station_id", "key")


def found_in(rows: pa.Table, records: pa.Table) -> pa.Table:
    """The rows that are among the records, with the same time and energy, wherever in Kafka these are."""
    content = ["station_id", "key", "session", "at", "energy_wh"]
    return rows.join(records.select(content), keys=content, join_type="left semi")


def of_other_producers(rows: pa.Table, sent: pa.Table) -> int:
    """How many of the rows are events that `sent` does not have."""
    event = ["station_id", "key"]
    return int(rows.select(event).join(sent.select(event), keys=event, join_type="left anti").num_rows)


def producer_rows(settings: Settings, since: date | None = None) -> Iterator[pa.Table]:
    """What the producers' ledgers say was acknowledged since a UTC day. An event may come more than once."""
    columns = [name for name in SENT.names if name != "topic"]
    begin = None if since is None else _midnight(since)
    return (record_rows(pa.Table.from_batches([rows])) for rows in sent_batches(settings, TOPIC, columns, begin))


@contextmanager
def kafka_rows(
    settings: Settings, cut: dict[int, int], quarantined: np.ndarray, since: date | None = None
) -> Iterator[tuple[dict[int, int], Iterator[pa.Table]]]:
    """Where the log starts, and its records from there to the cut, without those that the lake has in quarantine (codes).

    With `since` (a UTC day) the log starts where Kafka took the first record that can be good and of that day or later.
    """
    taken_since = None if since is None else _midnight(since) - CLOCK_SKEW_ALLOWED
    with log_columns(settings, TOPIC, cut, taken_since) as (log_start, batches):
        yield log_start, (record_rows(_events_of(_not_at(records, quarantined))) for records in batches)


def quarantined_places(repository: Repository, commit: str) -> np.ndarray:
    """The codes of the records that the lake has in quarantine at a commit, sorted."""
    files = archive_dataset(repository, commit, [f"quarantine/{TOPIC}/"])
    if files is None:
        return np.empty(0, np.int64)
    columns = ["kafka_partition", "kafka_offset"]
    parts = [place_codes(*(rows[name] for name in columns)) for rows in scanned(files, columns)]
    return np.unique(np.concatenate([np.empty(0, np.int64), *parts]))


def lake_rows(repository: Repository, commit: str, days: Iterable[str] | None = None) -> Iterator[pa.Table]:
    """The lake's good records at a commit, of the given UTC days (None: of all)."""
    files = archive_dataset(repository, commit, raw_prefixes(TOPIC, days))
    if files is None:
        return
    columns = [
        *("station_id", "event_id", "session_id", "event_type", "occurred_at", "energy_delivered_kwh"),
        *("topic_generation", "kafka_partition", "kafka_offset"),
    ]
    places = {"topic_generation": "generation", "kafka_partition": "partition", "kafka_offset": "offset"}
    for rows in scanned(files, columns):
        raw = pa.Table.from_batches([rows])
        raw = raw.append_column("energy_wh", _energy_wh(raw["energy_delivered_kwh"].cast(pa.float64())))
        yield record_rows(raw.rename_columns(places))


def fact_rows(settings: Settings, since: date | None = None) -> Iterator[pa.Table]:
    """ClickHouse's sessions that finished since a UTC day: their key is the session id, and their place in Kafka is -1."""
    facts = clickhouse(settings).execute_iter(
        "SELECT station_id, toUnixTimestamp64Milli(ended_at), session_id, toInt64(energy_delivered_kwh * 1000) "
        f"FROM {FACT} WHERE toDate(ended_at, 'UTC') >= %(since)s",
        {"since": since or date(1970, 1, 1)},
        chunk_size=_FACTS,
    )
    for part in facts:
        stations, ended, sessions, energies = zip(*part, strict=True)
        nowhere = pa.repeat(pa.scalar(-1, pa.int64()), len(part))
        columns = [stations, ended, sessions, sessions, pa.repeat(True, len(part)), energies, nowhere, nowhere, nowhere]
        yield pa.table(columns, schema=SCHEMA)


def ends_before(settings: Settings, since: date) -> Iterator[pa.Table]:
    """The ends before a UTC day, as ClickHouse remembers them, of sessions that have an end since then as well.

    Such an end is the fact if it is the first in Kafka. Their `at` is the start of their day, and they have no key.
    """
    found = clickhouse(settings).execute_iter(
        "SELECT station_id, session_id, toUnixTimestamp(toDateTime(ended_on, 'UTC')) * 1000, "
        f"topic_generation, kafka_partition, kafka_offset FROM {ENDS} WHERE ended_on < %(since)s AND "
        f"(station_id, session_id) IN (SELECT station_id, session_id FROM {ENDS} WHERE ended_on >= %(since)s)",
        {"since": since},
        chunk_size=_FACTS,
    )
    for part in found:
        stations, sessions, days, *places = zip(*part, strict=True)
        none, true = pa.repeat(pa.scalar(0, pa.int64()), len(part)), pa.repeat(True, len(part))
        yield pa.table([stations, days, pa.repeat("", len(part)), sessions, true, none, *places], schema=SCHEMA)


def below(rows: pa.Table, cut: dict[int, int]) -> pa.Table:
    """Rows whose offset lies below their partition's offset in `cut`."""
    return _where(rows, rows["offset"].to_numpy() < _of_partitions(rows, cut))


def from_offsets(rows: pa.Table, start: dict[int, int]) -> pa.Table:
    """Rows whose offset is at least their partition's offset in `start`."""
    return _where(rows, rows["offset"].to_numpy() >= _of_partitions(rows, start))


def without(rows: pa.Table, records: Collection[Place] | np.ndarray) -> pa.Table:
    """Rows of other records than these: places, or their codes."""
    if not isinstance(records, np.ndarray):
        records = place_codes([p for p, _ in records], [o for _, o in records])
    return _not_at(rows, records)


def moved(rows: pa.Table, to: Moves) -> pa.Table:
    """The rows, each of them at the place to which its record was sent again."""
    places = partition_and_offset(to.applied(place_codes(rows["partition"], rows["offset"])))
    for name, values in zip(("partition", "offset"), places, strict=True):
        rows = rows.set_column(rows.schema.get_field_index(name), name, pa.array(values))
    return rows


def split_at(rows: pa.Table, gaps: Sequence[Gap]) -> tuple[pa.Table, pa.Table]:
    """The rows that lie in one of the gaps, and the others."""
    partition, offset = (rows[name].to_numpy() for name in ("partition", "offset"))
    is_lost = np.zeros(rows.num_rows, bool)
    for gap in gaps:
        is_lost |= (partition == gap.partition) & (offset >= gap.first) & (offset < gap.end)
    return _where(rows, is_lost), _where(rows, ~is_lost)


def at_since(rows: pa.Table, since: date | None) -> pa.Table:
    """The rows of a UTC day and later; all of them with None."""
    return rows if since is None else rows.filter(pc.greater_equal(rows["at"], day_to_ms(since)))


def _midnight(day: date) -> datetime:
    return datetime.combine(day, time(), UTC)


def _where(rows: pa.Table, mask: np.ndarray) -> pa.Table:
    return rows if mask.all() else rows.filter(pa.array(mask))


def _not_at(rows: pa.Table | pa.RecordBatch, codes: np.ndarray) -> Any:
    return _where(rows, np.isin(place_codes(rows["partition"], rows["offset"]), codes, invert=True))


def _of_partitions(rows: pa.Table, offsets: dict[int, int]) -> np.ndarray:
    """For each row its partition's offset, 0 where there is none."""
    partitions, index = np.unique(rows["partition"].to_numpy(), return_inverse=True)
    return np.array([offsets.get(int(p), 0) for p in partitions], np.int64)[index]


def _first_of(rows: pa.Table, *names: str) -> pa.Table:
    """Of rows with the same values in these columns the first in Kafka. The result is in Kafka's order."""
    rows = rows.take(pa.array(np.lexsort([rows[name].to_numpy() for name in ("offset", "partition", "generation")])))
    first = _first_of_each(_codes(rows, *names))
    return rows if len(first) == rows.num_rows else rows.take(pa.array(np.sort(first)))


def _first_of_each(codes: np.ndarray) -> np.ndarray:
    """Where each code comes for the first time."""
    return np.unique(codes, return_index=True)[1]


def _codes(rows: pa.Table, *names: str) -> np.ndarray:
    """A number for each row, the same for rows with the same values in these columns."""
    codes = np.zeros(rows.num_rows, np.int64)
    for name in names:
        values = rows[name].cast(pa.string()).combine_chunks().dictionary_encode("encode")
        codes = codes * len(values.dictionary) + values.indices.to_numpy()
    return codes


def _energy_wh(energy_kwh: pa.ChunkedArray | pa.Array) -> Any:
    # halves to even, as Python rounds
    return pc.round(pc.multiply(energy_kwh, 1000.0)).cast(pa.int64())


def _events_of(records: pa.RecordBatch) -> pa.Table:
    """Kafka's records (`evcharge.record_batches.SCHEMA`) as rows of `_EVENTS`.

    Messages as our producers write them are read here. `event_of` reads any other, one by one.
    """
    fields: list[tuple[Any, ...]] = []
    plain: list[int] = []
    for n, value in enumerate(records["value"].to_pylist()):
        try:
            message = orjson.loads(value)
            station, event, session, kind, at = _texts_of(message)
            energy_kwh = message.get("energy_delivered_kwh")
        except (ValueError, TypeError, KeyError, AttributeError):
            continue
        if str is type(station) is type(event) is type(session) is type(kind) is type(at) and _is_plain(energy_kwh):
            fields.append((station, event, session, kind, at, energy_kwh))
            plain.append(n)
    *texts, times, energies = zip(*fields, strict=True) if fields else [()] * 6
    times = pa.array(times, pa.string())
    is_plain = np.zeros(records.num_rows, bool)
    written = pc.match_substring_regex(times, _WRITTEN_TIME)
    is_plain[np.array(plain, np.int64)] = written.to_numpy(zero_copy_only=False)
    try:
        occurred_at = times.filter(written).cast(pa.timestamp("us", "UTC"))
    except pa.ArrowInvalid:
        # such as the 30th of February
        return _events_one_by_one(records)
    places = records.select(["partition", "offset"]).filter(pa.array(is_plain))
    columns = [
        *(pa.array(column, pa.string()).filter(written) for column in texts),
        occurred_at,
        _energy_wh(pa.array(energies, pa.float64()).filter(written)),
        *(places[name].cast(pa.int64()) for name in ("partition", "offset")),
    ]
    return pa.concat_tables(
        [pa.table(columns, schema=_EVENTS), _events_one_by_one(records.filter(pa.array(~is_plain)))]
    )


def _events_one_by_one(records: pa.RecordBatch) -> pa.Table:
    events = [event_of(SimpleNamespace(**record)) for record in records.to_pylist()]
    for event in events:
        # Arrow's own way from `datetime` takes 100 us
        event["occurred_at"] = (event["occurred_at"] - _EPOCH) // timedelta(microseconds=1)
    columns = ([event.get(name) for event in events] for name in _EVENTS.names)
    return pa.table(
        [pa.array(values, type) for values, type in zip(columns, _EVENTS.types, strict=True)], schema=_EVENTS
    )


def _is_plain(energy_kwh: Any) -> bool:
    """Whether Arrow turns it into whole watt-hours as `event_of` does."""
    # exactly these types: true is an integer to Python
    return energy_kwh is None or (type(energy_kwh) in (float, int) and -_PLAIN_KWH < energy_kwh < _PLAIN_KWH)


def event_of(record: Any) -> dict[str, Any]:
    """A Kafka record as a row of `_EVENTS`, as Spark reads it."""
    event: dict[str, Any] = {"partition": record.partition, "offset": record.offset}
    try:
        message = _message(record.value)
        energy_kwh = message.get("energy_delivered_kwh")
        return event | {
            "station_id": _text(message["station_id"]),
            "event_id": _text(message["event_id"]),
            "session_id": _text(message["session_id"]),
            "event_type": _text(message["event_type"]),
            "occurred_at": read_time(message["occurred_at"]),
            "energy_wh": None if energy_kwh is None else _whole_wh(energy_kwh),
        }
    except (ValueError, TypeError, KeyError, AttributeError, OverflowError):
        # A record that cannot be read belongs in quarantine, and this one is not there. It becomes a difference at its key,
        # in the hour in which it was sent.
        return event | {
            "station_id": (record.key or b"").decode(errors="replace"),
            "event_id": f"unreadable record {record.partition}-{record.offset}",
            "session_id": "",
            "event_type": "",
            "occurred_at": datetime.fromtimestamp(record.timestamp / 1000, UTC),
        }


def _whole_wh(energy_kwh: Any) -> int:
    energy_wh = round(energy_kwh * 1000)
    if abs(energy_wh) >= 2**63:
        raise OverflowError("no column takes it")
    return energy_wh


def _text(value: Any) -> str:
    """A message's text. Spark reads a number as its digits, and half a surrogate pair as a question mark."""
    return (value if isinstance(value, str) else orjson.dumps(value).decode()).encode(errors="replace").decode()


def _message(value: bytes) -> Any:
    try:
        return orjson.loads(value)
    except orjson.JSONDecodeError:
        # half a surrogate pair is JSON to Spark and to the standard library
        return json.loads(value)
