"""Session events as each store holds them: producers' ledgers, Kafka, the lake and ClickHouse, in one schema."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.compute as pc

from evcharge.connections import clickhouse
from evcharge.contracts import SESSION_EVENTS
from evcharge.contracts.times import read_time
from evcharge.feeds.sent_ledger import read_sent
from evcharge.kafka_log import log_records
from evcharge.lake.gaps import Gap
from evcharge.lake.layout import raw_prefix
from evcharge.lake.repository import Repository
from evcharge.lake.rows import archive_dataset
from evcharge.settings import Settings
from evcharge.warehouse.tables import FACT

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

#: The order of a station's records in Kafka, for sorting.
_IN_ORDER = [(name, "ascending") for name in ("generation", "partition", "offset")]


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
    rows = rows.sort_by(
        [("station_id", "ascending"), ("session_id", "ascending"), ("session", "descending"), *_IN_ORDER]
    )
    first = pa.array(_differs_from_the_one_before(rows, ("station_id", "session_id")))
    return rows.set_column(SCHEMA.get_field_index("session"), "session", pc.and_(rows["session"], first))


def one_row_per_session(rows: pa.Table) -> pa.Table:
    """Of each session's `stopped` records the first in Kafka, which is its fact. A session is its station and its id."""
    return _first_of(rows.filter(rows["session"]), "station_id", "session_id")


def found_in(rows: pa.Table, records: pa.Table) -> pa.Table:
    """The rows that are among the records, with the same time and energy, wherever in Kafka these are."""
    content = ["station_id", "key", "session", "at", "energy_wh"]
    return rows.join(records.select(content), keys=content, join_type="left semi")


def of_other_producers(rows: pa.Table, sent: pa.Table) -> int:
    """How many of the rows are events that `sent` does not have."""
    event = ["station_id", "key"]
    return int(rows.join(sent.select(event), keys=event, join_type="left anti").num_rows)


def producer_rows(settings: Settings) -> pa.Table:
    """What the producers' ledgers say was acknowledged: a row for each event."""
    return record_rows(read_sent(settings, topic=TOPIC))


def kafka_rows(
    settings: Settings, cut: dict[int, int], quarantined: set[tuple[int, int]]
) -> tuple[pa.Table, dict[int, int]]:
    """The log's records from its start to the cut, without those that the lake has in quarantine; and where it starts."""
    with log_records(settings, TOPIC, cut) as (log_start, records):
        found = [event_of(record) for record in records if (record.partition, record.offset) not in quarantined]
    return record_rows(pa.Table.from_pylist(found, _EVENTS)), log_start


def lake_rows(repository: Repository, commit: str) -> tuple[pa.Table, set[tuple[int, int]]]:
    """The lake's good records at a commit; and the quarantined ones, each a partition and an offset."""

    def read(prefix: str, columns: list[str]) -> pa.Table:
        files = archive_dataset(repository, commit, [prefix])
        if files is None:
            return pa.table({name: pa.array([], pa.string()) for name in columns})
        return files.to_table(columns=columns)

    raw = read(
        raw_prefix(TOPIC),
        [
            *("station_id", "event_id", "session_id", "event_type", "occurred_at", "energy_delivered_kwh"),
            *("topic_generation", "kafka_partition", "kafka_offset"),
        ],
    )
    energy_wh = pc.round(pc.multiply(raw["energy_delivered_kwh"].cast(pa.float64()), 1000.0)).cast(pa.int64())
    raw = raw.append_column("energy_wh", energy_wh)
    places = {"topic_generation": "generation", "kafka_partition": "partition", "kafka_offset": "offset"}
    raw = raw.rename_columns(places)
    bad = read(f"quarantine/{TOPIC}/", ["kafka_partition", "kafka_offset"])
    quarantined = set(zip(bad["kafka_partition"].to_pylist(), bad["kafka_offset"].to_pylist(), strict=True))
    return record_rows(raw), quarantined


def fact_rows(settings: Settings) -> pa.Table:
    """ClickHouse's finished sessions: their key is the session id, and their place in Kafka is -1."""
    columns = clickhouse(settings).execute(
        "SELECT station_id, toUnixTimestamp64Milli(ended_at), session_id, toInt64(energy_delivered_kwh * 1000) "
        f"FROM {FACT}",
        columnar=True,
    )
    stations, ended, sessions, energies = columns or ([], [], [], [])
    size = len(sessions)
    nowhere = pa.array([-1] * size, pa.int64())
    return pa.table(
        [
            pa.array(stations, pa.string()),
            pa.array(ended, pa.int64()),
            pa.array(sessions, pa.string()),
            pa.array(sessions, pa.string()),
            pa.array([True] * size, pa.bool_()),
            pa.array(energies, pa.int64()),
            *(nowhere, nowhere, nowhere),
        ],
        schema=SCHEMA,
    )


def where(rows: pa.Table, mask: list[bool]) -> pa.Table:
    """The rows for which the mask is true."""
    # typed, because an empty list has no type of its own
    return rows.filter(pa.array(mask, pa.bool_()))


def below(rows: pa.Table, cut: dict[int, int]) -> pa.Table:
    """Rows whose offset lies below their partition's offset in `cut`."""
    return where(rows, [offset < cut.get(partition, 0) for partition, offset in places(rows)])


def from_offsets(rows: pa.Table, start: dict[int, int]) -> pa.Table:
    """Rows whose offset is at least their partition's offset in `start`."""
    return where(rows, [offset >= start.get(partition, 0) for partition, offset in places(rows)])


def without(rows: pa.Table, records: set[tuple[int, int]]) -> pa.Table:
    """Rows of other records than these."""
    return where(rows, [place not in records for place in places(rows)])


def moved(rows: pa.Table, to: Mapping[tuple[int, int], tuple[int, int]]) -> pa.Table:
    """The rows, each of them at the place to which its record was sent again."""
    if not to:
        return rows
    new = [to.get(place, place) for place in places(rows)]
    for name, values in (("partition", [p for p, _ in new]), ("offset", [o for _, o in new])):
        rows = rows.set_column(rows.schema.get_field_index(name), name, pa.array(values, pa.int64()))
    return rows


def split_at(rows: pa.Table, gaps: Sequence[Gap]) -> tuple[pa.Table, pa.Table]:
    """The rows that lie in one of the gaps, and the others."""
    lost = [any(gap.partition == p and gap.first <= o < gap.end for gap in gaps) for p, o in places(rows)]
    return where(rows, lost), where(rows, [not is_lost for is_lost in lost])


def places(rows: pa.Table) -> list[tuple[int, int]]:
    """Each row's Kafka partition and offset."""
    return list(zip(rows["partition"].to_pylist(), rows["offset"].to_pylist(), strict=True))


def _first_of(rows: pa.Table, *names: str) -> pa.Table:
    """Of rows with the same values in these columns the first in Kafka."""
    rows = rows.sort_by([*((name, "ascending") for name in names), *_IN_ORDER])
    return rows.filter(pa.array(_differs_from_the_one_before(rows, names)))


def _differs_from_the_one_before(rows: pa.Table, names: tuple[str, ...]) -> np.ndarray:
    differs = np.zeros(rows.num_rows, dtype=bool)
    differs[:1] = True
    for name in names:
        values = rows[name].to_numpy(zero_copy_only=False)
        differs[1:] |= values[1:] != values[:-1]
    return differs


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
            "energy_wh": None if energy_kwh is None else round(energy_kwh * 1000),
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


def _text(value: Any) -> str:
    """A message's text. Spark reads a number as its digits, and half a surrogate pair as a question mark."""
    return (value if isinstance(value, str) else orjson.dumps(value).decode()).encode(errors="replace").decode()


def _message(value: bytes) -> Any:
    try:
        return orjson.loads(value)
    except orjson.JSONDecodeError:
        # half a surrogate pair is JSON to Spark and to the standard library
        return json.loads(value)
