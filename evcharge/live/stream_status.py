"""How current the live state is: how far each query of the stream has read, and as of when.

`as_of` is an instant: everything that Kafka had by then is in the state. An answer to a question gives the time since then as
its age, so that people see when the stream is down or behind.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from typing import TYPE_CHECKING, Any

import orjson

from evcharge.clock import ms_to_iso
from evcharge.live.indices import STREAM_STATUS

if TYPE_CHECKING:
    from elasticsearch import Elasticsearch

#: A quarter of an hour with one sample per second. A stream that is further behind keeps its last known age.
SAMPLES = 900


@dataclass(frozen=True, slots=True)
class QueryStatus:
    """One query of the stream. `lag_rows` are in Kafka and not in the state; `rows` counts since the stream's start.

    `log_end` is the sum of the offsets at which the topic's partitions end. `read_to` has, by partition (a text), the offset
    after the last record that is in the index.

    `failing_since` is the instant of the first failure after which no batch succeeded, `failing_reason` says why the last one
    failed; both are None while the query works.
    """

    query: str
    stream_id: str
    index: str
    started_at: str
    as_of: str | None = None
    lag_rows: int = 0
    rows: int = 0
    rows_per_s: float = 0.0
    batch_s: float = 0.0
    failing_since: str | None = None
    failing_reason: str | None = None
    log_end: int | None = None
    read_to: dict[str, int] | None = None

    def age_s(self, now: datetime) -> float | None:
        """Seconds since `as_of`; None if there is none yet."""
        return None if self.as_of is None else (now - datetime.fromisoformat(self.as_of)).total_seconds()

    def failing_s(self, now: datetime) -> float:
        """For how many seconds the query has failed; 0 while it works."""
        return 0.0 if self.failing_since is None else (now - datetime.fromisoformat(self.failing_since)).total_seconds()

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


class AsOf:
    """Finds the instant up to which everything is applied, from samples of where the log ended.

    Spark's own progress is not enough: a batch that is repeated, or limited in size, does not have all that the log had when
    the batch began.
    """

    def __init__(self) -> None:
        self._asked: deque[tuple[datetime, Mapping[int, int]]] = deque(maxlen=SAMPLES)

    def asked(self, at: datetime, ends: Mapping[int, int]) -> None:
        """Adds a sample: at this instant the log ended at `ends`."""
        self._asked.append((at, ends))

    def reached(self, applied: Mapping[int, int]) -> datetime | None:
        """The latest sampled instant up to which everything is applied; None if there is no new one."""
        found = None
        while self._asked and all(applied.get(p, 0) >= end for p, end in self._asked[0][1].items()):
            found = self._asked.popleft()[0]
        return found


def progressed(
    status: QueryStatus, progress: Mapping[str, Any] | None, ends: Mapping[int, int], as_of: AsOf
) -> QueryStatus:
    """The status after `progress` (Spark's StreamingQueryProgress as a dict), if the log ends at `ends`.

    Without any progress, everything is applied if the topic is empty.
    """
    applied: dict[int, int] = {}
    progress = progress or {}
    for source in progress.get("sources", ()):
        end = source["endOffset"]
        offsets = orjson.loads(end) if isinstance(end, str) else end
        for partitions in (offsets or {}).values():
            applied |= {int(p): offset for p, offset in partitions.items()}
    reached = as_of.reached(applied)
    lag_rows = sum(max(end - applied.get(p, 0), 0) for p, end in ends.items())
    return replace(
        status,
        lag_rows=lag_rows if progress else status.lag_rows,
        log_end=sum(ends.values()),
        read_to={str(p): offset for p, offset in applied.items()} or status.read_to,
        as_of=ms_to_iso(round(reached.timestamp() * 1000)) if reached else status.as_of,
        rows_per_s=round(progress.get("processedRowsPerSecond") or 0.0, 1),
        batch_s=round((progress.get("durationMs") or {}).get("triggerExecution", 0) / 1000, 3),
    )


def merged(statuses: Sequence[QueryStatus]) -> QueryStatus:
    """The status of an input that these queries read side by side: what all of them have done."""
    failing = min((s for s in statuses if s.failing_since), key=lambda s: str(s.failing_since), default=statuses[0])
    known = [status.as_of for status in statuses if status.as_of is not None]
    ends = [status.log_end for status in statuses if status.log_end is not None]
    return replace(
        statuses[0],
        as_of=min(known) if len(known) == len(statuses) else None,
        lag_rows=sum(status.lag_rows for status in statuses),
        rows=sum(status.rows for status in statuses),
        rows_per_s=round(sum(status.rows_per_s for status in statuses), 1),
        batch_s=max(status.batch_s for status in statuses),
        failing_since=failing.failing_since,
        failing_reason=failing.failing_reason,
        log_end=sum(ends) if len(ends) == len(statuses) else None,
        read_to={p: offset for status in statuses for p, offset in (status.read_to or {}).items()} or None,
    )


def write_status(client: Elasticsearch, status: QueryStatus) -> None:
    """Stores the status of a query under its name."""
    client.index(index=STREAM_STATUS, id=status.query, document=status.to_json(), require_alias=True)


def read_status(client: Elasticsearch, query: str) -> QueryStatus | None:
    """The stored status of a query; None if the query never ran."""
    from elasticsearch import NotFoundError

    try:
        return QueryStatus(**client.get(index=STREAM_STATUS, id=query)["_source"])
    except NotFoundError:
        return None


def read_statuses(client: Elasticsearch) -> list[QueryStatus]:
    """The stored statuses of all queries that ever ran, by name."""
    hits = client.search(index=STREAM_STATUS, ignore_unavailable=True, sort=[{"query": "asc"}], size=100)["hits"][
        "hits"
    ]
    return [QueryStatus(**hit["_source"]) for hit in hits]
