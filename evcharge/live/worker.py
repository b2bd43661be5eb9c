"""What the writers share inside Spark's Python workers: their rows, one Elasticsearch client, and its answers."""

from __future__ import annotations

import gc
from collections.abc import Iterable, Iterator, Mapping
from http import HTTPStatus
from itertools import count
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from evcharge.connections import elasticsearch
from evcharge.errors import UserError
from evcharge.settings import Settings

if TYPE_CHECKING:
    from elasticsearch import Elasticsearch

#: Rows to gather before a write, so that a station with many rows is written once.
ROWS_AT_ONCE = 50_000
#: After this many tasks the collector looks at all objects again, so that the garbage of the tasks does not pile up.
COLLECTED_EVERY = 100

Record = Mapping[str, Any]
"""A contract's row with its times in ms since the epoch, and `kafka_partition` and `kafka_offset`."""


class IndexGoneError(UserError):
    """The index that a stream writes was removed or replaced: the stream has to start again with the current index."""


def gathered(batches: Iterable[pa.RecordBatch]) -> Iterator[list[dict[str, Any]]]:
    """The rows of all batches in lists of at least `ROWS_AT_ONCE` rows; the last list may be shorter."""
    rows: list[dict[str, Any]] = []
    for batch in batches:
        rows += records_of(batch)
        if len(rows) >= ROWS_AT_ONCE:
            yield rows
            rows = []
    if rows:
        yield rows


def records_of(batch: pa.RecordBatch) -> list[dict[str, Any]]:
    """A batch's rows. They are read column by column, which takes two thirds of the time of `RecordBatch.to_pylist`."""
    names = batch.schema.names
    return [dict(zip(names, row, strict=True)) for row in zip(*(c.to_pylist() for c in batch.columns), strict=True)]


_clients: dict[str, Elasticsearch] = {}
_tasks = count(1)


def spare_the_collector() -> None:
    """Hides the existing objects from the garbage collector; every `COLLECTED_EVERY`th task shows them to it again.

    PySpark's worker collects garbage after each task. With 20,000 states in memory this took a quarter of its time.
    """
    if next(_tasks) % COLLECTED_EVERY:
        gc.freeze()
    else:
        gc.unfreeze()


def shared_client(settings: Settings) -> Elasticsearch:
    """This process's one client. Spark keeps the worker process from batch to batch."""
    client = _clients.get(settings.elasticsearch_url)
    if client is None:
        client = _clients[settings.elasticsearch_url] = elasticsearch(settings)
    return client


def accepted(index: str, items: Iterable[Mapping[str, Any]]) -> Iterator[Mapping[str, Any]]:
    """The results of a bulk request's accepted writes. Leaves out conflicts: somebody else wrote a newer version first.

    Raises IndexGoneError, and UserError for a document that Elasticsearch refuses.
    """
    for item in items:
        (result,) = item.values()
        if result["status"] == HTTPStatus.NOT_FOUND:
            raise IndexGoneError(f"{index}: {result['error'].get('reason', result['error'])}")
        if result["status"] < HTTPStatus.MULTIPLE_CHOICES:
            yield result
        elif result["status"] != HTTPStatus.CONFLICT:
            raise UserError(f"{index}: document {result['_id']} was refused: {result['error']}")
