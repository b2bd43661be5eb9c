"""Folds batches of registry records and session events into the station documents, inside Spark's Python workers.

The folder reads a document, folds in the records that it does not have yet, and writes it back if nobody else has written it
in the meantime (`if_seq_no`). So two queries, or a stream that seemed dead and its successor, cannot undo each other's work.
A document has the offsets that it was computed up to, so a repeated batch changes nothing.

A worker keeps the states that it wrote, with their versions. It reads a document again only if somebody else wrote it since.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

import orjson
import pyarrow as pa

from evcharge.clock import ms_to_iso
from evcharge.contracts import CONTRACTS, STATION_REGISTRY
from evcharge.errors import UserError
from evcharge.live.batch_report import TouchedHours
from evcharge.live.station_state import StationState
from evcharge.live.worker import IndexGoneError, Record, accepted, gathered, shared_client, spare_the_collector
from evcharge.settings import Settings

if TYPE_CHECKING:
    from elasticsearch import Elasticsearch

#: Documents per request, about 3 kB each.
DOCUMENTS_PER_REQUEST = 500
#: States that a worker keeps, about 5 kB each.
KEPT_STATES = 30_000
#: How often a document is read again after somebody else wrote it first.
CONFLICT_TRIES = 8


@dataclass(frozen=True)
class StationFolder:
    """Takes the Arrow batches of a task: rows of one topic, with each station's rows in the order of their offsets."""

    settings: Settings
    index: str
    topic: str

    def __call__(self, batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        spare_the_collector()
        time_field = CONTRACTS[self.topic].event_time
        hours = TouchedHours()
        for rows in gathered(batches):
            by_station: dict[str, list[Record]] = {}
            for row in rows:
                by_station.setdefault(row["station_id"], []).append(row)
            hours.add(row[time_field] for row in rows)
            self._fold(by_station)
            # Refreshed here and not by a timer. The documents show at once, and the refresh takes a processor only after the
            # writing, so that questions have the other one. If the index was removed since, the next batch reports it.
            shared_client(self.settings).indices.refresh(index=self.index, ignore_unavailable=True)
        yield hours.report()

    def _fold(self, rows: Mapping[str, Sequence[Record]]) -> None:
        client, known = shared_client(self.settings), _known_states(self.index)
        names = list(rows)
        for start in range(0, len(names), DOCUMENTS_PER_REQUEST):
            part = names[start : start + DOCUMENTS_PER_REQUEST]
            fold_into(client, self.index, self.topic, {name: rows[name] for name in part}, known)


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


def fold_into(
    client: Elasticsearch,
    index: str,
    topic: str,
    records: Mapping[str, Sequence[Record]],
    known: KnownStates | None = None,
) -> None:
    """Folds records (by station, in order of offsets) into the documents of `index`. Raises IndexGoneError, UserError."""
    known = KnownStates() if known is None else known
    waiting = dict(records)
    for attempt in range(CONFLICT_TRIES):
        changed = {}
        for station_id, (state, version) in _states(client, index, waiting, known).items():
            if fold(state, topic, waiting[station_id]):
                changed[station_id] = state, version
            else:
                known.put(state, version)
        written = _write(client, index, changed.values())
        for station_id, new_version in written.items():
            known.put(changed[station_id][0], new_version)
        waiting = {station_id: waiting[station_id] for station_id in changed if station_id not in written}
        if not waiting:
            return
        time.sleep(0.02 * 2**attempt)
    raise UserError(f"{index}: another process wrote {len(waiting)} stations first, {CONFLICT_TRIES} times in a row")


def fold(state: StationState, topic: str, records: Iterable[Record]) -> bool:
    """Applies the records that the state does not have yet; returns whether there were any."""
    is_registry = topic == STATION_REGISTRY.topic
    changed = False
    for record in records:
        if state.is_new(topic, record["kafka_partition"], record["kafka_offset"]):
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


def _states(client: Elasticsearch, index: str, station_ids: Iterable[str], known: KnownStates) -> dict[str, Versioned]:
    """Each station's state: the kept one, or else the one read from Elasticsearch."""
    found, unknown = {}, []
    for station_id in station_ids:
        taken = known.take(station_id)
        if taken is None:
            unknown.append(station_id)
        else:
            found[station_id] = taken
    return found | _read(client, index, unknown) if unknown else found


def _read(client: Elasticsearch, index: str, station_ids: list[str]) -> dict[str, Versioned]:
    answer = client.mget(index=index, ids=station_ids, realtime=True)
    found: dict[str, Versioned] = {}
    for entry in answer["docs"]:
        if "error" in entry:
            raise IndexGoneError(f"{index}: {entry['error'].get('reason', entry['error'])}")
        if entry["found"]:
            version = Version(entry["_seq_no"], entry["_primary_term"])
            found[entry["_id"]] = StationState.from_document(entry["_source"]), version
        else:
            found[entry["_id"]] = StationState(entry["_id"]), None
    return found


def _write(client: Elasticsearch, index: str, changed: Iterable[Versioned]) -> dict[str, Version]:
    """Writes the documents. Returns the new versions, without documents that somebody else has written since the read."""
    # Encoded here, faster than the client would; the client sends bytes as they are.
    lines: list[Any] = []
    applied_at = ms_to_iso(time.time_ns() // 1_000_000)
    for state, version in changed:
        action: dict[str, Any] = {"_id": state.station_id}
        if version is None:
            kind = "create"
        else:
            kind = "index"
            action |= {"if_seq_no": version.seq_no, "if_primary_term": version.primary_term}
        lines += [orjson.dumps({kind: action}), orjson.dumps(state.document() | {"applied_at": applied_at})]
    if not lines:
        return {}
    answer = client.bulk(index=index, operations=lines, filter_path=_ANSWER_FIELDS)
    return {
        result["_id"]: Version(result["_seq_no"], result["_primary_term"])
        for result in accepted(index, answer["items"])
    }


_ANSWER_FIELDS = ",".join(f"items.*.{name}" for name in ("status", "_id", "_seq_no", "_primary_term", "error"))
