"""Prunes what Dagster keeps about old runs, on SQLite and on Postgres, and keeps what its pages show about assets.

A finished run loses its log after some days; what remains is how it ended, and the error if it failed. After some more days
it is forgotten. The newest materialization and observation of each partition stay for ever, and so does the newest result of
each check. So partition status, last materializations and lineage do not change.

Runs that are not finished are left alone, and so are finished ones that something still asks for (`runs_in_use`): those of
a parked range, for example.

Everything is deleted in small transactions, and may be interrupted between any two: the next time does the rest.
"""

import time
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import dagster as dg
import sqlalchemy as db
from dagster._core.events import EVENT_TYPE_TO_PIPELINE_RUN_STATUS
from dagster._core.execution.backfill import BULK_ACTION_TERMINAL_STATUSES
from dagster._core.storage.asset_check_execution_record import COMPLETED_ASSET_CHECK_EXECUTION_RECORD_STATUSES
from dagster._core.storage.dagster_run import FINISHED_STATUSES
from dagster._core.storage.event_log.schema import (
    AssetCheckExecutionsTable,
    AssetEventTagsTable,
    AssetKeyTable,
    SqlEventLogStorageTable,
)
from dagster._core.storage.event_log.sql_event_log import SqlEventLogStorage
from dagster._core.storage.runs.schema import RunsTable, RunTagsTable
from dagster._core.storage.runs.sql_run_storage import SqlRunStorage
from dagster._core.storage.tags import BACKFILL_ID_TAG

from evcharge.contracts import CONTRACTS
from evcharge.lake.parked import RANGE_TAG, publish_job_name
from evcharge_assets.storage import OneFileEventLogStorage

#: Rows of one transaction. While it goes on, no other process can write to SQLite.
_CHUNK = 500
#: Superseded events that are looked up at once.
_LOOKED_UP = 100_000
#: Pages of SQLite that one transaction frees, and the time for all of them. For each page that it moves SQLite looks through
#: its list of free ones: of 1.3 million, which a year's first pruning left, 20,000 were freed in ten minutes.
_FREED = 5_000
_FREED_WITHIN_S = 60.0
#: A file with at most so many pages in use, and more free ones, is written anew, for which all others wait: 350,000 took 11 s.
_WRITTEN_ANEW = 100_000

_EVENTS, _CHECKS, _RUNS, _TAGS = (
    SqlEventLogStorageTable.c,
    AssetCheckExecutionsTable.c,
    RunsTable.c,
    RunTagsTable.c,
)
_FINISHED = [status.value for status in FINISHED_STATUSES]
#: What a page about an asset shows.
_OF_ASSETS = [
    kind.value
    for kind in (
        dg.DagsterEventType.ASSET_MATERIALIZATION,
        dg.DagsterEventType.ASSET_OBSERVATION,
        dg.DagsterEventType.FRESHNESS_STATE_CHANGE,
    )
]
#: What a page about a run without its log still shows.
_OF_RUNS = [*(kind.value for kind in EVENT_TYPE_TO_PIPELINE_RUN_STATUS), dg.DagsterEventType.STEP_FAILURE.value]


@dataclass(slots=True)
class Pruned:
    """How many events, check results and runs were deleted."""

    events: int = 0
    check_results: int = 0
    runs: int = 0


def prune(
    instance: dg.DagsterInstance,
    *,
    log_days: int,
    run_days: int,
    now: datetime | None = None,
    in_use: Collection[str] | None = None,
) -> Pruned:
    """Deletes the logs of runs that ended more than `log_days` ago, and the runs that ended more than `run_days` ago, no less.

    `in_use` are the finished runs that are left alone (None: `runs_in_use`).
    """
    events, runs = _stores(instance)
    now = now or datetime.now(UTC)
    logs_end, runs_end = now - timedelta(days=log_days), now - timedelta(days=run_days)
    in_use = runs_in_use(instance) if in_use is None else in_use
    pruned = Pruned()
    pruned.events += _prune_superseded(events, logs_end, {*in_use, *_unfinished(runs)})
    newest = _newest_results(events)
    for ended in _ended_before(runs, logs_end):
        old = [run_id for run_id in ended if run_id not in in_use]
        pruned.events += _prune_logs(instance, events, old)
        pruned.check_results += _prune_results(events, old, newest)
    for ended in _ended_before(runs, runs_end):
        old = [run_id for run_id in ended if run_id not in in_use]
        pruned.events += _delete_events(events, _EVENTS.run_id.in_(old), _is_none_of(_OF_ASSETS))
        # last, so that an interrupted call finds the run again
        pruned.runs += _forget(runs, old)
    _give_space_back(events)
    return pruned


def runs_in_use(instance: dg.DagsterInstance) -> set[str]:
    """The finished runs that something still asks for, by id.

    They are the newest run and the newest successful run of each job, for sensors and `make up`; all attempts at the newest
    range of a topic, unless it is published; the last run of each asset; the runs that partitions show as failed; and those
    of a backfill that goes on.
    """
    events, runs = _stores(instance)
    return {
        *_newest_of_jobs(runs),
        *(run_id for topic in CONTRACTS for run_id in _attempts_at_next_range(instance, runs, topic)),
        *_last_of_assets(events),
        *_failing_partitions(instance, events),
        *_unfinished_backfills(instance, runs),
    }


def _stores(instance: dg.DagsterInstance) -> tuple[SqlEventLogStorage, SqlRunStorage]:
    events, runs = instance.event_log_storage, instance.run_storage
    assert isinstance(events, SqlEventLogStorage)
    assert isinstance(runs, SqlRunStorage)
    return events, runs


def _newest_of_jobs(runs: SqlRunStorage) -> Iterator[str]:
    for condition in (db.true(), _RUNS.status == dg.DagsterRunStatus.SUCCESS.value):
        newest = db.select(db.func.max(_RUNS.id)).where(condition).group_by(_RUNS.pipeline_name)
        yield from _column(runs, db.select(_RUNS.run_id).where(_RUNS.id.in_(newest)))


def _attempts_at_next_range(instance: dg.DagsterInstance, runs: SqlRunStorage, topic: str) -> list[str]:
    of_topic = (
        db.select(_TAGS.value)
        .join(RunsTable, _RUNS.run_id == _TAGS.run_id)
        .where(_RUNS.pipeline_name == publish_job_name(topic), _TAGS.key == RANGE_TAG)
        .order_by(_RUNS.id.desc())
        .limit(1)
    )
    newest = _column(runs, of_topic)
    if not newest:
        return []
    attempts = instance.get_runs(dg.RunsFilter(tags={RANGE_TAG: newest[0]}))
    published = any(run.status == dg.DagsterRunStatus.SUCCESS for run in attempts)
    return [] if published else [run.run_id for run in attempts]


def _last_of_assets(events: SqlEventLogStorage) -> list[str]:
    with events.index_connection() as connection:
        return list(connection.scalars(db.select(AssetKeyTable.c.last_run_id).where(AssetKeyTable.c.last_run_id != "")))


def _failing_partitions(instance: dg.DagsterInstance, events: SqlEventLogStorage) -> Iterator[str]:
    for key in events.all_asset_keys():
        attempts = events.get_latest_asset_partition_materialization_attempts_without_materializations(key)
        for run_ids in _chunks(sorted({run_id for run_id, _ in attempts.values()})):
            failed = dg.RunsFilter(run_ids=run_ids, statuses=[dg.DagsterRunStatus.FAILURE])
            yield from (run.run_id for run in instance.get_runs(failed))


def _unfinished_backfills(instance: dg.DagsterInstance, runs: SqlRunStorage) -> Iterator[str]:
    for backfill in instance.get_backfills():
        if backfill.status not in BULK_ACTION_TERMINAL_STATUSES:
            of_it = (_TAGS.key == BACKFILL_ID_TAG, _TAGS.value == backfill.backfill_id)
            yield from _column(runs, db.select(_TAGS.run_id).where(*of_it))


def _unfinished(runs: SqlRunStorage) -> set[str]:
    return set(_column(runs, db.select(_RUNS.run_id).where(_RUNS.status.not_in(_FINISHED))))


def _ended_before(runs: SqlRunStorage, before: datetime) -> Iterator[list[str]]:
    """The ids of the finished runs that ended before that time, oldest first, in chunks."""
    # a run that was canceled in the queue has no end
    has_ended = db.or_(
        _RUNS.end_time < before.timestamp(),
        db.and_(_RUNS.end_time.is_(None), _RUNS.update_timestamp < before.replace(tzinfo=None)),
    )
    query = db.select(_RUNS.id, _RUNS.run_id).where(_RUNS.status.in_(_FINISHED), has_ended)
    last = 0
    while True:
        with runs.connect() as connection:
            rows = connection.execute(query.where(_RUNS.id > last).order_by(_RUNS.id).limit(_CHUNK)).all()
        if not rows:
            return
        last = rows[-1].id
        yield [row.run_id for row in rows]


def _prune_superseded(events: SqlEventLogStorage, before: datetime, untouched: Collection[str]) -> int:
    """Deletes the events of assets before that time of which the same partition has a newer one."""
    count = 0
    with events.index_connection() as connection:
        keys = list(connection.scalars(db.select(AssetKeyTable.c.asset_key)))
    for key in keys:
        for kind in _OF_ASSETS:
            for superseded in _superseded(events, key, kind):
                with events.index_connection() as connection:
                    rows = connection.execute(
                        db.select(_EVENTS.id, _EVENTS.run_id, _EVENTS.timestamp).where(_EVENTS.id.in_(superseded))
                    ).all()
                # Dagster stores UTC without saying so
                old = [row for row in rows if row.timestamp.replace(tzinfo=UTC) < before]
                count += _delete_events(events, _EVENTS.id.in_([row.id for row in old if row.run_id not in untouched]))
    return count


def _superseded(events: SqlEventLogStorage, key: str, kind: str) -> Iterator[Sequence[int]]:
    """The ids of an asset's events of which the same partition has a newer one, in chunks. It reads only an index."""
    newer = db.func.row_number().over(partition_by=_EVENTS.partition, order_by=_EVENTS.id.desc()).label("newer")
    ranked = db.select(_EVENTS.id, newer).where(_EVENTS.asset_key == key, _EVENTS.dagster_event_type == kind).subquery()
    query = db.select(ranked.c.id).where(ranked.c.newer > 1).order_by(ranked.c.id).limit(_LOOKED_UP)
    last = 0
    while True:
        with events.index_connection() as connection:
            ids = list(connection.scalars(query.where(ranked.c.id > last)))
        yield from _chunks(ids)
        if len(ids) < _LOOKED_UP:
            return
        last = ids[-1]


def _prune_logs(instance: dg.DagsterInstance, events: SqlEventLogStorage, run_ids: Sequence[str]) -> int:
    """Deletes the runs' events and what they printed. How they ended stays, and what they materialized."""
    logged = _EVENTS.run_id.in_(run_ids), _is_none_of([*_OF_ASSETS, *_OF_RUNS])
    with events.index_connection() as connection:
        printed = list(connection.scalars(db.select(_EVENTS.run_id).where(*logged).distinct()))
    for run_id in printed:
        instance.compute_log_manager.delete_logs(prefix=[run_id])
    return _delete_events(events, *logged)


def _newest_results(events: SqlEventLogStorage) -> set[int]:
    """The ids of each check's newest result and newest completed one."""
    completed = [status.value for status in COMPLETED_ASSET_CHECK_EXECUTION_RECORD_STATUSES]
    newest = db.select(db.func.max(_CHECKS.id)).group_by(_CHECKS.asset_key, _CHECKS.check_name, _CHECKS.partition)
    with events.index_connection() as connection:
        return {
            *connection.scalars(newest),
            *connection.scalars(newest.where(_CHECKS.execution_status.in_(completed))),
        }


def _prune_results(events: SqlEventLogStorage, run_ids: Sequence[str], newest: Collection[int]) -> int:
    """Deletes the results of the runs' checks, but for the newest ones."""
    with events.index_connection() as connection:
        found = connection.scalars(db.select(_CHECKS.id).where(_CHECKS.run_id.in_(run_ids)))
        old = [result for result in found if result not in newest]
    for ids in _chunks(old):
        with events.index_transaction() as connection:
            connection.execute(db.delete(AssetCheckExecutionsTable).where(_CHECKS.id.in_(ids)))
    return len(old)


def _is_none_of(kinds: Sequence[str]) -> db.ColumnElement[bool]:
    # what our own code logs has no type
    return db.or_(_EVENTS.dagster_event_type.is_(None), _EVENTS.dagster_event_type.not_in(kinds))


def _delete_events(events: SqlEventLogStorage, *conditions: db.ColumnElement[bool]) -> int:
    with events.index_connection() as connection:
        found = list(connection.scalars(db.select(_EVENTS.id).where(*conditions)))
    for ids in _chunks(found):
        with events.index_transaction() as connection:
            connection.execute(db.delete(AssetEventTagsTable).where(AssetEventTagsTable.c.event_id.in_(ids)))
            connection.execute(db.delete(SqlEventLogStorageTable).where(_EVENTS.id.in_(ids)))
    return len(found)


def _forget(runs: SqlRunStorage, run_ids: Sequence[str]) -> int:
    with runs.connect() as connection:
        connection.execute(db.delete(RunTagsTable).where(_TAGS.run_id.in_(run_ids)))
        connection.execute(db.delete(RunsTable).where(_RUNS.run_id.in_(run_ids)))
    return len(run_ids)


def _give_space_back(events: SqlEventLogStorage) -> None:
    """Gives the pages that SQLite no longer needs back to the disk. Postgres cleans up by itself.

    What is left after `_FREED_WITHIN_S` is written over by new events, or given back the next time.
    """
    if not isinstance(events, OneFileEventLogStorage):
        return
    before, ends_at = None, time.monotonic() + _FREED_WITHIN_S
    while time.monotonic() < ends_at:
        with events.index_connection() as connection:
            free, pages = (connection.scalar(db.text(f"PRAGMA {name}")) for name in ("freelist_count", "page_count"))
            if not free or free == before:
                return
            anew = pages - free < min(free, _WRITTEN_ANEW)
            # SQLite frees a page at each step of the statement. Only a script takes them all: no step returns columns.
            statement = "VACUUM" if anew else f"PRAGMA incremental_vacuum({_FREED})"
            connection.connection.driver_connection.executescript(statement)
        before = free


def _column(runs: SqlRunStorage, query: db.Select[Any]) -> list[str]:
    with runs.connect() as connection:
        return list(connection.scalars(query))


def _chunks(values: Sequence[Any]) -> Iterator[Sequence[Any]]:
    return (values[first : first + _CHUNK] for first in range(0, len(values), _CHUNK))
