"""What the stream's writers share inside Spark's Python workers: rows, one client for each process, the collector's rest."""

from __future__ import annotations

import gc
from collections.abc import Iterable, Iterator, Mapping
from itertools import count
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from evcharge.connections import elasticsearch
from evcharge.errors import UserError
from evcharge.settings import Settings

if TYPE_CHECKING:
    from elasticsearch import Elasticsearch

#: Rows gathered before they are written, so that a station with many of them is written once.
ROWS_AT_ONCE = 50_000
#: Tasks after which garbage is looked for among all that is kept: what tasks leave behind must not pile up.
COLLECTED_EVERY = 100

Record = Mapping[str, Any]
"""A row of a contract with its times as ms, and `kafka_partition`, `kafka_offset`."""


class IndexGoneError(UserError):
    """The index that a stream writes was removed or replaced: it has to begin with the one that took its place."""


def gathered(batches: Iterable[pa.RecordBatch]) -> Iterator[list[dict[str, Any]]]:
    """The rows of all batches, `ROWS_AT_ONCE` or somewhat more at once, the last ones as they are."""
    rows: list[dict[str, Any]] = []
    for batch in batches:
        rows += records_of(batch)
        if len(rows) >= ROWS_AT_ONCE:
            yield rows
            rows = []
    if rows:
        yield rows


def records_of(batch: pa.RecordBatch) -> list[dict[str, Any]]:
    """A batch's rows; by columns, in two thirds of the time that `to_pylist` takes."""
    names = batch.schema.names
    return [dict(zip(names, row, strict=True)) for row in zip(*(c.to_pylist() for c in batch.columns), strict=True)]


_clients: dict[str, Elasticsearch] = {}
_tasks = count(1)


def spare_the_collector() -> None:
    """Hides what a task finds from the garbage collector, and shows it again in every `COLLECTED_EVERY`th task.

    PySpark's worker collects all garbage after each task; with 20,000 states in memory that took it a quarter of its time.
    """
    if next(_tasks) % COLLECTED_EVERY:
        gc.freeze()
    else:
        gc.unfreeze()


def shared_client(settings: Settings) -> Elasticsearch:
    """One client per worker process, which Spark keeps from batch to batch."""
    client = _clients.get(settings.elasticsearch_url)
    if client is None:
        client = _clients[settings.elasticsearch_url] = elasticsearch(settings)
    return client
