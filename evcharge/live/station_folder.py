"""Folds batches of registry records and session events into the station documents; runs inside Spark's Python workers.

A document is read, the batch's records that it does not have yet are folded in, and it is written back on condition that
nobody else wrote it meanwhile (`if_seq_no`): two queries, or a stream that was thought dead and its successor, can not undo
each other's work. A document names the offsets that are in it, so a repeated batch changes nothing.

A worker keeps the states that it wrote with their versions, and reads again only what somebody else wrote since.
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
from evcharge.live.worker import IndexGoneError, Record, gathered, shared_client, spare_the_collector
from evcharge.settings import Settings

if TYPE_CHECKING:
    from elasticsearch import Elasticsearch

#: Documents read and written in one request; some 3 kB each.
DOCUMENTS_PER_REQUEST = 500
#: States that a worker keeps; some 5 kB each.
KEPT_STATES = 30_000
#: How often a document is read again because somebody else wrote it first.
CONFLICT_TRIES = 8


@dataclass(frozen=True)
class StationFolder:
    """Call it with the Arrow batches of a task: rows of one topic, all rows of a station in order of their offsets."""

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
            # By us and not by a clock: what was written shows at once, and a refresh takes a processor of its own only when
            # writing has done, so that questions have the other one. An index removed since is the next batch's to tell.
            shared_client(self.settings).indices.refresh(index=self.index, ignore_unavailable=True)
        yield hours.report()

    def _fold(self, rows: Mapping[str, Sequence[Record]]) -> None:
        client, known = shared_client(self.settings), _known_states(self.index)
        names = list(rows)
        for start in range(0, len(names), DOCUMENTS_PER_REQUEST):
            part = names[start : start + DOCUMENTS_PER_REQUEST]
            fold_into(client, self.index, self.topic, {name: rows[name] for name in part}, known)


class Version(NamedTuple):
    """What a document is written against: Elasticsearch's optimistic concurrency control."""

    seq_no: int
    primary_term: int


Versioned = tuple[StationState, Version | None]
"""A state and the version to write it against; a new one has none."""


@dataclass(slots=True)
class KnownStates:
    """The states that this process wrote last, the longest untouched of too many forgotten."""

    held: OrderedDict[str, Versioned] = field(default_factory=OrderedDict)

    def take(self, station_id: str) -> Versioned | None:
        """A state out of the cache: whoever changes it puts it back once it is written."""
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
    """Folds records (by station, in order) into the documents of `index`. Raises IndexGoneError, UserError."""
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
    raise UserError(f"{len(waiting)} stations of {index} are written by somebody else again and again")


def fold(state: StationState, topic: str, records: Iterable[Record]) -> bool:
    """Takes what the state does not have yet; whether there was any."""
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
    """What this worker process knows of an index; of one at a time."""
    if index not in _known:
        _known.clear()
        _known[index] = KnownStates()
    return _known[index]


def _states(client: Elasticsearch, index: str, station_ids: Iterable[str], known: KnownStates) -> dict[str, Versioned]:
    """Each station's state, read where this process does not know it."""
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
    """Writes the documents; the new versions of those that nobody else wrote since they were read."""
    # encoded here, quicker than the client does; it takes bytes as they are
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
    answer = client.bulk(index=index, operations=lines, filter_path=_TOLD_OF_WRITES)
    written = {}
    for item in answer["items"]:
        (told,) = item.values()
        if told["status"] < 300:
            written[told["_id"]] = Version(told["_seq_no"], told["_primary_term"])
        elif told["status"] == 404:
            raise IndexGoneError(f"{index}: {told['error'].get('reason', told['error'])}")
        elif told["status"] != 409:
            raise UserError(f"{index}: {told['_id']} was refused: {told['error']}")
    return written


_TOLD_OF_WRITES = ",".join(f"items.*.{name}" for name in ("status", "_id", "_seq_no", "_primary_term", "error"))
