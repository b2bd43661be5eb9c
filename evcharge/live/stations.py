"""Folds batches of registry records and session events into the station documents; runs inside Spark's Python workers.

A document is read, the batch's records that it does not have yet are folded in, and it is written back on condition that
nobody else wrote it meanwhile (`if_seq_no`): two queries, or a stream that was thought dead and its successor, can not undo
each other's work. A document names the offsets that are in it, so a repeated batch changes nothing.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import orjson
import pyarrow as pa

from evcharge.connections import elasticsearch
from evcharge.contracts import CONTRACTS, STATION_REGISTRY
from evcharge.errors import UserError
from evcharge.live.report import TouchedHours
from evcharge.live.state import StationState, iso
from evcharge.settings import Settings

if TYPE_CHECKING:
    from elasticsearch import Elasticsearch

#: Documents read and written in one request; some 3 kB each.
DOCUMENTS_PER_REQUEST = 500
#: How often a document is read again because somebody else wrote it first.
CONFLICT_TRIES = 8

Record = Mapping[str, Any]
"""A row of a contract with its times as ms, and `kafka_partition`, `kafka_offset`."""


class IndexGoneError(UserError):
    """The index that a stream writes was removed or replaced: it has to begin with the one that took its place."""


@dataclass(frozen=True)
class StationFolder:
    """Call it with the Arrow batches of a task: rows of one topic, all rows of a station in order of their offsets."""

    settings: Settings
    index: str
    topic: str

    def __call__(self, batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        client = shared_client(self.settings)
        time_field = CONTRACTS[self.topic].event_time
        hours = TouchedHours()
        for batch in batches:
            by_station: dict[str, list[Record]] = {}
            for row in batch.to_pylist():
                by_station.setdefault(row["station_id"], []).append(row)
            hours.add(row[time_field] for rows in by_station.values() for row in rows)
            names = list(by_station)
            for start in range(0, len(names), DOCUMENTS_PER_REQUEST):
                part = names[start : start + DOCUMENTS_PER_REQUEST]
                fold_into(client, self.index, self.topic, {name: by_station[name] for name in part})
        yield hours.report()


def fold_into(client: Elasticsearch, index: str, topic: str, records: Mapping[str, Sequence[Record]]) -> None:
    """Folds records (by station, in order) into the documents of `index`. Raises IndexGoneError, ConflictError."""
    waiting = dict(records)
    for attempt in range(CONFLICT_TRIES):
        changed = []
        for station_id, (state, version) in _read(client, index, waiting).items():
            if fold(state, topic, waiting[station_id]):
                changed.append((state, version))
        conflicts = _write(client, index, changed)
        if not conflicts:
            return
        waiting = {station_id: waiting[station_id] for station_id in conflicts}
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


_clients: dict[str, Elasticsearch] = {}


def shared_client(settings: Settings) -> Elasticsearch:
    """One client per worker process, which Spark keeps from batch to batch."""
    client = _clients.get(settings.elasticsearch_url)
    if client is None:
        client = _clients[settings.elasticsearch_url] = elasticsearch(settings)
    return client


def _read(
    client: Elasticsearch, index: str, station_ids: Iterable[str]
) -> dict[str, tuple[StationState, dict[str, int] | None]]:
    """Each station's state and the version to write it against; a new one has none."""
    ids = list(station_ids)
    answer = client.mget(index=index, ids=ids, realtime=True)
    found: dict[str, tuple[StationState, dict[str, int] | None]] = {}
    for entry in answer["docs"]:
        if "error" in entry:
            raise IndexGoneError(f"{index}: {entry['error'].get('reason', entry['error'])}")
        if entry["found"]:
            version = {"if_seq_no": entry["_seq_no"], "if_primary_term": entry["_primary_term"]}
            found[entry["_id"]] = StationState.from_document(entry["_source"]), version
        else:
            found[entry["_id"]] = StationState(entry["_id"]), None
    return found


def _write(
    client: Elasticsearch, index: str, changed: Iterable[tuple[StationState, dict[str, int] | None]]
) -> list[str]:
    """Writes the documents; ids of those that somebody else wrote since they were read."""
    # encoded here, quicker than the client does; it takes bytes as they are
    lines: list[Any] = []
    applied_at = iso(time.time_ns() // 1_000_000)
    for state, version in changed:
        action = (
            {"create": {"_id": state.station_id}}
            if version is None
            else {"index": {"_id": state.station_id, **version}}
        )
        lines += [orjson.dumps(action), orjson.dumps(state.document() | {"applied_at": applied_at})]
    if not lines:
        return []
    answer = client.bulk(index=index, operations=lines, filter_path="errors,items.*.status,items.*._id,items.*.error")
    if not answer["errors"]:
        return []
    conflicts = []
    for item in answer["items"]:
        (told,) = item.values()
        if told["status"] == 409:
            conflicts.append(told["_id"])
        elif told["status"] == 404:
            raise IndexGoneError(f"{index}: {told['error'].get('reason', told['error'])}")
        elif told["status"] >= 300:
            raise UserError(f"{index}: {told['_id']} was refused: {told['error']}")
    return conflicts
