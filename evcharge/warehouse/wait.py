"""Waits until what was sent to Kafka is published on main and loaded into the warehouse, and counts what arrived."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import date

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from evcharge.connections import clickhouse, clickhouse_errors
from evcharge.errors import UserError
from evcharge.lake.ledger import OffsetRange, read_ledger
from evcharge.lake.repository import Commit, Repository
from evcharge.lake.rows import archive_dataset
from evcharge.settings import Settings
from evcharge.warehouse.pending_loads import pending_loads
from evcharge.warehouse.tables import FACT

POLL_S = 2.0


class WaitTimeoutError(UserError):
    """The wait took too long. The message says what is still missing."""


@dataclass(frozen=True, slots=True)
class Missing:
    """Rows not yet on main, days not yet in the warehouse, seconds waited."""

    unpublished_rows: int
    unloaded_days: int
    waited_s: float


def wait_until_loaded(
    settings: Settings,
    topic_offsets: dict[str, dict[int, int]],
    event_dates: set[date],
    timeout_s: float = 600,
    on_progress: Callable[[Missing], None] = lambda progress: None,
) -> list[date]:
    """Returns when main has the rows below `topic_offsets` and the warehouse has main's `event_dates` and stations.

    What is published later is not waited for: a feed that goes on would make the running day pending again and again. Nor is a
    date that has not begun, by a producer's clock that is ahead. Returns those dates.

    `topic_offsets` gives each topic's and partition's end offset, exclusive; `timeout_s` is in seconds.
    Raises WaitTimeoutError, ServerDownError.
    """
    repository = Repository(settings)
    began = time.monotonic()
    published_by: str | None = None
    while True:
        unpublished = 0
        for topic, ends in topic_offsets.items():
            published = read_ledger(repository, topic).offsets
            unpublished += sum(max(0, end - published.get(partition, 0)) for partition, end in ends.items())
        days = -1
        if unpublished == 0:
            published_by = published_by or repository.head().id
            pending = pending_loads(settings, repository, up_to=published_by)
            days = len(event_dates.intersection(pending.days)) + pending.stations
            if days == 0:
                return sorted(event_dates.intersection(pending.later))
        waited_s = time.monotonic() - began
        on_progress(Missing(unpublished, max(days, 0), waited_s))
        if waited_s > timeout_s:
            missing = f"{unpublished} rows are not published" if unpublished else f"{days} days are not loaded"
            raise WaitTimeoutError(
                f"after {waited_s:.0f} s {missing}; is the Dagster daemon up? See `evcharge stack status`"
            )
        time.sleep(POLL_S)


def quarantined(repository: Repository, sent: pa.Table) -> Counter[str]:
    """How many of the messages `sent` are in quarantine, by the code of the rule that they broke.

    `sent` has a row for each message: topic, partition, offset. All of them must be published.
    """
    found: Counter[str] = Counter()
    for topic in pc.unique(sent["topic"]).to_pylist():
        found += _quarantined(repository, topic, sent.filter(pc.equal(sent["topic"], topic)))
    return found


def _quarantined(repository: Repository, topic: str, sent: pa.Table) -> Counter[str]:
    offsets = {
        partition: np.sort(sent.filter(pc.equal(sent["partition"], partition))["offset"].to_numpy())
        for partition in pc.unique(sent["partition"]).to_pylist()
    }
    found: Counter[str] = Counter()
    waits = set(offsets)
    for commit in repository.log():
        if commit.metadata.get("topic") != topic or "range" not in commit.metadata:
            continue
        published = OffsetRange.from_json(orjson.loads(commit.metadata["range"]))
        # the log is read from its end: what begins below the first offset has everything that is older
        waits -= {partition for partition, start in published.start.items() if start <= offsets.get(partition, [0])[0]}
        if int(commit.metadata["rows_quarantined"]) and _overlaps(published, offsets):
            found += _rules(repository, commit, offsets)
        if not waits:
            break
    return found


def _overlaps(published: OffsetRange, offsets: Mapping[int, NDArray[np.int64]]) -> bool:
    return any(
        partition in published.end and published.start[partition] <= of[-1] and of[0] < published.end[partition]
        for partition, of in offsets.items()
    )


def _rules(repository: Repository, merged: Commit, offsets: Mapping[int, NDArray[np.int64]]) -> Counter[str]:
    """Rules of the quarantined rows of a publication that are among `offsets`. `merged` is its merge commit.

    It is read as it was merged: on main its rows may have gone into files with others since.
    """
    content = repository.read_json(merged.id, merged.metadata["manifest"])
    files = [path for path in content["files"] if path.startswith("quarantine/")] if content else []
    rows = archive_dataset(repository, merged.id, files)
    if rows is None:
        return Counter()
    table = rows.to_table(columns=["kafka_partition", "kafka_offset", "rule_code"])
    found: Counter[str] = Counter()
    for partition, of in offsets.items():
        here = table.filter(pc.equal(table["kafka_partition"], partition))
        found.update(here.filter(pc.is_in(here["kafka_offset"], pa.array(of)))["rule_code"].to_pylist())
    return found


def loaded_sessions(settings: Settings, sessions: pa.Table) -> int:
    """How many of the sessions the warehouse has. `sessions` has session_id, station_id and the UTC instant occurred_at."""
    if not sessions.num_rows:
        return 0
    ends = pc.min_max(sessions["occurred_at"]).as_py()
    stations = tuple(pc.unique(sessions["station_id"]).to_pylist())
    with clickhouse_errors(settings):
        rows = clickhouse(settings).execute(
            f"SELECT station_id, session_id FROM {FACT} WHERE station_id IN %(stations)s "
            "AND toDate(ended_at, 'UTC') BETWEEN %(first)s AND %(last)s",
            {"stations": stations, "first": ends["min"].date(), "last": ends["max"].date()},
        )
    wanted = zip(sessions["station_id"].to_pylist(), sessions["session_id"].to_pylist(), strict=True)
    return len({*rows} & {*wanted})
