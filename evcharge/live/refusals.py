"""When a store refuses a record, and when it is only down.

A refusal is for good: the store answers, and would answer the same to the same record. Everything else, such as a server that
is down, overloaded or read-only, is an outage: the batch fails and is tried again.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping, Sequence
from http import HTTPStatus
from typing import Any, NamedTuple, TypeVar

from evcharge.connections import ServerDownError
from evcharge.errors import UserError

Record = Mapping[str, Any]
"""A contract's row with its times in ms since the epoch, and `kafka_partition` and `kafka_offset`."""

T = TypeVar("T")

#: Elasticsearch's limit of an `_id`, in bytes of UTF-8. One that is longer fails its whole bulk request.
ID_BYTES_LIMIT = 512
#: The most records of one batch that are given up because of an error that is nobody's answer about a record. With more, the
#: fault is not the records', and the batch fails as before.
UNEXPLAINED_LIMIT = 100

#: The answers of a server that cannot work now: login, rights or a block, no index, time, load.
_OUTAGE_STATUS = {
    HTTPStatus.UNAUTHORIZED,
    HTTPStatus.FORBIDDEN,
    HTTPStatus.NOT_FOUND,
    HTTPStatus.REQUEST_TIMEOUT,
    HTTPStatus.TOO_MANY_REQUESTS,
    HTTPStatus.BAD_GATEWAY,
    HTTPStatus.SERVICE_UNAVAILABLE,
    HTTPStatus.GATEWAY_TIMEOUT,
}


class IndexGoneError(UserError):
    """The index that a stream writes was removed or replaced: its queries have to start again with the current index."""


class StoreBusyError(ConnectionError):
    """A store answers, but does not write now: it is overloaded or read-only. The batch is tried again."""


class Reason(NamedTuple):
    """Why a record was refused: who refused it (`elasticsearch`, `cassandra`, `stream`), the code for it, and the words."""

    store: str
    code: str
    text: str


class Refusal(NamedTuple):
    """A record that was refused."""

    record: Record
    reason: Reason


def of_stream(error: Exception) -> Reason:
    """Our own code could not take a record."""
    return Reason("stream", type(error).__name__, str(error))


def of_elasticsearch(index: str, status: int, error: object) -> Reason | None:
    """Why Elasticsearch refused a document; None if the answer says nothing about it. Raises IndexGoneError.

    `error` is the answer's `error`. An index that is gone is known by the error's type: an empty `_id`, too, gets an error
    from `mget`.
    """
    found: Mapping[str, Any] = error if isinstance(error, Mapping) else {"reason": error}
    code, text = str(found.get("type", status)), str(found.get("reason", ""))
    if code == "index_not_found_exception":
        raise IndexGoneError(f"{index}: {text}")
    if status >= HTTPStatus.INTERNAL_SERVER_ERROR or is_outage_status(status):
        return None
    cause = found.get("caused_by")
    return Reason("elasticsearch", code, f"{text}: {cause.get('reason')}" if isinstance(cause, Mapping) else text)


def of_id(identifier: str) -> Reason | None:
    """Why Elasticsearch would refuse an `_id`, known without asking."""
    # The first test is all that an ordinary id costs: a character has at most four bytes.
    if 0 < len(identifier) <= ID_BYTES_LIMIT // 4:
        return None
    size = len(identifier.encode(errors="replace"))
    if 0 < size <= ID_BYTES_LIMIT:
        return None
    return Reason("elasticsearch", "id_length", f"an id has 1 to {ID_BYTES_LIMIT} bytes, this one {size}")


def of_cassandra(error: Exception) -> Reason | None:
    """Why Cassandra or its driver refused a row; None if the error says nothing about the row."""
    from cassandra import InvalidRequest

    # The driver cannot encode the value, or it is too long for the protocol.
    if isinstance(error, struct.error | TypeError | ValueError | AttributeError | OverflowError):
        return Reason("cassandra", type(error).__name__, str(error))
    if isinstance(error, InvalidRequest) and "does not exist" not in str(error):
        return Reason("cassandra", "InvalidRequest", str(error))
    return None


def refused_alone(
    items: Sequence[T], take: Callable[[Sequence[T]], object], reason_of: Callable[[Exception], Reason | None]
) -> list[tuple[T, Reason]]:
    """Takes all items. If that is refused, takes their halves, until each refused item is alone; returns these.

    An item may be taken more than once. Raises an error for which there is no reason.
    """
    try:
        take(items)
    except Exception as error:
        reason = reason_of(error)
        if reason is None:
            raise
        if len(items) == 1:
            return [(items[0], reason)]
        middle = len(items) // 2
        return [pair for half in (items[:middle], items[middle:]) for pair in refused_alone(half, take, reason_of)]
    return []


def taken_with_care(rows: Sequence[Record], take: Callable[[Sequence[Record]], list[Refusal]]) -> list[Refusal]:
    """Takes the rows of a batch that failed again and again, and finds the records at which it fails.

    Returns them with those that `take` returns. Raises what says that a server is down, and any error if more than
    `UNEXPLAINED_LIMIT` records fail.
    """
    refusals: list[Refusal] = []
    unexplained = 0

    def reason_of(error: Exception) -> Reason | None:
        return None if is_outage(error) or unexplained > UNEXPLAINED_LIMIT else of_stream(error)

    def take_part(part: Sequence[Record]) -> None:
        nonlocal unexplained
        try:
            refusals.extend(take(part))
        except Exception:
            unexplained += len(part) == 1
            raise

    alone = refused_alone(rows, take_part, reason_of)
    return refusals + [Refusal(record, reason) for record, reason in alone]


def is_outage(error: Exception) -> bool:
    """Whether an error says that a server is down, busy or without its index, and nothing about a record."""
    from cassandra import AuthenticationFailed, OperationTimedOut, Timeout, Unauthorized, Unavailable
    from cassandra.cluster import NoHostAvailable
    from elastic_transport import TransportError
    from elasticsearch import ApiError

    if isinstance(error, ApiError):
        return is_outage_status(error.status_code)
    cassandra_errors = AuthenticationFailed | NoHostAvailable | OperationTimedOut | Timeout | Unauthorized | Unavailable
    return isinstance(error, ServerDownError | StoreBusyError | IndexGoneError | TransportError | cassandra_errors)


def is_outage_status(status: int) -> bool:
    """Whether Elasticsearch answers by this HTTP status that it cannot work now. 500 may be a document's fault."""
    return status in _OUTAGE_STATUS
