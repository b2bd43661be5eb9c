"""Imported by the stream's Python workers: they note how long each step of folding a batch takes, see `benchmarks.trace`.

The steps are those of `QuickFolder`, whose functions are replaced here by ones that look at the clock.
"""

from __future__ import annotations

import os
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import orjson
import pyarrow as pa
from elasticsearch import Elasticsearch

from evcharge.contracts import SESSION_EVENTS
from evcharge.lake.surely_good import SurelyGood
from evcharge.live import station_folder
from evcharge.live.quick_folder import QuickFolder
from evcharge.live.station_folder import StationFolder

#: Environment: the folder of the notes.
FOLDER = "BENCHMARK_TRACE"

_spent_s: defaultdict[str, float] = defaultdict(float)
_own_call, _own_take = QuickFolder.__call__, StationFolder.take


def _timed(step: str, call: Callable[..., Any]) -> Callable[..., Any]:
    def timed(*args: Any, **kwargs: Any) -> Any:
        began = time.perf_counter()
        try:
            return call(*args, **kwargs)
        finally:
            _spent_s[step] += time.perf_counter() - began

    return timed


def _waited_for(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    following = _timed("read", lambda rest: next(rest, None))
    rest = iter(batches)
    while (batch := following(rest)) is not None:
        yield batch


def _call(self: QuickFolder, batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    _spent_s.clear()
    began_at, began = time.time(), time.perf_counter()
    yield from _own_call(self, _waited_for(batches))
    if _spent_s["rows"]:
        note = {"began_at": began_at, "seconds": time.perf_counter() - began, **_spent_s}
        with Path(os.environ[FOLDER], f"worker-{os.getpid()}.jsonl").open("ab") as file:
            file.write(orjson.dumps(note) + b"\n")


def _take(self: StationFolder, rows: Any, **options: Any) -> Any:
    if self.topic == SESSION_EVENTS.topic:
        _spent_s["rows"] += len(rows)
        _spent_s["sent_at"] += sum(row["occurred_at"] for row in rows) / 1000
    return _own_take(self, rows, **options)


def _bulk(client: Elasticsearch, index: str, operations: Any, **options: Any) -> Any:
    _spent_s["documents"] += len(operations)
    _spent_s["document bytes"] += sum(len(document) for _, document in operations)
    return _own_bulk(client, index, operations, **options)


_own_bulk = _timed("request", station_folder.bulk)


def _install() -> None:
    from elasticsearch.client import IndicesClient

    replaced: list[tuple[type, str, Any]] = [
        (QuickFolder, "__call__", _call),
        (StationFolder, "take", _take),
        (SurelyGood, "pick", _timed("judge", SurelyGood.pick)),
    ]
    for owner, name, value in replaced:
        setattr(owner, name, value)
    station_folder.bulk = _bulk
    for name, step in (("fold", "fold"), ("_operation", "encode")):
        setattr(station_folder, name, _timed(step, getattr(station_folder, name)))
    refreshing: Any = IndicesClient
    refreshing.refresh = _timed("refresh", IndicesClient.refresh)


# not in the process that measures
if FOLDER in os.environ:
    _install()
