"""Picks the messages that surely keep all row rules, with Arrow, which takes a fifth of the time that Spark's rules take.

A message that is picked is one that `evcharge.lake.judge` finds good, and it has the same values. One that is not picked may
be good or bad, which Spark's rules decide. So doubt costs time alone, and whatever is unusual is left to Spark: bytes beyond
plain ASCII, an escape, a nested value, a time in another form, a long text.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.json as pj

from evcharge.contracts import CONTRACTS, Contract, Field, FieldType
from evcharge.contracts.session_events import MAX_STAY_S
from evcharge.lake.judge import CLOCK_SKEW_ALLOWED
from evcharge.lake.schemas import ARROW_TYPES
from evcharge.settings import Settings

#: A longer message is left to Spark, whose JSON parser refuses numbers of more than 1,000 digits.
MAX_BYTES = 1_000
#: So few messages are not halved again to find the one that Arrow cannot read.
_FEW = 64

# times as texts first, since Arrow reads more forms of a time than the rules allow
_READ_AS = {kind: arrow for kind, arrow in ARROW_TYPES.items() if not pa.types.is_nested(arrow)} | {
    FieldType.TIMESTAMP: pa.string()
}
_TIME = r"^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]{1,6})?Z$"
_TIMESTAMP = ARROW_TYPES[FieldType.TIMESTAMP]

Mask: TypeAlias = pa.BooleanArray


def _is_not_stopped(rows: pa.Table) -> Mask:
    return pc.not_equal(rows["event_type"], "stopped")


def _has_whole_cdr(rows: pa.Table) -> Mask:
    columns = (rows[name].is_valid() for name in ("energy_delivered_kwh", "started_at", "evse_id"))
    return pc.or_(_is_not_stopped(rows), _all(columns))


def _stays(rows: pa.Table) -> Mask:
    stay = pc.subtract(rows["occurred_at"], rows["started_at"])
    # Spark compares whole seconds
    longest = timedelta(seconds=MAX_STAY_S - 1)
    return pc.or_kleene(
        _is_not_stopped(rows), _all([pc.greater_equal(stay, timedelta()), pc.less_equal(stay, longest)])
    )


#: For a code of a contract's own rules: whether a row surely keeps it. The columns are those of the contract.
_KEEPS: dict[str, Callable[[pa.Table], Mask]] = {
    "EVENT_ID_MISMATCH": lambda rows: pc.equal(
        rows["event_id"], pc.binary_join_element_wise(rows["session_id"], rows["sequence"].cast(pa.string()), "-")
    ),
    "INCOMPLETE_CDR": _has_whole_cdr,
    "ENDS_BEFORE_START": _stays,
    "STAY_TOO_LONG": _stays,
}


#: The codes of the rules on single fields that this module knows.
_OF_FIELDS = frozenset(
    {
        *("MISSING_FIELD", "UNKNOWN_SCHEMA_VERSION", "UNKNOWN_VALUE", "BLANK_TEXT", "TEXT_TOO_LONG"),
        *("CONTROL_CHARACTER", "OUT_OF_RANGE"),
    }
)


def can_pick(contract: Contract) -> bool:
    """Whether this module knows all rules of the contract."""
    flat = all(field.type in _READ_AS and not field.element for field in contract.fields)
    known = {rule.code for rule in contract.field_rules} <= _OF_FIELDS
    return flat and known and all(rule.code in _KEEPS for rule in contract.own_rules)


@dataclass(frozen=True)
class SurelyGood:
    """Picks messages of a topic that `can_pick` allows.

    `stations` has the ids of the registered ones; None skips that rule.
    """

    settings: Settings
    topic: str
    stations: pa.StringArray | None = None

    def pick(self, messages: pa.RecordBatch) -> tuple[pa.Table, pa.RecordBatch]:
        """The rows of the surely good messages, in the columns of `evcharge.lake.judge.judged`; the messages that are left.

        `messages` have the columns partition, offset, timestamp and value of Spark's Kafka source, and may have others.
        """
        contract = CONTRACTS[self.topic]
        picked = np.zeros(messages.num_rows, bool)
        rows = []
        usual = np.flatnonzero(_looks_usual(messages["value"], min(MAX_BYTES, self.settings.message_bytes_limit)))
        for places, found in _read(contract, messages["value"], usual):
            taken_at = messages["timestamp"].take(pa.array(places))
            keeps = pc.fill_null(_all(self._keeps(contract, found, taken_at)), False)
            rows.append(found.filter(keeps))
            picked[places[keeps.to_numpy(zero_copy_only=False)]] = True
        good = pa.concat_tables([_empty(contract), *rows])
        return _as_judged(contract, good, messages.filter(pa.array(picked))), messages.filter(pa.array(~picked))

    def _keeps(self, contract: Contract, rows: pa.Table, taken_at: pa.Array) -> Iterator[Mask]:
        for field in contract.fields:
            yield from _keeps_field(field, rows[field.name])
        yield pc.equal(rows["schema_version"], contract.schema_version)
        first = datetime.fromisoformat(self.settings.event_days_from).replace(tzinfo=UTC)
        latest = pc.add(taken_at, pa.scalar(CLOCK_SKEW_ALLOWED, pa.duration("us")))
        for field in contract.fields:
            if field.type is FieldType.TIMESTAMP:
                at = rows[field.name]
                yield _or_null(at, pc.greater_equal(at, pa.scalar(first, _TIMESTAMP)))
                yield _or_null(at, pc.less_equal(at, latest))
        yield from (keeps(rows) for keeps in {_KEEPS[rule.code] for rule in contract.own_rules})
        if self.stations is not None:
            yield pc.is_in(rows["station_id"], self.stations)


def _looks_usual(values: pa.BinaryArray, max_bytes: int) -> np.ndarray:
    """Whether each message is one object in plain ASCII, as far as its bytes tell, without an escape or a nested value."""
    values = pc.fill_null(values, b"")
    offsets = np.frombuffer(values.buffers()[1], np.int32)[values.offset : values.offset + len(values) + 1]
    sizes = np.diff(offsets)
    if not sizes.any():
        return np.zeros(len(values), bool)
    content = np.frombuffer(values.buffers()[2], np.uint8)[offsets[0] : offsets[-1]]
    starts = offsets[:-1] - offsets[0]
    # Control characters wrap around to high numbers. From the opening brace on there are braces, two signs that are rare,
    # and what is no ASCII.
    unusual = np.flatnonzero((content - np.uint8(0x20) >= ord("{") - 0x20) | (content - np.uint8(ord("[")) <= 2))
    count = np.diff(np.searchsorted(unusual, np.append(starts, len(content))))
    # a message without bytes has no first one
    first = content[np.where(sizes > 0, starts, 0)]
    last = content[np.where(sizes > 0, starts + sizes - 1, 0)]
    return (first == ord("{")) & (last == ord("}")) & (count == 2) & (sizes > 1) & (sizes <= max_bytes)


def _read(contract: Contract, values: pa.BinaryArray, places: np.ndarray) -> Iterator[tuple[np.ndarray, pa.Table]]:
    """The contract's columns of the messages at these places that Arrow can read, with their places."""
    if not len(places):
        return
    try:
        yield places, _columns(contract, values.take(pa.array(places)))
    except pa.ArrowInvalid:
        # one of them is not as the contract says
        if len(places) > _FEW:
            for half in np.array_split(places, 2):
                yield from _read(contract, values, half)


def _columns(contract: Contract, values: pa.BinaryArray) -> pa.Table:
    """Raises ArrowInvalid if one of the messages is no JSON or has a value of another type than its field."""
    lines = pc.binary_join_element_wise(values, b"", b"\n")
    offsets = np.frombuffer(lines.buffers()[1], np.int32)
    content = lines.buffers()[2].slice(offsets[0], offsets[len(lines)] - offsets[0])
    rows = pj.read_json(
        pa.BufferReader(content),
        read_options=pj.ReadOptions(use_threads=False, block_size=content.size),
        parse_options=pj.ParseOptions(
            explicit_schema=pa.schema([(field.name, _READ_AS[field.type]) for field in contract.fields]),
            newlines_in_values=False,
            unexpected_field_behavior="ignore",
        ),
    )
    if rows.num_rows != len(values):
        raise pa.ArrowInvalid(f"{len(values)} messages gave {rows.num_rows} rows")
    columns = [
        _time(rows[field.name]) if field.type is FieldType.TIMESTAMP else rows[field.name] for field in contract.fields
    ]
    return pa.table(columns, names=list(contract.columns))


def _time(texts: pa.ChunkedArray) -> pa.ChunkedArray:
    """Raises ArrowInvalid for a text that is no time in the usual form."""
    if pc.all(pc.match_substring_regex(texts, _TIME)).as_py() is False:
        raise pa.ArrowInvalid("a time has another form")
    return texts.cast(_TIMESTAMP)


def _keeps_field(field: Field, values: pa.ChunkedArray) -> Iterator[Mask]:
    """The same rules as `Contract.field_rules`, for values in plain ASCII."""
    if field.required:
        yield values.is_valid()
    if field.values:
        yield pc.is_in(values, pa.array([*field.values, None], pa.string()))
    elif field.is_id or (field.required and field.max_bytes is not None):
        # blank is what has nothing but blanks
        yield _or_null(values, pc.and_(pc.not_equal(values, ""), pc.invert(pc.starts_with(values, " "))))
    if field.max_bytes is not None:
        yield _or_null(values, pc.less_equal(pc.binary_length(values), field.max_bytes))
    if field.type is FieldType.DOUBLE:
        yield _or_null(values, pc.is_finite(values))
    if field.minimum is not None:
        yield _or_null(values, pc.greater_equal(values, field.minimum))
    if field.maximum is not None:
        yield _or_null(values, pc.less_equal(values, field.maximum))


def _or_null(values: pa.ChunkedArray, keeps: Mask) -> Mask:
    return pc.or_kleene(values.is_null(), keeps)


def _all(masks: Iterator[Mask] | list[Mask]) -> Mask:
    masks = iter(masks)
    result = next(masks)
    for mask in masks:
        result = pc.and_kleene(result, mask)
    return result


def _empty(contract: Contract) -> pa.Table:
    return pa.schema([(field.name, ARROW_TYPES[field.type]) for field in contract.fields]).empty_table()


def _as_judged(contract: Contract, rows: pa.Table, messages: pa.RecordBatch) -> pa.Table:
    count = rows.num_rows
    added = {
        "event_date": rows[contract.event_time].cast(pa.date32()),
        "kafka_partition": messages["partition"],
        "kafka_offset": messages["offset"],
        "kafka_timestamp": messages["timestamp"],
        "kafka_key": pa.nulls(count, pa.binary()),
        "kafka_value": pa.nulls(count, pa.binary()),
        "rule_code": pa.nulls(count, pa.string()),
        "rule_field": pa.nulls(count, pa.string()),
    }
    for name, column in added.items():
        rows = rows.append_column(name, column)
    return rows
