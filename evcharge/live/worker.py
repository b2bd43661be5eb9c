"""What the writers share inside Spark's Python workers: their rows, one Elasticsearch client, and its answers."""

from __future__ import annotations

import gc
from collections.abc import Iterable, Iterator, Mapping, Sequence
from http import HTTPStatus
from itertools import count
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from evcharge.connections import elasticsearch
from evcharge.errors import UserError
from evcharge.gathering import gathered
from evcharge.live.refusals import Reason, StoreBusyError, is_outage_status, of_elasticsearch
from evcharge.settings import Settings

if TYPE_CHECKING:
    from elasticsearch import Elasticsearch

#: Rows to gather before a write, so that a station with many rows is written once; and the bytes at which it comes earlier.
#: Such rows have some 250 bytes in Arrow and 2 kB as dicts, and texts of up to a megabyte have about the same in both.
ROWS_AT_ONCE, BYTES_AT_ONCE = 50_000, 16_000_000
#: After this many tasks the collector looks at all objects again, so that the garbage of the tasks does not pile up.
COLLECTED_EVERY = 100


def gathered_records(batches: Iterable[pa.RecordBatch]) -> Iterator[list[dict[str, Any]]]:
    """The rows of all batches in lists of at least ROWS_AT_ONCE rows or BYTES_AT_ONCE; the last list may be shorter.

    A list is empty again when the next one is asked for, so that two are never in memory.
    """
    for table in gathered(batches, ROWS_AT_ONCE, BYTES_AT_ONCE):
        rows = records_of(table)
        del table
        yield rows
        rows.clear()


def records_of(rows: pa.RecordBatch | pa.Table) -> list[dict[str, Any]]:
    """Arrow's rows. They are read column by column, which takes two thirds of the time of `RecordBatch.to_pylist`."""
    names = rows.schema.names
    return [dict(zip(names, row, strict=True)) for row in zip(*(c.to_pylist() for c in rows.columns), strict=True)]


def times_in_ms(rows: pa.Table) -> pa.Table:
    """The rows with their times in ms since the epoch, cut off as Spark's `unix_millis` does for times of 1970 or later."""
    for index, field in enumerate(rows.schema):
        if pa.types.is_timestamp(field.type):
            at = rows[index].cast(pa.timestamp("ms", "UTC"), safe=False)
            rows = rows.set_column(index, field.name, at.cast(pa.int64()))
    return rows


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


Operation = tuple[bytes, bytes]
"""An action of a bulk request and its document, encoded here: faster than the client would, which sends bytes as they are."""


def bulk(
    client: Elasticsearch, index: str, operations: Sequence[Operation], **options: Any
) -> list[Mapping[str, Any] | Reason | None]:
    """Writes documents; returns for each the answer, why it was refused, or None: somebody else wrote a newer version first.

    A refused document holds up no other one. Some, such as one with too long an `_id`, fail their whole request, which is then
    halved. Raises IndexGoneError; StoreBusyError, UserError or the client's own errors if the documents may be good.
    """
    from elasticsearch import ApiError

    if not operations:
        return []
    lines: list[Any] = [line for operation in operations for line in operation]
    try:
        answer = client.bulk(index=index, operations=lines, filter_path=_ANSWER_FIELDS, **options)
    except ApiError as error:
        body = error.body if isinstance(error.body, dict) else {}
        reason = of_elasticsearch(index, error.status_code, body.get("error"))
        if reason is None:
            raise
        if len(operations) == 1:
            return [reason]
        middle = len(operations) // 2
        return [
            result
            for half in (operations[:middle], operations[middle:])
            for result in bulk(client, index, half, **options)
        ]
    return [_result(index, item) for item in answer["items"]]


_ANSWER_FIELDS = ",".join(f"items.*.{name}" for name in ("status", "_id", "_seq_no", "_primary_term", "error"))


def _result(index: str, item: Mapping[str, Any]) -> Mapping[str, Any] | Reason | None:
    (result,) = item.values()
    if result["status"] < HTTPStatus.MULTIPLE_CHOICES:
        answer: Mapping[str, Any] = result
        return answer
    if result["status"] == HTTPStatus.CONFLICT:
        return None
    reason = of_elasticsearch(index, result["status"], result["error"])
    if reason is None:
        failure = StoreBusyError if is_outage_status(result["status"]) else UserError
        raise failure(f"{index}: document {result['_id']} was not written: {result['error']}")
    return reason
