"""Folds batches of registry records and session events into the station documents, inside Spark's Python workers.

The folder reads a document, folds in the records that it does not have yet, and writes it back if nobody else has written it
in the meantime (`if_seq_no`). So two queries, or a stream that seemed dead and its successor, cannot undo each other's work.
A document has the offsets that it was computed up to, so a repeated batch changes nothing.

A worker keeps the states that it wrote, with their versions. It reads a document again only if somebody else wrote it since.

A record is refused if the station's state with it cannot be computed, or if Elasticsearch refuses its document. The document
then keeps its last good state, and the station's other records are folded into that. So a restart or a rebuild, which meets
the same records in other batches, ends likewise. Only a record that is refused for something that a later one of its batch
replaces goes unnoticed: the document at the end of the batch is good.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from http import HTTPStatus
from itertools import chain
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import orjson
import pyarrow as pa

from evcharge.clock import ms_to_iso
from evcharge.contracts import CONTRACTS, SESSION_EVENTS, STATION_REGISTRY
from evcharge.errors import UserError
from evcharge.gathering import gathered
from evcharge.live.batch_report import TouchedHours
from evcharge.live.dead_letters import bury
from evcharge.live.indices import STATION_STATE
from evcharge.live.refusals import (
    Reason,
    Record,
    Refusal,
    StoreBusyError,
    of_elasticsearch,
    of_id,
    of_stream,
    taken_with_care,
)
from evcharge.live.station_state import EVENT_FIELDS, StationState
from evcharge.live.worker import (
    BYTES_AT_ONCE,
    ROWS_AT_ONCE,
    Operation,
    bulk,
    records_of,
    shared_client,
    spare_the_collector,
)
from evcharge.settings import Settings

if TYPE_CHECKING:
    from elasticsearch import Elasticsearch

_EVENT_COLUMNS = [*EVENT_FIELDS, "kafka_partition", "kafka_offset"]
#: Documents per request, about 3 kB each.
DOCUMENTS_PER_REQUEST = 500
REQUESTS_AT_ONCE = 2
#: States that a worker keeps, about 10 kB each.
KEPT_STATES = 30_000
#: How often a document is read again after somebody else wrote it first.
CONFLICT_TRIES = 8


@dataclass(frozen=True)
class StationFolder:
    """Takes the Arrow batches of a task: rows of one topic, with each station's rows in the order of their offsets.

    With `careful` it also finds the records of a batch at which it fails for no known reason. Without `keeps_states` it keeps
    nothing between its writes: for rows that come station by station, where each state is needed once.
    """

    settings: Settings
    index: str
    topic: str
    careful: bool = False
    keeps_states: bool = True

    def __call__(self, batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        hours = TouchedHours()
        self.write(batches, hours)
        yield hours.report()

    def write(self, batches: Iterable[pa.RecordBatch], hours: TouchedHours) -> None:
        """Writes the rows of all batches, and counts them in `hours`."""
        spare_the_collector()
        time_field = CONTRACTS[self.topic].event_time
        for table in gathered(batches, ROWS_AT_ONCE, BYTES_AT_ONCE):
            # to make a dict of each row takes as long as to fold it
            rows = records_of(table.select(_EVENT_COLUMNS) if self.topic == SESSION_EVENTS.topic else table)
            hours.add(row[time_field] for row in rows)
            client = shared_client(self.settings)
            refusals = taken_with_care(rows, self.take) if self.careful else self.take(rows)
            bury(client, STATION_STATE, self.topic, _whole(refusals, table))
            # Refreshed here and not by a timer. The documents show at once, and the refresh takes a processor only after the
            # writing, so that questions have the other one. If the index was removed since, the next batch reports it.
            client.indices.refresh(index=self.index, ignore_unavailable=True)
            # not to be held while the next ones are gathered
            rows.clear()
            del table

    def take(self, rows: Iterable[Record], *, again: bool = False) -> list[Refusal]:
        """Folds the rows into their stations' documents; returns the refused ones. With `again` whatever offsets these have."""
        by_station: dict[str, list[Record]] = {}
        for row in rows:
            by_station.setdefault(row["station_id"], []).append(row)
        client = shared_client(self.settings)
        kept = _known_states(self.index) if self.keeps_states else None

        def take_part(names: Sequence[str]) -> list[Refusal]:
            part = {name: by_station[name] for name in names}
            return fold_into(client, self.index, self.topic, part, kept, again=again)

        names = list(by_station)
        parts = [names[at : at + DOCUMENTS_PER_REQUEST] for at in range(0, len(names), DOCUMENTS_PER_REQUEST)]
        # The next stations are folded while Elasticsearch writes the former ones.
        with ThreadPoolExecutor(REQUESTS_AT_ONCE) as threads:
            return list(chain.from_iterable(threads.map(take_part, parts)))


class Version(NamedTuple):
    """The version of a document that a write expects: Elasticsearch's optimistic concurrency control."""

    seq_no: int
    primary_term: int


Versioned = tuple[StationState, Version | None]
"""A state and the document version that its write expects, None for a new document."""


@dataclass(slots=True)
class KnownStates:
    """The states that this process used last. If there are too many, it forgets the one unused for longest."""

    held: OrderedDict[str, Versioned] = field(default_factory=OrderedDict)

    def take(self, station_id: str) -> Versioned | None:
        """Removes a state from the cache. The caller puts it back after writing it."""
        return self.held.pop(station_id, None)

    def put(self, state: StationState, version: Version | None) -> None:
        self.held[state.station_id] = state, version
        if len(self.held) > KEPT_STATES:
            self.held.popitem(last=False)


@dataclass(slots=True)
class _Waiting:
    """A station's records that are still to be folded. `step` of them are tried at once: all, unless some are refused."""

    records: Sequence[Record]
    step: int
    conflicts: int = 0

    def tried(self) -> Sequence[Record]:
        return self.records[: self.step]

    def taken(self) -> None:
        """After a success: twice as many next time."""
        self.records = self.records[self.step :]
        self.step *= 2
        self.conflicts = 0

    def refused(self) -> Record | None:
        """After a refusal: fewer next time, until one record is alone, which then leaves and is returned."""
        if len(self.tried()) > 1:
            self.step = len(self.tried()) // 2
            return None
        (alone,) = self.tried()
        self.records = self.records[1:]
        return alone


def fold_into(
    client: Elasticsearch,
    index: str,
    topic: str,
    records: Mapping[str, Sequence[Record]],
    known: KnownStates | None = None,
    *,
    again: bool = False,
) -> list[Refusal]:
    """Folds records (by station, in order of offsets) into the documents of `index`; returns the refused records.

    With `again` records are folded that the state has passed by already. Raises IndexGoneError, UserError.
    """
    known = KnownStates() if known is None else known
    refusals: list[Refusal] = []
    waiting = {station_id: _Waiting(rows, len(rows)) for station_id, rows in records.items()}
    while waiting:
        outcomes = _try(client, index, topic, {name: left.tried() for name, left in waiting.items()}, known, again)
        for station_id, outcome in outcomes.items():
            left = waiting[station_id]
            if outcome is True:
                left.taken()
            elif outcome is not None:
                alone = left.refused()
                refusals += [Refusal(alone, outcome)] if alone is not None else []
            else:
                left.conflicts += 1
        waiting = {station_id: left for station_id, left in waiting.items() if left.records}
        conflicts = max((waiting[name].conflicts for name in waiting if outcomes[name] is None), default=0)
        if conflicts >= CONFLICT_TRIES:
            raise UserError(f"{index}: another process wrote {len(waiting)} stations first, {conflicts} times in a row")
        if conflicts:
            time.sleep(0.01 * 2**conflicts)
    return refusals


def _whole(refusals: Sequence[Refusal], table: pa.Table) -> list[Refusal]:
    """The refusals with all columns of their records."""
    if not refusals:
        return []
    places = {(row["kafka_partition"], row["kafka_offset"]): row for row in records_of(table)}
    return [Refusal(places[r.record["kafka_partition"], r.record["kafka_offset"]], r.reason) for r in refusals]


Outcome = Reason | Literal[True] | None
"""True if a station's records are in its document, the reason if they were refused, None if somebody else wrote it first."""


def _try(
    client: Elasticsearch,
    index: str,
    topic: str,
    records: Mapping[str, Sequence[Record]],
    known: KnownStates,
    again: bool,
) -> dict[str, Outcome]:
    """Folds and writes once. A state whose records were refused is forgotten: the document is what it was."""
    outcomes: dict[str, Outcome] = {name: reason for name in records if (reason := of_id(name))}
    states, unreadable = _states(client, index, [name for name in records if name not in outcomes], known)
    outcomes |= unreadable
    changed: dict[str, Versioned] = {}
    operations: list[Operation] = []
    applied_at = ms_to_iso(time.time_ns() // 1_000_000)
    for station_id, (state, version) in states.items():
        try:
            if fold(state, topic, records[station_id], again=again):
                operations.append(_operation(state, version, applied_at))
                changed[station_id] = state, version
            else:
                known.put(state, version)
                outcomes[station_id] = True
        except Exception as error:
            outcomes[station_id] = of_stream(error)
    for station_id, result in zip(changed, bulk(client, index, operations), strict=True):
        if isinstance(result, Mapping):
            known.put(changed[station_id][0], Version(result["_seq_no"], result["_primary_term"]))
            outcomes[station_id] = True
        else:
            outcomes[station_id] = result
    return outcomes


def fold(state: StationState, topic: str, records: Iterable[Record], *, again: bool = False) -> bool:
    """Applies the records that the state does not have yet, or all with `again`; returns whether there were any."""
    is_registry = topic == STATION_REGISTRY.topic
    changed = False
    for record in records:
        if state.is_new(topic, record["kafka_partition"], record["kafka_offset"]) or again:
            changed = True
            if is_registry:
                state.register({name: record[name] for name in record if not name.startswith("kafka_")})
            else:
                state.apply(record)
    return changed


_known: dict[str, KnownStates] = {}


def _known_states(index: str) -> KnownStates:
    """The states of an index that this process keeps; those of any other index are dropped."""
    if index not in _known:
        _known.clear()
        _known[index] = KnownStates()
    return _known[index]


def _states(
    client: Elasticsearch, index: str, station_ids: Iterable[str], known: KnownStates
) -> tuple[dict[str, Versioned], dict[str, Reason]]:
    """Each station's state, the kept one or else the one read from Elasticsearch; and why others cannot be read."""
    found, unknown = {}, []
    for station_id in station_ids:
        taken = known.take(station_id)
        if taken is None:
            unknown.append(station_id)
        else:
            found[station_id] = taken
    if not unknown:
        return found, {}
    read, unreadable = _read(client, index, unknown)
    return found | read, unreadable


def _read(client: Elasticsearch, index: str, station_ids: list[str]) -> tuple[dict[str, Versioned], dict[str, Reason]]:
    answer = client.mget(index=index, ids=station_ids, realtime=True)
    found: dict[str, Versioned] = {}
    unreadable: dict[str, Reason] = {}
    for entry in answer["docs"]:
        if "error" in entry:
            # An id that Elasticsearch would refuse was not asked for: the index is gone, or its shard is not there yet.
            of_elasticsearch(index, HTTPStatus.SERVICE_UNAVAILABLE, entry["error"])
            raise StoreBusyError(f"{index}: {entry['error'].get('reason', entry['error'])}")
        if not entry["found"]:
            found[entry["_id"]] = StationState(entry["_id"]), None
            continue
        try:
            state = StationState.from_document(entry["_source"])
        except Exception as error:
            unreadable[entry["_id"]] = of_stream(error)
        else:
            found[entry["_id"]] = state, Version(entry["_seq_no"], entry["_primary_term"])
    return found, unreadable


def _operation(state: StationState, version: Version | None, applied_at: str | None) -> Operation:
    """The write of a document, on condition that nobody else has written it since it was read."""
    action: dict[str, Any] = {"_id": state.station_id}
    if version is not None:
        action |= {"if_seq_no": version.seq_no, "if_primary_term": version.primary_term}
    return (
        orjson.dumps({"create" if version is None else "index": action}),
        state.document_json(applied_at=applied_at),
    )
