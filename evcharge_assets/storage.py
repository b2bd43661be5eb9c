"""Where Dagster keeps its runs, events and ticks: SQLite files in its home, or Postgres if its address is set.

`dagster.yaml` names `PlatformStorage`. Dagster's own default for SQLite writes a file per run, and every asset event twice.
Here all events are in one file, `event_log.db`, whatever the number of runs.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any

import sqlalchemy as db
from dagster import DagsterEventType
from dagster._config import StringSource
from dagster._config.config_schema import UserConfigSchema
from dagster._core.event_api import EventHandlerFn
from dagster._core.events.log import EventLogEntry
from dagster._core.storage.event_log import EventLogStorage
from dagster._core.storage.event_log.polling_event_watcher import SqlPollingEventWatcher
from dagster._core.storage.event_log.sqlite.consolidated_sqlite_event_log import ConsolidatedSqliteEventLogStorage
from dagster._core.storage.legacy_storage import CompositeStorage
from dagster._core.storage.runs import RunStorage, SqliteRunStorage
from dagster._core.storage.schedules import ScheduleStorage, SqliteScheduleStorage
from dagster._core.storage.sqlite import SQLITE_BUSY_TIMEOUT_SECONDS
from dagster._serdes import ConfigurableClassData
from sqlalchemy.engine import Connection, Engine
from sqlalchemy.pool import NullPool

#: Below Dagster's home. Runs and events have been there since before events shared a file.
HISTORY, SCHEDULES = "history", "schedules"


class OneFileEventLogStorage(ConsolidatedSqliteEventLogStorage):
    """Every run's events in one SQLite file, which several processes write at the same time.

    Dagster ships the class below this one for its tests. What processes that share a file need is added here.
    """

    def _init_db(self) -> None:
        """Makes the file beside its place and links it in when it is whole, so that no process meets half a schema."""
        os.makedirs(self._base_dir, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=self._base_dir) as folder:
            made = ConsolidatedSqliteEventLogStorage(folder)
            with contextlib.closing(sqlite3.connect(made.get_db_path())) as connection:
                # so that what is pruned leaves the file, too
                connection.execute("PRAGMA auto_vacuum = INCREMENTAL")
                connection.execute("VACUUM")
            # another process may have been first
            with contextlib.suppress(FileExistsError):
                os.link(made.get_db_path(), self.get_db_path())

    @cached_property
    def _engine(self) -> Engine:
        # no pool: a connection must not be shared with a forked process
        return db.create_engine(
            self._conn_string, poolclass=NullPool, connect_args={"timeout": SQLITE_BUSY_TIMEOUT_SECONDS}
        )

    @contextmanager
    def _connect(self) -> Iterator[Connection]:
        with self._engine.connect() as connection, connection.begin():
            yield connection

    @cached_property
    def _watcher(self) -> SqlPollingEventWatcher:
        return SqlPollingEventWatcher(self)

    def watch(self, run_id: str, cursor: str | None, callback: EventHandlerFn) -> None:
        """Asks for new events, as on Postgres: with write-ahead logging the file itself changes too late to be watched."""
        self._watcher.watch_run(run_id, cursor, callback)

    def end_watch(self, run_id: str, handler: EventHandlerFn) -> None:
        self._watcher.unwatch_run(run_id, handler)

    def dispose(self) -> None:
        self._watcher.close()

    def store_event_batch(self, events: Sequence[EventLogEntry]) -> None:
        """Stores the asset events of many partitions in one transaction. Each alone would be one, and be written to disk."""
        types = {event.get_dagster_event().event_type for event in events}
        if not types <= _OF_MANY_PARTITIONS:
            super().store_event_batch(events)
            return
        last = {event.get_dagster_event().asset_key: position for position, event in enumerate(events)}
        with self._connect() as connection:
            ids = [self._insert(connection, event) for event in events]
            self._store_asset_event_tags(connection, events, ids)
            for position in last.values():
                self._store_asset_event(connection, events[position], ids[position])

    def _insert(self, connection: Connection, event: EventLogEntry) -> int:
        key = connection.execute(self.prepare_insert_event(event)).inserted_primary_key
        assert key, "SQLite gives each row an id"
        return int(key[0])


_OF_MANY_PARTITIONS = {DagsterEventType.ASSET_MATERIALIZATION, DagsterEventType.ASSET_MATERIALIZATION_PLANNED}


class PlatformStorage(CompositeStorage):
    """Runs, events and ticks: in three SQLite files below `base_dir`, or in Postgres if `postgres_url` is not empty."""

    @classmethod
    def config_type(cls) -> UserConfigSchema:
        return {"base_dir": StringSource, "postgres_url": StringSource}

    @classmethod
    def from_config_value(
        cls, inst_data: ConfigurableClassData | None, config_value: Mapping[str, Any]
    ) -> PlatformStorage:
        url = config_value["postgres_url"]
        return cls(*(_postgres(url) if url else _embedded(Path(config_value["base_dir"]))), inst_data=inst_data)


def _embedded(home: Path) -> tuple[RunStorage, EventLogStorage, ScheduleStorage]:
    history = str(home / HISTORY)
    return (
        SqliteRunStorage.from_local(history),
        OneFileEventLogStorage(history),
        SqliteScheduleStorage.from_local(str(home / SCHEDULES)),
    )


def _postgres(url: str) -> tuple[RunStorage, EventLogStorage, ScheduleStorage]:
    # only who uses Postgres has installed it
    from dagster_postgres import DagsterPostgresStorage

    # without a driver SQLAlchemy takes psycopg, and Dagster calls psycopg2
    with_driver = db.make_url(url).set(drivername="postgresql+psycopg2")
    made = DagsterPostgresStorage(with_driver.render_as_string(hide_password=False))
    return made.run_storage, made.event_log_storage, made.schedule_storage
